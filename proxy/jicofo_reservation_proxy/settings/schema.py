"""Every setting: its type, its default and its documentation, in one place.

The command line's help and docs/settings.md are made from what stands here. Where values come
from is in sources.py, and what they must be like in validation.py.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Literal, NewType

BackendName = NewType("BackendName", str)
Deadline = NewType("Deadline", timedelta)
DrainTime = NewType("DrainTime", timedelta)
HeaderName = NewType("HeaderName", str)
HostName = NewType("HostName", str)
Listen = NewType("Listen", str)
MethodPath = NewType("MethodPath", str)
PluginPath = NewType("PluginPath", str)
Regex = NewType("Regex", str)
Target = NewType("Target", str)
ResponseTime = NewType("ResponseTime", timedelta)
Retention = NewType("Retention", timedelta)
FallbackTime = NewType("FallbackTime", timedelta)
Grace = NewType("Grace", timedelta)
ThreadCount = NewType("ThreadCount", int)

_SERVICE = "/jicofo.reservation.v1.ReservationService"


def _doc(text: str) -> dict[str, str]:
    """Document a setting; the text is Markdown."""
    return {"doc": text}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """TLS towards a backend. An empty table is TLS with the public certificate authorities."""

    ca_file: Path | None = field(
        default=None,
        metadata=_doc(
            "Certificates (PEM) of the authorities that may have signed the backend's "
            "certificate. Absent: the public ones that gRPC carries."
        ),
    )
    cert_file: Path | None = field(
        default=None,
        metadata=_doc(
            "The proxy's own certificate chain (PEM), for mTLS. It wants `key_file` too."
        ),
    )
    key_file: Path | None = field(
        default=None,
        metadata=_doc("The private key (PEM, not encrypted) of `cert_file`."),
    )
    server_name: HostName | None = field(
        default=None,
        metadata=_doc(
            "The name that the backend's certificate must carry, where it is not the target's."
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Auth:
    """What the proxy shows to a backend.

    Secrets stand in files and never go over a channel that is neither TLS nor local.
    """

    api_key_file: Path | None = field(default=None, metadata=_doc("A file that holds an API key."))
    header: HeaderName = field(
        default=HeaderName("x-api-key"),
        metadata=_doc("The header (gRPC metadata key) that carries the API key."),
    )
    bearer_token_file: Path | None = field(
        default=None,
        metadata=_doc("A file that holds a token, sent as `authorization: Bearer …`."),
    )
    plugin: PluginPath | None = field(
        default=None,
        metadata=_doc(
            "`module:attribute` of a `grpc.AuthMetadataPlugin`, or of something that returns one "
            "when it is called without arguments. It is asked for metadata at each call."
        ),
    )

    @property
    def has_secret(self) -> bool:
        """Whether anything here must be kept from eyes on the network."""
        return any((self.api_key_file, self.bearer_token_file, self.plugin))


@dataclass(frozen=True, slots=True, kw_only=True)
class Methods:
    """The paths of the RPCs, for a backend that offers the same messages under other names."""

    create: MethodPath = field(
        default=MethodPath(f"{_SERVICE}/CreateConference"),
        metadata=_doc("The path of CreateConference."),
    )
    get: MethodPath = field(
        default=MethodPath(f"{_SERVICE}/GetConference"),
        metadata=_doc("The path of GetConference."),
    )
    delete: MethodPath = field(
        default=MethodPath(f"{_SERVICE}/DeleteConference"),
        metadata=_doc("The path of DeleteConference."),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """A `ReservationService` somewhere. With no backend at all, the built-in stub serves."""

    target: Target = field(
        metadata=_doc(
            "Where the backend is: anything that gRPC resolves, such as "
            "`dns:///reservations.example.com:50051`, `unix:/run/reservations.sock` or "
            "`ipv4:192.0.2.1:50051,192.0.2.2:50051`. Several addresses take turns."
        )
    )
    answer_within: Deadline = field(
        default=Deadline(timedelta(seconds=5)),
        metadata=_doc(
            "The deadline of each call, its retries included, from 0.01s to 15s. `respond_within` "
            "bounds it too."
        ),
    )
    in_flight: ThreadCount = field(
        default=ThreadCount(32),
        metadata=_doc(
            "How many calls to this backend may be under way at once, from 1 to 1000. As many more "
            "requests may wait for their turn; the others are refused with 503."
        ),
    )
    when_unreachable: Literal["refuse", "allow"] = field(
        default="refuse",
        metadata=_doc(
            "What becomes of a room while the backend cannot be asked: `refuse` answers 503 or "
            "504, `allow` grants it for `allow_for`, and the backend never hears of that."
        ),
    )
    allow_for: FallbackTime = field(
        default=FallbackTime(timedelta(hours=1)),
        metadata=_doc("For how long `allow` grants a room, from 1m to 7d."),
    )
    health_check: Literal["auto", "on", "off"] = field(
        default="auto",
        metadata=_doc(
            "Whether replicas that `grpc.health.v1` says are not serving are left out. A backend "
            "without that service counts as well. `auto` is on unless `auth` holds a secret, since "
            "gRPC shows none with these checks."
        ),
    )
    tls: Tls | None = field(default=None, metadata=_doc("TLS or mTLS. Absent: plaintext."))
    auth: Auth = field(default=Auth(), metadata=_doc("An API key, a bearer token, or a plugin."))
    methods: Methods = field(default=Methods(), metadata=_doc("Other paths for the same messages."))


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Which rooms go to which backend. A route without any pattern takes every room."""

    tenant: str | None = field(
        default=None,
        metadata=_doc(
            'A glob (`*`, `?`, `[…]`) for the tenant; `""` is for rooms without a tenant. '
            "Upper and lower case are the same. Absent: any."
        ),
    )
    tenant_regex: Regex | None = field(
        default=None,
        metadata=_doc("A regular expression for the whole tenant, instead of `tenant`."),
    )
    room: str | None = field(
        default=None,
        metadata=_doc(
            "A glob for the room's name without its tenant, percent-decoded. Absent: any."
        ),
    )
    room_regex: Regex | None = field(
        default=None,
        metadata=_doc("A regular expression for the whole name, instead of `room`."),
    )
    backend: str = field(metadata=_doc("The name of the backend that gets these rooms."))


