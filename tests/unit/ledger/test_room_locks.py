"""The locks of rooms and conferences."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from jicofo_reservation_proxy.ledger.room_locks import LocalLocks

from tests.unit.ledgers import LONG_SECONDS, together


@pytest.fixture
def locks() -> LocalLocks:
    """Return locks that no thread holds."""
    return LocalLocks()


def is_free(locks: LocalLocks, key: str, within_seconds: float = 0) -> bool:
    """Return whether another thread gets a lock within this time."""
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(try_it, locks, key, within_seconds).result()


def try_it(locks: LocalLocks, key: str, within_seconds: float) -> bool:
    """Try to take a lock; return whether it was taken."""
    with locks.hold(key, within_seconds) as is_held:
        return is_held


def test_one_at_a_time(locks: LocalLocks) -> None:
    """While one thread holds a lock, another thread cannot take it; afterwards it can."""
    with locks.hold("room", 0) as is_held:
        assert is_held
        assert not is_free(locks, "room")
        assert not is_free(locks, "room", 0.01)
    assert is_free(locks, "room")


def test_a_thread_cannot_take_a_lock_twice(locks: LocalLocks) -> None:
    """A thread cannot take a lock twice; the failed attempt does not release the lock."""
    with locks.hold("room", 0):
        with locks.hold("room", 0) as again:
            assert not again
        assert not is_free(locks, "room")


def test_locks_of_different_keys_are_independent(locks: LocalLocks) -> None:
    """The locks of different keys are independent, also if the keys have different types."""
    with locks.hold("room", 0), locks.hold("other", 0) as other, locks.hold(("room",), 0) as third:
        assert other
        assert third


def test_a_waiting_thread_gets_the_lock(locks: LocalLocks) -> None:
    """A waiting thread gets the lock as soon as the lock is free."""
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


def test_an_exception_releases_the_lock(locks: LocalLocks) -> None:
    """An exception inside releases the lock."""
    with pytest.raises(KeyError), locks.hold("room", 0):
        raise KeyError
    assert is_free(locks, "room")


def test_a_released_key_uses_no_memory(locks: LocalLocks) -> None:
    """After a key is released, nothing is kept of it, also if a thread waited without success."""
    for number in range(100):
        with locks.hold(number, 0), locks.hold(number, 0):
            assert set(locks._entries) == {number}
    with pytest.raises(KeyError), locks.hold("room", 0):
        raise KeyError
    assert locks._entries == {}


def test_never_two_at_once(locks: LocalLocks) -> None:
    """Threads that want the same keys exclude each other, and each gets its locks in the end."""
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
