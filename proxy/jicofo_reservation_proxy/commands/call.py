"""`call`: send one request, as a client would, to the running proxy or to a temporary one."""

import argparse
import http.client
import json
import os
import ssl
import sys
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import quote, urlencode

from jicofo_reservation_proxy.app import Proxy
from jicofo_reservation_proxy.clock import now_ms
from jicofo_reservation_proxy.credential_files import first_token
from jicofo_reservation_proxy.errors import CredentialsError, ListenError
from jicofo_reservation_proxy.http.dialects import USER_AGENTS
from jicofo_reservation_proxy.ledger.state_directory import is_in_use
from jicofo_reservation_proxy.settings.addresses import split_listen
from jicofo_reservation_proxy.settings.schema import ListenTls, Settings
from jicofo_reservation_proxy.text_rules import format_time

from . import exit_codes
from .setting_flags import SETTINGS_HELP, add_setting_flags, load_settings

EPILOG = f"""\
The command sends the request to the proxy at the address `listen`. If nothing listens there, the
command starts a temporary proxy for this request. With --target, the command always starts a
temporary proxy, which calls that backend. If a running proxy uses `state_dir`, the command cannot
start a temporary proxy and ends with an error.

An example:

  jicofo-reservation-proxy call create board --as prosody

{SETTINGS_HELP}"""

TIMEOUT_SECONDS = 20.0

Operation = Literal["create", "get", "delete"]


@dataclass(frozen=True, slots=True)
class Request:
    """One request. `subject` is the room to create, or the id of the conference to get or delete.

    `owner` and `start_time` are the values of the form fields `mail_owner` and `start_time`.
    `prefix` is the path of the base URL, and `token` the client token.
    """

    operation: Operation
    subject: str
    client: str
    owner: str | None = None
    start_time: str | None = None
    prefix: str = ""
    token: str = field(default="", repr=False)

    @property
    def method(self) -> str:
        """The HTTP method."""
        return "POST" if self.operation == "create" else self.operation.upper()

    @property
    def path(self) -> str:
        """The path. Characters that have a meaning in a URL are escaped, except `/`."""
        resource = f"{self.prefix}/conference"
        if self.operation == "create":
            return resource
        return f"{resource}/{quote(os.fsencode(self.subject))}"

    @property
    def headers(self) -> dict[str, str]:
        """The headers that the proxy reads."""
        headers = {"User-Agent": USER_AGENTS[self.client]}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        if self.operation == "create":
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        return headers

    @property
    def body(self) -> str | None:
        """The form that the client sends (clients.md "POST body")."""
        if self.operation != "create":
            return None
        form = {"name": self.subject}
        if self.owner is not None:
            form["mail_owner"] = self.owner
        form["start_time"] = self.start_time or format_time(now_ms())
        if self.client == "jicofo":
            form["duration"] = "-1"
        return urlencode(form, errors="surrogateescape")


@dataclass(frozen=True, slots=True)
class Response:
    """The answer. `has_failed` is whether a fault occurred or a deletion is still pending."""

    status: str
    fields: Mapping[str, Any]
    has_failed: bool

    @property
    def is_refused(self) -> bool:
        """Whether the status is not a 2xx."""
        return not self.status.startswith("2")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    add_setting_flags(parser)
    parser.add_argument(
        "operation",
        choices=("create", "get", "delete"),
        help="create: POST the room. get, delete: GET or DELETE the conference.",
    )
    parser.add_argument(
        "subject",
        metavar="ROOM|ID",
        help="The room to create, or the id of the conference to get or delete.",
    )
    parser.add_argument(
        "--as",
        dest="client_name",
        choices=sorted(USER_AGENTS),
        default="prosody",
        help="Send the request in the form of this client. Default: prosody.",
    )
    parser.add_argument("--owner", help="create: the value of mail_owner. Default: no owner.")
    parser.add_argument("--start-time", help="create: the value of start_time. Default: now.")


def run(arguments: argparse.Namespace) -> int:
    """Send the request and print the answer. Raises `ProxyError`."""
    settings = load_settings(arguments)
    request = Request(
        arguments.operation,
        arguments.subject,
        arguments.client_name,
        arguments.owner,
        arguments.start_time,
        settings.path_prefix.rstrip("/"),
        first_token("client_token_file", settings.client_token_file),
    )
    response = _ask(settings, request, wants_own=arguments.target is not None)
    print(response.status)
    print(json.dumps(response.fields, indent=2))
    if response.has_failed:
        return exit_codes.BACKEND_FAILED
    return exit_codes.REFUSED if response.is_refused else exit_codes.OK


