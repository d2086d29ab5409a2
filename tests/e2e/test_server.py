"""The HTTP server: it starts threads when it needs them, and sends answers at once."""

import resource
import select
import socket
import struct
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from jicofo_reservation_proxy.app import Proxy
from jicofo_reservation_proxy.gen.jicofo.reservation.v1 import reservation_pb2 as pb
from jicofo_reservation_proxy.gen.jicofo.reservation.v1 import reservation_pb2_grpc
from jicofo_reservation_proxy.http import connections
from jicofo_reservation_proxy.http import server as server_module
from jicofo_reservation_proxy.http.access_log import AccessLogEntry
from jicofo_reservation_proxy.http.server import LINGER_SECONDS, Server

from tests.unit.ledgers import eventually

from .support import (
    START,
    TIMEOUT_SECONDS,
    Client,
    Context,
    Reply,
    Script,
    backends,
    conference,
    granting,
    read_reply,
    serving_grpc,
    settings,
)

FORM = f"name=testroom&start_time={START}".encode()
POST = (
    b"POST /conference HTTP/1.1\r\nHost: localhost\r\n"
    b"Content-Type: application/x-www-form-urlencoded\r\n"
    b"Content-Length: %d\r\n\r\n%s" % (len(FORM), FORM)
)
DELETE = b"DELETE /conference/1 HTTP/1.1\r\nHost: localhost\r\n\r\n"


class _Gate:
    """A backend whose calls wait until `released` is set; `waiting` counts these calls."""

    def __init__(self) -> None:
        self.waiting = threading.Semaphore(0)
        self.released = threading.Event()

    def create(
        self, request: pb.CreateConferenceRequest, _: Context
    ) -> pb.CreateConferenceResponse:
        self.waiting.release()
        assert self.released.wait(TIMEOUT_SECONDS)
        found = conference(request, request.room.raw)
        return pb.CreateConferenceResponse(conference=found)


@contextmanager
def _server(
    tmp_path: Path,
    servicer: reservation_pb2_grpc.ReservationServiceServicer | None = None,
    threads: int = 8,
    **values: object,
) -> Iterator[Server]:
    """Yield a server that listens but does not run yet."""
    with (
        serving_grpc(servicer or granting()) as target,
        Proxy(
            settings(tmp_path, threads=threads, backends=backends(default=target), **values)
        ) as proxy,
    ):
        server = Server(proxy.flask, proxy.settings.listen, proxy.front_door)
        try:
            yield server
        finally:
            if server.socket.fileno() >= 0:
                server.stop()
                server.run()


@contextmanager
def _running(server: Server) -> Iterator[threading.Thread]:
    """Run a server in a thread until the context ends."""
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield thread
    finally:
        server.stop()
        thread.join()


def _connect(server: Server) -> socket.socket:
    address = ("127.0.0.1", int(server.effective_port))
    return socket.create_connection(address, TIMEOUT_SECONDS)


def test_one_request_at_a_time_needs_few_threads(tmp_path: Path) -> None:
    """The server starts a thread only if no thread is idle.

    A thread that still writes its log line is not idle, so the server may start another thread.
    """
    with _server(tmp_path, threads=64) as server, _running(server):
        assert server.task_dispatcher.size == 0
        client = Client(int(server.effective_port))
        for _ in range(100):
            assert client.create().status == 200
        assert 1 <= server.task_dispatcher.size <= 20


def test_extra_threads_answer_while_a_backend_hangs(tmp_path: Path) -> None:
    """When a hanging backend blocks all of `threads`, some extra threads still answer.

    They answer a POST with 503 and a DELETE with 200.
    """
    gate = _Gate()
    statuses: list[int] = []
    with _server(tmp_path, Script(gate.create), threads=4) as server, _running(server):
        client = Client(int(server.effective_port))

        def create(room: str) -> None:
            statuses.append(client.create(room).status)

        callers = [threading.Thread(target=create, args=(f"room{n}",)) for n in range(4)]
        for caller in callers:
            caller.start()
        for _ in callers:
            assert gate.waiting.acquire(timeout=TIMEOUT_SECONDS)
        refused = [client.create(f"late{n}").status for n in range(6)]
        assert client.delete("default.x").status == 200
        assert 4 < server.task_dispatcher.size <= 10
        gate.released.set()
        for caller in callers:
            caller.join()
    assert refused == [503] * 6
    assert statuses == [200] * 4


