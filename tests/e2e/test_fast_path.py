"""The fast path takes what it knows, and leaves everything else to the usual path.

tests/fuzz/compare.py compares the answers of the two paths.
"""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from jicofo_reservation_proxy.app import Proxy
from jicofo_reservation_proxy.gen.jicofo.reservation.v1 import reservation_pb2 as pb
from jicofo_reservation_proxy.http import server as server_module
from jicofo_reservation_proxy.http.connections import MAX_PIPELINED
from jicofo_reservation_proxy.http.fast_path import MAX_HEAD_BYTES, MAX_HEADS, FastRequest
from jicofo_reservation_proxy.http.handlers import Handlers

from tests.unit.ledgers import eventually

from .support import (
    PROSODY,
    START,
    TIMEOUT_SECONDS,
    Client,
    Context,
    Script,
    backends,
    conference,
    exchange,
    read_reply,
    serving_grpc,
    serving_http,
    settings,
)


def request(room: str = "testroom", *, headers: bytes = b"", version: bytes = b"1.1") -> bytes:
    """Return a POST for a room."""
    form = f"name={room}&start_time={START}".encode()
    return b"POST /conference HTTP/%s\r\n%sContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s" % (
        version,
        headers,
        b"application/x-www-form-urlencoded",
        len(form),
        form,
    )


@dataclass
class Served:
    """A proxy on a port, and the number of requests that took the fast path."""

    proxy: Proxy
    port: int
    fast: list[FastRequest] = field(default_factory=list)

    def is_fast(self, data: bytes) -> bool:
        """Send a request twice; return whether the second one took the fast path."""
        exchange(self.port, data)
        before = len(self.fast)
        exchange(self.port, data)
        return len(self.fast) > before


def _grant(asked: pb.CreateConferenceRequest, _: Context) -> pb.CreateConferenceResponse:
    return pb.CreateConferenceResponse(conference=conference(asked, asked.room.raw))


@contextmanager
def _serving(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    **values: object,
) -> Iterator[Served]:
    fast: list[FastRequest] = []
    answer = FastRequest.answer

    def count(self: FastRequest) -> object:
        fast.append(self)
        return answer(self)

    monkeypatch.setattr(FastRequest, "answer", count)
    with ExitStack() as stack:
        target = stack.enter_context(serving_grpc(Script(_grant)))
        chosen = settings(tmp_path, backends=backends(default=target), **values)
        proxy = stack.enter_context(Proxy(chosen))
        yield Served(proxy, stack.enter_context(serving_http(proxy)), fast)


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """Run a proxy."""
    with _serving(tmp_path, monkeypatch) as found:
        yield found


@pytest.mark.parametrize(
    "headers",
    [
        b"Connection: Keep-Alive\r\nUser-Agent: Apache-HttpClient/4.5.13 (Java/17)\r\n",
        b"Connection: close\r\nUser-Agent: Prosody (0.12.3; posix)\r\n",
        b"",
        b"X-Anything: x\r\n",
    ],
)
def test_a_known_head_takes_the_fast_path(served: Served, headers: bytes) -> None:
    """The second request with the same head takes the fast path, also for another room."""
    first = exchange(served.port, request("board", headers=headers))
    second = exchange(served.port, request("bored", headers=headers))
    assert len(served.fast) == 1
    assert (first.status, second.status) == (200, 200)
    assert second.json["name"] == "bored"
    assert first.headers.keys() == second.headers.keys()


@pytest.mark.parametrize("method", [b"GET", b"DELETE"])
def test_heads_with_ids_differ_only_in_the_id(served: Served, method: bytes) -> None:
    """The head of one GET or DELETE is that of the next one, for another id."""
    data = b"%s /conference/default.board HTTP/1.1\r\nUser-Agent: Prosody\r\n\r\n" % method
    first = exchange(served.port, data)
    second = exchange(served.port, data.replace(b"board", b"bored"))
    assert [asked.public_id for asked in served.fast] == ["default.bored"]
    assert first.status == second.status
    other = b"DELETE" if method == b"GET" else b"GET"
    exchange(served.port, data.replace(method, other))
    assert len(served.fast) == 1, "another method has another head"


