"""Sockets with a deadline, and with a limit of bytes."""

import http.client
import socket
import time
from collections.abc import Iterator

import pytest
from jicofo_reservation_proxy.backends.http.deadline_sockets import (
    AddressInfo,
    DeadlineSocket,
    connect,
)

from tests.e2e.support import free_port

LONG_SECONDS = 60.0
TCP = (socket.AF_INET, socket.SOCK_STREAM, 6)


def later(seconds: float = LONG_SECONDS) -> float:
    """Return a time in the future; `connect` and the sockets use the monotonic clock."""
    return time.monotonic() + seconds


def info(port: int) -> AddressInfo:
    """Return an address on this machine."""
    return (*TCP, ("127.0.0.1", port))


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """Return a listening socket that never answers by itself."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        yield found


@pytest.fixture
def pair(listener: socket.socket) -> Iterator[tuple[DeadlineSocket, socket.socket]]:
    """Return both ends of a connection."""
    with connect([info(listener.getsockname()[1])], later()) as client:
        server, _ = listener.accept()
        with server:
            yield client, server


def test_bytes_pass_before_the_deadline(pair: tuple[DeadlineSocket, socket.socket]) -> None:
    """A socket works as any other, and does not delay small packets."""
    client, server = pair
    client.sendall(b"abc")
    assert client.send(b"d") == 1
    assert server.recv(3, socket.MSG_WAITALL) == b"abc"
    server.sendall(b"xyz")
    buffer = bytearray(3)
    assert client.recv_into(buffer, 3) == 3
    assert buffer == b"xyz"
    assert client.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_no_operation_begins_after_the_deadline(
    pair: tuple[DeadlineSocket, socket.socket],
) -> None:
    """Bytes that are there already are not read after the deadline, and none are sent."""
    client, server = pair
    server.sendall(b"xyz")
    client.until = time.monotonic()
    for operation in (
        lambda: client.recv_into(bytearray(3)),
        lambda: client.send(b"a"),
        lambda: client.sendall(b"a"),
        lambda: client.settimeout(LONG_SECONDS),
    ):
        with pytest.raises(TimeoutError, match="the deadline has passed"):
            operation()


def test_an_operation_ends_at_the_deadline(pair: tuple[DeadlineSocket, socket.socket]) -> None:
    """A server that sends nothing, or reads nothing, holds a call until its deadline."""
    client, _ = pair
    client.until = later(0.05)
    with pytest.raises(TimeoutError):
        client.recv_into(bytearray(3))
    client.until = later(0.05)
    with pytest.raises(TimeoutError):
        client.sendall(b"x" * 100_000_000)


def test_a_time_out_of_its_own_counts_if_it_is_shorter(
    pair: tuple[DeadlineSocket, socket.socket],
) -> None:
    """`settimeout` shortens an operation and never lengthens it."""
    client, _ = pair
    client.until = later()
    client.settimeout(1.0)
    assert client.gettimeout() == 1.0
    client.settimeout(None)
    assert LONG_SECONDS - 50 < (client.gettimeout() or 0) <= LONG_SECONDS
    client.settimeout(10 * LONG_SECONDS)
    assert (client.gettimeout() or 0) <= LONG_SECONDS
    client.until = float("inf")
    client.settimeout(None)
    assert client.gettimeout() is None
    client.settimeout(float("inf"))
    assert client.gettimeout() is None


def test_too_many_bytes_are_an_error(pair: tuple[DeadlineSocket, socket.socket]) -> None:
    """The limit is exact, and a file made of the socket obeys it too."""
    client, server = pair
    client.bytes_left = 5
    server.sendall(b"abcde")
    with client.makefile("rb", buffering=0) as reading:
        received = b""
        while len(received) < 5:
            received += reading.read(5 - len(received)) or b""
        server.sendall(b"f")
        with pytest.raises(http.client.HTTPException, match="the answer is too large"):
            reading.read(1)


def test_the_first_address_that_accepts(listener: socket.socket) -> None:
    """Dead addresses are passed over; each is told with its result."""
    dead, alive = info(free_port()), info(listener.getsockname()[1])
    told = []
    until = later()
    note = lambda found, *, works: told.append((found, works))  # noqa: E731
    with connect([dead, alive, dead], until, note) as opened:
        assert opened.getpeername()[1] == alive[3][1]
        assert opened.until == until
    assert told == [(dead, False), (alive, True)]


def test_no_address_accepts() -> None:
    """The error is that of the last address; without any address it says so."""
    with pytest.raises(ConnectionRefusedError):
        connect([info(free_port()), info(free_port())], later())
    with pytest.raises(OSError, match="the name has no address"):
        connect([], later())


def test_no_connection_after_the_deadline(listener: socket.socket) -> None:
    """A deadline that has passed is a time-out, also if the server would accept at once."""
    with pytest.raises(TimeoutError):
        connect([info(listener.getsockname()[1])], time.monotonic())
