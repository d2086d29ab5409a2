"""The file for the JSON report: it contains either the whole new report or the old content."""

import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Self


class Output:
    """A file that is written at the end of a run, or no file. A context manager.

    The new report goes to a temporary file in the same directory. At the end, the temporary file
    replaces the old file. A path that is not a regular file (a pipe, a terminal) is written
    directly.
    """

    def __init__(self, path: Path | None) -> None:
        """Open the file now, so that an error does not come after a long run. Raises OSError."""
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
        """Call `text` and write the result, if there is a file. Raises OSError."""
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
