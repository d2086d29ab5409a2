"""The sources of settings: flags override the environment, which overrides the TOML file.

The environment variable of a setting is a prefix and the key path in capital letters, with two
underscores between the parts: `JICOFO_RESERVATION_PROXY_BACKENDS__DEFAULT__TARGET`. A part can be
an array index: `…_ROUTES__0__BACKEND`. Arrays and tables are written as TOML.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from jicofo_reservation_proxy.errors import SettingFault, SettingsError

from .origins import Origins
from .paths import resolve
from .schema import Backend, Settings
from .validation import validate

if TYPE_CHECKING:
    from .toml_file import TomlFile

ENVIRONMENT_PREFIX = "JICOFO_RESERVATION_PROXY_"
CONFIG_VARIABLE = ENVIRONMENT_PREFIX + "CONFIG"
"""The variable that names the TOML file. It is not a setting."""

EMPTY = '""'
"""The text of a variable that means the empty string. An empty variable counts as not set: compose
files and charts set one for a value that is not given."""

_ALMOST = 0.87
"""How similar two names must be, from 0 to 1 (difflib): one or two wrong or missing letters."""

_OF_KUBERNETES = re.compile(
    f"{ENVIRONMENT_PREFIX}(?:"
    r"(?:\w+_)?SERVICE_HOST=.*"
    r"|(?:\w+_)?SERVICE_PORT(?:_\w+)?=[0-9]+"
    r"|(?:\w+_)?PORT=[a-z]+://.*"
    r"|(?:\w+_)?PORT_[0-9]+_(?:TCP|UDP|SCTP)(?:_\w+)?=.*"
    ")"
)
"""The variables, with their values, that Kubernetes sets in each container for a Service of the
name `jicofo-reservation-proxy`, or of a name that begins so. They are not settings."""


class Loaded(NamedTuple):
    """The settings that were read, and where each value comes from."""

    settings: Settings
    origins: Origins


@dataclass(frozen=True, slots=True)
class Source:
    """Where the settings come from. `read` reads the file each time.

    The environment and the flags stay as they were when the source was made. `flags` maps key
    paths, such as ("backends", "default", "target"), to texts.
    """

    file: Path | None = None
    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    flags: Mapping[tuple[str, ...], str] = field(default_factory=dict)

    def read(self) -> Loaded:
        """Return the validated settings: flags override the environment, which overrides the file.

        If `file` is `None`, read the file that the environment names, if any. Raises
        `SettingsError` with all faults that it found.
        """
        found = settings_file(self.file, self.environ)
        toml = _parsed(found) if found else None
        tree = _tree(toml)
        overrides = self._overrides()
        faults = [fault for override in overrides if (fault := _put(tree, override))]
        if faults:
            raise SettingsError(faults)
        origins = Origins({override.path: override.origin for override in overrides}, toml)
        return Loaded(validate(tree, origins), origins)

    def state_dir(self) -> Path:
        """Return the setting `state_dir`, also if other settings are wrong.

        Commands find the running proxy by it, for example to show what is wrong. Raises the
        `SettingsError` of `read` if `state_dir` itself is wrong.
        """
        try:
            return self.read().settings.state_dir
        except SettingsError as error:
            tree: dict[str, Any] = {}
            if found := settings_file(self.file, self.environ):
                with suppress(SettingsError):  # not TOML
                    tree = _tree(_parsed(found))
            for override in self._overrides():
                _put(tree, override)
            given = {key: tree[key] for key in ("state_dir",) if key in tree}
            try:
                return validate(given).state_dir
            except SettingsError:
                raise error from None

    def _overrides(self) -> list[_Override]:
        return [*_from_environment(self.environ), *_from_flags(self.flags)]


def load(
    file: Path | None = None,
    environ: Mapping[str, str] = os.environ,
    flags: Mapping[tuple[str, ...], str] | None = None,
) -> Settings:
    """Return the settings of a `Source`. Raises `SettingsError` with all faults that it found."""
    return Source(file, environ, flags or {}).read().settings


def _tree(toml: TomlFile | None) -> dict[str, Any]:
    """Return the values of a file, in which every path is absolute."""
    found = resolve(toml.tree, Settings, toml.path.parent) if toml else {}
    return cast("dict[str, Any]", found)


def _parsed(file: Path) -> TomlFile:
    from .toml_file import TomlFile  # noqa: PLC0415 - not needed without a file

    return TomlFile(file)


def settings_file(file: Path | None, environ: Mapping[str, str] = os.environ) -> Path | None:
    """Return the settings file: the given one, or the one that the environment names, if any."""
    if file is None and (named := environ.get(CONFIG_VARIABLE)):
        return Path(named)
    return file


def near_misses(environ: Mapping[str, str] = os.environ) -> Iterator[str]:
    """Yield a warning for each variable whose name is almost the name of a setting's variable."""
    known = list(_variables())
    # The similarity of two texts is at most twice the shorter length by the sum of both lengths.
    least_characters = min(map(len, known)) * _ALMOST / (2 - _ALMOST)
    for name in sorted(environ):
        if not name.startswith(ENVIRONMENT_PREFIX) and len(name) >= least_characters:
            nearest = get_close_matches(name.upper(), known, n=1, cutoff=_ALMOST)
            if nearest:
                yield f"${name} is not a variable of a setting; did you mean ${nearest[0]}?"


