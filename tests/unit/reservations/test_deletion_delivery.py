"""Delivery: when each deletion is sent, the shutdown, and the threads. The tests move the clock."""

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
from jicofo_reservation_proxy.reservations.retry_schedule import MANY_REJECTIONS, MAX_RETRY_SECONDS

from tests.unit.ledgers import LONG_SECONDS, START_MS, abandon, conference, eventually, ref
from tests.unit.reservations.deliveries import BROKEN, DONE, LATER_MS, NOT_SENT, UNREACHABLE, World

# -- one step -----------------------------------------------------------------------------------


def test_nothing_to_deliver(world: World) -> None:
    """No deletion is sent for an open or abandoned conference; the thread looks again in 1 s."""
    world.ledger.grant(ref("open"), "board", conference("open"), LONG_SECONDS)
    world.end("abandoned")
    abandon(world.ledger, ref("abandoned"))
    assert world.step() == LOOK_SECONDS
    assert world.backend.calls == []


def test_all_due_deletions_are_sent(world: World) -> None:
    """Each backend gets the deletions of its own conferences once, in the order of their ends."""
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


# -- deletions that the backend does not acknowledge --------------------------------------------


def test_refused_deletions_do_not_delay_others(world: World) -> None:
    """A backend that refuses only some deletions still gets all other deletions."""
    world.backend.usual = BROKEN
    for number in range(MANY_REJECTIONS - 1):
        world.end(str(number), f"room{number}")
    world.work(10)
    world.backend.usual = DONE
    world.end("9", "room9")
    world.step()
    assert world.state("9") is None


def test_deletions_of_a_room_are_sent_in_order(world: World) -> None:
    """A room's next deletion is not sent before the backend acknowledges the earlier deletion."""
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
    """Deletions of ids whose room is unknown are sent independently of each other."""
    world.backend.answers["0"] = BROKEN
    for number in range(3):
        world.ledger.end(ref(str(number)), START_MS, LONG_SECONDS)
    world.step()
    assert world.backend.told == ["0", "1", "2"]


# -- which conferences are deleted --------------------------------------------------------------


def test_a_cancellation_during_a_step(world: World) -> None:
    """No deletion is sent if it was cancelled or abandoned during the same step."""

    def meanwhile(conference_id: str) -> None:
        if conference_id == "0":
            world.ledger.grant(ref("1"), "room1", conference("1"), LONG_SECONDS)
            abandon(world.ledger, ref("2"))

    world.backend.meanwhile = meanwhile
    for number in range(4):
        world.end(str(number), f"room{number}")
    assert world.step() == LOOK_SECONDS
    assert world.backend.told == ["0", "3"]
    assert world.state("1") is RecordState.OPEN


def test_a_locked_room_or_conference_is_skipped(world: World) -> None:
    """A locked conference, or one in a locked room, is skipped, and tried again soon."""
    for key in (("default", "board"), ref("7")):
        world.end("7")
        world.end("8", "kitchen")
        with world.store.locks.hold(key, 0):
            assert world.step() == BUSY_SECONDS
            assert world.backend.told == ["8"]
        assert world.step() == LOOK_SECONDS
        assert world.backend.told == ["7"]


def test_never_two_at_once(world: World) -> None:
    """While a deletion is being sent, the locks of its room and of its conference are held."""
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
            with world.store.locks.hold(key, 0) as is_free:
                assert not is_free
        assert world.step() == BUSY_SECONDS
        may_answer.set()
        first.result()
    assert world.backend.told == ["7"]
    with world.store.locks.hold(ref(), 0) as is_free:
        assert is_free


# -- when the proxy stops -----------------------------------------------------------------------


def test_everything_is_due_when_stopping(world: World) -> None:
    """When the proxy stops, it ignores back-offs; each call gets the time that is left."""
    world.backend.usual = BROKEN
    for number in range(3):
        world.end(str(number), f"room{number}")
    world.work(60)
    world.backend.usual = DONE
    world.backend.calls.clear()
    world.delivery.step("default", lambda: world.clock.now + 5)
    assert [call.within_seconds for call in world.backend.calls] == [5, 5, 5]
    assert world.ledger.pending("default") == []


def test_a_pause_is_ignored_when_stopping(world: World) -> None:
    """When the proxy stops, it tries a paused backend once more."""
    world.backend.usual = UNREACHABLE
    for number in range(3):
        world.end(str(number), f"room{number}")
    world.work(60)
    world.backend.usual = DONE
    world.backend.calls.clear()
    world.delivery.step("default", lambda: world.clock.now + 5)
    assert world.backend.told == ["0", "1", "2"]


