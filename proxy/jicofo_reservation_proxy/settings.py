"""Every setting: its type, its default and its documentation, in one place.

The command line's help and docs/settings.md are made from what stands here. The whole is
validated at once, and every fault is reported. Where values come from is in sources.py.
"""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
)
from pydantic_core import ErrorDetails

from .addresses import is_local_target
from .errors import SettingFault, SettingsError
from .ids import BACKEND_NAME

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?(ms|s|m|h|d)")
_METADATA_KEY = re.compile(r"(?!grpc-)[a-z0-9_.-]+(?<!-bin)")
_METHOD_PATH = re.compile(r"/[^/\s]+/[^/\s]+")
_LISTEN = re.compile(r"(?:\[(?P<ipv6>[^\]]+)\]|(?P<host>[^:\s]+)):(?P<port>[0-9]{1,5})")


def _duration(value: object, *, least: str, most: str) -> timedelta:
    parsed = _parse_duration(value)
    if parsed is None or not _limit(least) <= parsed <= _limit(most):
        raise ValueError(f"wanted a duration from {least} to {most}, such as 5s or 250ms")
    return parsed


def _limit(text: str) -> timedelta:
    parsed = _parse_duration(text)
    assert parsed is not None  # noqa: S101 - the limits are written in this module
    return parsed


def _parse_duration(value: object) -> timedelta | None:
    if isinstance(value, timedelta):
        return value
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    return timedelta(seconds=float(match[1]) * _UNITS[match[2]]) if match else None


def _matches(pattern: re.Pattern[str], wanted: str, value: str) -> str:
    if not pattern.fullmatch(value):
        raise ValueError(f"wanted {wanted}")
    return value


def _compiles(value: str) -> str:
    try:
        re.compile(value)
    except re.error as error:
        raise ValueError(f"wanted a regular expression, which this is not: {error}") from error
    return value


def _listen(value: str) -> str:
    match = _LISTEN.fullmatch(value)
    if not match or int(match["port"]) > 65535:
        raise ValueError("wanted HOST:PORT, such as 127.0.0.1:7777 or [::1]:7777")
    return value


def _text(pattern: str, wanted: str) -> AfterValidator:
    return AfterValidator(partial(_matches, re.compile(pattern), wanted))


_BackendName = Annotated[
    str,
    _text(BACKEND_NAME.pattern, "a name of lower-case letters, digits and single underscores"),
]
_Regex = Annotated[str, AfterValidator(_compiles)]
_MethodPath = Annotated[
    str, AfterValidator(partial(_matches, _METHOD_PATH, "/package.Service/Method"))
]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=False)


class Tls(_Model):
    """TLS towards a backend. An empty table is TLS with the public certificate authorities."""

    ca_file: Path | None = Field(
        None,
        description="Certificates (PEM) of the authorities that may have signed the backend's "
        "certificate. Absent: the public ones that gRPC carries.",
    )
    cert_file: Path | None = Field(
        None, description="The proxy's own certificate chain (PEM), for mTLS. Wants `key_file` too."
    )
    key_file: Path | None = Field(
        None, description="The private key (PEM, not encrypted) of `cert_file`."
    )
    server_name: str | None = Field(
        None,
        min_length=1,
        description="The name that the backend's certificate must carry, where it is not the "
        "target's.",
    )


class Auth(_Model):
    """What the proxy shows to a backend.

    Secrets stand in files and never go over a channel that is neither TLS nor local.
    """

    api_key_file: Path | None = Field(None, description="A file that holds an API key.")
    header: Annotated[
        str,
        AfterValidator(str.lower),
        AfterValidator(
            partial(
                _matches,
                _METADATA_KEY,
                "the name of a header: letters, digits, '-', '_' and '.', not grpc-… and not …-bin",
            )
        ),
    ] = Field("x-api-key", description="The header (gRPC metadata key) that carries the API key.")
    bearer_token_file: Path | None = Field(
        None, description="A file that holds a token, sent as `authorization: Bearer …`."
    )
    plugin: Annotated[str, _text(r"[\w.]+:[\w.]+", "module:attribute")] | None = Field(
        None,
        description="`module:attribute` of a `grpc.AuthMetadataPlugin`, or of something that "
        "returns one "
        "when it is called without arguments. It is asked for metadata at each call.",
    )

    @property
    def has_secret(self) -> bool:
        """Whether anything here must be kept from eyes on the network."""
        return any((self.api_key_file, self.bearer_token_file, self.plugin))


