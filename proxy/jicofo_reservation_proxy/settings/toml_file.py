"""The settings file: its values, and the line of each key for error messages."""

import os
import re
import stat
import tomllib
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from jicofo_reservation_proxy.errors import SettingFault, SettingsError

MAX_BYTES = 1024 * 1024
"""The largest file. A reload reads the file while the proxy answers requests."""

MAX_LINES = 1000
"""In a longer file, `line_of` finds no lines: it parses the file once for each line."""

_POSITION = re.compile(r"at line ([0-9]+)")
_KEY = re.compile(r"\s*(\[{0,2}[\w. \t\"'-]{1,60}?)\s*[]=]")
_NOTHING = re.compile(r"\s*(#.*)?", re.DOTALL)


class TomlFile:
    """A TOML file. The constructor raises `SettingsError` if it cannot be read or parsed.

    It refuses anything that is not a regular file: reading from a pipe could block for ever, and
    a reload would find the pipe empty.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        try:
            self._text = self._read().decode("utf-8").replace("\r\n", "\n")
            self.tree: dict[str, Any] = tomllib.loads(self._text)
        except OSError as error:
            raise self._error(f"cannot be read: {error.strerror}") from None
        except tomllib.TOMLDecodeError as error:
            place = _place(self._text, str(error))
            raise self._error(f"wanted valid TOML, got a parser error: {error}{place}") from None
        except (UnicodeDecodeError, RecursionError) as error:
            raise self._error(f"wanted valid TOML, got a parser error: {error}") from None

    def _read(self) -> bytes:
        with open(self.path, "rb", opener=_open_at_once) as opened:
            if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
                raise self._error("wanted a regular file, got a special file, such as a pipe")
            content = opened.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise self._error(f"wanted a file of at most {MAX_BYTES} bytes, got a larger one")
        return content

    def line_of(self, path: Sequence[str]) -> int | None:
        """Return the line that sets a key; if it is not set, the line of the table around it.

        tomllib does not tell the lines, so this method looks after which line the key is there.
        """
        deepest, line = 0, None
        for number, tree in self._statements:
            depth = _depth(tree, path)
            if depth > deepest:
                deepest, line = depth, number
        return line

    def _error(self, message: str) -> SettingsError:
        return SettingsError([SettingFault(str(self.path), message)])

    @cached_property
    def _statements(self) -> list[tuple[int, dict[str, Any]]]:
        return list(_parse_statements(self._text.split("\n")))


def _open_at_once(path: str, flags: int) -> int:
    """Open a file without waiting for a writer, if it is a pipe."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)


def _parse_statements(lines: Sequence[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the first line of each statement, and the values of the file up to its end."""
    if len(lines) > MAX_LINES:
        return
    begin = 0
    for end in range(1, len(lines) + 1):
        if begin == end - 1 and _NOTHING.fullmatch(lines[begin]):
            begin = end
            continue
        try:
            tree = tomllib.loads("\n".join(lines[:end]))
        except tomllib.TOMLDecodeError:  # the statement goes on in the next line
            continue
        yield begin + 1, tree
        begin = end


def _depth(tree: object, path: Sequence[str]) -> int:
    """Return how many parts of a key path exist in a tree."""
    for depth, part in enumerate(path):
        if isinstance(tree, dict) and part in tree:
            tree = tree[part]
        elif isinstance(tree, list) and part.isdecimal() and int(part) < len(tree):
            tree = tree[int(part)]
        else:
            return depth
    return len(path)


def _place(text: str, error: str) -> str:
    """Return the key in the line of a parser's error; the value could be a secret."""
    position = _POSITION.search(error)
    if not position:
        return ""
    key = _KEY.match(text.split("\n")[int(position[1]) - 1])
    return f", in the line of {key[1].strip('[ ')}" if key else ""
