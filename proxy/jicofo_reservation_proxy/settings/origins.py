"""Where the values of settings come from, for error messages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .toml_file import TomlFile

KeyPath = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Origins:
    """The sources of the values. `overrides` maps the key path of a value to a text about it."""

    overrides: Mapping[KeyPath, str] = field(default_factory=dict)
    file: TomlFile | None = None

    def of(self, path: KeyPath) -> str:
        """Return the source of a value, of a table around it, or of a key inside it."""
        longest_first = sorted(self.overrides, key=len, reverse=True)
        for key in longest_first:
            if _is_related(key, path):
                return self.overrides[key]
        line = self.file.line_of(path) if self.file else None
        return f"{self.file.path}, line {line}" if self.file and line else ""

    def names(self, path: KeyPath) -> bool:
        """Return whether any source sets this key; otherwise it has its default."""
        return bool(self.of(path))


def _is_related(key: KeyPath, path: KeyPath) -> bool:
    shared = min(len(key), len(path))
    return key[:shared] == path[:shared]
