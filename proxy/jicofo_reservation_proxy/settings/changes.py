"""What differs between two settings, and which differences need a restart."""

from collections.abc import Iterator, Sequence
from dataclasses import fields, replace

from .schema import Settings


def until_restart(before: Settings, after: Settings) -> tuple[Settings, Sequence[str]]:
    """Return the settings to use from now on, and a sentence for each key that needs a restart.

    Such a key keeps its value of `before`.
    """
    kept = [name for name in _differing(before, after) if not _applies_at_reload(name)]
    settings = replace(after, **{name: getattr(before, name) for name in kept})
    return settings, [f"{name}: the new value applies after a restart" for name in kept]


def differences(before: Settings, after: Settings) -> Iterator[str]:
    """Yield a sentence for each key, each backend, and the routes, if they differ.

    The sentences show no values.
    """
    for name in _differing(before, after):
        if name != "backends":
            yield f"{name} has changed"
    for backend in sorted(before.backends.keys() | after.backends.keys()):
        if backend not in before.backends:
            yield f"backends.{backend} was added"
        elif backend not in after.backends:
            yield f"backends.{backend} was removed"
        elif before.backends[backend] != after.backends[backend]:
            yield f"backends.{backend} has changed"


def _differing(before: Settings, after: Settings) -> Sequence[str]:
    names = [setting.name for setting in fields(Settings)]
    return [name for name in names if getattr(before, name) != getattr(after, name)]


def _applies_at_reload(name: str) -> bool:
    return bool(Settings.__dataclass_fields__[name].metadata["at_reload"])
