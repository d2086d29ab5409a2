"""The in-flight limits: how many requests may be at the backends at the same time."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import pytest
from jicofo_reservation_proxy.reservations.in_flight_limits import STALLED_SECONDS, InFlightLimits

from tests.unit.ledgers import LONG_SECONDS, eventually


class Clock:
    """A clock in seconds from an arbitrary start."""

    now = 1000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """Return a clock that the test moves."""
    return Clock()


@contextmanager
def taken(limits: InFlightLimits, *backends: str) -> Iterator[list[bool]]:
    """Ask for one place at each of these backends in turn; yield which requests were admitted."""
    with ExitStack() as stack:
        yield [stack.enter_context(limits.admit(backend, 0)) for backend in backends]


def test_the_limit_of_a_backend() -> None:
    """A backend admits requests up to its limit. After these requests, all its places are free."""
    limits = InFlightLimits({"a": 2}, 10)
    for _ in range(3):
        with taken(limits, "a", "a", "a") as got:
            assert got == [True, True, False]


def test_a_full_backend_uses_no_place_of_another() -> None:
    """Requests at a full backend use no reserved place of another backend."""
    limits = InFlightLimits({"hung": 2, "well": 2}, 4)
    with taken(limits, "hung", "hung", "hung", "hung", "well", "well", "well") as got:
        assert got == [True, True, False, False, True, True, False]


def test_the_limit_of_all_backends() -> None:
    """All backends together admit requests up to the total limit."""
    limits = InFlightLimits({"a": 5, "b": 5}, 3)
    for _ in range(3):
        with taken(limits, "a", "b", "a", "b", "a") as got:
            assert got == [True, True, True, False, False]


def test_other_limits_count_the_requests_from_before() -> None:
    """After a change, requests that were admitted before it still have their places."""
    limits = InFlightLimits({"a": 1}, 10)
    with taken(limits, "a", "a") as got:
        assert got == [True, False]
        limits.change({"a": 3, "b": 1}, 10)
        with taken(limits, "a", "a", "a", "b", "b") as more:
            assert more == [True, True, False, True, False]
        limits.change({"a": 1}, 10)
        with taken(limits, "a") as more:
            assert more == [False]
    with taken(limits, "a") as got:
        assert got == [True]


def test_a_higher_limit_lets_a_waiting_request_go_on() -> None:
    """A request that waits for its call is woken when the limit rises."""
    limits = InFlightLimits({"a": 1}, 10, clock=lambda: 0.0)
    admitted = threading.Event()

    def ask() -> None:
        with limits.admit("a", 60) as is_admitted:
            if is_admitted:
                admitted.set()

    with taken(limits, "a"):
        waiting = threading.Thread(target=ask)
        waiting.start()
        eventually(lambda: limits._backends["a"].requests == 2)
        assert not admitted.is_set()
        limits.change({"a": 2}, 10)
        waiting.join()
        assert admitted.is_set()


def test_an_exception_gives_the_place_back() -> None:
    """An exception inside gives the place back."""
    limits = InFlightLimits({"a": 1}, 1)
    for _ in range(3):
        with pytest.raises(KeyError), limits.admit("a", 0):
            raise KeyError
    with limits.admit("a", 0) as got:
        assert got


def test_no_request_waits_for_a_stalled_backend(clock: Clock) -> None:
    """If a backend is full and no call began or ended for a while, a request does not wait."""
    limits = InFlightLimits({"a": 2}, 10, clock)
    with taken(limits, "a", "a"):
        clock.now += STALLED_SECONDS
        with limits.admit("a", 3600) as got:
            assert not got
        with limits.admit("a", 3600) as got:
            assert not got
    with limits.admit("a", 3600) as got:
        assert got


@pytest.mark.parametrize("stalled_seconds", [0, STALLED_SECONDS])
def test_a_free_place_is_taken_at_once(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, stalled_seconds: float
) -> None:
    """A request that waits for a healthy backend is admitted as soon as a call ends."""
    monkeypatch.setattr(
        "jicofo_reservation_proxy.reservations.in_flight_limits.STALLED_SECONDS", 5 * LONG_SECONDS
    )
    limits = InFlightLimits({"a": 4}, 8, clock)
    clock.now += stalled_seconds
    asked = threading.Event()

    def wait() -> bool:
        asked.set()
        with limits.admit("a", 3 * LONG_SECONDS) as got:
            return got

    with ThreadPoolExecutor(4) as executor:
        with taken(limits, "a", "a", "a", "a"):
            waiters = [executor.submit(wait) for _ in range(4)]
            assert asked.wait(LONG_SECONDS)
        assert [waiter.result(LONG_SECONDS) for waiter in waiters] == [True] * 4


def test_an_idle_backend_has_not_stalled(clock: Clock) -> None:
    """A request waits for a call that began just now, even if the backend was idle before."""
    limits = InFlightLimits({"a": 1}, 2, clock)
    clock.now += 2 * STALLED_SECONDS
    asked = threading.Event()

    def wait() -> bool:
        asked.set()
        with limits.admit("a", LONG_SECONDS) as got:
            return got

    with ThreadPoolExecutor(1) as executor:
        with limits.admit("a", 0):
            waiter = executor.submit(wait)
            assert asked.wait(LONG_SECONDS)
            with pytest.raises(TimeoutError):
                waiter.result(0.02)
        assert waiter.result(LONG_SECONDS)


def test_no_request_waits_longer_than_its_own_time() -> None:
    """A request waits no longer than its own time allows."""
    limits = InFlightLimits({"a": 1}, 1)
    with limits.admit("a", 0), limits.admit("a", 0.01) as got:
        assert not got


def test_the_number_of_waiting_requests_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of waiting requests has the same limit as the number of calls."""
    monkeypatch.setattr(
        "jicofo_reservation_proxy.reservations.in_flight_limits.STALLED_SECONDS", 5 * LONG_SECONDS
    )
    limits = InFlightLimits({"slow": 2, "well": 2}, 100)
    outcomes: list[bool] = []

    def wait() -> None:
        with limits.admit("slow", LONG_SECONDS) as got:
            outcomes.append(got)

    with taken(limits, "slow", "slow"):
        waiters = [threading.Thread(target=wait) for _ in range(7)]
        for waiter in waiters:
            waiter.start()
        eventually(lambda: len(outcomes) == 5)
        assert not any(outcomes)
        with limits.admit("well", 0) as got:
            assert got
    for waiter in waiters:
        waiter.join()
    assert sorted(outcomes) == [False] * 5 + [True] * 2


