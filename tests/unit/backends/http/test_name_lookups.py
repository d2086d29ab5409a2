"""Look-ups of a name: what is kept, and what happens while a name server fails or hangs."""

import socket
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
from jicofo_reservation_proxy.backends.http.deadline_sockets import AddressInfo
from jicofo_reservation_proxy.backends.http.name_lookups import (
    KEEP_SECONDS,
    NameLookups,
    look_up,
)

LONG_SECONDS = 60.0


def info(number: int) -> AddressInfo:
    """Return an address."""
    return (2, 1, 6, (f"192.0.2.{number}", 80))


class NameServer:
    """Look-ups with prepared answers; `gate` holds them while it is closed."""

    def __init__(self) -> None:
        self.answer: Sequence[AddressInfo] | Exception = [info(1)]
        self.asked: list[tuple[str, int]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.now = 1000.0

    def look_up(self, host: str, port: int) -> Sequence[AddressInfo]:
        """Return the prepared answer, or raise it."""
        self.asked.append((host, port))
        assert self.gate.wait(LONG_SECONDS)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def lookups(self, host: str = "reservations.example.com") -> NameLookups:
        """Return the look-ups of a name at this server."""
        return NameLookups(host, 80, self.look_up, lambda: self.now)


@pytest.fixture
def server() -> NameServer:
    """Return a name server."""
    return NameServer()


def test_addresses_are_kept_for_some_seconds(server: NameServer) -> None:
    """One look-up serves the calls of five seconds; then the name is looked up again."""
    lookups = server.lookups()
    assert lookups.addresses(LONG_SECONDS) == [info(1)]
    server.answer = [info(2), info(3)]
    server.now += KEEP_SECONDS - 0.1
    assert lookups.addresses(LONG_SECONDS) == [info(1)]
    assert server.asked == [("reservations.example.com", 80)]
    server.now += 0.2
    assert lookups.addresses(LONG_SECONDS) == [info(2), info(3)]
    assert len(server.asked) == 2


@pytest.mark.parametrize("host", ["192.0.2.1", "::1", "fe80::1%lo"])
def test_an_address_is_looked_up_once(server: NameServer, host: str) -> None:
    """An IP address needs no name server, and no thread."""
    lookups = server.lookups(host)
    for _ in range(3):
        server.now += 10 * KEEP_SECONDS
        assert lookups.addresses(0) == [info(1)]
    assert server.asked == [(host, 80)]


@pytest.mark.parametrize("failure", [OSError("no such name"), UnicodeError("label too long")])
def test_a_name_without_addresses(server: NameServer, failure: Exception) -> None:
    """A failed look-up is an error, and the next call looks the name up again."""
    server.answer = failure
    lookups = server.lookups()
    with pytest.raises(OSError, match=f"cannot look up reservations.example.com: {failure}"):
        lookups.addresses(LONG_SECONDS)
    server.answer = []
    with pytest.raises(OSError, match="reservations"):
        lookups.addresses(LONG_SECONDS)
    server.answer = [info(2)]
    assert lookups.addresses(LONG_SECONDS) == [info(2)]


@pytest.mark.parametrize("answer", [OSError("no such name"), []])
def test_the_last_addresses_are_used_if_a_look_up_fails(
    server: NameServer, answer: Sequence[AddressInfo] | Exception
) -> None:
    """A name server that fails for some time stops no call."""
    lookups = server.lookups()
    lookups.addresses(LONG_SECONDS)
    server.answer = answer
    server.now += 10 * KEEP_SECONDS
    assert lookups.addresses(LONG_SECONDS) == [info(1)]
    assert len(server.asked) == 2


def test_the_last_addresses_are_used_while_a_look_up_hangs(server: NameServer) -> None:
    """A call waits only briefly; its look-up goes on, and later calls use what it finds."""
    lookups = server.lookups()
    lookups.addresses(LONG_SECONDS)
    server.now += 10 * KEEP_SECONDS
    server.gate.clear()
    server.answer = [info(2)]
    for _ in range(3):
        assert lookups.addresses(LONG_SECONDS) == [info(1)]
    assert len(server.asked) == 2, "one look-up runs at a time"
    server.gate.set()
    _until_over()
    assert lookups.addresses(LONG_SECONDS) == [info(2)]
    assert len(server.asked) == 2


def test_the_first_look_up_may_take_no_longer_than_the_call(server: NameServer) -> None:
    """Without older addresses, the call ends at its own deadline."""
    server.gate.clear()
    lookups = server.lookups()
    with pytest.raises(TimeoutError, match=r"the look-up of reservations\.example\.com takes"):
        lookups.addresses(0.01)
    server.gate.set()
    _until_over()
    assert lookups.addresses(0.01) == [info(1)]
    assert len(server.asked) == 1


def test_many_calls_share_one_look_up(server: NameServer) -> None:
    """Calls that come during a look-up wait for the same one."""
    server.gate.clear()
    lookups = server.lookups()
    with ThreadPoolExecutor(8) as executor:
        waiting = [executor.submit(lookups.addresses, LONG_SECONDS) for _ in range(8)]
        server.gate.set()
        assert [each.result() for each in waiting] == [[info(1)]] * 8
    assert len(server.asked) == 1


def test_the_look_up_of_the_system() -> None:
    """The addresses have what a socket needs."""
    found = look_up("localhost", 80)
    assert any(address[:2] == ("127.0.0.1", 80) for _, _, _, address in found)
    with pytest.raises(socket.gaierror):
        look_up("no-such-host.invalid", 80)


def _until_over() -> None:
    for thread in threading.enumerate():
        if thread.name == "name-look-up":
            thread.join(LONG_SECONDS)
