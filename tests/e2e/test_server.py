"""The HTTP server under the application: threads as they are needed, and answers sent at once."""

import socket
import threading
from pathlib import Path

from jicofo_reservation_proxy.app import Proxy
from jicofo_reservation_proxy.gen.jicofo.reservation.v1 import reservation_pb2 as pb
from jicofo_reservation_proxy.server import Server

from .support import (
    START,
    TIMEOUT_SECONDS,
    Client,
    Context,
    Script,
    conference,
    granting,
    settings,
)


class _Gate:
    """A backend whose calls wait until they are let go; it counts those that wait."""

    def __init__(self) -> None:
        self.waiting = threading.Semaphore(0)
        self.released = threading.Event()

    def create(
        self, request: pb.CreateConferenceRequest, _: Context
    ) -> pb.CreateConferenceResponse:
        self.waiting.release()
        assert self.released.wait(TIMEOUT_SECONDS)
        return pb.CreateConferenceResponse(conference=conference(request))


def _running_server(tmp_path: Path, proxy: Proxy) -> tuple[Server, threading.Thread]:
    server = Server(proxy.flask, settings(tmp_path, threads=proxy.settings.threads))
    thread = threading.Thread(target=server.run)
    thread.start()
    return server, thread


def test_one_request_at_a_time_takes_one_thread(tmp_path: Path) -> None:
    """Threads are started when there is no idle one, and not before."""
    with Proxy(settings(tmp_path, threads=8), granting()) as proxy:
        server, thread = _running_server(tmp_path, proxy)
        assert len(server.task_dispatcher.threads) == 0
        client = Client(int(server.effective_port))
        for _ in range(5):
            assert client.create().status == 200
        started = len(server.task_dispatcher.threads)
        server.stop()
        thread.join()
    assert 1 <= started <= 2


def test_threads_grow_to_their_limit_and_the_rest_waits(tmp_path: Path) -> None:
    """As many requests as threads are worked on at once; all are answered in the end."""
    gate = _Gate()
    with Proxy(settings(tmp_path, threads=4), Script(gate.create)) as proxy:
        server, thread = _running_server(tmp_path, proxy)
        client = Client(int(server.effective_port))
        statuses: list[int] = []
        callers = [
            threading.Thread(target=lambda: statuses.append(client.create().status))
            for _ in range(9)
        ]
        for caller in callers:
            caller.start()
        for _ in range(4):
            assert gate.waiting.acquire(timeout=TIMEOUT_SECONDS)
        assert len(server.task_dispatcher.threads) == 4
        assert not gate.waiting.acquire(timeout=0.05)
        gate.released.set()
        for caller in callers:
            caller.join()
        server.stop()
        thread.join()
    assert statuses == [200] * 9


def test_head_and_body_of_an_answer_come_in_one_piece(tmp_path: Path) -> None:
    """A second packet would wait for the first one's acknowledgement (Nagle)."""
    form = f"name=testroom&start_time={START}".encode()
    request = (
        b"POST /conference HTTP/1.1\r\nHost: x\r\n"
        b"Content-Type: application/x-www-form-urlencoded\r\n"
        b"Content-Length: %d\r\n\r\n%s" % (len(form), form)
    )
    with Proxy(settings(tmp_path), granting()) as proxy:
        server, thread = _running_server(tmp_path, proxy)
        address = ("127.0.0.1", int(server.effective_port))
        with socket.create_connection(address, TIMEOUT_SECONDS) as connection:
            connection.sendall(request)
            piece = connection.recv(65536)
            assert piece.startswith(b"HTTP/1.1 200 OK\r\n")
            assert piece.endswith(b"}")
        server.stop()
        thread.join()


def test_requests_that_follow_each_other_closely_are_answered_in_order(tmp_path: Path) -> None:
    """HTTP/1.1 lets a client send the next request before it has its answer (RFC 9112, 9.3.2)."""
    requests = b"".join(
        b"GET /conference/other.%d HTTP/1.1\r\nHost: x\r\n%s\r\n"
        % (number, b"Connection: close\r\n" if number == 9 else b"")
        for number in range(10)
    )
    with Proxy(settings(tmp_path), granting()) as proxy:
        server, thread = _running_server(tmp_path, proxy)
        address = ("127.0.0.1", int(server.effective_port))
        received = b""
        with socket.create_connection(address, TIMEOUT_SECONDS) as connection:
            connection.sendall(requests)
            while chunk := connection.recv(65536):
                received += chunk
        server.stop()
        thread.join()
    assert received.count(b"HTTP/1.1 404 ") == 10


def test_a_client_that_leaves_without_its_answer_harms_nobody(tmp_path: Path) -> None:
    """Its thread is free again when the backend has answered."""
    gate = _Gate()
    with Proxy(settings(tmp_path, threads=1), Script(gate.create)) as proxy:
        server, thread = _running_server(tmp_path, proxy)
        port = int(server.effective_port)
        form = f"name=testroom&start_time={START}".encode()
        with socket.create_connection(("127.0.0.1", port), TIMEOUT_SECONDS) as connection:
            connection.sendall(
                b"POST /conference HTTP/1.1\r\n"
                b"Content-Type: application/x-www-form-urlencoded\r\n"
                b"Content-Length: %d\r\n\r\n%s" % (len(form), form)
            )
            assert gate.waiting.acquire(timeout=TIMEOUT_SECONDS)
        gate.released.set()
        assert Client(port).create().status == 200
        server.stop()
        thread.join()
