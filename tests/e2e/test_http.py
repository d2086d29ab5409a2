"""HTTP: a bad request is answered with flat JSON, a message, and a status that is not 500."""

import socket
from pathlib import Path

import pytest
from jicofo_reservation_proxy.http.forms import MAX_BODY_BYTES

from .support import (
    TIMEOUT_SECONDS,
    Client,
    exchange,
    granting,
    granting_all,
    read_reply,
    running,
)

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
GOOD = b"name=testroom&start_time=2048-04-20T17:55:12.000Z"


@pytest.mark.parametrize(
    "target", ["/conference", "/conference/", "//conference", "//conference//"]
)
def test_doubled_and_trailing_slashes_are_accepted(tmp_path: Path, target: str) -> None:
    """A base URL that ends in "/" gives "//conference". The proxy answers without a redirect."""
    with running(tmp_path, granting()) as client:
        assert client.send("POST", target, GOOD, FORM).status == 200
        assert client.send("DELETE", f"{target}/364758328").status == 200


@pytest.mark.parametrize(
    ("method", "target", "body", "headers", "status", "message"),
    [
        ("POST", "/conference", b"", FORM, 400, "name: wanted the name of a room, got none."),
        (
            "POST",
            "/conference",
            b"name=a&start_time=today",
            FORM,
            400,
            "start_time: wanted a time such as 2048-04-20T17:55:12.000Z, got 'today'.",
        ),
        (
            "POST",
            "/conference",
            b"{}",
            {"Content-Type": "application/json"},
            415,
            "Content-Type: wanted application/x-www-form-urlencoded, got 'application/json'.",
        ),
        ("POST", "/conference", b"name=%ff", FORM, 400, "The form is not valid UTF-8."),
        ("POST", "/conference", b"name=\xff", FORM, 400, "The form is not valid UTF-8."),
        ("GET", "/", None, {}, 404, None),
        ("GET", "/conferences", None, {}, 404, None),
        ("GET", "/conference", None, {}, 405, None),
        ("PUT", "/conference", b"", FORM, 405, None),
        ("PATCH", "/conference/1", b"", FORM, 405, None),
        ("OPTIONS", "/conference", None, {}, 405, None),
        ("GET", "/conference/nobody", None, {}, 404, "There is no such conference."),
        ("BREW", "/pot", None, {}, 404, None),
    ],
)
def test_bad_input_is_refused_in_json(
    tmp_path: Path,
    method: str,
    target: str,
    body: bytes | None,
    headers: dict[str, str],
    status: int,
    message: str | None,
) -> None:
    """The proxy answers each bad request with a 4xx status and one sentence about the mistake."""
    with running(tmp_path, granting()) as client:
        reply = client.send(method, target, body, headers)
    assert reply.status == status
    usage = "Wanted POST /conference, or GET or DELETE /conference/{id}."
    assert reply.json == {"message": message or usage}
    assert reply.headers["content-type"] == "application/json"


def test_an_empty_id_reaches_no_backend(tmp_path: Path) -> None:
    """The proxy sends no empty conference id to a backend, since the contract forbids it."""
    backend = granting()
    with running(tmp_path, backend) as client:
        assert client.get("default.").status == 404
        assert client.delete("default.").status == 200
    assert backend.gets == backend.deletes == []


def test_a_wrong_method_names_the_right_ones(tmp_path: Path) -> None:
    """A 405 has the header Allow (RFC 9110, section 15.5.6)."""
    with running(tmp_path, granting()) as client:
        allow = client.send("PUT", "/conference/1", b"", FORM).headers["allow"]
    assert {"GET", "DELETE"} <= set(allow.split(", "))


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET /conference/a b HTTP/1.1\r\n\r\n", 400),
        (b"nonsense\r\n\r\n", 400),
        (b"get /conference HTTP/1.1\r\n\r\n", 400),
        (b"POST /conference HTTP/1.1\r\nContent-Length: x\r\n\r\n", 400),
        (b"POST /conference HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % (MAX_BODY_BYTES + 1), 413),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 20_000 + b"\r\n\r\n", 431),
        (b"POST /conference HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", 400),
    ],
)
def test_invalid_http_requests_are_refused_in_json(
    tmp_path: Path, request_bytes: bytes, status: int
) -> None:
    """The HTTP server itself refuses these requests, before the application sees them."""
    with running(tmp_path, granting()) as client:
        reply = exchange(client.port, request_bytes)
    assert reply.status == status
    assert reply.json["message"]
    assert reply.headers["connection"] == "close"