def test_an_outage_costs_one_attempt_when_stopping(world: World) -> None:
    """When the proxy stops, it makes a single attempt at an unreachable backend."""
    world.backend.usual = UNREACHABLE
    for number in range(3):
        world.end(str(number), f"room{number}")
    world.delivery.step("default", lambda: world.clock.now + 5)
    assert world.backend.told == ["0"]


def test_a_lasting_outage_costs_one_attempt_when_stopping(world: World) -> None:
    """When the proxy stops, it makes a single attempt at a backend that is already paused."""
    world.backend.usual = NOT_SENT
    for number in range(5):
        world.end(str(number), f"room{number}")
    world.step()
    before = len(world.backend.calls)
    world.delivery.step("default", lambda: world.clock.now + 60)
    assert len(world.backend.calls) == before + 1


def test_a_refusal_delays_no_other_deletion_when_stopping(world: World) -> None:
    """When the proxy stops, a refused deletion stays pending; the other deletions are sent."""
    world.backend.answers["0"] = BROKEN
    for number in range(3):
        world.end(str(number), f"room{number}")
    world.delivery.step("default", lambda: world.clock.now + 5)
    assert world.backend.told == ["0", "1", "2"]


def test_a_refusal_after_an_outage_delays_no_other_when_stopping(world: World) -> None:
    """When the proxy stops after an outage, a refused deletion does not delay the others."""
    world.backend.usual = UNREACHABLE
    for number in range(3):
        world.end(str(number), f"room{number}")
    world.work(60)
    world.backend.usual = DONE
    world.backend.answers["0"] = BROKEN
    world.backend.calls.clear()
    world.delivery.step("default", lambda: world.clock.now + 5)
    assert world.backend.told == ["0", "1", "2"]


def test_no_attempt_begins_after_the_time_for_stopping(world: World) -> None:
    """After the time for stopping has passed, the proxy begins no further attempt."""
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
    """Run a delivery with threads and the real clock, and stop it at the end."""
    made = world.restarted(time.monotonic)
    made.start()
    try:
        yield made
    finally:
        made.stop(stop_within)


def test_a_woken_thread_delivers_at_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that is woken delivers at once."""
    monkeypatch.setattr(deletion_delivery, "LOOK_SECONDS", 3600)
    with running(world) as made:
        for number in range(3):
            world.end(str(number))
            made.deletions.wake("default")
            eventually(lambda: not world.ledger.pending("default"))
    assert world.backend.told == ["0", "1", "2"]


def test_deletions_of_an_earlier_process_are_delivered(world: World) -> None:
    """When a thread starts, it delivers the deletions of an earlier process without being woken."""
    world.end()
    with running(world):
        eventually(lambda: bool(world.backend.calls))
    assert world.backend.told == ["7"]


def test_threads_find_expired_conferences(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread finds expired conferences by itself, and wakes the threads of their backends."""
    monkeypatch.setattr(deletion_delivery, "LOOK_SECONDS", 0.01)
    world.ledger.grant(ref(), "board", conference(), LONG_SECONDS)
    world.ledger.grant(ref("x", "other"), "board", conference("x"), LONG_SECONDS)
    with running(world):
        world.clock.now_ms = LATER_MS
        eventually(lambda: all(backend.calls for backend in world.backends.values()))


def test_a_backend_that_hangs_delays_no_other(world: World) -> None:
    """Each backend has its own thread."""
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


def test_stopping_delivers_the_remaining_deletions(world: World) -> None:
    """When the proxy stops, it tries the deletions that wait for a retry; no thread is left."""
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
    """A backend that hangs delays neither the shutdown nor the deletions of other backends."""
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


def test_a_bug_does_not_end_the_thread(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """A bug in the proxy is logged, and the thread delivers again when it is woken."""

    def fail(_: str) -> None:
        world.backend.meanwhile = lambda _: None
        raise RuntimeError

    sentence = "a fault of the proxy in the delivery of deletions to backends.default"
    world.backend.meanwhile = fail
    with running(world) as made:
        world.end()
        made.deletions.wake("default")
        eventually(lambda: sentence in caplog.text)
        made.deletions.wake("default")
        eventually(lambda: world.state() is None)
    with world.store.locks.hold(ref(), 0) as is_free:
        assert is_free


def test_waking_before_the_start_sends_nothing(world: World) -> None:
    """A delivery that was not started sends nothing when it is woken."""
    world.end()
    world.delivery.deletions.wake("default")
    world.delivery.stop(1)
    assert world.backend.calls == []
