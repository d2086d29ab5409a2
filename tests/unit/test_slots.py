"""How many may wait for the backends at once."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import pytest
from jicofo_reservation_proxy.slots import STALLED_SECONDS, Slots, slots_in_all

from .ledgers import LONG_SECONDS


class Clock:
    """A clock in seconds, from anywhere."""

    now = 1000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """Return a clock that moves when it is told to."""
    return Clock()


@contextmanager
def taken(slots: Slots, *backends: str) -> Iterator[list[bool]]:
    """Take a slot for each of these, one after the other; yield which there were."""
    with ExitStack() as stack:
        yield [stack.enter_context(slots.take(backend, 0)) for backend in backends]


def test_slots_of_a_backend() -> None:
    """A backend has so many slots and no more, and has them again afterwards."""
    slots = Slots({"a": 2}, 10)
    for _ in range(3):
        with taken(slots, "a", "a", "a") as got:
            assert got == [True, True, False]


def test_one_that_hangs_leaves_the_others_theirs() -> None:
    """A backend whose slots are all taken takes none of another's, nor more of those of all."""
    slots = Slots({"hung": 2, "well": 2}, 4)
    with taken(slots, "hung", "hung", "hung", "hung", "well", "well", "well") as got:
        assert got == [True, True, False, False, True, True, False]


def test_slots_of_all() -> None:
    """All backends together have so many."""
    slots = Slots({"a": 5, "b": 5}, 3)
    for _ in range(3):
        with taken(slots, "a", "b", "a", "b", "a") as got:
            assert got == [True, True, True, False, False]


def test_a_fault_gives_the_slot_back() -> None:
    """What goes wrong inside does not keep the slot."""
    slots = Slots({"a": 1}, 1)
    for _ in range(3):
        with pytest.raises(KeyError), slots.take("a", 0):
            raise KeyError
    with slots.take("a", 0) as got:
        assert got


def test_where_nothing_moves_nobody_waits(clock: Clock) -> None:
    """Who finds all slots taken for a while, and none that came free, is refused at once."""
    slots = Slots({"a": 2}, 10, clock)
    with taken(slots, "a", "a"):
        clock.now += STALLED_SECONDS
        with slots.take("a", 3600) as got:
            assert not got
        with slots.take("a", 3600) as got:
            assert not got
    with slots.take("a", 3600) as got:
        assert got


def test_where_nothing_moves_at_all_nobody_waits(clock: Clock) -> None:
    """The same holds for the slots of all, and no other backend's slot is kept by it."""
    slots = Slots({"a": 2, "b": 1}, 2, clock)
    with taken(slots, "a", "a"):
        clock.now += STALLED_SECONDS
        with slots.take("b", 3600) as got:
            assert not got
    with slots.take("b", 0) as got:
        assert got


@pytest.mark.parametrize("stalled_seconds", [0, STALLED_SECONDS])
def test_a_slot_that_comes_free_is_taken(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, stalled_seconds: float
) -> None:
    """Who waits for a backend that is well gets the next slot at once, however long it idled."""
    monkeypatch.setattr("jicofo_reservation_proxy.slots.STALLED_SECONDS", 5 * LONG_SECONDS)
    slots = Slots({"a": 1}, 1, clock)
    clock.now += stalled_seconds
    asked = threading.Event()

    def wait() -> bool:
        asked.set()
        with slots.take("a", 3 * LONG_SECONDS) as got:
            return got

    with ThreadPoolExecutor(4) as executor:
        with slots.take("a", 0):
            waiters = [executor.submit(wait) for _ in range(4)]
            assert asked.wait(LONG_SECONDS)
        assert [waiter.result(LONG_SECONDS) for waiter in waiters] == [True] * 4


def test_an_idle_backend_has_not_stalled(clock: Clock) -> None:
    """Who comes when the last slot was just taken, after a long silence, waits for it."""
    slots = Slots({"a": 1}, 1, clock)
    clock.now += 2 * STALLED_SECONDS
    asked = threading.Event()

    def wait() -> bool:
        asked.set()
        with slots.take("a", LONG_SECONDS) as got:
            return got

    with ThreadPoolExecutor(1) as executor:
        with slots.take("a", 0):
            waiter = executor.submit(wait)
            assert asked.wait(LONG_SECONDS)
            with pytest.raises(TimeoutError):
                waiter.result(0.02)
        assert waiter.result(LONG_SECONDS)


def test_nobody_waits_longer_than_told() -> None:
    """Where the slots' calls come and go, but none for this one, its time is a limit too."""
    slots = Slots({"a": 1}, 1)
    with slots.take("a", 0), slots.take("a", 0.01) as got:
        assert not got


def test_both_slots_are_waited_for_in_one_time(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who waited for its backend's slot does not wait as long again for the one of all."""
    ends = []

    def take(_: object, until: float) -> bool:
        ends.append(until)
        clock.now += 3
        return True

    monkeypatch.setattr("jicofo_reservation_proxy.slots._Pool.take", take)
    with Slots({"a": 1}, 1, clock).take("a", 12):
        assert ends == [1012, 1012]


def test_many_threads(clock: Clock) -> None:
    """However many come at once, never more than the slots are inside, and all get through."""
    slots = Slots({"a": 3, "b": 3}, 4, clock)
    inside: list[str] = []
    most = []

    def work(backend: str) -> int:
        done = 0
        for _ in range(50):
            with slots.take(backend, LONG_SECONDS) as got:
                done += got
                inside.append(backend)
                most.append((inside.count(backend), len(inside)))
                inside.remove(backend)
        return done

    with ThreadPoolExecutor(12) as executor:
        assert sum(executor.map(work, ["a", "b"] * 6)) == 12 * 50
    assert max(of_one for of_one, _ in most) <= 3
    assert max(of_all for _, of_all in most) <= 4
    with taken(slots, "a", "a", "b", "b") as got:
        assert got == [True] * 4


@pytest.mark.parametrize(
    ("threads", "slots_of_all"), [(1, 1), (2, 2), (3, 3), (4, 3), (8, 6), (64, 48), (1000, 750)]
)
def test_some_threads_wait_for_no_backend(threads: int, slots_of_all: int) -> None:
    """A quarter of the threads is there for DELETEs and refusals, but one may always wait."""
    assert slots_in_all(threads) == slots_of_all
