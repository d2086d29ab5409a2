"""One request, as a client would send it, to the proxy that runs or to one made for it."""

import http.client
import json
import os
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import quote, urlencode

from . import clients, user_agents
from .addresses import split_listen
from .app import Proxy
from .clock import now_ms
from .errors import ListenError
from .settings import Settings

USER_AGENTS: Mapping[str, str] = {"jicofo": user_agents.JICOFO, "prosody": user_agents.PROSODY}
"""The names that people call the clients, and those that these call themselves."""

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
        """The path, with what stands for itself nowhere escaped."""
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
        form["start_time"] = self.start_time or clients.format_time(now_ms())
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


def ask_a_new_proxy(settings: Settings, request: Request) -> Response:
    """Make a proxy, ask it, and wait until the backend has been told of a DELETE.

    Raises what `Proxy` does.
    """
    started_ms = now_ms()
    with Proxy(settings) as proxy:
        response = proxy.flask.test_client().open(
            request.path,
            method=request.method,
            data=request.body,
            headers=request.headers,
            buffered=True,
        )
        proxy.close()
        waiting = [
            record
            for name in proxy.backends
            for record in proxy.ledger.ended(name)
            if record.over_at_ms is not None and record.over_at_ms >= started_ms
        ]
        has_failed = bool(waiting) or proxy.metrics.has_fault
    return Response(response.status, response.get_json(), has_failed)


def ask_the_running_proxy(listen: str, request: Request) -> Response:
    """Ask the proxy that listens there. Raises `ListenError` where there is none."""
    host, port = split_listen(listen)
    connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT_SECONDS)
    with closing(connection):
        try:
            connection.request(request.method, request.path, request.body, request.headers)
            response = connection.getresponse()
            fields = json.loads(response.read())
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise ListenError(
                f"listen: wanted the running proxy at {listen}, got no answer there: {error}"
            ) from error
    status = f"{response.status} {response.reason}"
    return Response(status, fields, has_failed=response.status >= 500)
