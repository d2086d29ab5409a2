"""The settings in effect, with the source of each; never a secret."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from datetime import timedelta

from jicofo_reservation_proxy.settings.origins import KeyPath, Origins
from jicofo_reservation_proxy.settings.schema import Settings
from jicofo_reservation_proxy.settings.validation import format_duration

DEFAULT = "default"
SET = "(set)"


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: its key, its value as text, and where the value comes from."""

    key: str
    value: str
    origin: str


def settings_in_effect(settings: Settings, origins: Origins) -> list[Setting]:
    """Return all settings that have a value.

    Secrets are in files, and a setting has only the path. Values of `metadata` may be secrets, so
    they are left out.
    """
    return [
        Setting(".".join(path), SET if "metadata" in path else text, origins.of(path) or DEFAULT)
        for path, text in _walk((), settings)
        if text
    ]


def _walk(path: KeyPath, value: object) -> Iterator[tuple[KeyPath, str]]:
    if is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            yield from _walk((*path, field.name), getattr(value, field.name))
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _walk((*path, str(key)), item)
    elif isinstance(value, tuple) and value and is_dataclass(value[0]):
        for number, item in enumerate(value):
            yield from _walk((*path, str(number)), item)
    else:
        yield path, _shown(value)


def _shown(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case timedelta():
            return format_duration(value)
        case tuple():
            return ", ".join(map(str, value))
        case _:
            return str(value)
