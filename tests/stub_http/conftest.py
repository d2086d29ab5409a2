"""Fixtures: a database in memory, real servers on free ports, and requests to them."""

import http.client
import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Any

import pytest

from backend_stub.http import reservations
from backend_stub.http.reservations import Credentials, Policy, Server

NOW_MS = 2_471_360_400_000
START = "2048-04-24T17:00:00.000Z"
"""The same moment as `NOW_MS`."""

SECONDS = 60.0
"""The time limit of each wait."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer over HTTP. `document` is the JSON of the body."""

    status: int
    headers: Mapping[str, str]
    document: Any


class Client:
    """A connection to a server."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Send a request on the kept connection; return the answer, which must be JSON."""
        self._connection.request(method, path, body, dict(headers or {}))
        response = self._connection.getresponse()
        body = response.read()
        assert response.headers["Content-Type"] == "application/json"
        assert response.headers["Content-Length"]
        return Reply(response.status, dict(response.headers), json.loads(body) if body else None)

    def post(self, room: str = "board", *, key: str = "", **fields: str) -> Reply:
        """Send a POST as the proxy does, with a form."""
        sent = {"name": room, "start_time": START, **fields}
        form = "&".join(f"{name}={value}" for name, value in sent.items())
        headers = {"Content-Type": "application/x-www-form-urlencoded; charset=UTF-8"}
        return self.ask(
            "POST", "/conference", form, headers | ({"Idempotency-Key": key} if key else {})
        )

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


Serve = Callable[..., Server]
Connect = Callable[[int], Client]


@pytest.fixture
def database() -> Iterator[sqlite3.Connection]:
    """Yield an empty database."""
    with closing(reservations.open_database(":memory:")) as database:
        yield database


@pytest.fixture
def serve(database: sqlite3.Connection) -> Iterator[Serve]:
    """Start a server, by default with the rules of the backend at the time `NOW_MS`."""
    with ExitStack() as stack:

        def start(
            policy: Policy | None = None,
            credentials: Credentials | None = None,
            answer_to: Callable[[reservations.Request], Any] | None = None,
        ) -> Server:
            rules = policy or Policy()

            def answer(request: reservations.Request) -> Any:  # noqa: ANN401 - as `answer`
                return reservations.answer(database, rules, request, NOW_MS)

            server = Server(("127.0.0.1", 0), answer_to or answer, credentials or Credentials())
            return stack.enter_context(server)

        yield start


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Return a client of the server on a port; its connection is closed after the test."""
    with ExitStack() as stack:

        def dial(port: int) -> Client:
            return stack.enter_context(closing(Client(port)))

        yield dial


@pytest.fixture
def client(serve: Serve, connect: Connect) -> Client:
    """Return a client of a server without options."""
    return connect(serve().server_address[1])
