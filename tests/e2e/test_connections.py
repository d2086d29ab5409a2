"""Connections: everything that a client does has a time limit, and no number of them locks out."""

import errno
import socket
import struct
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from jicofo_reservation_proxy.http import connections, server

from .support import TIMEOUT_SECONDS, Client, granting, read_reply, running

DELETE = b"DELETE /conference/default.x HTTP/1.1\r\nHost: localhost\r\n\r\n"
CLIENT_HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(506)


@contextmanager
def _connected(client: Client) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", client.port), TIMEOUT_SECONDS) as connection:
        yield connection


def _shorten(_: server.Server, connection: socket.socket) -> None:
    """Shorten the buffer of the server for one connection."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)


@contextmanager
def _connected_with_short_buffers(client: Client) -> Iterator[socket.socket]:
    """Connect with short buffers."""
    with socket.socket() as connection:
        for buffer in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            connection.setsockopt(socket.SOL_SOCKET, buffer, 4096)
        connection.connect(("127.0.0.1", client.port))
        connection.settimeout(TIMEOUT_SECONDS)
        yield connection


def _is_closed(connection: socket.socket) -> bool:
    """Wait until the server closes a connection, or sends something; return which."""
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


def _send_for_ever(connection: socket.socket, data: bytes) -> None:
    while True:
        connection.sendall(data)


@pytest.fixture
def _is_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten all time limits."""
    for name in ("HEAD_SECONDS", "BODY_SECONDS", "SEND_SECONDS", "LINGERING_CLOSE_SECONDS"):
        monkeypatch.setattr(connections, name, 0.2)
    monkeypatch.setattr(server, "CHECK_SECONDS", 0.02)


@pytest.mark.usefixtures("_is_quick")
@pytest.mark.parametrize(
    "begin",
    [
        b"G",
        b"POST /conference HTTP/1.1\r\nHost: localhost\r\n",
        b"POST /conference HTTP/1.1\r\nContent-Length: 50\r\n\r\nname",
        b"POST /conference HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nname",
        b"POST /conference HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nTrailer: x\r\n",
        DELETE + b"G",
    ],
)
def test_a_request_that_does_not_arrive_in_time_is_refused(tmp_path: Path, begin: bytes) -> None:
    """A head, and then a body, must arrive within 15 s each; otherwise the answer is 408."""
    with running(tmp_path) as client, _connected(client) as connection:
        connection.sendall(begin)
        if begin.startswith(DELETE):
            assert read_reply(connection).status == 200
        reply = read_reply(connection)
        assert (reply.status, reply.headers["connection"]) == (408, "close")
        assert reply.json["message"]
        assert _is_closed(connection)


@pytest.mark.usefixtures("_is_quick")
def test_a_client_that_sends_a_byte_at_a_time_is_refused(tmp_path: Path) -> None:
    """The limit is for the whole head, not for each byte."""
    with running(tmp_path) as client, _connected(client) as connection:
        connection.settimeout(0.01)
        received = b""
        while not received:
            connection.sendall(b"G")
            with suppress(TimeoutError):
                received = connection.recv(65536)
        assert received.startswith(b"HTTP/1.0 408 ")


@pytest.mark.usefixtures("_is_quick")
@pytest.mark.parametrize("sent", [b"", b"\r\n"])
def test_a_connection_without_a_request_is_closed(tmp_path: Path, sent: bytes) -> None:
    """Without a byte of a request, there is nothing to answer."""
    with running(tmp_path) as client, _connected(client) as connection:
        connection.sendall(sent)
        assert _is_closed(connection)


@pytest.mark.usefixtures("_is_quick")
def test_a_client_that_takes_no_answers_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answers of a client that sends many requests and reads nothing do not stay for ever."""
    monkeypatch.setattr(connections, "MAX_PIPELINED", sys.maxsize)
    monkeypatch.setattr(server.Server, "set_socket_options", _shorten)
    with (
        running(tmp_path) as client,
        _connected_with_short_buffers(client) as connection,
        pytest.raises(ConnectionError),
    ):
        _send_for_ever(connection, DELETE * 100)


@pytest.mark.usefixtures("_is_quick")
def test_an_answered_connection_stays_open(tmp_path: Path) -> None:
    """The short limits are for requests; an idle connection stays open for minutes."""
    with running(tmp_path) as client, _connected(client) as connection:
        connection.sendall(DELETE)
        assert read_reply(connection).status == 200
        with _connected(client) as other:
            assert _is_closed(other)
        connection.sendall(b"\r\n" + DELETE)
        assert read_reply(connection).status == 200


def test_a_client_that_never_stops_sending_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a refusal, the server discards what the client sends, but only for a short time."""
    monkeypatch.setattr(connections, "LINGERING_CLOSE_SECONDS", 0.2)
    monkeypatch.setattr(server, "CHECK_SECONDS", 0.02)
    with running(tmp_path) as client, _connected(client) as connection:
        connection.sendall(b"nonsense\r\n\r\n")
        assert read_reply(connection).status == 400
        with pytest.raises(ConnectionError):
            _send_for_ever(connection, b"x" * 65536)


