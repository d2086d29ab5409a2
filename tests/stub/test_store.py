"""The store, without gRPC."""

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
    """Return a booking that starts now."""
    duration = None if seconds is None else timedelta(seconds=seconds)
    return Booking(request_id=request_id, room=room, start=clock.now, duration=duration)


def granted(store: Store, wanted: Booking) -> Conference:
    """Return the conference that the store grants."""
    outcome = store.create(wanted)
    assert isinstance(outcome, Granted)
    return outcome.conference


@pytest.fixture
def store(clock: FakeClock) -> Store:
    """Return an empty store on the fake clock."""
    return Store(clock=clock)


def test_same_request_gets_its_conference_again(store: Store, clock: FakeClock) -> None:
    """While its conference exists, a request is answered with it."""
    first = granted(store, booking(clock, "r1", "board"))
    assert granted(store, booking(clock, "r1", "board")) == first
    assert len(store) == 1


def test_another_request_meets_the_holder(store: Store, clock: FakeClock) -> None:
    """A room that is held is not granted to another request."""
    first = granted(store, booking(clock, "r1", "board"))
    assert store.create(booking(clock, "r2", "board")) == Held(first)
    assert store.create(booking(clock, "r3", "Board")) != Held(first)


def test_a_repeat_that_names_another_room_still_gets_its_conference(
    store: Store, clock: FakeClock
) -> None:
    """The request's id decides, not the room: its conference exists."""
    first = granted(store, booking(clock, "r1", "board"))
    assert granted(store, booking(clock, "r1", "hall")) == first


def test_deleted_request_is_a_new_one(store: Store, clock: FakeClock) -> None:
    """After its conference is deleted, the same request creates another, with another id."""
    first = granted(store, booking(clock, "r1", "board"))
    assert store.delete(first.id)
    assert store.get(first.id) is None
    second = granted(store, booking(clock, "r1", "board"))
    assert second.id != first.id


def test_delete_takes_only_the_named_conference(store: Store, clock: FakeClock) -> None:
    """A second deletion of an id leaves the later conference of its room alone."""
    first = granted(store, booking(clock, "r1", "board"))
    store.delete(first.id)
    second = granted(store, booking(clock, "r2", "board"))
    assert not store.delete(first.id)
    assert store.get(second.id) == second


def test_a_conference_ends_with_its_duration(store: Store, clock: FakeClock) -> None:
    """To the moment: it exists until start + duration, and from then on it does not."""
    first = granted(store, booking(clock, "r1", "board", seconds=60))
    clock.advance(seconds=59.999)
    assert store.get(first.id) == first
    clock.advance(seconds=0.001)
    assert store.get(first.id) is None
    assert len(store) == 0
    assert not store.delete(first.id)


def test_over_request_and_room_are_free(store: Store, clock: FakeClock) -> None:
    """When a conference is over, its request is new, and its room is free for others."""
    first = granted(store, booking(clock, "r1", "board", seconds=60))
    clock.advance(minutes=1)
    second = granted(store, booking(clock, "r1", "board", seconds=60))
    assert second.id != first.id
    clock.advance(minutes=1)
    assert granted(store, booking(clock, "r2", "board")).id not in {first.id, second.id}


def test_a_deletion_that_was_given_up_deletes_nothing(store: Store, clock: FakeClock) -> None:
    """Whether it is wanted is asked while nobody can be granted anything."""
    conference = granted(store, booking(clock, "r1", "board"))
    asked = []

    def is_wanted() -> bool:
        asked.append(store._lock.locked())
        return False

    with pytest.raises(GivenUpError):
        store.delete(conference.id, is_wanted)
    assert asked == [True]
    assert store.get(conference.id) == conference


def test_no_limit_stays_until_deleted(store: Store, clock: FakeClock) -> None:
    """A conference without duration does not end by itself."""
    first = granted(store, booking(clock, "r1", "board"))
    clock.advance(days=36500)
    assert store.get(first.id) == first


def test_a_booking_of_the_past_is_not_held(store: Store, clock: FakeClock) -> None:
    """What is over before it is made holds no room."""
    wanted = booking(clock, "r1", "board", seconds=60)
    clock.advance(minutes=1)
    assert store.create(wanted) == TooLate()
    assert len(store) == 0