@pytest.mark.parametrize("sick", [1, 2, 3])
def test_every_backend_has_reserved_places(sick: int) -> None:
    """A backend has its reserved places even if other backends hang and use all other places."""
    limits = InFlightLimits(dict.fromkeys("abcd", 32), 48)
    with taken(limits, *"abc"[:sick] * 100) as got, taken(limits, *"d" * 6) as own:
        assert sum(got) <= 48 - 6
        assert own == [True] * 6


def test_fewer_places_than_backends() -> None:
    """Each backend may have one request, even if the total limit is less than their number."""
    limits = InFlightLimits(dict.fromkeys("abc", 32), 1)
    with taken(limits, "a", "b", "c", "a") as got:
        assert got == [True, True, True, False]


def test_many_threads(clock: Clock) -> None:
    """Many threads at once never exceed the limit, and every thread is admitted in the end."""
    limits = InFlightLimits({"a": 3, "b": 3}, 12, clock)
    # The first request of each thread stays inside until three of its backend are inside.
    together = {"a": threading.Barrier(3), "b": threading.Barrier(3)}
    inside: list[str] = []
    most = []

    def work(backend: str) -> int:
        done = 0
        for number in range(50):
            with limits.admit(backend, LONG_SECONDS) as got:
                done += got
                inside.append(backend)
                if number == 0:
                    together[backend].wait(LONG_SECONDS)
                most.append(inside.count(backend))
                inside.remove(backend)
        return done

    with ThreadPoolExecutor(12) as executor:
        assert sum(executor.map(work, ["a", "b"] * 6)) == 12 * 50
    assert max(most) == 3
    with taken(limits, "a", "a", "b", "b") as got:
        assert got == [True] * 4
