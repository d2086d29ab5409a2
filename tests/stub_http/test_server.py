"""Tests of the HTTP API and of the server, over real connections."""

import json
import logging
import re
import socket
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest

from backend_stub.http import reservations
from backend_stub.http.reservations import Credentials, Policy, Request, Server

from .conftest import SECONDS, START, Client, Connect, Serve

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
JSON = {"Content-Type": "application/json"}


def port_of(server: Server) -> int:
    """Return the port of a server."""
    return int(server.server_address[1])


def raw(port: int, sent: bytes) -> bytes:
    """Send bytes on a new connection; return everything until the server closes it."""
    with socket.create_connection(("127.0.0.1", port), SECONDS) as connection:
        connection.sendall(sent)
        return b"".join(iter(lambda: connection.recv(65_536), b""))


def test_a_conference_over_http(client: Client) -> None:
    """A form is granted, the conference is read by its id, and deleted; all on one connection."""
    granted = client.post("board", mail_owner="juliet@example.com", duration="-1")
    assert granted.status == 200
    path = f"/conference/{granted.document['id']}"
    assert granted.document["start_time"] == START
    assert client.ask("GET", path).document == granted.document
    assert (client.post("board").status, client.post("hall").status) == (409, 200)
    deleted = client.ask("DELETE", path)
    assert (deleted.status, deleted.document) == (200, {})
    assert client.ask("GET", path).status == 404


def test_json_in(client: Client) -> None:
    """A JSON object is accepted in place of a form, also with a number and with null."""
    fields = {"name": "board", "mail_owner": None, "start_time": START, "duration": 90}
    granted = client.ask("POST", "/conference", json.dumps(fields), JSON)
    assert granted.status == 200
    assert granted.document["duration"] == 90
    assert "mail_owner" not in granted.document


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("2048-04-24T17:00:00Z", START),
        ("2048-04-24T22:30:00.000%2B05:30", START),
        ("2048-04-24T11:00:00.000-06", START),
        ("2048-04-24T17:00:00.123456Z", "2048-04-24T17:00:00.123Z"),
    ],
)
def test_times(client: Client, sent: str, shown: str) -> None:
    """A time with any zone is accepted, and answered in UTC with exactly three digits."""
    assert client.post(start_time=sent).document["start_time"] == shown


def test_names_are_kept(client: Client) -> None:
    """The name is answered as it was sent: percent-encoding, tenants and other alphabets."""
    for name in ("caf%25c3%25a9", "[acme]board", "%D0%B7%D0%B0%D0%BB", "a+b"):
        answer = client.post(name)
        assert answer.status == 200
        again = json.dumps(answer.document["name"])
        sent = f'{{"name": {again}, "start_time": "{START}"}}'
        conflict = client.ask("POST", "/conference", sent, JSON)
        assert conflict.document == {"conflict_id": answer.document["id"]}


def test_the_key_is_honoured(client: Client) -> None:
    """The header Idempotency-Key gets a repeated request its conference again."""
    first = client.post(key="one")
    assert client.post(key="one").document == first.document
    assert client.post(key="two").document == {"conflict_id": first.document["id"]}
    assert client.post("hall", key="one").status == 422


def test_a_denial_has_a_sentence(serve: Serve, connect: Connect) -> None:
    """A denied room gets 403 with a sentence for the user."""
    client = connect(port_of(serve(Policy(deny=("exec-*",)))))
    answer = client.post("exec-1")
    assert (answer.status, answer.document) == (403, {"message": reservations.DENIED})


