"""A line on the terminal that shows the progress of a long command."""

import sys
from typing import TextIO


class Progress:
    """Overwrites one line of a terminal. Writes nothing if the stream is not a terminal."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._is_terminal = self._stream.isatty()

    def show(self, text: str) -> None:
        """Replace the line."""
        if self._is_terminal:
            print(f"\r\x1b[K{text}", end="", file=self._stream, flush=True)

    def clear(self) -> None:
        """Remove the line."""
        self.show("")