def test_head_and_body_of_an_answer_come_in_one_piece(tmp_path: Path) -> None:
    """The server sends the head and the body of an answer together.

    A second packet would wait for the acknowledgement of the first (Nagle's algorithm).
    """
    with _server(tmp_path) as server, _running(server), _connect(server) as connection:
        connection.sendall(POST)
        piece = connection.recv(65536)
    assert piece.startswith(b"HTTP/1.1 200 OK\r\n")
    assert piece.endswith(b"}")


def test_pipelined_requests_are_all_answered(tmp_path: Path) -> None:
    """The server answers the requests of a client that does not wait (RFC 9112, section 9.3.2)."""
    last = DELETE.replace(b"Host: localhost", b"Host: localhost\r\nConnection: close")
    with _server(tmp_path) as server, _running(server):
        received = _everything(server, DELETE * (connections.MAX_PIPELINED - 1) + last)
    assert received.count(b"HTTP/1.1 200 ") == connections.MAX_PIPELINED


def test_too_many_pipelined_requests_close_the_connection(tmp_path: Path) -> None:
    """The last answer says so, and the client sends the other requests again."""
    with _server(tmp_path) as server, _running(server):
        received = _everything(server, DELETE * 500)
    assert received.count(b"HTTP/1.1 200 ") == connections.MAX_PIPELINED
    assert received.count(b"Connection: close") == 1
    assert b"Connection: close" in received.rpartition(b"HTTP/1.1 200 ")[2]


def _everything(server: Server, request: bytes) -> bytes:
    """Send a request, and return all bytes until the server closes the connection."""
    with _connect(server) as connection:
        connection.sendall(request)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def test_a_client_that_disconnects_early_frees_its_thread(tmp_path: Path) -> None:
    """The thread of a client that disconnects is free again soon after the backend has answered.

    Until then that client's request occupies the only place, and the proxy answers 503.
    """
    gate = _Gate()
    with _server(tmp_path, Script(gate.create), threads=1) as server, _running(server):
        with _connect(server) as connection:
            connection.sendall(POST)
            assert gate.waiting.acquire(timeout=TIMEOUT_SECONDS)
        gate.released.set()
        client = Client(int(server.effective_port))
        eventually(lambda: client.create().status == 200)


def test_connections_that_wait_to_be_accepted_are_answered_before_the_end(tmp_path: Path) -> None:
    """A server that stops answers the clients whose connections it has not accepted yet."""
    with _server(tmp_path) as server, ExitStack() as stack:
        waiting = [stack.enter_context(_connect(server)) for _ in range(20)]
        for connection in waiting:
            connection.sendall(DELETE)
        server.stop()
        server.run()
        assert [read_reply(connection).status for connection in waiting] == [200] * 20


@pytest.mark.parametrize("is_known", [True, False])
def test_an_answer_during_a_drain_closes_the_connection(tmp_path: Path, is_known: bool) -> None:
    """During a drain the server sends `Connection: close`, so that the client sends no more.

    The fast path does so too; it takes a request whose head is known.
    """
    gate = _Gate()
    with (
        _server(tmp_path, Script(gate.create)) as server,
        _running(server) as thread,
        _connect(server) as connection,
    ):
        if is_known:
            gate.released.set()
            connection.sendall(POST)
            assert "connection" not in read_reply(connection).headers
            gate.released.clear()
            assert gate.waiting.acquire(timeout=TIMEOUT_SECONDS)
        connection.sendall(POST)
        assert gate.waiting.acquire(timeout=TIMEOUT_SECONDS)
        server.stop()
        while not server.is_draining:
            thread.join(0.01)
        gate.released.set()
        reply = read_reply(connection)
        assert connection.recv(1) == b""
    assert (reply.status, reply.headers["connection"]) == (200, "close")


