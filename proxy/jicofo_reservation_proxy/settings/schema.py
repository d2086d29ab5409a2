"""Every setting: its type, its default and its documentation, in one place.

The help of the command line and docs/settings.md are generated from this module. sources.py reads
the values of the settings. validation.py checks the values.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, NewType

AdminListen = NewType("AdminListen", str)
AllowedHost = NewType("AllowedHost", str)
BackendName = NewType("BackendName", str)
ConferenceEndpoint = NewType("ConferenceEndpoint", str)
Deadline = NewType("Deadline", timedelta)
DrainTime = NewType("DrainTime", timedelta)
HeaderName = NewType("HeaderName", str)
HostName = NewType("HostName", str)
Listen = NewType("Listen", str)
MetadataKey = NewType("MetadataKey", str)
MetadataValue = NewType("MetadataValue", str)
MethodPath = NewType("MethodPath", str)
OptionalMethodPath = NewType("OptionalMethodPath", str)
PathPrefix = NewType("PathPrefix", str)
PluginPath = NewType("PluginPath", str)
Regex = NewType("Regex", str)
Target = NewType("Target", str)
SecretFile = NewType("SecretFile", Path)
ResponseTime = NewType("ResponseTime", timedelta)
Retention = NewType("Retention", timedelta)
RoomEndpoint = NewType("RoomEndpoint", str)
FallbackTime = NewType("FallbackTime", timedelta)
FieldName = NewType("FieldName", str)
FieldPath = NewType("FieldPath", str)
GoneStatus = NewType("GoneStatus", int)
Grace = NewType("Grace", timedelta)
ThreadCount = NewType("ThreadCount", int)

_SERVICE = "/jicofo.reservation.v1.ReservationService"


def _doc(text: str, *, at_reload: bool = True) -> dict[str, Any]:
    """Return the metadata that documents a setting. The text is Markdown.

    `at_reload` says whether a reload applies a new value; otherwise it needs a restart.
    """
    return {"doc": text, "at_reload": at_reload}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """TLS for the connections to a backend.

    An empty table (`tls = {}`) means TLS with the public certificate authorities. Without this
    table a gRPC backend is called in plaintext, and an `https://` backend as with an empty table.
    """

    ca_file: Path | None = field(
        default=None,
        metadata=_doc(
            "The file with the certificates (PEM) of the authorities that the proxy trusts to "
            "sign the backend's certificate. Set it when your own authority signed the backend's "
            "certificate. Absent: the public authorities that are built into gRPC; for an HTTP "
            "backend, those of the system."
        ),
    )
    cert_file: Path | None = field(
        default=None,
        metadata=_doc(
            "The file with the proxy's own certificate chain (PEM), for mTLS. It requires "
            "`key_file`. Absent: the proxy presents no certificate, so a backend that requires "
            "one refuses the connection."
        ),
    )
    key_file: SecretFile | None = field(
        default=None,
        metadata=_doc(
            "The file with the private key (PEM, not encrypted) of `cert_file`. It requires "
            "`cert_file`."
        ),
    )
    server_name: HostName | None = field(
        default=None,
        metadata=_doc(
            "The host name that the backend's certificate must have. Set it when that name "
            "differs from the name in `target`, for example when `target` is an IP address. "
            "Absent: the name in `target`."
        ),
    )
    xds: bool = field(
        default=False,
        metadata=_doc(
            "`true`: TLS as the control plane sets it in its clusters (`transport_socket`), for an "
            "`xds:///` target. For a cluster without TLS, the proxy uses the other settings of "
            "this table, and never plaintext. `false` (default): the proxy ignores the TLS of the "
            "control plane, and uses this table for all clusters."
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenTls:
    """TLS for the clients, for Jicofo or Prosody on another machine.

    With this table the listener speaks only TLS, so the base URL of the clients begins with
    `https://`. The proxy uses changed files within seconds, without a restart.
    """

    cert_file: Path = field(
        metadata=_doc(
            "The file with the proxy's certificate chain (PEM). The name in the clients' base URL "
            "must be in the certificate."
        )
    )
    key_file: SecretFile = field(
        metadata=_doc("The file with the private key (PEM, not encrypted) of `cert_file`.")
    )
    ca_file: Path | None = field(
        default=None,
        metadata=_doc(
            "The file with the certificates (PEM) of the authorities that sign the clients' "
            "certificates, for mTLS: the proxy then refuses a client without a certificate. "
            "Jicofo and Prosody cannot present one; a TLS tunnel in front of them can. Absent: "
            "clients present no certificate."
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Auth:
    """The credentials that the proxy sends to a backend with each call.

    Secrets are in files, never in the settings. The proxy does not start if it would send a secret
    in plaintext to another machine. It uses changed files within seconds, without a restart.
    """

    api_key_file: SecretFile | None = field(
        default=None,
        metadata=_doc(
            "The file with an API key: a single line of printable ASCII. The proxy sends the key "
            "in the header that `header` names. Absent: no API key."
        ),
    )
    header: HeaderName = field(
        default=HeaderName("x-api-key"),
        metadata=_doc("The header (gRPC metadata key) in which the proxy sends the API key."),
    )
    bearer_token_file: SecretFile | None = field(
        default=None,
        metadata=_doc(
            "The file with a bearer token: a single line of printable ASCII. The proxy sends it "
            "as `authorization: Bearer …`. Absent: no token."
        ),
    )
    username: MetadataValue | None = field(
        default=None,
        metadata=_doc(
            "The user name of HTTP basic authentication (`authorization: Basic …`). It requires "
            "`password_file`. Absent: no basic authentication."
        ),
    )
    password_file: SecretFile | None = field(
        default=None,
        metadata=_doc(
            "The file with the password of `username`: a single line of printable ASCII. It "
            "requires `username`."
        ),
    )
    plugin: PluginPath | None = field(
        default=None,
        metadata=_doc(
            "A Python plugin for other credentials, as `module:attribute`. The attribute is a "
            "`grpc.AuthMetadataPlugin`, or a class or function that returns such a plugin when "
            "it is called without arguments. gRPC asks the plugin for metadata at each call. "
            "Absent: no plugin."
        ),
    )

    @property
    def has_secret(self) -> bool:
        """Whether these credentials contain a secret, which must not be sent in plaintext."""
        return any((self.api_key_file, self.bearer_token_file, self.password_file, self.plugin))


@dataclass(frozen=True, slots=True, kw_only=True)
class Methods:
    """The gRPC method paths.

    Set them only for a backend that uses the messages of the contract under other service or method
    names.
    """

    create: MethodPath = field(
        default=MethodPath(f"{_SERVICE}/CreateConference"),
        metadata=_doc("The method path that the proxy calls for CreateConference."),
    )
    get: MethodPath = field(
        default=MethodPath(f"{_SERVICE}/GetConference"),
        metadata=_doc("The method path that the proxy calls for GetConference."),
    )
    delete: OptionalMethodPath = field(
        default=OptionalMethodPath(f"{_SERVICE}/DeleteConference"),
        metadata=_doc(
            'The method path that the proxy calls for DeleteConference. Empty (`""`): the backend '
            "has no such method. The proxy then sends no deletions, and a room becomes free when "
            "its conference ends by `start_time` and `duration`."
        ),
    )

    @property
    def has_default_delete(self) -> bool:
        """Whether `delete` is the path of the contract."""
        return self.delete == Methods.__dataclass_fields__["delete"].default


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestFields:
    """The names of the fields in the body of a create.

    `""` leaves the field out.
    """

    name: FieldName = field(
        default=FieldName("name"),
        metadata=_doc("The field with the room, as the client sent it, such as `[acme]board`."),
    )
    mail_owner: FieldName = field(
        default=FieldName("mail_owner"),
        metadata=_doc("The field with the owner. It is left out if the client sent none."),
    )
    start_time: FieldName = field(
        default=FieldName("start_time"),
        metadata=_doc("The field with the start time, such as `2048-04-20T17:55:12.000Z`."),
    )
    duration: FieldName = field(
        default=FieldName("duration"),
        metadata=_doc("The field with the duration in whole seconds; `-1` means no limit."),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerFields:
    """The places of the values in the JSON of answers.

    A place is the name of a field, or several names and positions with dots between them, such as
    `data.bookings.0.id`.
    """

    id: FieldPath = field(
        default=FieldPath("id"),
        metadata=_doc(
            'The id of the conference. `""`: the answers have no id, and the name of the room is '
            "the id."
        ),
    )
    name: FieldPath = field(
        default=FieldPath("name"), metadata=_doc("The room. It may be missing.")
    )
    mail_owner: FieldPath = field(
        default=FieldPath("mail_owner"), metadata=_doc("The owner. It may be missing.")
    )
    start_time: FieldPath = field(
        default=FieldPath("start_time"),
        metadata=_doc(
            "The start time. It may be missing in the answer to a create: then it is that of the "
            "request."
        ),
    )
    duration: FieldPath = field(
        default=FieldPath("duration"),
        metadata=_doc("The duration, in `duration_unit`. Missing, 0 or negative means no limit."),
    )
    conflict_id: FieldPath = field(
        default=FieldPath("conflict_id"),
        metadata=_doc("In a 409: the id of the conference that holds the room. It may be missing."),
    )
    message: FieldPath = field(
        default=FieldPath("message"),
        metadata=_doc(
            "In a refusal: the sentence for the user. With the default, `error`, `detail` and "
            "`title` are read too."
        ),
    )
    max_occupants: FieldPath = field(
        default=FieldPath("max_occupants"),
        metadata=_doc("The maximum number of people in the room. It may be missing."),
    )
    lobby: FieldPath = field(
        default=FieldPath("lobby"),
        metadata=_doc("Whether the room has a lobby. It may be missing."),
    )
    password: FieldPath = field(
        default=FieldPath("password"),
        metadata=_doc("The password of the room. It may be missing."),
    )
    pin: FieldPath = field(
        default=FieldPath("pin"), metadata=_doc("The PIN for telephones. It may be missing.")
    )
    url: FieldPath = field(
        default=FieldPath("url"), metadata=_doc("The URL of the meeting. It may be missing.")
    )
    sip_id: FieldPath = field(
        default=FieldPath("sip_id"), metadata=_doc("The SIP id. It may be missing.")
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Http:
    """The API of an HTTP backend, where it differs from Jitsi's handbook.

    [HTTP backends](http-backends.md) describes requests and answers.
    """

    body: Literal["form", "json"] = field(
        default="form",
        metadata=_doc("The body of a create: a form, as in the handbook (default), or JSON."),
    )
    idempotent: bool = field(
        default=False,
        metadata=_doc(
            "`true`: the backend recognizes a repeated create by the header `Idempotency-Key`, so "
            "the proxy repeats a create whose answer was lost. `false` (default): it repeats a "
            "create only if certainly no byte of it was sent."
        ),
    )
    duration_unit: Literal["seconds", "minutes"] = field(
        default="seconds",
        metadata=_doc("The unit of durations in answers. Requests always have seconds."),
    )
    gone_statuses: tuple[GoneStatus, ...] = field(
        default=(),
        metadata=_doc(
            "The statuses to a GET or DELETE, from 400 to 599, that mean that the conference does "
            "not exist, whatever the body of the answer. By default only 404 and 410 with a JSON "
            "object mean that."
        ),
    )
    create: RoomEndpoint = field(
        default=RoomEndpoint("POST /conference"),
        metadata=_doc(
            "The method and the path of a create, below the path of `target`. `{room}`, `{tenant}` "
            'and `{name}` stand for the room, its tenant, and its name without tenant. `""`: the '
            "backend opens no rooms; the proxy refuses them with 403."
        ),
    )
    get: ConferenceEndpoint = field(
        default=ConferenceEndpoint("GET /conference/{id}"),
        metadata=_doc(
            'The method and the path that read a conference; `{id}` stands for its id. `""`: '
            "conferences cannot be read; the proxy answers from its ledger."
        ),
    )
    delete: ConferenceEndpoint = field(
        default=ConferenceEndpoint("DELETE /conference/{id}"),
        metadata=_doc(
            'The method and the path that delete a conference. `""`: the backend needs no '
            "deletions, as in `methods.delete`."
        ),
    )
    request_fields: RequestFields = field(
        default=RequestFields(),
        metadata=_doc(
            "Other names of the fields in requests, see `[backends.NAME.http.request_fields]`. "
            "Absent: the names of the handbook."
        ),
    )
    answer_fields: AnswerFields = field(
        default=AnswerFields(),
        metadata=_doc(
            "Other places of the values in answers, see `[backends.NAME.http.answer_fields]`. "
            "Absent: the names of the handbook."
        ),
    )
    extra_fields: dict[FieldName, str] = field(
        default_factory=dict,
        metadata=_doc(
            "Constant fields that the proxy adds to the body of each create, as names and values. "
            "At most 16. Never put a secret here; use `auth`. Absent: none."
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """One backend: a gRPC server that implements `ReservationService`, or an HTTP server.

    `NAME` is a name of your choice. It is part of the ids that Jitsi gets, so do not change it: the
    proxy can neither read nor delete the conferences of a backend that is not in the settings.
    """

    target: Target = field(
        metadata=_doc(
            "The address of the backend. A URL such as `https://reservations.example.com/api/v1` "
            "selects an [HTTP backend](http-backends.md). Otherwise it is a gRPC backend, in any "
            "form that gRPC resolves, such as "
            "`dns:///reservations.example.com:50051`, `unix:/run/reservations.sock` or "
            "`ipv4:192.0.2.1:50051,192.0.2.2:50051`. If there are several addresses, the proxy "
            "distributes the calls over all of them. With `xds:///NAME`, a control plane names the "
            "addresses. [Scaling](scaling.md) compares these ways."
        )
    )
    answer_within: Deadline = field(
        default=Deadline(timedelta(seconds=5)),
        metadata=_doc(
            "The deadline of each call to this backend, including its retries, from 10ms to "
            "15s. If the call for a POST takes longer, the proxy answers 504, or grants the room "
            "(`when_unreachable`). A deadline below about 1.6s leaves no time for all retries. "
            "`respond_within` limits each call too."
        ),
    )
    in_flight: ThreadCount = field(
        default=ThreadCount(32),
        metadata=_doc(
            "The maximum number of calls to this backend at the same time, from 1 to 1000. The "
            "same number of requests may wait for their turn. The proxy refuses all further "
            "POSTs with 503."
        ),
    )
    when_unreachable: Literal["refuse", "allow"] = field(
        default="refuse",
        metadata=_doc(
            "The answer to a POST while the backend is unreachable or too slow. `refuse` "
            "(default): 503 or 504, and the room does not open. `allow`: the proxy grants the "
            "room for `allow_for`, without any check by the backend; the backend never learns of "
            "this conference."
        ),
    )
    allow_for: FallbackTime = field(
        default=FallbackTime(timedelta(hours=1)),
        metadata=_doc(
            "The maximum duration of a room that the proxy grants with `when_unreachable = "
            '"allow"`, from 1m to 7d. Jitsi closes the room after this time.'
        ),
    )
    health_check: Literal["auto", "on", "off"] = field(
        default="auto",
        metadata=_doc(
            "`on`: the proxy asks each address of the backend for its health (`grpc.health.v1`) "
            "and sends no calls to an address that is not serving. An address without that "
            "service counts as healthy. `off`: no health checks. `auto` (default): `off` if "
            "`auth` contains a secret, otherwise `on`. gRPC sends no credentials with health "
            "checks, so a backend that requires credentials could refuse the checks."
        ),
    )
    tls: Tls | None = field(
        default=None,
        metadata=_doc(
            "TLS or mTLS for this backend, see `[backends.NAME.tls]`. Absent: plaintext, or TLS "
            "with the public authorities for an `https://` target."
        ),
    )
    auth: Auth = field(
        default=Auth(),
        metadata=_doc(
            "The credentials for this backend: an API key, a bearer token or a plugin, see "
            "`[backends.NAME.auth]`. Absent: no credentials."
        ),
    )
    metadata: dict[MetadataKey, MetadataValue] = field(
        default_factory=dict,
        metadata=_doc(
            "Constant metadata (headers) that the proxy sends with each call, as names and values. "
            "The routes of a control plane or of a gateway can match them, and the backend can "
            "read them. To an HTTP backend they are headers. At most 16 names in lower case; each "
            "value has 1 to 256 printable ASCII characters. Never put a secret here; use `auth`. "
            "Absent: no constant metadata."
        ),
    )
    methods: Methods = field(
        default=Methods(),
        metadata=_doc(
            "Other gRPC method paths, see `[backends.NAME.methods]`. Absent: the paths of the "
            "contract."
        ),
    )
    http: Http | None = field(
        default=None,
        metadata=_doc(
            "The API of an HTTP backend, see `[backends.NAME.http]`. Absent: the API of Jitsi's "
            "handbook."
        ),
    )

    @property
    def has_credentials(self) -> bool:
        """Whether the proxy shows credentials to the backend."""
        return self.auth.has_secret or bool(self.tls and self.tls.cert_file)


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One route: its patterns, and the backend of the rooms that match all of them.

    The proxy uses the first route that matches. A route without patterns matches every room.
    Patterns do not distinguish upper from lower case.
    """

    tenant: str | None = field(
        default=None,
        metadata=_doc(
            "A glob (`*`, `?`, `[…]`) for the tenant, such as `acme` for the room `[acme]board`. "
            '`""` matches only rooms without a tenant. Absent: every tenant, and rooms without '
            "a tenant."
        ),
    )
    tenant_regex: Regex | None = field(
        default=None,
        metadata=_doc(
            "A regular expression in RE2's syntax, instead of `tenant`. It must match the whole "
            "tenant. It needs the extra `regex` "
            "(`pip install 'jicofo-reservation-proxy[regex]'`)."
        ),
    )
    room: str | None = field(
        default=None,
        metadata=_doc(
            "A glob for the name of the room, without its tenant and percent-decoded: `board` "
            "for the room `[acme]board`, `café` for `caf%c3%a9`. Absent: every name."
        ),
    )
    room_regex: Regex | None = field(
        default=None,
        metadata=_doc(
            "A regular expression in RE2's syntax, instead of `room`. It must match the whole "
            "name. It needs the extra `regex`, as `tenant_regex` does."
        ),
    )
    backend: str = field(
        metadata=_doc("The name of the backend for these rooms, as in `[backends.NAME]`.")
    )


