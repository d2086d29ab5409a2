"""One HTTP exchange, and every way in which it can go wrong."""

import socket
import time

import pytest
from jicofo_reservation_proxy.simulation import wire
from jicofo_reservation_proxy.simulation.wire import (
    Address,
    Answer,
    CannotConnectError,
    Connection,
    DroppedError,
    ExchangeError,
    TimedOutError,
)

from .servers import CLOSE, SILENCE, Act, answering

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
EMPTY = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
REQUEST = b"GET / HTTP/1.1\r\n\r\n"


def exchange(sends: bytes, *, closes: bool = True, skips_interim: bool = True) -> Answer:
    """Send a request to a server that answers with these bytes; return the answer."""
    with (
        answering(lambda _: Act(sends, closes=closes)) as server,
        Connection(server.address, soon()) as connection,
    ):
        return connection.exchange(REQUEST, soon(), skips_interim=skips_interim)


def soon(seconds: float = 10.0) -> float:
    """Return a deadline in a number of seconds."""
    return time.monotonic() + seconds


@pytest.mark.parametrize(
    ("sends", "body", "is_last"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}more", b"{}", False),
        (b"HTTP/1.1 200\r\ncontent-length:2\r\n\r\n{}", b"{}", False),
        (b"HTTP/1.1 200 OK\r\nConnection: Close\r\nContent-Length: 2\r\n\r\n{}", b"{}", True),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}", b"{}", True),
        (
            b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\n{}",
            b"{}",
            False,
        ),
        (b"HTTP/1.1 200 OK\r\n\r\nto the end", b"to the end", True),
        (
            CHUNKED + b"1\r\n{\r\n1;x=y\r\n}\r\n0\r\nTrailer: x\r\n\r\n",
            b"{}",
            False,
        ),
    ],
)
def test_every_framing_is_read(sends: bytes, body: bytes, is_last: bool) -> None:
    """Content-Length, chunks and a body to the end are read; `is_last` follows the headers."""
    answer = exchange(sends)
    assert (answer.status, answer.body, answer.is_last) == (200, body, is_last)


def test_204_has_no_body() -> None:
    """The client does not wait for a body."""
    assert exchange(b"HTTP/1.1 204 No Content\r\n\r\n", closes=False).body == b""


def test_interim_answers_are_skipped_or_not() -> None:
    """With `skips_interim` the client skips a 103; otherwise the 103 is the answer."""
    sends = (
        b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    )
    assert exchange(sends).status == 200
    assert exchange(sends, skips_interim=False).status == 103


@pytest.mark.parametrize(
    "sends",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{}",
        CHUNKED + b"5\r\n{}",
        CHUNKED + b"x\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1048577\r\n\r\n{}",
        b"HTTP/2 200 OK\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"x" * (wire.MAX_HEAD_BYTES + 1),
        b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 20_000 + b"\r\n",
    ],
)
def test_an_incomplete_or_invalid_answer_is_a_drop(sends: bytes) -> None:
    """The connection closes too early, the bytes are not HTTP, or the answer is too long."""
    with pytest.raises(DroppedError):
        exchange(sends)


@pytest.mark.parametrize("head", [b"", b"Transfer-Encoding: chunked\r\n"])
def test_an_endless_body_is_not_read(head: bytes) -> None:
    """The client stops reading after 1 MiB."""
    chunk = b"%x\r\n%s\r\n" % (2**19, b"x" * 2**19) if head else b"x" * 2**19
    with pytest.raises(DroppedError, match="longer than 1048576 bytes"):
        exchange(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n" + 4 * chunk)


@pytest.mark.parametrize("act", [SILENCE, Act(b"HTTP/1.1 200 OK\r\n", is_silent=True)])
def test_a_deadline_ends_the_wait(act: Act) -> None:
    """The deadline also applies after a part of the answer has arrived."""
    with (
        answering(lambda _: act) as server,
        Connection(server.address, soon()) as connection,
        pytest.raises(TimedOutError),
    ):
        connection.exchange(REQUEST, soon(0.1), skips_interim=True)


def test_a_deadline_in_the_past_sends_nothing() -> None:
    """An exchange whose deadline has passed sends nothing."""
    with (
        answering(lambda _: CLOSE) as server,
        Connection(server.address, soon()) as connection,
        pytest.raises(TimedOutError),
    ):
        connection.exchange(REQUEST, soon(-1), skips_interim=True)
    assert server.requests == []


def test_a_failed_connection_differs_from_a_time_out() -> None:
    """A closed port and an unknown host raise CannotConnectError."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(CannotConnectError, match="Connection refused"):
        Connection(Address("127.0.0.1", port), soon())
    with pytest.raises(CannotConnectError):
        Connection(Address("no.such.host.invalid", 80), soon())
    with pytest.raises(TimedOutError):
        Connection(Address("127.0.0.1", port), soon(-1))


def test_a_reset_is_a_drop() -> None:
    """A connection that the server resets is a dropped connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = Address("127.0.0.1", server.getsockname()[1])
        with Connection(address, soon()) as connection:
            taken, _ = server.accept()
            # A linger time of 0 s makes `close` send a reset.
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            taken.close()
            assert connection.is_stale()
            with pytest.raises(DroppedError, match="the connection broke"):
                connection.exchange(REQUEST, soon(), skips_interim=True)


def test_is_stale_notices_a_closed_connection() -> None:
    """`is_stale` returns true after the server has closed, and consumes no bytes."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = Address("127.0.0.1", server.getsockname()[1])
        with Connection(address, soon()) as connection:
            taken, _ = server.accept()
            assert not connection.is_stale()
            taken.sendall(EMPTY)
            assert not connection.is_stale()
            assert connection.exchange(REQUEST, soon(), skips_interim=True).status == 200
            taken.shutdown(socket.SHUT_WR)
            connection._socket.settimeout(10)
            connection._socket.recv(1, socket.MSG_PEEK)  # the server has closed
            assert connection.is_stale()
            taken.close()


def test_the_authority_leaves_out_port_80() -> None:
    """The libraries of both clients leave out port 80."""
    assert Address("127.0.0.1", 7777).authority == "127.0.0.1:7777"
    assert Address("localhost", 80).authority == "localhost"
    assert Address("::1", 7777).authority == "[::1]:7777"


def test_every_error_is_an_exchange_error() -> None:
    """Every error of an exchange is an ExchangeError."""
    for error in (CannotConnectError, DroppedError, TimedOutError):
        assert issubclass(error, ExchangeError)