def test_an_end_beyond_the_calendar_is_no_trouble(store: Store, clock: FakeClock) -> None:
    """A duration of 10,000 years is as good as any."""
    first = granted(store, booking(clock, "r1", "board", seconds=315_576_000_000))
    assert store.get(first.id) == first


def test_a_full_store_refuses_new_ones_only(clock: FakeClock) -> None:
    """At its maximum, the store still answers repeats and conflicts, and deletes."""
    store = Store(max_conferences=1, clock=clock)
    first = granted(store, booking(clock, "r1", "board"))
    with pytest.raises(StoreFullError, match="holds 1 conferences, which is its maximum"):
        store.create(booking(clock, "r2", "hall"))
    assert granted(store, booking(clock, "r1", "board")) == first
    assert store.create(booking(clock, "r2", "board")) == Held(first)
    store.delete(first.id)
    granted(store, booking(clock, "r2", "hall"))


def test_a_full_store_drops_what_is_over(clock: FakeClock) -> None:
    """Conferences that nobody asks for again do not fill the store for ever."""
    store = Store(max_conferences=3, clock=clock)
    for number, seconds in enumerate((60, 60, None)):
        granted(store, booking(clock, f"r{number}", f"room{number}", seconds))
    clock.advance(minutes=1)
    granted(store, booking(clock, "r9", "room9"))
    assert len(store) == 2


class MeetingIds(Iterator[str]):
    """Ids that are handed out to two threads together, if two come at the same time."""

    def __init__(self) -> None:
        self._meeting = threading.Barrier(2)
        self._numbers = count(1)

    def __next__(self) -> str:
        """Wait a moment for the other thread."""
        with suppress(threading.BrokenBarrierError):
            self._meeting.wait(timeout=0.2)
        return str(next(self._numbers))


def test_nobody_gets_between_the_look_and_the_grant(clock: FakeClock) -> None:
    """A second request waits until the first one's conference is there to be seen."""
    store = Store(clock=clock, ids=MeetingIds())
    wanted = [booking(clock, f"r{number}", "board") for number in range(2)]
    with ThreadPoolExecutor(2) as threads:
        outcomes = list(threads.map(store.create, wanted))
    assert {type(outcome) for outcome in outcomes} == {Granted, Held}
    assert len(store) == 1


def test_of_many_calls_one_gets_the_room(clock: FakeClock) -> None:
    """At most one of several requests for a room at the same time is granted."""
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
    """A booking can be logged."""
    secret = Booking(request_id="r1", room="board", start=clock.now, password="hunter2")
    assert "hunter2" not in repr(Granted(Conference("1", secret)))


def test_ids_are_numbers_that_every_client_can_bear() -> None:
    """14 digits at most, below 90000000000000 until the year 2255."""
    latest_ns = 8_999_999_999 * 10**9
    assert next(clock_ids(lambda: latest_ns)) == "89999999990000"
    (now_id,) = islice(clock_ids(), 1)
    assert now_id.isascii()
    assert now_id.isdecimal()
    assert 1 <= int(now_id) <= 99_999_999_999_999


def test_ids_rise_also_when_the_clock_does_not() -> None:
    """A clock that stands still or goes back repeats no id."""
    times = iter([10**9, 10**9, 5 * 10**8, 2 * 10**9])
    assert list(islice(clock_ids(lambda: next(times)), 4)) == ["10000", "10001", "10002", "20000"]


def test_ids_go_on_after_a_restart() -> None:
    """A new process starts above the ids of the one before."""
    before = list(islice(clock_ids(lambda: 10**18), 50))
    after = list(islice(clock_ids(lambda: 10**18 + 10**9), 50))
    assert max(map(int, before)) < min(map(int, after))


def test_ids_may_be_any_others(clock: FakeClock) -> None:
    """An iterator of one's own takes the place of the numbers."""
    store = Store(clock=clock, ids=iter(lambda: str(uuid.uuid4()), ""))
    assert uuid.UUID(granted(store, booking(clock, "r1", "board")).id).version == 4


def test_default_clock_is_aware() -> None:
    """Times have a zone."""
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
@settings(max_examples=100, deadline=None)
def test_whatever_happens_the_rules_hold(steps: list[tuple[object, ...]]) -> None:
    """One conference a room and a request, no id twice, nothing that is over is ever shown."""
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