def test_what_came_before_the_accept_is_judged_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that begins TLS on the plain port need not wait for a time limit."""
    monkeypatch.setattr(connections, "HEAD_SECONDS", 1e9)
    with _server(tmp_path) as server, _connect(server) as connection:
        connection.sendall(b"\x16\x03\x01")
        with _running(server), suppress(ConnectionResetError):
            assert connection.recv(1) == b""


def _get(connection: socket.socket) -> Reply:
    connection.sendall(b"GET /conference/null HTTP/1.1\r\nHost: localhost\r\n\r\n")
    return read_reply(connection)


def test_an_idle_connection_stays_open_after_its_last_answer(tmp_path: Path) -> None:
    """During a drain, a request on a connection that was just answered is answered too.

    Otherwise Jicofo's next POST would fail, and a user would see that (clients.md "idle
    connection").
    """
    with (
        _server(tmp_path) as server,
        _running(server) as thread,
        _connect(server) as connection,
        _connect(server) as other,
    ):
        assert _get(connection).headers.get("connection") != "close"
        assert _get(other).status == 404
        server.stop()
        while not server.is_draining:
            thread.join(0.01)
        thread.join(1.0)  # longer than the drain of a server without such a connection
        reply = _get(connection)
        assert (reply.status, reply.headers["connection"]) == (404, "close")
        assert connection.recv(1) == b""
        assert other.recv(1) == b"", "the drain ends, and closes the connection"
        thread.join(TIMEOUT_SECONDS)
        assert not thread.is_alive()


def test_a_connection_that_was_never_answered_does_not_delay_the_end(tmp_path: Path) -> None:
    """A connection without an answer, or with an old one, is closed at once."""
    with (
        _server(tmp_path) as server,
        _running(server) as thread,
        _connect(server) as connection,
        _connect(server) as answered,
    ):
        assert _get(answered).status == 404
        (old,) = [each for each in server.active_channels.values() if each.answered_at > 0]
        old.answered_at -= LINGER_SECONDS
        server.stop()
        thread.join(TIMEOUT_SECONDS)
        assert not thread.is_alive()
        assert connection.recv(1) == b""
        assert server.left_seconds > 20 - LINGER_SECONDS


def test_connections_linger_for_at_most_half_of_the_drain(tmp_path: Path) -> None:
    """With a short `drain_within`, half of it remains for the deletions."""
    with _server(tmp_path, drain_within="2s") as server:
        assert server._linger_seconds == 1.0


def test_a_server_can_be_stopped_again_after_its_end(tmp_path: Path) -> None:
    """A second `stop` raises no error after the server has closed its sockets."""
    with _server(tmp_path) as server:
        with _running(server):
            pass
        server.stop()


def test_run_waits_for_a_stop_in_another_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`run` does not close the trigger before `stop` has pulled it.

    A client that disconnects can wake the main loop before `stop` does.
    """
    with _server(tmp_path) as server, _running(server) as thread, _connect(server) as connection:
        pull = server.pull_trigger

        def pull_late() -> None:
            connection.close()
            thread.join(0.3)
            pull()

        monkeypatch.setattr(server, "pull_trigger", pull_late)
        server.stop()


def test_the_main_loop_leaves_a_connection_that_is_answered_alone(tmp_path: Path) -> None:
    """Also if the thread has begun to close it: the client may have closed its side by then."""
    gate = _Gate()
    with (
        _server(tmp_path, Script(gate.create)) as server,
        _running(server),
        _connect(server) as connection,
    ):
        connection.sendall(POST)
        assert gate.waiting.acquire(timeout=TIMEOUT_SECONDS)
        channel = _only_channel(server)
        channel._closing_since = 0.0
        channel.will_close = channel.close_when_flushed = True
        assert not channel.readable()
        assert not channel.writable()
        channel._closing_since = None
        channel.will_close = channel.close_when_flushed = False
        gate.released.set()
        assert read_reply(connection).status == 200


