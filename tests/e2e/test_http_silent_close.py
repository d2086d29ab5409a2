"""Servers that close a connection after an answer, and do not announce it."""

import threading
from pathlib import Path

from .http_support import Closing, HttpScript, Received, running_http


def test_after_one_lost_request_each_request_has_a_new_connection(tmp_path: Path) -> None:
    """A POST is lost if the server closes its kept connection just then. It happens only once."""
    script = HttpScript()
    may_lose = threading.Event()
    may_lose.set()

    def create(request: Received) -> bytes | Closing:
        if may_lose.is_set() and request.connection == 1 and len(script.of("POST")) == 2:
            return Closing()
        return script.create_in_book(request)

    script.create = create
    with running_http(tmp_path, script) as running:
        statuses = [running.client.create(f"room-{number}").status for number in range(6)]
    assert statuses == [200, 503, 200, 200, 200, 200]
    connections = [request.connection for request in script.of("POST")]
    assert connections == [1, 1, 2, 3, 4, 5]


def test_a_first_request_that_is_lost_says_nothing_about_kept_connections(tmp_path: Path) -> None:
    """A server that breaks a new connection has another problem."""
    script = HttpScript()

    def create(request: Received) -> bytes | Closing:
        return script.create_in_book(request) if request.connection > 1 else Closing()

    script.create = create
    with running_http(tmp_path, script) as running:
        statuses = [running.client.create(f"room-{number}").status for number in range(3)]
    assert statuses == [503, 200, 200]
    assert [request.connection for request in script.of("POST")] == [1, 2, 2]
