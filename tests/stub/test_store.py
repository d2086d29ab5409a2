"""Tests of the store, without gRPC."""

import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from itertools import count, islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jicofo_reservation_stub.store import (
    Booking,
    Conference,
    Ending,
    GivenUpError,
    Granted,
    Held,
    Store,
    StoreFullError,
    TooLate,
    clock_ids,
    utc_now,
)

from .conftest import FakeClock


def booking(clock: FakeClock, request_id: str, room: str, seconds: float | None = None) -> Booking:
    """Return a booking that starts now; without `seconds`, it has no end."""
    duration = None if seconds is None else timedelta(seconds=seconds)
    return Booking(request_id=request_id, room=room, start=clock.now, duration=duration)


def granted(store: Store, wanted: Booking) -> Conference:
    """Create a conference and return it. Fail if the store does not grant it."""
    outcome = store.create(wanted)
    assert isinstance(outcome, Granted)
    return outcome.conference


@pytest.fixture
def store(clock: FakeClock) -> Store:
    """Return an empty store on the fake clock."""
    return Store(clock=clock)


def test_same_request_gets_its_conference_again(store: Store, clock: FakeClock) -> None:
    """A repeated request gets its conference again while that conference exists."""
    first = granted(store, booking(clock, "r1", "board"))
    assert granted(store, booking(clock, "r1", "board")) == first
    assert len(store) == 1


def test_another_request_gets_the_conference_of_the_holder(store: Store, clock: FakeClock) -> None:
    """The store does not grant a held room to another request."""
    first = granted(store, booking(clock, "r1", "board"))
    assert store.create(booking(clock, "r2", "board")) == Held(first)
    assert store.create(booking(clock, "r3", "Board")) != Held(first)


def test_a_repeat_that_names_another_room_still_gets_its_conference(
    store: Store, clock: FakeClock
) -> None:
    """A repeat with the same request id gets its conference, even if it names another room."""
    first = granted(store, booking(clock, "r1", "board"))
    assert granted(store, booking(clock, "r1", "hall")) == first


def test_a_repeat_after_the_deletion_gets_a_new_conference(store: Store, clock: FakeClock) -> None:
    """After a deletion, the same request gets a new conference with a new id."""
    first = granted(store, booking(clock, "r1", "board"))
    assert store.delete(first.id) is Ending.DELETED
    assert store.get(first.id) is None
    second = granted(store, booking(clock, "r1", "board"))
    assert second.id != first.id


def test_delete_affects_only_the_named_conference(store: Store, clock: FakeClock) -> None:
    """A second deletion of an id does not delete the later conference of the room."""
    first = granted(store, booking(clock, "r1", "board"))
    store.delete(first.id)
    second = granted(store, booking(clock, "r2", "board"))
    assert store.delete(first.id) is Ending.UNKNOWN
    assert store.get(second.id) == second


def test_a_conference_ends_with_its_duration(store: Store, clock: FakeClock) -> None:
    """A conference exists until exactly start + duration."""
    first = granted(store, booking(clock, "r1", "board", seconds=60))
    clock.advance(seconds=59.999)
    assert store.get(first.id) == first
    clock.advance(seconds=0.001)
    assert store.get(first.id) is None
    assert len(store) == 0
    assert store.delete(first.id) is Ending.UNKNOWN


def test_request_and_room_are_free_after_the_end(store: Store, clock: FakeClock) -> None:
    """When a conference is over, the same request and other requests get a new conference."""
    first = granted(store, booking(clock, "r1", "board", seconds=60))
    clock.advance(minutes=1)
    second = granted(store, booking(clock, "r1", "board", seconds=60))
    assert second.id != first.id
    clock.advance(minutes=1)
    assert granted(store, booking(clock, "r2", "board")).id not in {first.id, second.id}


def test_a_deletion_that_was_given_up_deletes_nothing(store: Store, clock: FakeClock) -> None:
    """A deletion that the caller gave up deletes nothing; the store checks this under its lock."""
    conference = granted(store, booking(clock, "r1", "board"))
    asked = []

    def is_wanted() -> bool:
        asked.append(store._lock.locked())
        return False

    with pytest.raises(GivenUpError):
        store.delete(conference.id, is_wanted=is_wanted)
    assert asked == [True]
    assert store.get(conference.id) == conference


def test_a_conference_without_a_duration_stays_until_its_deletion(
    store: Store, clock: FakeClock
) -> None:
    """A conference without a duration exists until it is deleted."""
    first = granted(store, booking(clock, "r1", "board"))
    clock.advance(days=36500)
    assert store.get(first.id) == first


def test_a_booking_of_the_past_holds_no_room(store: Store, clock: FakeClock) -> None:
    """A booking whose end has already passed gets TooLate, and holds no room."""
    wanted = booking(clock, "r1", "board", seconds=60)
    clock.advance(minutes=1)
    assert store.create(wanted) == TooLate()
    assert len(store) == 0


def test_a_duration_of_10000_years_is_accepted(store: Store, clock: FakeClock) -> None:
    """The store accepts a duration of 10,000 years, whose end no datetime can hold."""
    first = granted(store, booking(clock, "r1", "board", seconds=315_576_000_000))
    assert store.get(first.id) == first


def test_a_full_store_refuses_only_new_conferences(clock: FakeClock) -> None:
    """A full store refuses new conferences only; it still answers repeats and conflicts."""
    store = Store(max_conferences=1, clock=clock)
    first = granted(store, booking(clock, "r1", "board"))
    with pytest.raises(StoreFullError, match=r"it holds 1 conferences, its maximum number$"):
        store.create(booking(clock, "r2", "hall"))
    assert granted(store, booking(clock, "r1", "board")) == first
    assert store.create(booking(clock, "r2", "board")) == Held(first)
    store.delete(first.id)
    granted(store, booking(clock, "r2", "hall"))