def test_what_has_arrived_is_read_before_a_time_limit_is_enforced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the process was stopped for long, a request that came meanwhile is still answered."""
    with _server(tmp_path) as server, _connect(server) as connection:
        while not server.active_channels:
            server._poll(timeout=TIMEOUT_SECONDS)
        monkeypatch.setattr(connections, "HEAD_SECONDS", -1.0)
        connection.sendall(POST)
        select.select([_only_channel(server).socket], [], [], TIMEOUT_SECONDS)
        server._next_check = 0.0
        with _running(server):
            assert read_reply(connection).status == 200


def test_a_failure_in_the_first_read_closes_one_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The listener goes on."""
    received = connections.Connection.received
    failures = iter([ZeroDivisionError()])

    def fail_once(self: connections.Connection, data: bytes) -> bool:
        for failure in failures:
            raise failure
        return received(self, data)

    monkeypatch.setattr(connections.Connection, "received", fail_once)
    with _server(tmp_path) as server, _connect(server) as connection:
        connection.sendall(POST)
        with _running(server):
            with suppress(ConnectionResetError):
                assert connection.recv(1) == b""
            assert Client(int(server.effective_port)).create().status == 200


@pytest.mark.parametrize("is_known", [True, False])
def test_a_failure_after_the_answer_closes_the_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_known: bool
) -> None:
    """The next request does not wait for ever. The fast path takes a request with a known head."""

    def fail(_: AccessLogEntry) -> None:
        raise ZeroDivisionError

    with _server(tmp_path) as server, _running(server), _connect(server) as connection:
        if is_known:
            connection.sendall(POST)
            assert read_reply(connection).status == 200
        monkeypatch.setattr(AccessLogEntry, "record", fail)
        connection.sendall(POST)
        assert read_reply(connection).status == 200
        assert connection.recv(1) == b""


def test_a_connection_that_was_just_served_is_not_closed_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the limit of connections, the next one waits a moment for a busy connection to end."""
    monkeypatch.setattr(server_module, "MAX_CONNECTIONS", 2)
    monkeypatch.setattr(server_module, "ACCEPT_PAUSE_SECONDS", 600.0)
    gate = _Gate()
    with (
        _server(tmp_path, Script(gate.create)) as server,
        _running(server),
        _connect(server) as served,
        _connect(server) as busy,
    ):
        gate.released.set()
        served.sendall(POST)
        assert read_reply(served).status == 200
        gate.released.clear()
        assert gate.waiting.acquire(timeout=TIMEOUT_SECONDS)
        busy.sendall(POST)
        assert gate.waiting.acquire(timeout=TIMEOUT_SECONDS)
        with _connect(server) as third:
            third.sendall(DELETE)
            gate.released.set()
            assert read_reply(busy).status == 200
            busy.close()
            assert read_reply(third).status == 200
            served.sendall(DELETE)
            assert read_reply(served).status == 200


def test_urgent_data_closes_only_its_own_connection(tmp_path: Path) -> None:
    """Urgent data of TCP closes only its own connection, and does not keep the main loop busy.

    No HTTP client sends urgent data.
    """
    with _server(tmp_path) as server, _running(server):
        with _connect(server) as connection:
            connection.send(b"!", socket.MSG_OOB)
            with suppress(ConnectionResetError):
                assert connection.recv(1) == b""
        assert Client(int(server.effective_port)).create().status == 200


def test_a_thread_that_cannot_start_is_logged_and_started_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """If a thread cannot start, the request waits, and the server soon tries again."""
    statuses: list[int] = []
    failures = iter([RuntimeError("can't start new thread")])
    with _server(tmp_path) as server:
        start = server.task_dispatcher._start_thread

        def fail_once(*arguments: object) -> None:
            for failure in failures:
                raise failure
            start(*arguments)

        monkeypatch.setattr(server.task_dispatcher, "_start_thread", fail_once)
        with _running(server):
            client = Client(int(server.effective_port))
            first = threading.Thread(target=lambda: statuses.append(client.create().status))
            first.start()
            while "can't start new thread" not in caplog.text:
                first.join(0.01)
            assert client.create().status == 200
            first.join()
    assert statuses == [200]


def test_connections_use_at_most_half_of_the_file_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Connections use at most half of the files that the process may open.

    If no file were left, a connection that cannot be accepted would keep the main loop busy.
    """
    for limit, most in ((256, 128), (1 << 20, 1000), (resource.RLIM_INFINITY, 1000)):
        monkeypatch.setattr(resource, "getrlimit", lambda _, limit=limit: (limit, limit))
        with _server(tmp_path) as server:
            assert server._max_connections == most