class Methods(_Model):
    """The paths of the RPCs, for a backend that offers the same messages under other names."""

    create: _MethodPath = Field(
        "/jicofo.reservation.v1.ReservationService/CreateConference",
        description="The path of CreateConference.",
    )
    get: _MethodPath = Field(
        "/jicofo.reservation.v1.ReservationService/GetConference",
        description="The path of GetConference.",
    )
    delete: _MethodPath = Field(
        "/jicofo.reservation.v1.ReservationService/DeleteConference",
        description="The path of DeleteConference.",
    )


class Backend(_Model):
    """A `ReservationService` somewhere. With no backend at all, the built-in stub serves."""

    target: Annotated[
        str, _text(r"\S+", "a gRPC target, such as dns:///reservations.example.com:50051")
    ] = Field(
        description="Where the backend is: anything that gRPC resolves, such as "
        "`dns:///reservations.example.com:50051`, `unix:/run/reservations.sock` or "
        "`ipv4:192.0.2.1:50051,192.0.2.2:50051`."
    )
    answer_within: Annotated[
        timedelta, BeforeValidator(partial(_duration, least="10ms", most="15s"))
    ] = Field(
        timedelta(seconds=5),
        description="The deadline of each call. Prosody gives up after 20s; Jicofo waits for "
        "ever, and "
        "with it every room.",
    )
    tls: Tls | None = Field(None, description="TLS or mTLS; absent: plaintext.")
    auth: Auth = Field(Auth(), description="An API key, a bearer token, or a plugin.")
    methods: Methods = Field(Methods(), description="Other paths for the same messages.")


class Route(_Model):
    """Which rooms go to which backend. A route without any pattern takes every room."""

    tenant: str | None = Field(
        None,
        description='A glob (`*`, `?`, `[…]`) for the tenant, case-insensitive; `""` is for '
        "rooms without"
        " a tenant. Absent: any.",
    )
    tenant_regex: _Regex | None = Field(
        None, description="A regular expression for the whole tenant, instead of `tenant`."
    )
    room: str | None = Field(
        None,
        description="A glob for the room's name without its tenant, percent-decoded. Absent: any.",
    )
    room_regex: _Regex | None = Field(
        None, description="A regular expression for the whole name, instead of `room`."
    )
    backend: str = Field(description="The name of the backend that gets these rooms.")


def default_state_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """Return where state belongs by custom: systemd's choice, /var/lib for root, else XDG's."""
    if given := environ.get("STATE_DIRECTORY"):
        return Path(given.partition(":")[0])
    if os.geteuid() == 0:
        return Path("/var/lib/jicofo-reservation-proxy")
    base = environ.get("XDG_STATE_HOME") or Path.home() / ".local/state"
    return Path(base) / "jicofo-reservation-proxy"


class Settings(_Model):
    """All settings."""

    listen: Annotated[str, AfterValidator(_listen)] = Field(
        "127.0.0.1:7777",
        description="The address to serve on, `HOST:PORT`. Port 0 takes a free one.",
    )
    state_dir: Path = Field(
        default_factory=default_state_dir,
        description="The directory for what must survive a restart. Absent: `$STATE_DIRECTORY` "
        "(systemd "
        "sets it), `/var/lib/jicofo-reservation-proxy` for root, `~/.local/state/jicofo-"
        "reservation-proxy` for others.",
    )
    client: Literal["auto", "jicofo", "prosody", "handbook"] = Field(
        "auto",
        description="How to answer: `auto` goes by the `User-Agent`; the others force Jicofo's "
        "dialect, "
        "Prosody's, or that of Jitsi's handbook, which unknown clients get.",
    )
    conflicts: Literal["answer", "report"] = Field(
        "answer",
        description="What to do when a room is held already: `answer` gives the existing "
        "reservation to "
        "those who may have it and refuses the others; `report` answers 409 and leaves the "
        "rest to the client, as in Jitsi's handbook.",
    )
    guest_domains: tuple[str, ...] = Field(
        ("guest.*",),
        description="Globs for the domains whose users have not signed in. Backends are told.",
    )
    threads: int = Field(64, ge=1, le=1000, description="How many requests are worked on at once.")
    drain_within: Annotated[
        timedelta, BeforeValidator(partial(_duration, least="0s", most="5m"))
    ] = Field(
        timedelta(seconds=20), description="How long SIGTERM waits for the requests in flight."
    )
    log_format: Literal["text", "json"] = Field(
        "text", description="One line of `key=value` pairs per request, or one JSON object."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="The least serious lines to log."
    )
    backends: dict[_BackendName, Backend] = Field(
        {}, description="The backends, by name. None at all: the built-in stub."
    )
    routes: tuple[Route, ...] = Field(
        (),
        description="Which rooms go where; the first that matches wins. Rooms that match none go "
        "to the "
        "backend named `default`, or, where there is none of that name, are refused; with one"
        " backend and no routes, every room goes there.",
    )