@pytest.mark.parametrize(
    "data",
    [
        request(version=b"1.0"),
        request(headers=b"Connection: Upgrade\r\n"),
        request(headers=b"Connection: close, x\r\nExpect: 100-continue\r\n"),
        request(headers=b"X: " + b"x" * MAX_HEAD_BYTES + b"\r\n"),
        request(headers=b"Origin: http://evil.example.com\r\n"),
        request(headers=b"Host: evil.example.com\r\n"),
        request().replace(b"/conference", b"/other"),
        request().replace(b"POST", b"PUT"),
        b"GET /conference/%31 HTTP/1.1\r\n\r\n",
        b"GET /conference/1?x=y HTTP/1.1\r\n\r\n",
        b"GET //conference/1 HTTP/1.1\r\n\r\n",
        b"GET /api/conference/1 HTTP/1.1\r\n\r\n",
        b"GET http://localhost/conference/1 HTTP/1.1\r\n\r\n",
        b"GET /conference/1 HTTP/1.1\r\nContent-Length: 1\r\n\r\nx",
        b"GET /conference HTTP/1.1\r\n\r\n",
        b"POST /conference HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
        b"POST /conference HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
)
def test_what_is_unusual_takes_the_usual_path(served: Served, data: bytes) -> None:
    """Nothing else is remembered: no refused head, no other method, no odd framing."""
    assert not served.is_fast(data)


def test_a_request_in_two_pieces_takes_the_usual_path(served: Served) -> None:
    """A body that has not arrived with its head is waited for."""
    exchange(served.port, request())
    with socket.create_connection(("127.0.0.1", served.port), TIMEOUT_SECONDS) as connection:
        head, end, body = request().partition(b"\r\n\r\n")
        connection.sendall(head + end)
        connection.sendall(body)
        assert read_reply(connection).status == 200


def test_requests_of_every_kind_may_follow_each_other(served: Served) -> None:
    """On one connection, known heads, unknown heads and pipelined requests are all answered."""
    get = b"GET /conference/null HTTP/1.1\r\n\r\n"
    exchange(served.port, request())
    with socket.create_connection(("127.0.0.1", served.port), TIMEOUT_SECONDS) as connection:
        for data, statuses in (
            (request(), [200]),
            (get, [404]),
            (request() + get, [200, 404]),
            (request() + request(), [200, 200]),
            (request(), [200]),
        ):
            connection.sendall(data)
            received = b""
            while received.count(b"HTTP/1.1 ") < len(statuses) or not received.endswith(b"}"):
                received += connection.recv(65536)
            found = [int(part[:3]) for part in received.split(b"HTTP/1.1 ")[1:]]
            assert found == statuses
    assert served.fast


def test_a_connection_that_the_server_closes_teaches_nothing(served: Served) -> None:
    """A client with too many pipelined requests does not change the answers to the others."""
    exchange(served.port, request() * (MAX_PIPELINED + 1))
    assert "connection" not in exchange(served.port, request()).headers


def test_a_change_of_tokens_empties_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A head with a token that is no longer valid is refused."""
    tokens = tmp_path / "tokens"
    tokens.write_text("first-token-of-the-client\n")
    tokens.chmod(0o600)
    headers = b"Authorization: Bearer first-token-of-the-client\r\n"
    with _serving(tmp_path, monkeypatch, client_token_file=str(tokens)) as served:
        assert served.is_fast(request(headers=headers))
        tokens.write_text("second-token-of-the-client\n")
        eventually(lambda: exchange(served.port, request(headers=headers)).status == 401)
        assert not served.proxy.front_door.door.fast_path._heads
        assert served.is_fast(request(headers=headers.replace(b"first", b"second")))


def test_the_table_is_bounded(served: Served) -> None:
    """Of many heads, the last ones are remembered."""
    for number in range(MAX_HEADS + 10):
        exchange(served.port, request(headers=b"X: %d\r\n" % number))
    assert len(served.proxy.front_door.door.fast_path._heads) == MAX_HEADS
    assert served.is_fast(request(headers=b"X: %d\r\n" % MAX_HEADS))


def test_a_fault_of_the_proxy_is_answered_in_json(
    served: Served, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The answer has no trace, the log has one."""
    exchange(served.port, request())

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Handlers, "create", fail)
    reply = exchange(served.port, request())
    assert served.fast
    assert reply.status == 500
    assert "message" in reply.json
    assert "ZeroDivisionError" not in reply.body.decode()
    assert "ZeroDivisionError" in caplog.text


def test_another_waitress_switches_the_fast_path_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The proxy then works as before, and says it once."""
    monkeypatch.setattr(server_module, "TESTED_WAITRESS", "2.9.")
    with _serving(tmp_path, monkeypatch) as served:
        assert not served.is_fast(request())
        assert Client(served.port, PROSODY).create().status == 200
    assert caplog.text.count("the fast path is off") == 1