def _ask(settings: Settings, request: Request, *, wants_own: bool) -> Response:
    """Send the request to the running proxy or to a temporary proxy. Print the choice on stderr."""
    is_used = settings.state == "disk" and is_in_use(settings.state_dir)
    connection = None if wants_own else _connected(settings)
    if connection:
        print(f"sending the request to the running proxy at {settings.listen}", file=sys.stderr)
        with closing(connection):
            return _ask_the_running_proxy(settings, connection, request)
    if is_used and not wants_own:
        raise ListenError(
            f"listen: wanted the address of the running proxy that uses {settings.state_dir}, "
            f"got {settings.listen}, which accepts no connection; "
            "give the address of that proxy with --listen"
        )
    backends = [f"{name} at {backend.target}" for name, backend in settings.backends.items()]
    behind = ", ".join(backends) or "the built-in stub, which grants every room"
    print(f"starting a temporary proxy for this request; backends: {behind}", file=sys.stderr)
    return _ask_a_new_proxy(settings, request)


def _connected(settings: Settings) -> http.client.HTTPConnection | None:
    """Return a connection to the address `listen`, or `None` if nothing listens there."""
    host, port = split_listen(settings.listen)
    tls = settings.listen_tls
    connection = (
        http.client.HTTPSConnection(host, port, timeout=TIMEOUT_SECONDS, context=_trust_only(tls))
        if tls
        else http.client.HTTPConnection(host, port, timeout=TIMEOUT_SECONDS)
    )
    try:
        connection.connect()
    except ssl.SSLError as error:
        connection.close()
        raise ListenError(
            f"listen_tls: wanted a TLS connection to the proxy at {settings.listen}, got: {error}"
        ) from error
    except OSError:
        connection.close()
        return None
    return connection


def _trust_only(tls: ListenTls) -> ssl.SSLContext:
    """Return a context that trusts the certificate of the settings, whatever its name."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        context.load_verify_locations(tls.cert_file)
    except OSError as error:
        raise CredentialsError(
            f"listen_tls.cert_file: wanted PEM certificates, got {tls.cert_file}: {error}"
        ) from error
    return context


def _ask_the_running_proxy(
    settings: Settings, connection: http.client.HTTPConnection, request: Request
) -> Response:
    listen = settings.listen
    try:
        connection.request(request.method, request.path, request.body, request.headers)
        response = connection.getresponse()
        fields = json.loads(response.read())
        if not isinstance(fields, dict):
            raise ValueError("the body is not a JSON object")  # noqa: TRY301, TRY004 - handled below
    except (OSError, ValueError, RecursionError, http.client.HTTPException) as error:
        raise ListenError(
            f"listen: wanted a reservation proxy at {listen}, got no valid answer ({error}); "
            "give the address of the proxy with --listen, or a backend with --target"
        ) from error
    status = f"{response.status} {response.reason}"
    return Response(status, fields, has_failed=response.status >= 500)


def _ask_a_new_proxy(settings: Settings, request: Request) -> Response:
    """Start a proxy, send it the request, and wait until it has delivered a deletion.

    The wait ends after `drain_within`. Conferences of the built-in stub end with this process, so
    the proxy keeps no state for the stub. Raises the errors of `Proxy`, such as `StateInUseError`.
    Without this error, the temporary proxy would answer 200 to a DELETE and delete nothing, because
    it cannot read the aliases of the running proxy.
    """
    started_ms = now_ms()
    with Proxy(settings, keeps_state=bool(settings.backends)) as proxy:
        response = proxy.flask.test_client().open(
            request.path,
            method=request.method,
            data=request.body,
            headers=request.headers,
            buffered=True,
        )
        proxy.delivery.stop(settings.drain_within.total_seconds())
        waiting = [
            record
            for name in proxy.backends
            for record in proxy.ledger.pending(name)
            if record.over_at_ms is not None and record.over_at_ms >= started_ms
        ]
        has_failed = bool(waiting) or proxy.metrics.has_fault
    return Response(response.status, response.get_json(), has_failed)