BAD_REQUESTS = [
    (FORM, f"start_time={START}", 400, "name: wanted"),
    (FORM, f"name=&start_time={START}", 400, "name: wanted"),
    (FORM, "", 400, "wanted a body of the type|name: wanted"),
    (FORM, f"name=a&name=b&start_time={START}", 400, "each field once"),
    (FORM, f"name=%FF&start_time={START}", 400, "wanted a body of the type"),
    (FORM, f"name=a%0Ab&start_time={START}", 400, "name: wanted"),
    (FORM, f"name={'a' * 4097}&start_time={START}", 400, "at most 4096"),
    (FORM, "&".join(f"f{n}=1" for n in range(101)), 400, "wanted a body"),
    (FORM, "name=a", 400, "start_time: wanted .*, got none"),
    (FORM, "name=a&start_time=2048-04-24T17:00:00", 400, "start_time: wanted a time with a zone"),
    (FORM, "name=a&start_time=tomorrow", 400, "start_time: wanted .*, got 'tomorrow'"),
    (FORM, "name=a&start_time=9999-12-31T23:00:00-12:00", 400, "start_time: wanted"),
    (FORM, f"name=a&start_time={START}&duration=1.5", 400, "duration: wanted whole seconds"),
    (FORM, f"name=a&start_time={START}&duration=99999999999", 400, "duration: wanted"),
    (JSON, "{", 400, "wanted a body of the type application/json"),
    (JSON, "[" * 50_000, 400, "wanted a body of the type application/json"),
    (JSON, "[]", 400, "wanted a JSON object"),
    (JSON, '{"name": 7}', 400, "name: wanted"),
    (JSON, r'{"name": "\ud800"}', 400, "name: wanted"),
    (JSON, '{"name": "a", "start_time": 7}', 400, "start_time: wanted"),
    (JSON, f'{{"name": "a", "start_time": "{START}", "duration": true}}', 400, "duration: wanted"),
    ({"Content-Type": "text/plain"}, "name=a", 415, "Content-Type: wanted .*, got text/plain"),
    ({}, "name=a", 415, "Content-Type: wanted .*, got none"),
    (FORM | {"Idempotency-Key": "k" * 256}, f"name=a&start_time={START}", 400, "Idempotency-Key"),
]


@pytest.mark.parametrize(("headers", "body", "status", "reason"), BAD_REQUESTS)
def test_bad_requests(
    client: Client, headers: dict[str, str], body: str, status: int, reason: str
) -> None:
    """A wrong request gets a reason for programmers, never a `message`, and holds no room."""
    answer = client.ask("POST", "/conference", body, headers)
    assert answer.status == status
    assert list(answer.document) == ["reason"]
    assert re.search(reason, answer.document["reason"])
    assert client.post("a").status == 200


@pytest.mark.parametrize("conference_id", ["1", "0", "-1", "1.0", "abc", "9" * 18, "9" * 40, "%00"])
def test_unknown_ids(client: Client, conference_id: str) -> None:
    """GET and DELETE of an id that no conference has get 404 with a JSON object."""
    for method in ("GET", "DELETE"):
        answer = client.ask(method, f"/conference/{conference_id}")
        assert (answer.status, list(answer.document)) == (404, ["message"])


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/conference"),
        ("GET", "/conference/"),
        ("DELETE", "/conference"),
        ("DELETE", "/conferences/1"),
        ("DELETE", "/api/conference/1"),
        ("POST", "/conference/1"),
    ],
)
def test_a_wrong_path_is_no_404(client: Client, method: str, path: str) -> None:
    """Another path gets 400: with 404, a deletion that was sent to it would count as done."""
    answer = client.ask(method, path)
    assert (answer.status, list(answer.document)) == (400, ["reason"])


def test_a_query_is_ignored(client: Client) -> None:
    """The path is the part before the question mark."""
    assert client.ask("GET", "/conference/1?pretty").status == 404


@pytest.mark.parametrize("method", ["PUT", "PATCH", "OPTIONS", "BREW"])
def test_other_methods(serve: Serve, connect: Connect, method: str) -> None:
    """Another method gets 501 with JSON, as all answers."""
    answer = connect(port_of(serve())).ask(method, "/conference")
    assert (answer.status, list(answer.document)) == (501, ["reason"])


