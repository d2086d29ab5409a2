"""Generate docs/settings.md from the code of the settings; `make docs` runs this script."""

from collections.abc import Iterator
from dataclasses import MISSING, Field, fields
from datetime import timedelta
from pathlib import Path
from typing import Any

from jicofo_reservation_proxy.settings.schema import (
    AnswerFields,
    Auth,
    Backend,
    Http,
    ListenTls,
    Methods,
    RequestFields,
    Route,
    Settings,
    Tls,
)
from jicofo_reservation_proxy.settings.sources import CONFIG_VARIABLE, ENVIRONMENT_PREFIX
from jicofo_reservation_proxy.settings.validation import format_duration

PAGE = Path(__file__).with_name("settings.md")

INTRODUCTION = f"""\
# Settings

This page tells you how to write a settings file, how to override a setting with an environment
variable or a flag, and how to check the result. The tables list the meaning, the range and the
default of every setting.

## Where settings come from

1. A TOML file, which `--config` or `${CONFIG_VARIABLE}` names. The file is optional.
2. Environment variables override the file. The variable of a setting is `{ENVIRONMENT_PREFIX}`
   and the key path in capital letters, with two underscores between the parts.
3. Flags override the file and the environment variables. The command
   `jicofo-reservation-proxy serve --help` lists the flags.

The proxy checks all settings at the start. If a setting is wrong or unknown, the proxy reports
all faults that it found, with the line in the file, and does not start. The command
`jicofo-reservation-proxy check` makes the same checks and calls each backend, but does not serve.

A settings file:

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

The same target as an environment variable:

    {ENVIRONMENT_PREFIX}BACKENDS__DEFAULT__TARGET=dns:///reservations.example.com:50051

Write arrays and tables in environment variables as TOML. A part of a key path can be an array
index, which counts from 0:

    {ENVIRONMENT_PREFIX}GUEST_DOMAINS='["guest.*", "anonymous.example.com"]'
    {ENVIRONMENT_PREFIX}ROUTES__0__BACKEND=default

An empty variable counts as not set, because Docker Compose and charts set one for a value that is
not given. Two quotation marks (`""`) mean the empty string.

A relative path in the file is relative to the folder of the file. A relative path in a variable or
a flag is relative to the working directory.

## Reload

SIGHUP and the command `jicofo-reservation-proxy reload` make the running proxy read its settings
file again. Environment variables and flags stay as they were at the start. The proxy checks the
whole file first. If anything is wrong, nothing changes, and the log has one line with every fault.

The tables say which settings a reload applies. The log names the others that have changed.
[Operations](operations.md#reload) describes what happens to requests and to backends.

## Durations and this page

A duration is a string that contains a number and a unit: `"250ms"`, `"5s"`, `"2m"`, `"1h"`, `"7d"`.

`make docs` generates this page from `settings/schema.py` and `docs/generate.py`. Edit those files,
not this page.
"""

SECTIONS = (
    ("Settings at the top level", Settings),
    ("`[listen_tls]`: TLS for the clients", ListenTls),
    ("`[backends.NAME]`: a backend", Backend),
    ("`[backends.NAME.tls]`: TLS and mTLS", Tls),
    ("`[backends.NAME.auth]`: credentials", Auth),
    ("`[backends.NAME.methods]`: method paths", Methods),
    ("`[backends.NAME.http]`: the API of an HTTP backend", Http),
    ("`[backends.NAME.http.request_fields]`: names in requests", RequestFields),
    ("`[backends.NAME.http.answer_fields]`: places in answers", AnswerFields),
    ("`[[routes]]`: the backend of a room", Route),
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
    yield "| key | default | applies at reload | meaning |"
    yield "|---|---|---|---|"
    for setting in fields(model):
        about = setting.metadata["doc"].replace("|", "\\|")
        at_reload = "yes" if setting.metadata["at_reload"] else "no: restart"
        yield f"| `{setting.name}` | {_default(setting)} | {at_reload} | {about} |"


def _default(setting: "Field[Any]") -> str:
    value = setting.default
    if value is MISSING and setting.default_factory is MISSING:
        return "**required**"
    if isinstance(value, timedelta):
        return f"`{format_duration(value)}`"
    if isinstance(value, tuple) and value:
        return f"`{list(value)}`".replace("'", '"')
    is_plain = isinstance(value, str | int) and not isinstance(value, bool)
    return f"`{value}`" if is_plain else ""


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
