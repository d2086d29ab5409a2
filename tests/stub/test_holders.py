"""Tests of the rows of the holders: which proxies have a conference."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier

import pytest
from jicofo_reservation_stub.store import (
    NO_HOLDER,
    Booking,
    Conference,
    Ending,
    GivenUpError,
    Granted,
    Held,
    Hold,
    Store,
)

from .conftest import FakeClock

LONG_SECONDS = 60


@pytest.fixture
def store(clock: FakeClock) -> Store:
    """Return an empty store on the fake clock."""
    return Store(clock=clock)


@pytest.fixture
def create(store: Store, clock: FakeClock) -> Callable[..., Granted | Held]:
    """Return a function that asks for a room, and fails if the store denies it."""

    def create(
        request_id: str, hold: Hold, room: str = "board", seconds: float | None = None
    ) -> Granted | Held:
        duration = None if seconds is None else timedelta(seconds=seconds)
        booking = Booking(request_id=request_id, room=room, start=clock.now, duration=duration)
        outcome = store.create(booking, hold)
        assert isinstance(outcome, Granted | Held)
        return outcome

    return create


Create = Callable[..., Granted | Held]


@pytest.fixture
def first(create: Create) -> Conference:
    """Return a conference that the holder "a" got with the hold 5."""
    return create("r1", Hold("a", 5)).conference


def test_a_conference_ends_with_its_last_row(
    store: Store, create: Create, first: Conference
) -> None:
    """A grant, a repetition and a conflict add a row; the last row ends the conference."""
    create("r1", Hold("b", 1))
    create("r2", Hold("c", 2))
    create("r3", NO_HOLDER)
    assert store.delete(first.id, Hold("a", 5)) is Ending.RELEASED
    assert store.delete(first.id) is Ending.RELEASED
    assert store.withdraw("board", Hold("b", 3)) is Ending.RELEASED
    assert store.get(first.id) == first
    assert store.delete(first.id, Hold("c", 2)) is Ending.DELETED
    assert store.get(first.id) is None
    assert store._holds == {}


def test_a_row_has_the_greatest_hold(create: Create, first: Conference) -> None:
    """A row has the greatest hold of its holder, and each answer has the hold of the row."""
    assert create("r1", Hold("a", 7)) == Granted(first, 7)
    assert create("r1", Hold("a", 6)) == Granted(first, 7)
    assert create("r2", Hold("a", 9)) == Held(first, 9)
    assert create("r2", Hold("a", 8)) == Held(first, 9)
    assert create("r2", Hold("b", 2)) == Held(first, 2)
    assert create("r2", NO_HOLDER) == Held(first, 0)


@pytest.mark.parametrize("hold", [Hold("a", 4), Hold("b", 9), NO_HOLDER])
def test_what_changes_nothing(store: Store, first: Conference, hold: Hold) -> None:
    """A smaller hold, and a holder without a row, change nothing."""
    assert store.delete(first.id, hold) is Ending.NOT_CHANGED
    assert store.withdraw("board", hold) is Ending.NOT_CHANGED
    assert store.delete(first.id, Hold("a", 5)) is Ending.DELETED


def test_a_withdrawal_for_a_free_room(store: Store, first: Conference) -> None:
    """A withdrawal for a free room changes nothing."""
    assert store.withdraw("hall", Hold("a", 5)) is Ending.UNKNOWN
    assert store.get(first.id) == first


def test_a_withdrawal_that_was_given_up(store: Store, first: Conference) -> None:
    """The store does not carry out a withdrawal whose caller no longer waits."""
    with pytest.raises(GivenUpError):
        store.withdraw("board", Hold("a", 5), lambda: False)
    assert store.get(first.id) == first


def test_no_row_keeps_a_conference_after_its_end(
    store: Store, clock: FakeClock, create: Create
) -> None:
    """A conference ends at its end, whatever rows it has."""
    create("r1", Hold("a", 5), seconds=60)
    clock.advance(seconds=60)
    assert isinstance(create("r2", Hold("b", 1)), Granted)
    assert store._holds.keys() == store._by_id.keys()


def test_simultaneous_releases(store: Store, create: Create) -> None:
    """If all holders release a conference at the same time, it is deleted."""
    holders, rooms = 4, 100
    together = Barrier(holders)

    def hold_and_release(holder: int) -> None:
        for room in range(rooms):
            hold = Hold(str(holder), 1)
            held = create(f"r{room}", hold, room=f"room{room}").conference
            together.wait(LONG_SECONDS)
            store.delete(held.id, hold)

    with ThreadPoolExecutor(holders) as threads:
        for done in [threads.submit(hold_and_release, holder) for holder in range(holders)]:
            done.result(LONG_SECONDS)
    assert len(store) == 0
