"""A line on the terminal that says how far a long command is."""

import sys
from typing import TextIO


class Progress:
    """Writes over one line of a terminal; writes nothing where the stream is none."""

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