def _variables() -> Iterator[str]:
    """Yield the names of the most common variables."""
    yield CONFIG_VARIABLE
    for setting in fields(Settings):
        yield ENVIRONMENT_PREFIX + setting.name.upper()
    for setting in fields(Backend):
        yield f"{ENVIRONMENT_PREFIX}BACKENDS__DEFAULT__{setting.name.upper()}"


class _Override(NamedTuple):
    path: tuple[str, ...]
    value: object
    origin: str


def _from_environment(environ: Mapping[str, str]) -> Iterator[_Override]:
    for name in sorted(environ, key=_path):
        if _is_setting(name, environ[name]):
            parts = tuple(part for _, part in _path(name))
            yield _Override(parts, _table_or_text(environ[name]), f"from ${name}")


def _is_setting(name: str, text: str) -> bool:
    """Return whether a variable sets something; an empty one does not."""
    is_ours = name.startswith(ENVIRONMENT_PREFIX) and name != CONFIG_VARIABLE
    return is_ours and bool(text) and not _OF_KUBERNETES.fullmatch(f"{name}={text}")


def _path(name: str) -> list[tuple[int, str]]:
    """Return the parts of the key path of a variable, each with a number for sorting.

    The number of an array index is the index, so that 10 sorts after 9. Other parts have 0.
    """
    parts = name.removeprefix(ENVIRONMENT_PREFIX).lower().split("__")
    return [(int(part) if part.isdecimal() else 0, part) for part in parts]


def _table_or_text(text: str) -> object:
    """Parse a TOML array or table, or an empty string; return any other text unchanged."""
    if text == EMPTY:
        return ""
    if text.lstrip()[:1] not in ("[", "{"):
        return text
    import tomllib  # noqa: PLC0415 - only for such a variable

    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (tomllib.TOMLDecodeError, RecursionError):
        return text


def _from_flags(flags: Mapping[tuple[str, ...], str]) -> Iterator[_Override]:
    for path, text in flags.items():
        yield _Override(path, text, "from the command line")


def _put(tree: dict[str, Any], override: _Override) -> SettingFault | None:
    """Set one value in the tree, and create the missing tables and array items on its path."""
    node: Any = tree
    *parents, last = override.path
    for part, following in zip(parents, override.path[1:], strict=True):
        empty: object = [] if following.isdecimal() else {}
        node = _child(node, part, empty)
    if isinstance(node, dict):
        node[last] = override.value
        return None
    if isinstance(node, list) and last.isdecimal() and int(last) <= len(node):
        node[int(last) : int(last) + 1] = [override.value]
        return None
    return SettingFault(
        ".".join(override.path),
        "there is no setting with this key path; check the spelling, and count array indexes from "
        "0 without gaps",
        override.origin,
    )


def _child(node: Any, part: str, empty: object) -> Any:  # noqa: ANN401 - TOML's own values
    if isinstance(node, dict):
        return node.setdefault(part, empty)
    if isinstance(node, list) and part.isdecimal() and int(part) <= len(node):
        if int(part) == len(node):
            node.append(empty)
        return node[int(part)]
    return None