def test_idle_connections_are_kept_for_minutes() -> None:
    """Idle connections stay open for at least 120 s.

    If the server closes a connection within 2 s of its last answer, Jicofo's next POST fails
    (clients.md "idle connection").
    """
    assert connections.IDLE_SECONDS >= 120


def _only_channel(server: Server) -> connections.Connection:
    """Wait until the server has exactly one connection; return it."""
    eventually(lambda: len(server.active_channels) == 1)
    (channel,) = server.active_channels.values()
    assert isinstance(channel, connections.Connection)
    return channel


def test_a_first_head_must_arrive_in_time_after_the_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that waits before its first byte has less time for the rest."""
    monkeypatch.setattr(connections, "HEAD_SECONDS", 2 * TIMEOUT_SECONDS)
    monkeypatch.setattr(server_module, "CHECK_SECONDS", 0.02)
    with _server(tmp_path) as server, _running(server), _connect(server) as connection:
        _only_channel(server).accepted_at -= connections.HEAD_SECONDS - 1
        connection.sendall(b"G")
        assert read_reply(connection).status == 408


def test_a_request_after_a_slow_answer_has_all_its_time(tmp_path: Path) -> None:
    """The time in which the server answers the request before it does not count."""
    gate = _Gate()
    with (
        _server(tmp_path, Script(gate.create)) as server,
        _running(server),
        _connect(server) as connection,
    ):
        connection.sendall(POST + DELETE[:5])
        assert gate.waiting.acquire(timeout=TIMEOUT_SECONDS)
        channel = _only_channel(server)
        assert channel.request is not None
        channel.request.began_at -= connections.HEAD_SECONDS
        gate.released.set()
        assert read_reply(connection).status == 200
        deadline = channel._request_deadline(channel.request)
        assert deadline == channel.answered_at + connections.HEAD_SECONDS
        connection.sendall(DELETE[5:])
        assert read_reply(connection).status == 200


def test_a_client_that_resets_while_answers_wait_leaves_no_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The last answer is not sent completely when the client resets the connection."""
    monkeypatch.setattr(connections, "MAX_PIPELINED", sys.maxsize)
    with _server(tmp_path) as server, _running(server), socket.socket() as connection:
        monkeypatch.setattr(server, "set_socket_options", _shorten_buffer)
        for buffer in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            connection.setsockopt(socket.SOL_SOCKET, buffer, 4096)
        connection.connect(("127.0.0.1", int(server.effective_port)))
        connection.sendall(b"A * HTTP/1.1\r\n\r\n" * 500 + b"nonsense\r\n\r\n")
        channel = _only_channel(server)
        eventually(lambda: channel.close_when_flushed and channel.total_outbufs_len > 0)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
        eventually(lambda: not server.active_channels)
    assert not [record for record in caplog.records if record.name == "waitress"]


def _shorten_buffer(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