def test_a_chunked_body_over_the_limit_is_refused_in_json(tmp_path: Path) -> None:
    """The size limit also applies to a body without a Content-Length."""
    chunk = b"%x\r\n%s\r\n" % (MAX_BODY_BYTES + 1, b"x" * (MAX_BODY_BYTES + 1))
    head = b"POST /conference HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    with running(tmp_path, granting()) as client:
        reply = exchange(client.port, head + chunk + b"0\r\n\r\n")
    assert reply.status == 413
    assert reply.json["message"]


def test_a_chunked_body_is_read(tmp_path: Path) -> None:
    """The proxy accepts a body without a Content-Length."""
    head = (
        b"POST /conference HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n"
        b"Content-Type: application/x-www-form-urlencoded\r\n\r\n"
    )
    with running(tmp_path, granting()) as client:
        reply = exchange(client.port, head + b"%x\r\n%s\r\n0\r\n\r\n" % (len(GOOD), GOOD))
    assert reply.status == 200


def test_a_connection_is_kept_open(tmp_path: Path) -> None:
    """The proxy answers several requests on one connection: Jicofo keeps one connection open."""
    request = b"DELETE /conference/1 HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with (
        running(tmp_path, granting()) as client,
        socket.create_connection(("127.0.0.1", client.port), TIMEOUT_SECONDS) as connection,
    ):
        for _ in range(3):
            connection.sendall(request)
            reply = read_reply(connection)
            assert reply.status == 200
            assert "close" not in reply.headers.get("connection", "")


def test_an_incomplete_request_blocks_no_other_request(tmp_path: Path) -> None:
    """A request that arrives slowly waits in the server's main loop and uses no thread."""
    with running(tmp_path, granting(), threads=1) as client:
        slow = [socket.create_connection(("127.0.0.1", client.port)) for _ in range(8)]
        try:
            for connection in slow:
                connection.sendall(b"POST /conference HTTP/1.1\r\nContent-Length: 50\r\n\r\nname")
            assert client.create().status == 200
        finally:
            for connection in slow:
                connection.close()


def test_an_exception_in_the_proxy_is_a_500_without_a_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The user sees an incident id; the log has the traceback with the same incident id."""

    def fail(*_: object) -> None:
        raise RuntimeError("a mistake")

    for operation in ("create", "get", "delete"):
        monkeypatch.setattr(
            f"jicofo_reservation_proxy.reservations.use_cases.UseCases.{operation}", fail
        )
    with running(tmp_path, granting()) as client:
        for reply in (client.create(), client.get(1), client.delete(1)):
            assert reply.status == 500
            incident = reply.json["message"].partition("(incident ")[2].rstrip(")")
            assert incident
            assert incident in caplog.text
            assert "mistake" not in reply.json["message"]
    assert "RuntimeError: a mistake" in caplog.text


def test_a_head_request_has_no_body(tmp_path: Path) -> None:
    """The proxy answers HEAD like GET, but without the body (RFC 9110, section 9.3.2)."""
    with (
        running(tmp_path, granting()) as client,
        socket.create_connection(("127.0.0.1", client.port), TIMEOUT_SECONDS) as connection,
    ):
        connection.sendall(b"HEAD /conference/x HTTP/1.1\r\nConnection: close\r\n\r\n")
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
    assert received.startswith(b"HTTP/1.1 404")
    assert received.endswith(b"\r\n\r\n")


def test_each_connection_gets_its_own_room(tmp_path: Path) -> None:
    """The proxy answers 40 connections in a row, each with the name of its own room."""
    with running(tmp_path, granting_all()) as client:
        names = [f"room{number}" for number in range(40)]
        replies = [Client(client.port).create(name) for name in names]
    assert [reply.json["name"] for reply in replies] == names
