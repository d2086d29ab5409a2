"""`call`: send one request, as a client would, to the proxy that runs or to one made for it."""

import argparse
import http.client
import json
import os
import sys
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import quote, urlencode

from jicofo_reservation_proxy.app import Proxy
from jicofo_reservation_proxy.clock import now_ms
from jicofo_reservation_proxy.errors import ListenError
from jicofo_reservation_proxy.http.dialects import USER_AGENTS
from jicofo_reservation_proxy.ledger.state_directory import is_in_use
from jicofo_reservation_proxy.settings.addresses import split_listen
from jicofo_reservation_proxy.settings.schema import Settings
from jicofo_reservation_proxy.text_rules import format_time

from . import exit_codes
from .setting_flags import SETTINGS_HELP, add_setting_flags, load_settings

EPILOG = f"""\
The proxy that listens on `listen` is asked. If nobody listens there, the command starts a proxy of
its own, unless a running proxy uses `state_dir`: that is an error. With --target it always starts
its own, which asks that backend.

  jicofo-reservation-proxy call create board --as prosody

{SETTINGS_HELP}"""

TIMEOUT_SECONDS = 20.0

Operation = Literal["create", "get", "delete"]


@dataclass(frozen=True, slots=True)
class Request:
    """One request: `subject` is the room to create, else an id. Times and owners are the form's."""

    operation: Operation
    subject: str
    client: str
    owner: str | None = None
    start_time: str | None = None

    @property
    def method(self) -> str:
        """The HTTP method."""
        return "POST" if self.operation == "create" else self.operation.upper()

    @property
    def path(self) -> str:
        """The path; characters with a meaning in a URL are escaped, except `/`."""
        if self.operation == "create":
            return "/conference"
        return f"/conference/{quote(os.fsencode(self.subject))}"

    @property
    def headers(self) -> dict[str, str]:
        """The headers that the proxy looks at."""
        headers = {"User-Agent": USER_AGENTS[self.client]}
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
    """What came back. `has_failed` is whether a backend did not do its part."""

    status: str
    fields: Mapping[str, Any]
    has_failed: bool

    @property
    def is_refused(self) -> bool:
        """Whether the status is no success."""
        return not self.status.startswith("2")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    add_setting_flags(parser)
    parser.add_argument("operation", choices=("create", "get", "delete"))
    parser.add_argument("subject", metavar="ROOM|ID", help="The room to create; else an id.")
    parser.add_argument(
        "--as",
        dest="client_name",
        choices=sorted(USER_AGENTS),
        default="prosody",
        help="The client to be. Default: prosody.",
    )
    parser.add_argument("--owner", help="create: the mail_owner. Default: none.")
    parser.add_argument("--start-time", help="create: the start_time. Default: now.")


def run(arguments: argparse.Namespace) -> int:
    """Send the request and print the answer. Raises `ProxyError`."""
    settings = load_settings(arguments)
    request = Request(
        arguments.operation,
        arguments.subject,
        arguments.client_name,
        arguments.owner,
        arguments.start_time,
    )
    response = _ask(settings, request, wants_own=arguments.target is not None)
    print(response.status)
    print(json.dumps(response.fields, indent=2))
    if response.has_failed:
        return exit_codes.BACKEND_FAILED
    return exit_codes.REFUSED if response.is_refused else exit_codes.OK


def _ask(settings: Settings, request: Request, *, wants_own: bool) -> Response:
    """Ask the running proxy, or one made for this request; say which."""
    is_used = settings.state == "disk" and is_in_use(settings.state_dir)
    connection = None if wants_own else _connected(settings.listen)
    if connection:
        print(f"asking the running proxy at {settings.listen}", file=sys.stderr)
        with closing(connection):
            return _ask_the_running_proxy(settings.listen, connection, request)
    if is_used and not wants_own:
        raise ListenError(
            f"listen: wanted the running proxy at {settings.listen}, as it uses "
            f"{settings.state_dir}, got no connection there; name its address with --listen"
        )
    backends = [f"{name} at {backend.target}" for name, backend in settings.backends.items()]
    behind = ", ".join(backends) or "the built-in stub, which grants every room"
    print(f"asking a proxy of this command's own, in front of {behind}", file=sys.stderr)
    return _ask_a_new_proxy(settings, request)


def _connected(listen: str) -> http.client.HTTPConnection | None:
    """Return a connection to whoever listens there, or `None`."""
    host, port = split_listen(listen)
    connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT_SECONDS)
    try:
        connection.connect()
    except OSError:
        connection.close()
        return None
    return connection


def _ask_the_running_proxy(
    listen: str, connection: http.client.HTTPConnection, request: Request
) -> Response:
    try:
        connection.request(request.method, request.path, request.body, request.headers)
        response = connection.getresponse()
        fields = json.loads(response.read())
        if not isinstance(fields, dict):
            raise ValueError("no JSON object")  # noqa: TRY301, TRY004 - told with the others
    except (OSError, ValueError, RecursionError, http.client.HTTPException) as error:
        raise ListenError(
            f"listen: wanted a reservation proxy at {listen}, got no answer of one there: {error}; "
            "name its address with --listen, or a backend with --target"
        ) from error
    status = f"{response.status} {response.reason}"
    return Response(status, fields, has_failed=response.status >= 500)


def _ask_a_new_proxy(settings: Settings, request: Request) -> Response:
    """Make a proxy, ask it, and wait until the backend has been told of a DELETE.

    What the built-in stub grants ends with it, so nothing of that is kept. Raises what `Proxy`
    does: `StateInUseError` too, since without the numbers of the running proxy a DELETE would do
    nothing and say nothing.
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