def test_a_full_store_removes_conferences_that_are_over(clock: FakeClock) -> None:
    """A full store removes the conferences that are over, so that it accepts a new conference."""
    store = Store(max_conferences=3, clock=clock)
    for number, seconds in enumerate((60, 60, None)):
        granted(store, booking(clock, f"r{number}", f"room{number}", seconds))
    clock.advance(minutes=1)
    granted(store, booking(clock, "r9", "room9"))
    assert len(store) == 2


class MeetingIds(Iterator[str]):
    """Ids for two threads: if both threads ask at the same time, each waits for the other."""

    def __init__(self) -> None:
        self._meeting = threading.Barrier(2)
        self._numbers = count(1)

    def __next__(self) -> str:
        """Wait for the other thread, at most 0.2 s; return the next number."""
        with suppress(threading.BrokenBarrierError):
            self._meeting.wait(timeout=0.2)
        return str(next(self._numbers))


def test_the_check_and_the_grant_are_one_step(clock: FakeClock) -> None:
    """A second request for a room waits until the store has saved the first conference."""
    store = Store(clock=clock, ids=MeetingIds())
    wanted = [booking(clock, f"r{number}", "board") for number in range(2)]
    with ThreadPoolExecutor(2) as threads:
        outcomes = list(threads.map(store.create, wanted))
    assert {type(outcome) for outcome in outcomes} == {Granted, Held}
    assert len(store) == 1


def test_one_of_two_requests_at_the_same_time_is_granted(clock: FakeClock) -> None:
    """If two requests for a room arrive at the same time, exactly one is granted."""
    store = Store(clock=clock)
    barrier = threading.Barrier(2)

    def ask(thread: int) -> list[bool]:
        barrier.wait(timeout=10)
        outcomes = []
        for number in range(200):
            wanted = booking(clock, f"{thread}-{number}", f"room{number}")
            outcomes.append(isinstance(store.create(wanted), Granted))
        return outcomes

    with ThreadPoolExecutor(2) as threads:
        one, two = threads.map(ask, range(2))
    assert all(a != b for a, b in zip(one, two, strict=True))
    assert len(store) == 200


def test_password_is_not_in_the_repr(clock: FakeClock) -> None:
    """The repr of a booking contains no password."""
    secret = Booking(request_id="r1", room="board", start=clock.now, password="hunter2")
    assert "hunter2" not in repr(Granted(Conference("1", secret)))


def test_ids_are_numbers_that_every_client_accepts() -> None:
    """Ids have at most 14 digits, and stay below 90000000000000 until the year 2255."""
    latest_ns = 8_999_999_999 * 10**9
    assert next(clock_ids(lambda: latest_ns)) == "89999999990000"
    (now_id,) = islice(clock_ids(), 1)
    assert now_id.isascii()
    assert now_id.isdecimal()
    assert 1 <= int(now_id) <= 99_999_999_999_999


def test_ids_rise_also_when_the_clock_does_not() -> None:
    """Ids rise even if the clock stands still or goes back."""
    times = iter([10**9, 10**9, 5 * 10**8, 2 * 10**9])
    assert list(islice(clock_ids(lambda: next(times)), 4)) == ["10000", "10001", "10002", "20000"]


def test_ids_rise_after_a_restart() -> None:
    """The ids of a new process are larger than the ids of the process before."""
    before = list(islice(clock_ids(lambda: 10**18), 50))
    after = list(islice(clock_ids(lambda: 10**18 + 10**9), 50))
    assert max(map(int, before)) < min(map(int, after))


def test_ids_may_come_from_another_iterator(clock: FakeClock) -> None:
    """The caller of Store may pass its own iterator of ids, such as UUIDs."""
    store = Store(clock=clock, ids=iter(lambda: str(uuid.uuid4()), ""))
    assert uuid.UUID(granted(store, booking(clock, "r1", "board")).id).version == 4


def test_default_clock_is_aware() -> None:
    """The default clock returns an aware datetime in UTC."""
    assert utc_now().utcoffset() == timedelta()


STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("create"), st.sampled_from("abcd"), st.sampled_from("xyz"), st.integers(1, 3)
        ),
        st.tuples(st.just("delete"), st.integers(0, 5)),
        st.tuples(st.just("wait"), st.integers(1, 2)),
    ),
    max_size=40,
)


@given(STEPS)
@settings(max_examples=100)
def test_the_rules_hold_after_any_steps(steps: list[tuple[object, ...]]) -> None:
    """After any steps, no stored conference is over, and no two have the same room or request."""
    clock = FakeClock()
    store = Store(clock=clock, max_conferences=2)
    ever: dict[str, Conference] = {}
    for step in steps:
        match step:
            case ("create", str(request_id), str(room), int(seconds)):
                try:
                    outcome = store.create(booking(clock, request_id, room, seconds))
                except StoreFullError:
                    continue
                assert isinstance(outcome, Granted | Held)
                seen = outcome.conference
                assert ever.setdefault(seen.id, seen) == seen
                own = seen.booking.request_id == request_id
                assert own == isinstance(outcome, Granted)
            case ("delete", int(index)):
                for conference_id in list(ever)[index : index + 1]:
                    store.delete(conference_id)
                    assert store.get(conference_id) is None
            case ("wait", int(seconds)):
                clock.advance(seconds=seconds)
        live = [found for found in map(store.get, ever) if found is not None]
        assert not any(found.booking.is_over(clock.now) for found in live)
        assert len({found.booking.room for found in live}) == len(live)
        assert len({found.booking.request_id for found in live}) == len(live)
        assert len(store) == len(live) <= 2
