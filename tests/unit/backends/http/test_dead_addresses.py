"""Names with several addresses, of which some are dead."""

import socket
import time

import pytest
from jicofo_reservation_proxy.backends.http.deadline_sockets import (
    AddressInfo,
    DeadlineSocket,
    connect,
)
from jicofo_reservation_proxy.backends.http.name_lookups import AVOID_SECONDS, NameLookups

SECONDS = 60.0


def info(address: str) -> AddressInfo:
    """Return an address of a server."""
    return (socket.AF_INET, socket.SOCK_STREAM, 0, (address, 80))


def info_of(listener: socket.socket) -> AddressInfo:
    """Return the address of a listener."""
    return (socket.AF_INET, socket.SOCK_STREAM, 0, listener.getsockname())


def closed() -> AddressInfo:
    """Return an address that refuses connections."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return info_of(listener)


def test_a_dead_address_is_the_last_one_for_some_time() -> None:
    """An address that failed is tried last, until it works or some time has passed."""
    one, two, three = (info(f"192.0.2.{number}") for number in (1, 2, 3))
    now = [1000.0]
    lookups = NameLookups("rooms.example.com", 80, lambda *_: [one, two, three], lambda: now[0])
    lookups.note(one, works=False)
    assert lookups.addresses(SECONDS) == [two, three, one]
    lookups.note(one, works=True)
    assert lookups.addresses(SECONDS) == [one, two, three]
    lookups.note(one, works=False)
    lookups.note(three, works=False)
    assert lookups.addresses(SECONDS) == [two, one, three]
    now[0] += AVOID_SECONDS + 1
    assert lookups.addresses(SECONDS) == [one, two, three]


def test_each_address_that_was_tried_is_noted() -> None:
    """The addresses that failed and the one that works are noted; no further one is tried."""
    noted: list[tuple[AddressInfo, bool]] = []

    def note(address: AddressInfo, *, works: bool) -> None:
        noted.append((address, works))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        dead, good = closed(), info_of(listener)
        connect([dead, good, closed()], time.monotonic() + SECONDS, note).close()
    assert noted == [(dead, False), (good, True)]


def test_a_tls_handshake_has_what_is_left_of_the_time() -> None:
    """The time-out that a TLS socket takes over is not the share of one address."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        connect([info_of(listener), closed()], time.monotonic() + SECONDS) as opened,
    ):
        assert SECONDS / 2 < (opened.gettimeout() or 0) < SECONDS


def test_connecting_counts_for_a_tls_handshake(monkeypatch: pytest.MonkeyPatch) -> None:
    """The seconds that the connection took are not there for the handshake."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    def connect_slowly(self: socket.socket, address: tuple[str, int]) -> None:
        now[0] += 4.0
        socket.socket.connect(self, address)

    monkeypatch.setattr(DeadlineSocket, "connect", connect_slowly, raising=False)
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        connect([info_of(listener)], 105.0) as opened,
    ):
        assert opened.gettimeout() == 1.0