def test_head(serve: Serve) -> None:
    """The answer to HEAD has no body."""
    received = raw(port_of(serve()), b"HEAD /conference/1 HTTP/1.1\r\n\r\n")
    assert received.startswith(b"HTTP/1.1 501 ")
    assert received.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /a b c HTTP/1.1\r\n\r\n", b"400"),
        (b"GET / HTTP/9.9\r\n\r\n", b"505"),
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 200 + b"\r\n", b"431"),
        (b"POST /conference HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", b"411"),
        (b"POST /conference HTTP/1.1\r\nContent-Length: 65537\r\n\r\n", b"413"),
        (b"POST /conference HTTP/1.1\r\nContent-Length: -1\r\n\r\n", b"400"),
        (b"POST /conference HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", b"400"),
    ],
)
def test_requests_that_are_not_read(serve: Serve, head: bytes, status: bytes) -> None:
    """A request that cannot be read gets JSON, and the connection ends."""
    received = raw(port_of(serve()), head)
    assert received.split()[1] == status
    assert b"\r\nConnection: close\r\n" in received
    assert "reason" in json.loads(received.partition(b"\r\n\r\n")[2])


def test_the_largest_body(client: Client) -> None:
    """A body of 64 KiB is read."""
    body = f"name=a&start_time={START}&x="
    body += "y" * (reservations.MAX_BODY_BYTES - len(body))
    assert client.ask("POST", "/conference", body, FORM).status == 200


def test_expect_100(serve: Serve) -> None:
    """A client that waits for `100 Continue` before it sends the body gets it at once."""
    with socket.create_connection(("127.0.0.1", port_of(serve())), SECONDS) as connection:
        body = f"name=board&start_time={START}".encode()
        connection.sendall(
            b"POST /conference HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded\r\n"
            b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(body)
        )
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(body)
        assert connection.recv(9).startswith(b"HTTP/1.1 ")


def test_half_a_body_grants_nothing(serve: Serve, connect: Connect) -> None:
    """If the connection ends within a body, the request is not carried out."""
    port = port_of(serve())
    body = f"name=board&start_time={START}".encode()
    head = b"POST /conference HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded\r\n"
    with socket.create_connection(("127.0.0.1", port), SECONDS) as connection:
        connection.sendall(head + b"Content-Length: %d\r\n\r\n" % (len(body) + 7) + body)
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(100) == b""
    assert connect(port).post("board").status == 200


@pytest.mark.parametrize(
    "sent", [b"", b"GET ", b"POST /conference HTTP/1.1\r\nContent-Length: 9\r\n\r\na"]
)
def test_slow_requests(serve: Serve, monkeypatch: pytest.MonkeyPatch, sent: bytes) -> None:
    """A connection on which no whole request arrives in time is closed, without an answer."""
    monkeypatch.setattr(reservations, "REQUEST_SECONDS", 0.05)
    assert raw(port_of(serve()), sent) == b""