def default_state_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """Return where state belongs by custom: systemd's choice, /var/lib for root, else XDG's."""
    if given := environ.get("STATE_DIRECTORY"):
        return Path(given.partition(":")[0])
    if os.geteuid() == 0:
        return Path("/var/lib/jicofo-reservation-proxy")
    base = environ.get("XDG_STATE_HOME") or Path.home() / ".local/state"
    return Path(base) / "jicofo-reservation-proxy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings."""

    listen: Listen = field(
        default=Listen("127.0.0.1:7777"),
        metadata=_doc("The address to serve on, `HOST:PORT`. Port 0 takes a free one."),
    )
    state_dir: Path = field(
        default_factory=default_state_dir,
        metadata=_doc(
            "The directory for what must survive a restart. Absent: `$STATE_DIRECTORY` (systemd "
            "sets it), `/var/lib/jicofo-reservation-proxy` for root, "
            "`~/.local/state/jicofo-reservation-proxy` for others."
        ),
    )
    state: Literal["disk", "memory"] = field(
        default="disk",
        metadata=_doc(
            "Where the ledger is: `disk` is `state_dir`; `memory` needs no directory, and forgets "
            "at each restart the DELETEs that are not delivered and the numbers given to Jicofo."
        ),
    )
    client: Literal["auto", "jicofo", "prosody", "handbook"] = field(
        default="auto",
        metadata=_doc(
            "How to answer: `auto` goes by the `User-Agent`; the others force Jicofo's dialect, "
            "Prosody's, or that of Jitsi's handbook, which unknown clients get."
        ),
    )
    conflicts: Literal["answer", "report"] = field(
        default="answer",
        metadata=_doc(
            "What to do when a room is held already: `answer` gives the existing reservation to "
            "those who may have it and refuses the others; `report` answers 409 and leaves the "
            "rest to the client, as in Jitsi's handbook."
        ),
    )
    guest_domains: tuple[str, ...] = field(
        default=("guest.*",),
        metadata=_doc("Globs for the domains whose users have not signed in. Backends are told."),
    )
    respond_within: ResponseTime = field(
        default=ResponseTime(timedelta(seconds=12)),
        metadata=_doc(
            "The time for one request with all its calls and retries, from 0.1s to 18s. Prosody "
            "gives up after 20s; Jicofo waits for ever, and with it every room."
        ),
    )
    expire_after: Grace = field(
        default=Grace(timedelta(minutes=5)),
        metadata=_doc(
            "How long after its end a conference without a DELETE is deleted at the backend, from "
            "1s to 7d. Prosody closes rooms up to a minute late."
        ),
    )
    give_up_after: Retention = field(
        default=Retention(timedelta(days=7)),
        metadata=_doc("How long a DELETE is tried to be delivered, from 1m to 365d."),
    )
    threads: ThreadCount = field(
        default=ThreadCount(64),
        metadata=_doc(
            "How many requests may be with backends at once, from 1 to 1000. Half of them are "
            "divided among the backends, so that none is left without. A quarter more threads "
            "serve what waits for no backend."
        ),
    )
    drain_within: DrainTime = field(
        default=DrainTime(timedelta(seconds=20)),
        metadata=_doc(
            "How long SIGTERM waits for the requests in flight and for the DELETEs that can still "
            "be delivered, from 0s to 300s."
        ),
    )
    log_format: Literal["text", "json"] = field(
        default="text",
        metadata=_doc(
            "One line per request: `text` is `key=value` pairs, `json` is a JSON object."
        ),
    )
    log_level: Literal["debug", "info", "warning", "error"] = field(
        default="info",
        metadata=_doc("The least serious lines to log: `debug`, `info`, `warning` or `error`."),
    )
    backends: dict[BackendName, Backend] = field(
        default_factory=dict,
        metadata=_doc(
            "The backends, by name: lower-case letters, digits and single underscores. None at "
            "all: the built-in stub."
        ),
    )
    routes: tuple[Route, ...] = field(
        default=(),
        metadata=_doc(
            "Which rooms go where; the first that matches wins. Rooms that match none go to the "
            "backend named `default`, or, where there is none of that name, are refused. With one "
            "backend and no routes, every room goes there."
        ),
    )
