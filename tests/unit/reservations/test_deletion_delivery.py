"""Delivery: which deletion comes when, threads, and the end; by a clock that is told to move."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from jicofo_reservation_proxy.ledger.records import RecordState
from jicofo_reservation_proxy.reservations import deletion_delivery
from jicofo_reservation_proxy.reservations.deletion_delivery import (
    BUSY_SECONDS,
    LOOK_SECONDS,
    Delivery,
)
from jicofo_reservation_proxy.reservations.retry_schedule import MANY_REFUSALS, MAX_RETRY_SECONDS

from tests.unit.ledgers import LONG_SECONDS, START_MS, abandon, conference, eventually, ref
from tests.unit.reservations.deliveries import BROKEN, DONE, LATER_MS, NOT_SENT, UNREACHABLE, World

# -- a delivery ---------------------------------------------------------------------------------


def test_nothing_to_deliver(world: World) -> None:
    """What is open, abandoned or unknown is not told, and a thread looks again after a second."""
    world.ledger.grant(ref("open"), "board", conference("open"))
    world.end("abandoned")
    abandon(world.ledger, ref("abandoned"))
    assert world.step() == LOOK_SECONDS
    assert world.backend.calls == []


def test_all_that_is_due_is_told(world: World) -> None:
    """In the order of the ends, each once, and each backend its own."""
    for conference_id in ("c", "a", "b"):
        world.end(conference_id, f"room-{conference_id}")
    world.end("x", "board", "other")
    world.step()
    assert world.backend.told == ["c", "a", "b"]
    assert world.backends["other"].told == []
    world.step()
    world.delivery.step("other")
    assert world.backend.told == []
    assert world.backends["other"].told == ["x"]


# -- what is not taken --------------------------------------------------------------------------


def test_some_that_are_refused_hold_up_no_others(world: World) -> None:
    """As long as a backend takes some, it is told of all."""
    world.backend.usual = BROKEN
    for number in range(MANY_REFUSALS - 1):
        world.end(str(number), f"room{number}")
    world.work(10)
    world.backend.usual = DONE
    world.end("9", "room9")
    world.step()
    assert world.state("9") is None


def test_a_room_s_conferences_are_told_in_order(world: World) -> None:
    """While the end of a room's meeting is not taken, the end of its next one is not told."""
    world.backend.answers["0"] = BROKEN
    for number in range(3):
        world.end(str(number))
    world.end("x", "kitchen")
    world.step()
    assert world.backend.told == ["0", "x"]
    world.work(30)
    assert set(world.backend.told) == {"0"}
    world.backend.answers.clear()
    world.work(MAX_RETRY_SECONDS)
    assert world.backend.told == ["0", "1", "2"]


def test_unknown_rooms_do_not_wait_for_each_other(world: World) -> None:
    """Of ids without a room nobody knows that they belong together."""
    world.backend.answers["0"] = BROKEN
    for number in range(3):
        world.ledger.end(ref(str(number)), START_MS)
    world.step()
    assert world.backend.told == ["0", "1", "2"]


# -- what is over, and what is not --------------------------------------------------------------


def test_what_goes_on_at_the_last_moment(world: World) -> None:
    """Who was given a conference meanwhile keeps it; an abandoned one stays abandoned."""

    def meanwhile(conference_id: str) -> None:
        if conference_id == "0":
            world.ledger.grant(ref("1"), "room1", conference("1"))
            abandon(world.ledger, ref("2"))

    world.backend.meanwhile = meanwhile
    for number in range(4):
        world.end(str(number), f"room{number}")
    assert world.step() == LOOK_SECONDS
    assert world.backend.told == ["0", "3"]
    assert world.state("1") is RecordState.OPEN


def test_what_is_being_asked_for(world: World) -> None:
    """A conference, or a room, that a request works on is not touched; soon it is looked at."""
    for key in (("default", "board"), ref("7")):
        world.end("7")
        world.end("8", "kitchen")
        with world.locks.hold(key, 0):
            assert world.step() == BUSY_SECONDS
            assert world.backend.told == ["8"]
        assert world.step() == LOOK_SECONDS
        assert world.backend.told == ["7"]


