"""Kept connections: which one is used again, and how much of an answer is received."""

import itertools
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import urllib3
from jicofo_reservation_proxy.backends.http import kept_connections
from jicofo_reservation_proxy.backends.http.kept_connections import (
    MAX_ANSWER_BYTES,
    NoConnectionError,
    pool_classes,
)
from jicofo_reservation_proxy.backends.http.name_lookups import NameLookups
from urllib3.exceptions import ProtocolError

from tests.e2e.support import free_port
from tests.fuzz.raw_backend import RawBackend, Reaction, serving_raw

RIGHT = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
LONG_SECONDS = 60.0


class Counting(RawBackend):
    """A backend that numbers its connections and answers with the number."""

    def __init__(self) -> None:
        super().__init__()
        self._numbers = itertools.count(1)
        self._local = threading.local()

    def answer(self, connection: socket.socket) -> None:
        """Answer the requests on a connection."""
        self._local.number = next(self._numbers)
        super().answer(connection)

    def numbered(self, _method: str) -> Reaction:
        """Return the number of the connection, and keep it open."""
        return Reaction(
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d" % self._local.number,
            keeps=True,
        )


@contextmanager
def pool_of(backend: RawBackend) -> Iterator[urllib3.HTTPConnectionPool]:
    """Serve a backend; yield a pool of connections to it."""
    with serving_raw(backend) as target:
        port = int(target.rpartition(":")[2])
        classes = pool_classes(NameLookups("127.0.0.1", port), is_local=True)
        pool = classes["http"]("127.0.0.1", port, retries=False)
        try:
            yield pool
        finally:
            pool.close()


def ask(pool: urllib3.HTTPConnectionPool) -> bytes:
    """Send a GET, and return the body of the answer."""
    return bytes(pool.urlopen("GET", "/", timeout=LONG_SECONDS, retries=False).data)


def test_a_connection_is_used_again_unless_it_was_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server closes an idle connection when it likes, so the next request gets a new one."""
    backend = Counting()
    backend.react = backend.numbered
    monkeypatch.setattr(kept_connections, "MAX_IDLE_SECONDS", LONG_SECONDS)
    with pool_of(backend) as pool:
        assert [ask(pool) for _ in range(3)] == [b"1"] * 3
        monkeypatch.setattr(kept_connections, "MAX_IDLE_SECONDS", -1.0)
        assert [ask(pool) for _ in range(2)] == [b"2", b"3"]


def test_an_interim_response_is_no_answer() -> None:
    """103 and others are skipped; what follows is the answer to the same request."""
    backend = RawBackend()
    interim = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
    backend.react = lambda _: Reaction(interim * 3 + RIGHT, keeps=True)
    with pool_of(backend) as pool:
        assert [ask(pool) for _ in range(2)] == [b"{}", b"{}"]


@pytest.mark.parametrize(
    "endless",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
    ],
)
def test_an_endless_answer_is_not_received(endless: bytes) -> None:
    """Some parts of an answer have no limit in http.client, such as a chunk of the size -1."""
    backend = RawBackend()
    filler = endless if b" 100 " in endless else b"x" * 65536
    repeated = filler * (2 * MAX_ANSWER_BYTES // len(filler))
    backend.react = lambda _: Reaction(endless + repeated)
    with pool_of(backend) as pool, pytest.raises(ProtocolError, match="the answer is too large"):
        ask(pool)


def test_each_answer_has_the_whole_limit() -> None:
    """The bytes of earlier answers on a connection do not count."""
    backend = RawBackend()
    size = MAX_ANSWER_BYTES * 2 // 3
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size
    backend.react = lambda _: Reaction(head + b"x" * size, keeps=True)
    with pool_of(backend) as pool:
        assert [len(ask(pool)) for _ in range(3)] == [size] * 3


def test_nobody_listens() -> None:
    """The error says that no byte of the request was sent."""
    port = free_port()
    pool = pool_classes(NameLookups("127.0.0.1", port), is_local=True)["http"]("127.0.0.1", port)
    with pytest.raises(NoConnectionError, match="Connection refused") as caught:
        ask(pool)
    assert not caught.value.is_timeout
    assert not caught.value.is_certificate
    pool.close()


def test_a_secret_stays_on_this_machine() -> None:
    """A name that leads elsewhere gets no byte, if the requests have a secret and no TLS."""
    with socket.create_server(("0.0.0.0", 0)) as listener:  # noqa: S104 - for the address below
        own = _own_address()
        port = listener.getsockname()[1]
        for is_local in (True, False):
            classes = pool_classes(NameLookups(own, port), is_local=is_local)
            pool = classes["http"](own, port)
            if is_local:
                with pytest.raises(NoConnectionError, match="wanted an address on this machine"):
                    pool.urlopen("GET", "/", timeout=LONG_SECONDS, retries=False)
                connection, _ = listener.accept()
                with connection:
                    assert connection.recv(1) == b""
            pool.close()


def _own_address() -> str:
    """Return an address of this machine that is no loopback address; skip without one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine has only loopback addresses")
        return str(probe.getsockname()[0])