def test_tls_on_the_plain_port_is_closed_at_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A client with `https://` as base URL would wait for ever; the log says what is wrong."""
    with running(tmp_path) as client:
        for sent in (CLIENT_HELLO, CLIENT_HELLO[:1]):
            with _connected(client) as connection:
                connection.sendall(sent)
                assert _is_closed(connection)
    (line,) = [line for line in caplog.messages if "TLS" in line]
    assert "must begin with http://" in line


def test_idle_connections_make_room_for_a_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """If there are too many connections, the server closes those that are idle longest."""
    monkeypatch.setattr(server, "MAX_CONNECTIONS", 8)
    with running(tmp_path, granting()) as client, ExitStack() as stack:
        waiting = [stack.enter_context(_connected(client)) for _ in range(12)]
        for connection in waiting[1::2]:
            with suppress(ConnectionError):
                connection.sendall(b"P")
        assert client.create().status == 200
        assert all(map(_is_closed, waiting[:5]))
        newest = waiting[-1]
        newest.sendall(DELETE.removeprefix(b"P"))
        assert read_reply(newest).status in {400, 404, 405}
    assert any("idle longest" in line for line in caplog.messages)


def test_clients_that_take_no_answers_make_room_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer that its client does not read does not protect the connection."""
    monkeypatch.setattr(connections, "MAX_PIPELINED", sys.maxsize)
    monkeypatch.setattr(server.Server, "set_socket_options", _shorten)
    monkeypatch.setattr(connections, "SEND_SECONDS", 2 * TIMEOUT_SECONDS)
    monkeypatch.setattr(server, "MAX_CONNECTIONS", 3)
    with running(tmp_path, granting()) as client, ExitStack() as stack:
        for _ in range(3):
            connection = stack.enter_context(_connected_with_short_buffers(client))
            connection.settimeout(0.3)
            with suppress(TimeoutError):
                _send_for_ever(connection, DELETE * 100)
        assert client.create().status == 200


def test_a_connection_that_was_served_outlives_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Jicofo keeps its connection, also if many newer ones send nothing or get a refusal."""
    monkeypatch.setattr(server, "MAX_CONNECTIONS", 4)
    with running(tmp_path) as client, ExitStack() as stack:
        kept = stack.enter_context(_connected(client))
        kept.sendall(DELETE)
        assert read_reply(kept).status == 200
        others = [stack.enter_context(_connected(client)) for _ in range(8)]
        refused = stack.enter_context(_connected(client))
        refused.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert read_reply(refused).status == 404
        assert all(map(_is_closed, others[:5]))
        kept.sendall(DELETE)
        assert read_reply(kept).status == 200


def test_a_connection_that_was_served_is_closed_as_a_last_resort(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If all connections were served, the one that has been idle longest is closed."""
    monkeypatch.setattr(server, "MAX_CONNECTIONS", 3)
    with running(tmp_path) as client, ExitStack() as stack:
        kept = [stack.enter_context(_connected(client)) for _ in range(3)]
        for connection in kept:
            connection.sendall(DELETE)
            assert read_reply(connection).status == 200
        assert client.delete("default.x").status == 200
        assert _is_closed(kept[0])


def test_without_free_files_the_server_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """If no connection can be accepted, the server says so, closes an idle one, and tries again."""
    is_full = threading.Event()
    accept = server.Server.accept

    def fail(self: server.Server) -> object:
        if is_full.is_set() and self.active_channels:
            raise OSError(errno.EMFILE, "Too many open files")
        return accept(self)

    monkeypatch.setattr(server.Server, "accept", fail)
    with running(tmp_path, granting()) as client, _connected(client) as idle:
        idle.sendall(DELETE)
        assert read_reply(idle).status == 200
        is_full.set()
        assert client.create().status == 200
        assert _is_closed(idle)
    assert "cannot accept a connection: Too many open files" in caplog.text


def test_a_failure_to_accept_the_only_connection_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server also tries again if it has no other connection."""
    failures = [OSError(errno.ENFILE, "Too many open files in system")]
    accept = server.Server.accept

    def fail(self: server.Server) -> object:
        if failures:
            raise failures.pop()
        return accept(self)

    monkeypatch.setattr(server.Server, "accept", fail)
    with running(tmp_path, granting()) as client:
        assert client.create().status == 200
        assert not failures


def test_a_client_that_resets_its_connection_harms_nobody(tmp_path: Path) -> None:
    """A reset at any moment closes only its own connection."""
    with running(tmp_path, granting()) as client:
        for sent in (b"", b"P", DELETE, b"nonsense\r\n\r\n", b"\x16"):
            with _connected(client) as connection:
                connection.sendall(sent)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        assert client.create().status == 200