def test_never_two_at_once(world: World) -> None:
    """While a backend is told of a conference neither its room nor itself is free."""
    told, may_answer = threading.Event(), threading.Event()

    def hang(_: str) -> None:
        told.set()
        assert may_answer.wait(LONG_SECONDS)

    world.backend.meanwhile = hang
    world.end()
    with ThreadPoolExecutor(1) as executor:
        first = executor.submit(world.step)
        assert told.wait(LONG_SECONDS)
        for key in (("default", "board"), ref()):
            with world.locks.hold(key, 0) as is_free:
                assert not is_free
        assert world.step() == BUSY_SECONDS
        may_answer.set()
        first.result()
    assert world.backend.told == ["7"]
    with world.locks.hold(ref(), 0) as is_free:
        assert is_free


# -- the last deliveries ------------------------------------------------------------------------


def test_at_the_end_everything_is_due(world: World) -> None:
    """When the proxy stops, back-offs do not count; each call has the time that is left."""
    world.backend.usual = BROKEN
    for number in range(3):
        world.end(str(number), f"room{number}")
    world.work(60)
    world.backend.usual = DONE
    world.backend.calls.clear()
    world.delivery.step("default", lambda: world.clock.now + 5)
    assert [call.within_seconds for call in world.backend.calls] == [5, 5, 5]
    assert world.ledger.pending("default") == []


def test_at_the_end_a_pause_does_not_count(world: World) -> None:
    """A backend that was left alone is tried once more."""
    world.backend.usual = UNREACHABLE
    for number in range(3):
        world.end(str(number), f"room{number}")
    world.work(60)
    world.backend.usual = DONE
    world.backend.calls.clear()
    world.delivery.step("default", lambda: world.clock.now + 5)
    assert world.backend.told == ["0", "1", "2"]


def test_at_the_end_an_outage_is_met_once(world: World) -> None:
    """A backend that cannot be asked then does not cost a call for each conference."""
    world.backend.usual = UNREACHABLE
    for number in range(3):
        world.end(str(number), f"room{number}")
    world.delivery.step("default", lambda: world.clock.now + 5)
    assert world.backend.told == ["0"]


def test_at_the_end_a_lasting_outage_is_met_once(world: World) -> None:
    """Also where the backend is in a pause already: stopping takes no longer than one attempt."""
    world.backend.usual = NOT_SENT
    for number in range(5):
        world.end(str(number), f"room{number}")
    world.step()
    before = len(world.backend.calls)
    world.delivery.step("default", lambda: world.clock.now + 60)
    assert len(world.backend.calls) == before + 1


def test_at_the_end_one_conference_holds_up_no_other(world: World) -> None:
    """What a backend refuses stays for the next process; the others are told."""
    world.backend.answers["0"] = BROKEN
    for number in range(3):
        world.end(str(number), f"room{number}")
    world.delivery.step("default", lambda: world.clock.now + 5)
    assert world.backend.told == ["0", "1", "2"]


def test_at_the_end_an_old_pause_does_not_count_either(world: World) -> None:
    """What is refused at the end, after an outage, holds up no other."""
    world.backend.usual = UNREACHABLE
    for number in range(3):
        world.end(str(number), f"room{number}")
    world.work(60)
    world.backend.usual = DONE
    world.backend.answers["0"] = BROKEN
    world.backend.calls.clear()
    world.delivery.step("default", lambda: world.clock.now + 5)
    assert world.backend.told == ["0", "1", "2"]


def test_after_the_end_nothing_is_begun(world: World) -> None:
    """When the time is up no call is made any more."""
    end = world.clock.now + 5
    world.backend.meanwhile = lambda _: world.clock.pass_by(2)
    for number in range(5):
        world.end(str(number), f"room{number}")
    world.delivery.step("default", lambda: end)
    assert [call.within_seconds for call in world.backend.calls] == [5, 3, 1]
    assert [record.ref.conference_id for record in world.ledger.pending("default")] == ["3", "4"]


# -- threads ------------------------------------------------------------------------------------


