"""Write docs/settings.md from the settings' own code; `make docs` runs it."""

from collections.abc import Iterator
from dataclasses import MISSING, Field, fields
from datetime import timedelta
from pathlib import Path
from typing import Any

from jicofo_reservation_proxy.settings.schema import Auth, Backend, Methods, Route, Settings, Tls
from jicofo_reservation_proxy.settings.sources import CONFIG_VARIABLE, ENVIRONMENT_PREFIX

PAGE = Path(__file__).with_name("settings.md")

INTRODUCTION = f"""\
# Settings

This page is made from the code by `make docs`.

Settings come from a TOML file, which `--config` or `${CONFIG_VARIABLE}` names. The environment
overrides it: the variable of a setting is its key path in capitals behind `{ENVIRONMENT_PREFIX}`,
with two underscores between the parts. Flags override both; `jicofo-reservation-proxy serve --help`
lists them. All settings are checked together at the start, and every fault is told; unknown keys
are faults. `jicofo-reservation-proxy check` does that without serving, and asks each backend.

```toml
listen = "127.0.0.1:7777"

[backends.default]
target = "dns:///reservations.example.com:50051"
answer_within = "3s"

[backends.default.tls]
ca_file = "/etc/jicofo-reservation-proxy/ca.pem"
cert_file = "/etc/jicofo-reservation-proxy/client.pem"
key_file = "/etc/jicofo-reservation-proxy/client.key"

[backends.default.auth]
api_key_file = "/etc/jicofo-reservation-proxy/api-key"
```

The target of that backend by the environment:

    {ENVIRONMENT_PREFIX}BACKENDS__DEFAULT__TARGET=dns:///reservations.example.com:50051

Arrays and tables in the environment are written as TOML; a part of a key path may be an index:

    {ENVIRONMENT_PREFIX}GUEST_DOMAINS='["guest.*", "anonymous.example.com"]'
    {ENVIRONMENT_PREFIX}ROUTES__0__BACKEND=default

A duration is a number with a unit: `250ms`, `5s`, `2m`, `1h`, `7d`.
"""

SECTIONS = (
    ("At the top", Settings),
    ("`[backends.NAME]`", Backend),
    ("`[backends.NAME.tls]`", Tls),
    ("`[backends.NAME.auth]`", Auth),
    ("`[backends.NAME.methods]`", Methods),
    ("`[[routes]]`", Route),
)


def page() -> str:
    """Return the page in Markdown."""
    parts = [INTRODUCTION]
    for title, model in SECTIONS:
        parts.append(f"\n## {title}\n\n{_about(model)}\n")
        parts.append("\n".join(_rows(model)) + "\n")
    return "".join(parts)


def _about(model: type[Any]) -> str:
    about = " ".join((model.__doc__ or "").split())
    return f"{about}\n"


def _rows(model: type[Any]) -> Iterator[str]:
    yield "| key | default | |"
    yield "|---|---|---|"
    for setting in fields(model):
        about = setting.metadata["doc"].replace("|", "\\|")
        yield f"| `{setting.name}` | {_default(setting)} | {about} |"


def _default(setting: "Field[Any]") -> str:
    value = setting.default
    if value is MISSING and setting.default_factory is MISSING:
        return "**required**"
    if isinstance(value, timedelta):
        return f"`{_duration(value)}`"
    if isinstance(value, tuple) and value:
        return f"`{list(value)}`".replace("'", '"')
    is_plain = isinstance(value, str | int) and not isinstance(value, bool)
    return f"`{value}`" if is_plain else ""


def _duration(value: timedelta) -> str:
    """Return a duration as people write it: `7d` rather than `604800s`."""
    seconds = value.total_seconds()
    sizes = {"d": 86_400, "h": 3600, "m": 60}
    unit = next((unit for unit, size in sizes.items() if seconds and seconds % size == 0), "s")
    return f"{seconds / sizes.get(unit, 1):g}{unit}"


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
