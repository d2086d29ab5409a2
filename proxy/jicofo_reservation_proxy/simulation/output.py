"""The file that the report goes to as JSON: either whole, or as it was before."""

import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Self


class Output:
    """A file that is written at the end of a run, or none. A context manager.

    Until then a file of that name stays as it is: the new one is made beside it, and takes its
    place. What is no regular file, such as a pipe or a terminal, is written to as it is.
    """

    def __init__(self, path: Path | None) -> None:
        """Open it, so that this does not fail after a long run. Raises OSError."""
        self._file = self._target = self._beside = None
        if path is None:
            return
        if path.exists() and not path.is_file():
            self._file = path.open("w", encoding="utf-8")
            return
        self._target = path.resolve()
        self._beside = self._target.with_name(f"{self._target.name}.{secrets.token_hex(4)}.tmp")
        self._file = self._beside.open("x", encoding="utf-8")

    def write(self, text: Callable[[], str]) -> None:
        """Write the text, for which there may be no need. Raises OSError."""
        if self._file is None:
            return
        with self._file:
            print(text(), file=self._file)
        if self._beside is not None and self._target is not None:
            self._beside.replace(self._target)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()
        if self._beside is not None:
            self._beside.unlink(missing_ok=True)