def test_slow_bytes(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes that come one by one do not prolong the time for a request."""
    monkeypatch.setattr(reservations, "REQUEST_SECONDS", 0.2)
    with socket.create_connection(("127.0.0.1", port_of(serve())), SECONDS) as connection:
        connection.settimeout(0.01)
        received = None
        # Without the deadline of a whole request, this loop has no end.
        while received is None:
            try:
                connection.sendall(b"G")
                received = connection.recv(1)
            except TimeoutError:
                pass
            except ConnectionError:
                received = b""
        assert received == b""


def test_a_bearer_token(serve: Serve, connect: Connect) -> None:
    """With a token, a request without it or with another one gets 401, and changes nothing."""
    client = connect(port_of(serve(credentials=Credentials(secret="hunter2"))))
    for value in (None, "Bearer hunter", "Bearer hunter22", "Bearer", "Basic hunter2", "hunter2"):
        headers = FORM | ({"Authorization": value} if value else {})
        answer = client.ask("POST", "/conference", f"name=board&start_time={START}", headers)
        assert (answer.status, list(answer.document)) == (401, ["reason"])
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert "hunter2" not in str(answer)
    for value in ("Bearer hunter2", "bearer hunter2"):
        answer = client.ask("GET", "/conference/1", headers={"Authorization": value})
        assert answer.status == 404


def test_an_api_key(serve: Serve, connect: Connect) -> None:
    """With a key, only its header counts; a key with other bytes is a wrong key."""
    client = connect(port_of(serve(credentials=Credentials("X-Secret", "hunter2"))))
    for headers in ({"X-Secret": "h\u00fcnter2"}, {"Authorization": "Bearer hunter2"}):
        assert client.ask("DELETE", "/conference/1", headers=headers).status == 401
    assert client.ask("DELETE", "/conference/1", headers={"x-secret": "hunter2"}).status == 404


def test_an_error_of_the_backend(
    serve: Serve,
    connect: Connect,
    database: sqlite3.Connection,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An error of the code or of the database gets 500 with JSON, without the text of the error."""
    client = connect(port_of(serve()))
    database.execute("ALTER TABLE conference RENAME TO lost")
    answer = client.post()
    assert (answer.status, list(answer.document)) == (500, ["reason"])
    assert "conference" not in answer.document["reason"]
    assert "no such table" in caplog.text
    database.execute("ALTER TABLE lost RENAME TO conference")
    assert client.post().status == 200


def test_the_log(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    """Each request has one line: the incident id, the room, the status and the id."""
    with caplog.at_level(logging.INFO):
        body = f"name=board&start_time={START}"
        headers = FORM | {"X-Incident-Id": "inc-17", "Idempotency-Key": "one"}
        granted = client.ask("POST", "/conference", body, headers).document["id"]
        client.ask("DELETE", "/conference/a%0Ab", headers={"X-Incident-Id": "inc-18"})
    assert [record.getMessage() for record in caplog.records] == [
        f"incident='inc-17' POST '/conference' name='board': 200 id={granted}",
        "incident='inc-18' DELETE '/conference/a%0Ab': 404 message='There is no conference a%0Ab.'",
    ]


class Gate:
    """Rules that hold each request until the test lets it through."""

    def __init__(self) -> None:
        self.entered = threading.Semaphore(0)
        self.leave = threading.Event()

    def __call__(self, _request: Request) -> Any:  # noqa: ANN401 - as `answer`
        """Wait, and answer 200."""
        self.entered.release()
        assert self.leave.wait(SECONDS)
        return (200, {}), ""


def test_running_requests_are_answered_at_the_stop(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that stops answers the requests that run, and closes idle connections at once."""
    monkeypatch.setattr(reservations, "REQUEST_SECONDS", 10 * SECONDS)
    monkeypatch.setattr(reservations, "GRACE_SECONDS", SECONDS)
    gate = Gate()
    server = serve(answer_to=gate)
    port = port_of(server)
    with (
        closing(socket.create_connection(("127.0.0.1", port), SECONDS)) as idle,
        ThreadPoolExecutor(2) as threads,
    ):
        running = threads.submit(connect(port).ask, "GET", "/conference/1")
        assert gate.entered.acquire(timeout=SECONDS)
        stopping = threads.submit(server.__exit__)
        assert idle.recv(1) == b""
        with pytest.raises(TimeoutError):
            stopping.result(0.05)
        gate.leave.set()
        assert running.result(SECONDS).headers["Connection"] == "close"
        stopping.result(SECONDS)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), SECONDS)


def test_the_grace_is_limited(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request that does not end does not keep the server from stopping."""
    monkeypatch.setattr(reservations, "GRACE_SECONDS", 0.01)
    gate = Gate()
    server = serve(answer_to=gate)
    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(connect(port_of(server)).ask, "GET", "/conference/1")
        assert gate.entered.acquire(timeout=SECONDS)
        server.__exit__()
        assert not running.done()
        gate.leave.set()
        running.result(SECONDS)


def test_the_number_of_connections_is_limited(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection above the limit waits until another one ends, and is then served."""
    monkeypatch.setattr(reservations, "MAX_CONNECTIONS", 2)
    gate = Gate()
    port = port_of(serve(answer_to=gate))
    with ThreadPoolExecutor(3) as threads:
        running = [threads.submit(raw, port, b"GET /a HTTP/1.0\r\n\r\n") for _ in range(3)]
        for _ in range(2):
            assert gate.entered.acquire(timeout=SECONDS)
        assert not gate.entered.acquire(timeout=0.05)
        gate.leave.set()
        assert all(each.result(SECONDS).startswith(b"HTTP/1.1 200 ") for each in running)