def default_state_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the default state directory: systemd's, /var/lib for root, otherwise XDG's."""
    if given := environ.get("STATE_DIRECTORY"):
        return Path(given.partition(":")[0])
    if os.geteuid() == 0:
        return Path("/var/lib/jicofo-reservation-proxy")
    base = environ.get("XDG_STATE_HOME") or Path.home() / ".local/state"
    return Path(base) / "jicofo-reservation-proxy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The keys at the top level of the settings file.

    `backends` and `routes` are tables, which the sections below describe.
    """

    listen: Listen = field(
        default=Listen("127.0.0.1:7777"),
        metadata=_doc(
            "The address on which the proxy listens for Jicofo or Prosody, as `HOST:PORT`. The "
            "default, `127.0.0.1:7777`, accepts only clients on this machine. Everyone who can "
            "reach the address can create and delete conferences, and read their passwords, unless "
            "`client_token_file` is set. With port 0 the proxy chooses a free port and logs it.",
            at_reload=False,
        ),
    )
    listen_tls: ListenTls | None = field(
        default=None,
        metadata=_doc("TLS for the clients, see `[listen_tls]`. Absent: plain HTTP."),
    )
    client_token_file: SecretFile | None = field(
        default=None,
        metadata=_doc(
            "The file with the tokens that clients must show, one on each line: 16 to 256 letters, "
            "digits and `-._~`, for example of `openssl rand -hex 32`. A client shows a token as "
            "`Authorization: Bearer TOKEN`, in the header `client_token_header`, or as the first "
            "segment of its base URL's path (`http://proxy:7777/TOKEN`). The proxy refuses other "
            "requests with 401. It reads a changed file within seconds; with two tokens in it, "
            "clients can change from one to the other. Absent: no token is needed."
        ),
    )
    client_token_header: HeaderName | None = field(
        default=None,
        metadata=_doc(
            "One more header in which a client may show its token, such as `x-api-key`. It "
            "requires `client_token_file`. Absent: none."
        ),
    )
    allowed_hosts: tuple[AllowedHost, ...] = field(
        default=(),
        metadata=_doc(
            "The names, without a port, that the clients' base URLs may have: the proxy refuses "
            "other names in `Host` with 403. IP addresses and `localhost` are always allowed. "
            "Absent: on a loopback address no other name is allowed, because only a web page would "
            "use one (DNS rebinding); on other addresses every name is."
        ),
    )
    path_prefix: PathPrefix = field(
        default=PathPrefix(""),
        metadata=_doc(
            "The path of the clients' base URL, such as `/api/v1`; the proxy then refuses other "
            "paths with 404. A token in the path stands in front of it. Absent: the proxy accepts "
            "any path in front of `/conference`."
        ),
    )
    admin_listen: AdminListen = field(
        default=AdminListen("127.0.0.1:9777"),
        metadata=_doc(
            "The address of the admin listener, as `HOST:PORT`: health, metrics and the status "
            "page, over plain HTTP. It only reads. Everyone who can reach the address can see the "
            "names of rooms (`mask_rooms`). If another program uses the default address, the proxy "
            "logs a warning and runs without this listener; if it uses an address that you have "
            'set, the proxy does not start. With port 0 the proxy chooses a free port. `""`: no '
            "admin listener.",
            at_reload=False,
        ),
    )
    admin_token_file: SecretFile | None = field(
        default=None,
        metadata=_doc(
            "The file with the tokens for requests to `admin_listen` that change something, one on "
            "each line, as in `client_token_file`. Absent: over `admin_listen` nothing can be "
            "changed."
        ),
    )
    mask_rooms: bool = field(
        default=False,
        metadata=_doc(
            "`true`: the status shows a code in place of each room and id, and leaves out texts of "
            "backends. Equal rooms have equal codes until the next start. `false` (default): it "
            "shows them."
        ),
    )
    metrics_tenants: tuple[str, ...] = field(
        default=(),
        metadata=_doc(
            "The tenants whose creates the metric `jicofo_reservation_proxy_tenant_creates_total` "
            "counts separately, at most 100. All other tenants count as `other`, and rooms without "
            'a tenant as `""`. Absent: there is no metric with a label for tenants.'
        ),
    )
    state_dir: Path = field(
        default_factory=default_state_dir,
        metadata=_doc(
            "The state directory, which holds the ledger: all data that must survive a restart. "
            "It must be on a local disk, and each proxy needs a separate directory. Absent: "
            "`$STATE_DIRECTORY` (systemd sets it); otherwise `/var/lib/jicofo-reservation-proxy` "
            "for root, and `~/.local/state/jicofo-reservation-proxy` for other users "
            "(`$XDG_STATE_HOME` replaces `~/.local/state`).",
            at_reload=False,
        ),
    )
    state: Literal["disk", "memory"] = field(
        default="disk",
        metadata=_doc(
            "The location of the ledger. `disk` (default): in `state_dir`. `memory`: only in "
            "memory; each restart loses the pending deletions and the conference numbers that "
            "Jicofo knows. Use `memory` only where this loss is acceptable.",
            at_reload=False,
        ),
    )
    client: Literal["auto", "jicofo", "prosody", "handbook"] = field(
        default="auto",
        metadata=_doc(
            "The dialect of the answers. `auto` (default): the proxy recognizes Jicofo and "
            "Prosody by their `User-Agent`, and answers other clients as in Jitsi's handbook. "
            "`jicofo`, `prosody`, `handbook`: the proxy uses this dialect for all clients. Set "
            "one of these values if the proxy does not recognize the `User-Agent` of your client."
        ),
    )
    conflicts: Literal["answer", "report"] = field(
        default="answer",
        metadata=_doc(
            "The answer to a POST for a room that another conference already holds. `answer` "
            "(default): 200 with the existing reservation if this client may have it, otherwise "
            "403. `report`: 409 with the id of the existing conference; the client then asks for "
            "it by GET, as in Jitsi's handbook."
        ),
    )
    guest_domains: tuple[str, ...] = field(
        default=("guest.*",),
        metadata=_doc(
            "Patterns (globs) of the domains whose users have not signed in (guests). The proxy "
            "only tells the backend whether the owner is a guest; the backend decides what guests "
            "may do."
        ),
    )
    respond_within: ResponseTime = field(
        default=ResponseTime(timedelta(seconds=9)),
        metadata=_doc(
            "The time budget of one request, including all waiting, calls and retries, from "
            "100ms to 18s. Keep it at least 1s below Prosody's `reservations_api_timeout` (20 by "
            "default, 10 in the example of the module): after that time Prosody refuses the room, "
            "and the backend may have created it. Jicofo waits without a limit and delays all its "
            "other rooms in the meantime."
        ),
    )
    expire_after: Grace = field(
        default=Grace(timedelta(minutes=5)),
        metadata=_doc(
            "The time that the proxy waits for a DELETE after the end of a conference, from 1s "
            "to 7d. Then the proxy itself deletes the conference at the backend. Keep this time "
            "above 1m, because Prosody closes rooms up to a minute late."
        ),
    )
    give_up_after: Retention = field(
        default=Retention(timedelta(days=7)),
        metadata=_doc(
            "How long the proxy retries a deletion that the backend does not "
            "acknowledge, from 1m to 365d. Then the deletion is abandoned: the proxy logs an "
            "error, and `jicofo-reservation-proxy ledger abandoned` lists the deletion."
        ),
    )
    threads: ThreadCount = field(
        default=ThreadCount(64),
        metadata=_doc(
            "The maximum number of requests that call or wait for backends at the same time, "
            "from 1 to 1000. The proxy refuses all further POSTs with 503. Half of this number is "
            "reserved in equal parts for the backends, so that a slow backend cannot use all "
            "threads. The proxy starts about 1.5 times as many threads. The additional threads are "
            "for POSTs that wait for their room (at most 4 for one room, and a quarter of "
            "`threads`, at least 4, for all rooms), and for requests that do not wait."
        ),
    )
    drain_within: DrainTime = field(
        default=DrainTime(timedelta(seconds=20)),
        metadata=_doc(
            "The time limit of a graceful shutdown (SIGTERM, Ctrl-C), from 0s to 5m. In this "
            "time the proxy finishes the requests in flight and delivers the pending deletions "
            "that the backends accept. Keep it above `respond_within`, otherwise the shutdown can "
            "interrupt requests. Undelivered deletions stay in the ledger for the next start."
        ),
    )
    log_format: Literal["text", "json"] = field(
        default="text",
        metadata=_doc(
            "The format of the log. `text` (default): lines with `key=value` pairs. `json`: one "
            "JSON object per line."
        ),
    )
    log_level: Literal["debug", "info", "warning", "error"] = field(
        default="info",
        metadata=_doc(
            "The lowest level that the proxy logs: `debug`, `info` (default), `warning` or "
            "`error`. With `warning` or `error` the log does not contain the lines of normal "
            "requests."
        ),
    )
    backends: dict[BackendName, Backend] = field(
        default_factory=dict,
        metadata=_doc(
            "The backends, by name. A name has lower-case letters, digits and single "
            "underscores, begins with a letter and does not end with an underscore. Absent: the "
            "built-in stub, which grants every room."
        ),
    )
    routes: tuple[Route, ...] = field(
        default=(),
        metadata=_doc(
            "The routes, which choose the backend of each room. The first route that matches is "
            "used. A room that matches no route belongs to the backend named `default`; without "
            "such a backend the proxy refuses the room with 403. Several backends require at "
            "least one route. With one backend and no routes, every room belongs to that "
            "backend."
        ),
    )
