"""The locks of rooms and conferences."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from jicofo_reservation_proxy.ledger.room_locks import LocalLocks

from tests.unit.ledgers import LONG_SECONDS, together


@pytest.fixture
def locks() -> LocalLocks:
    """Return locks that nobody holds."""
    return LocalLocks()


def is_free(locks: LocalLocks, key: str, within_seconds: float = 0) -> bool:
    """Return whether another thread gets a lock within this time."""
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(try_it, locks, key, within_seconds).result()


def try_it(locks: LocalLocks, key: str, within_seconds: float) -> bool:
    """Take a lock, and say whether that went well."""
    with locks.hold(key, within_seconds) as is_held:
        return is_held


def test_one_at_a_time(locks: LocalLocks) -> None:
    """Who holds a key keeps the others out, and lets them in afterwards."""
    with locks.hold("room", 0) as is_held:
        assert is_held
        assert not is_free(locks, "room")
        assert not is_free(locks, "room", 0.01)
    assert is_free(locks, "room")


def test_the_same_thread_is_kept_out_too(locks: LocalLocks) -> None:
    """A lock is not taken twice by one thread; failing to does not let go of it."""
    with locks.hold("room", 0):
        with locks.hold("room", 0) as again:
            assert not again
        assert not is_free(locks, "room")


def test_other_keys_are_others(locks: LocalLocks) -> None:
    """What holds for one room does not for the next, nor for a key of another type."""
    with locks.hold("room", 0), locks.hold("other", 0) as other, locks.hold(("room",), 0) as third:
        assert other
        assert third


def test_whoever_waits_gets_it(locks: LocalLocks) -> None:
    """A waiting thread goes on as soon as the lock is free."""
    waits = threading.Event()
    got = threading.Event()

    def wait() -> None:
        waits.set()
        with locks.hold("room", LONG_SECONDS) as is_held:
            assert is_held
            got.set()

    with ThreadPoolExecutor(1) as executor:
        with locks.hold("room", 0):
            waiter = executor.submit(wait)
            assert waits.wait(LONG_SECONDS)
            assert not got.wait(0.02)
        assert got.wait(LONG_SECONDS)
        waiter.result()


def test_a_fault_lets_go(locks: LocalLocks) -> None:
    """What goes wrong inside does not keep the lock."""
    with pytest.raises(KeyError), locks.hold("room", 0):
        raise KeyError
    assert is_free(locks, "room")


def test_nothing_is_left_behind(locks: LocalLocks) -> None:
    """A million rooms later no more is kept than at the start, whoever waited in vain."""
    for number in range(100):
        with locks.hold(number, 0), locks.hold(number, 0):
            assert set(locks._entries) == {number}
    with pytest.raises(KeyError), locks.hold("room", 0):
        raise KeyError
    assert locks._entries == {}


def test_never_two_at_once(locks: LocalLocks) -> None:
    """Threads that all want the same few keys exclude each other, and all get through."""
    inside = {"a": 0, "b": 0, "c": 0}
    passed = []

    def work() -> None:
        for key in [*inside] * 50:
            with locks.hold(key, LONG_SECONDS) as is_held:
                inside[key] += 1
                passed.append(is_held and inside[key] == 1)
                inside[key] -= 1

    together(*[work] * 8)
    assert passed == [True] * 8 * 150
    assert locks._entries == {}