@contextmanager
def running(world: World, stop_within: float = LONG_SECONDS) -> Iterator[Delivery]:
    """Deliver with threads, by the real clock, until the end."""
    made = world.restarted(time.monotonic)
    made.start()
    try:
        yield made
    finally:
        made.stop(stop_within)


def test_it_is_delivered_at_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that is woken delivers; nobody waits until it looks by itself."""
    monkeypatch.setattr(deletion_delivery, "LOOK_SECONDS", 3600)
    with running(world) as made:
        for number in range(3):
            world.end(str(number))
            made.deletions.wake("default")
            eventually(lambda: not world.ledger.pending("default"))
    assert world.backend.told == ["0", "1", "2"]


def test_what_a_restart_left_is_delivered(world: World) -> None:
    """A thread delivers when it starts, without being woken."""
    world.end()
    with running(world):
        eventually(lambda: bool(world.backend.calls))
    assert world.backend.told == ["7"]


def test_it_looks_by_itself(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What expires wakes nobody; a thread finds it, and wakes that of its backend."""
    monkeypatch.setattr(deletion_delivery, "LOOK_SECONDS", 0.01)
    world.ledger.grant(ref(), "board", conference())
    world.ledger.grant(ref("x", "other"), "board", conference("x"))
    with running(world):
        world.clock.now_ms = LATER_MS
        eventually(lambda: all(backend.calls for backend in world.backends.values()))


def test_a_backend_that_hangs_holds_up_no_other(world: World) -> None:
    """Each backend has a thread of its own."""
    told, may_answer = threading.Event(), threading.Event()

    def hang(_: str) -> None:
        told.set()
        assert may_answer.wait(LONG_SECONDS)

    world.backend.meanwhile = hang
    with running(world) as made:
        try:
            world.end()
            made.deletions.wake("default")
            assert told.wait(LONG_SECONDS)
            world.end("x", "board", "other")
            made.deletions.wake("other")
            eventually(lambda: not world.ledger.pending("other"))
            assert world.state() is RecordState.PENDING
        finally:
            may_answer.set()
    assert world.state() is None


def test_stopping_delivers_the_rest(world: World) -> None:
    """What waits for its next try is tried at the end, and no thread is left."""
    with running(world) as made:
        world.backend.usual = BROKEN
        for number in range(3):
            world.end(str(number), f"room{number}")
        made.deletions.wake("default")
        eventually(lambda: len(world.backend.calls) >= 3)
        world.backend.usual = DONE
    assert world.ledger.pending("default") == []
    assert not [thread for thread in threading.enumerate() if "delivery" in thread.name]
    made.deletions.wake("default")
    made.stop(0)


def test_stopping_in_time(world: World) -> None:
    """A backend that hangs does not keep the proxy from ending, nor the others from their rest."""
    told, may_answer = threading.Event(), threading.Event()

    def hang(_: str) -> None:
        told.set()
        assert may_answer.wait(6 * LONG_SECONDS)

    world.backend.meanwhile = hang
    made = world.restarted(time.monotonic)
    made.start()
    try:
        world.end()
        made.deletions.wake("default")
        assert told.wait(LONG_SECONDS)
        world.end("x", "board", "other")
        started = time.monotonic()
        made.stop(0.2)
        assert time.monotonic() - started < LONG_SECONDS
        assert world.ledger.pending("other") == []
        assert world.state() is RecordState.PENDING
    finally:
        may_answer.set()


def test_a_mistake_does_not_end_the_deliveries(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """A fault of the proxy itself is logged, and the thread goes on when it is woken."""

    def fail(_: str) -> None:
        world.backend.meanwhile = lambda _: None
        raise RuntimeError

    world.backend.meanwhile = fail
    with running(world) as made:
        world.end()
        made.deletions.wake("default")
        eventually(lambda: "a fault of the proxy in the delivery to default" in caplog.text)
        made.deletions.wake("default")
        eventually(lambda: world.state() is None)
    with world.locks.hold(ref(), 0) as is_free:
        assert is_free


def test_before_the_start_nobody_is_woken(world: World) -> None:
    """A delivery without threads takes note, and does nothing."""
    world.end()
    world.delivery.deletions.wake("default")
    world.delivery.stop(1)
    assert world.backend.calls == []
