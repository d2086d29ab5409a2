"""Tests of the server's HTTP/2 connections, with raw frames (RFC 9113)."""

import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from jicofo_reservation_stub import server

from .conftest import Serve

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS, PING, GOAWAY = 4, 6, 7
MAX_CONCURRENT_STREAMS = 3


class Client:
    """An HTTP/2 connection that sends no calls."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        connection.sendall(PREFACE)
        self.send(SETTINGS)

    def send(self, kind: int, payload: bytes = b"") -> None:
        """Send a frame on stream 0, the connection itself (RFC 9113, 4.1)."""
        self._connection.sendall(struct.pack(">BHBBI", 0, len(payload), kind, 0, 0) + payload)

    def receive(self, *kinds: int) -> tuple[int, bytes]:
        """Return the kind and the payload of the next frame that has one of these kinds."""
        while True:
            high, low, kind = struct.unpack(">BHB5x", self._read(9))
            payload = self._read((high << 16) + low)
            if kind in kinds:
                return kind, payload

    def _read(self, size: int) -> bytes:
        read = self._connection.recv(size, socket.MSG_WAITALL)
        assert len(read) == size, "the server closed the connection"
        return read


@contextmanager
def connected(address: str) -> Iterator[Client]:
    """Open a plaintext connection to the server."""
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        yield Client(connection)


def replace_option(monkeypatch: pytest.MonkeyPatch, option: tuple[str, int], value: int) -> None:
    """Give an option of the server another value; fail if the server does not have the option."""
    options = dict(server._CHANNEL_OPTIONS)
    assert option in options.items()
    monkeypatch.setattr(server, "_CHANNEL_OPTIONS", list((options | {option[0]: value}).items()))


def test_calls_of_one_connection_are_limited(serve: Serve) -> None:
    """The server allows at most 1000 open calls on a connection (RFC 9113, 6.5.2)."""
    with connected(serve()) as client:
        settings = dict(struct.iter_unpack(">HI", client.receive(SETTINGS)[1]))
        assert settings[MAX_CONCURRENT_STREAMS] == 1000


def test_pings_of_an_idle_connection(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server answers all pings of an idle connection if the client keeps the interval.

    The test sets the interval to 0 instead of 5 s. Without the option, gRPC ends the connection at
    the fourth ping.
    """
    interval = ("grpc.http2.min_ping_interval_without_data_ms", 5_000)
    replace_option(monkeypatch, interval, 0)
    with connected(serve()) as client:
        for number in range(10):
            payload = struct.pack(">Q", number)
            client.send(PING, payload)
            assert client.receive(PING, GOAWAY) == (PING, payload)


def test_a_connection_ends_after_its_maximum_age(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server announces the end of an old connection, so that clients look its name up again.

    The test sets the age to 0.1 s instead of 5 minutes.
    """
    replace_option(monkeypatch, ("grpc.max_connection_age_ms", 300_000), 100)
    with connected(serve()) as client:
        kind, _ = client.receive(GOAWAY)
        assert kind == GOAWAY