def validate(
    tree: Mapping[str, Any], origins: Mapping[tuple[str, ...], str] | None = None
) -> Settings:
    """Return the settings in a tree of plain values; `origins` says where some came from.

    Raises `SettingsError` with every fault that was found.
    """
    try:
        settings = Settings.model_validate(tree)
    except ValidationError as error:
        faults = [_fault(details, origins or {}) for details in error.errors(include_url=False)]
        raise SettingsError(faults) from None
    if contradictions := list(_contradictions(settings)):
        raise SettingsError(contradictions)
    return settings


def _fault(details: ErrorDetails, origins: Mapping[tuple[str, ...], str]) -> SettingFault:
    path = tuple(str(part) for part in details["loc"] if part != "[key]")
    origin = next(
        (origins[key] for key in sorted(origins, reverse=True) if key == path[: len(key)]), ""
    )
    return SettingFault(".".join(path) or "settings", _sentence(details), origin)


def _sentence(details: ErrorDetails) -> str:
    """Say what was wanted and got. An unknown key's value is not shown: it may be a secret."""
    if details["type"] == "extra_forbidden":
        known = ", ".join(_known_keys(details["loc"][:-1]))
        return f"unknown key; wanted one of {known}"
    if details["type"] == "missing":
        return "wanted a value, got none"
    message = details["msg"].removeprefix("Value error, ")
    message = re.sub(r"^(Input|String|List|Tuple) should (be|have) ?", "wanted ", message)
    return f"{message}, got {details['input']!r}"


def _known_keys(path: Sequence[int | str]) -> list[str]:
    """Return the keys of the model at a path; names of backends and indexes are no fields."""
    model: type[BaseModel] = Settings
    for part in path:
        if field := model.model_fields.get(str(part)):
            model = _model_in(field.annotation) or model
    return list(model.model_fields)


def _model_in(annotation: object) -> type[BaseModel] | None:
    """Return the model in `Model`, `Model | None`, `dict[name, Model]` or `tuple[Model, ...]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = (_model_in(part) for part in get_args(annotation))
    return next((model for model in found if model), None)


def _contradictions(settings: Settings) -> Iterator[SettingFault]:
    """Yield what is wrong between settings that are each right alone."""
    for name, backend in settings.backends.items():
        yield from _backend_contradictions(f"backends.{name}", backend)
    for index, route in enumerate(settings.routes):
        yield from _route_contradictions(f"routes.{index}", route, settings.backends)
    if len(settings.backends) > 1 and not settings.routes:
        yield SettingFault(
            "routes", "wanted at least one route, since there are several backends, got none"
        )


def _backend_contradictions(key: str, backend: Backend) -> Iterator[SettingFault]:
    tls, auth = backend.tls, backend.auth
    if tls and bool(tls.cert_file) != bool(tls.key_file):
        missing, given = ("key_file", "cert_file") if tls.cert_file else ("cert_file", "key_file")
        yield SettingFault(f"{key}.tls.{missing}", f"wanted together with {given}, got none")
    if auth.api_key_file and auth.bearer_token_file and auth.header == "authorization":
        yield SettingFault(
            f"{key}.auth.header",
            "wanted another header than the bearer token's, got 'authorization'",
        )
    if auth.has_secret and tls is None and not is_local_target(backend.target):
        yield SettingFault(
            f"{key}.auth",
            f"wanted TLS or a local target for a secret, got plaintext to {backend.target!r}; "
            f"set {key}.tls",
        )


def _route_contradictions(
    key: str, route: Route, backends: Mapping[str, Backend]
) -> Iterator[SettingFault]:
    if route.tenant is not None and route.tenant_regex is not None:
        yield SettingFault(f"{key}.tenant_regex", "wanted either this or tenant, got both")
    if route.room is not None and route.room_regex is not None:
        yield SettingFault(f"{key}.room_regex", "wanted either this or room, got both")
    if route.backend not in backends:
        known = ", ".join(backends) or "none: there are no backends"
        yield SettingFault(
            f"{key}.backend", f"wanted the name of a backend ({known}), got {route.backend!r}"
        )
