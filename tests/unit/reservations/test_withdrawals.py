"""Withdrawals: the proxy ends what the backend holds for a create, if no client got it."""

import logging
from contextlib import ExitStack
from datetime import timedelta

import pytest
from jicofo_reservation_proxy.clock import Budget
from jicofo_reservation_proxy.http.dialects import PROSODY
from jicofo_reservation_proxy.ledger.records import RecordState
from jicofo_reservation_proxy.model import (
    ConferenceRef,
    CreateRequest,
    DeleteReason,
    FaultKind,
    Hold,
    Room,
)
from jicofo_reservation_proxy.reservations.context import RoomRequest
from jicofo_reservation_proxy.reservations.retry_schedule import MAX_RETRY_SECONDS
from jicofo_reservation_proxy.reservations.withdrawals import LATE_CREATE_MS, MAX_AT_ONCE

from tests.unit.ledgers import LONG_SECONDS, START_MS, conference, ref
from tests.unit.reservations.deliveries import BROKEN, DONE, UNREACHABLE, World, failed, lines

BACKEND = "default"
LATE_SECONDS = LATE_CREATE_MS // 1000


def asked(world: World, room: str = "board") -> RoomRequest:
    """Return a POST for a room with a new hold."""
    request = CreateRequest("id", Room(room, "", room), None, None, START_MS, None)
    hold = world.store.holds.next()
    return RoomRequest(request, PROSODY, "0123456789ab", BACKEND, Budget(9.0), hold)


def note(world: World, room: str = "board") -> Hold:
    """Note that the create of a POST got no usable answer; return its hold."""
    post = asked(world, room)
    world.delivery.withdrawals.note(post)
    return post.hold


@pytest.fixture(autouse=True)
def keeps_rows(world: World) -> None:
    """Let the proxy know that the backend keeps rows."""
    world.delivery.withdrawals.backend_named(BACKEND, has_row=True)


def rooms(world: World) -> list[str]:
    """Return the rooms of the withdrawals that are noted."""
    return [noted.room for noted in world.store.withdrawals.of(BACKEND)]


def test_a_withdrawal(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """A withdrawal names the room and the hold of the create, and has no conference id."""
    caplog.set_level(logging.INFO)
    hold = note(world)
    world.clock.pass_by(3)
    world.step()
    (call,) = world.backend.calls
    assert (call.conference_id, call.room, call.holds) == ("", "board", (hold,))
    assert (call.reason, call.delete_time_ms) == (DeleteReason.ENDED, START_MS)
    assert world.deliveries("withdrawn", "delivered") == 1
    (line,) = lines(caplog)
    assert line[:2] == (logging.INFO, "withdrawal delivered")
    assert line[2] == {"room": "board", "code": "OK", "incident": call.incident_id}


def test_the_proxy_withdraws_once_more(world: World) -> None:
    """The create may be executed after the first withdrawal, but no later than in ten minutes."""
    note(world)
    world.step()
    world.clock.pass_by(LATE_SECONDS - 1)
    world.step()
    assert len(world.backend.calls) == 1
    world.clock.pass_by(1)
    world.step()
    assert len(world.backend.calls) == 2
    assert rooms(world) == []


def test_a_late_withdrawal_is_sent_once(world: World) -> None:
    """If the first withdrawal comes ten minutes after the create, it is the last one."""
    note(world)
    world.clock.pass_by(LATE_SECONDS)
    world.work(3)
    assert len(world.backend.calls) == 1
    assert rooms(world) == []


def test_a_newer_create_is_withdrawn_with_its_hold(world: World) -> None:
    """The withdrawal has the hold of the newest create of the room, and begins anew."""
    note(world)
    world.step()
    newer = note(world)
    world.step()
    assert [call.holds for call in world.backend.calls][1:] == [(newer,)]
    world.clock.pass_by(LATE_SECONDS)
    world.step()
    assert [call.holds for call in world.backend.calls][2:] == [(newer,)]


def test_an_open_conference_keeps_its_room(world: World) -> None:
    """The proxy withdraws nothing while a client has a conference of the room."""
    world.ledger.grant(ref(), "board", conference(), LONG_SECONDS, hold=1, has_row=True)
    note(world)
    note(world, "kitchen")
    world.step()
    assert [call.room for call in world.backend.calls] == ["kitchen"]
    world.ledger.end(ref(), world.clock.now_ms, LONG_SECONDS)
    world.step()
    assert [call.conference_id for call in world.backend.calls] == ["", "7", ""]


def test_a_fallback_grant_does_not_keep_its_room(world: World) -> None:
    """The backend does not know a fallback grant, so the withdrawal cannot end its meeting."""
    fallback = ConferenceRef(BACKEND, "f", is_fallback=True)
    world.ledger.grant(fallback, "board", conference("f"), LONG_SECONDS)
    note(world)
    world.step()
    assert [call.room for call in world.backend.calls] == ["board"]


@pytest.mark.parametrize("is_first", [True, False])
def test_a_locked_room(world: World, *, is_first: bool) -> None:
    """The proxy withdraws no room for which a POST is in progress."""
    note(world)
    if not is_first:
        world.step()
        world.clock.pass_by(LATE_SECONDS)
    before = len(world.backend.calls)
    with world.store.locks.hold((BACKEND, "board"), 0) as is_free:
        assert is_free
        world.step()
        assert len(world.backend.calls) == before
    world.step()
    assert len(world.backend.calls) == before + 1


def test_a_withdrawal_makes_the_deletions_of_its_room_uncertain(world: World) -> None:
    """The withdrawal may end these conferences, so no room may go on under them."""
    world.backend.answers["7"] = failed(FaultKind.OVERLOADED, code="")
    world.backend.answers["8"] = failed(FaultKind.OVERLOADED, code="")
    world.end("7", "board")
    world.end("8", "kitchen")
    note(world)
    world.step()
    world.work(2 * MAX_RETRY_SECONDS)
    assert "board" in [call.room for call in world.backend.calls]
    assert world.delivery.deletions.is_uncertain(ref("7"))
    assert not world.delivery.deletions.is_uncertain(ref("8"))


def test_a_backend_without_rows(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Such a backend gets no withdrawals; the log says once that it belongs to one proxy."""
    caplog.set_level(logging.INFO)
    note(world)
    world.delivery.withdrawals.backend_named(BACKEND, has_row=False)
    world.delivery.withdrawals.backend_named(BACKEND, has_row=False)
    assert rooms(world) == []
    note(world)
    assert rooms(world) == []
    world.work(3)
    assert world.backend.calls == []
    (line,) = lines(caplog)
    assert line[1] == (
        "backends.default keeps no rows for holders: do not let several proxies ask it for the "
        "same rooms"
    )


def test_replicas_of_two_versions(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """While a backend is upgraded, some of its replicas keep rows; the log has one line."""
    caplog.set_level(logging.INFO)
    for has_row in (False, True) * 10:
        world.delivery.withdrawals.backend_named(BACKEND, has_row=has_row)
    assert len([line for line in caplog.messages if "keeps no rows" in line]) == 1
    note(world)
    world.step()
    assert len(world.backend.calls) == 1


def test_a_backend_that_the_proxy_does_not_know_yet(world: World) -> None:
    """After a restart, the withdrawals wait for the first answer that shows that it keeps rows."""
    note(world)
    restarted = world.restarted()
    restarted.step(BACKEND)
    assert world.backend.calls == []
    assert rooms(world) == ["board"]
    restarted.withdrawals.backend_named(BACKEND, has_row=True)
    restarted.step(BACKEND)
    assert len(world.backend.calls) == 1


def test_a_ledger_in_memory_notes_nothing(world: World) -> None:
    """Without a holder, the backend has no row of this proxy that could be withdrawn."""
    post = asked(world)
    without = RoomRequest(
        post.request, post.dialect, post.incident_id, BACKEND, post.budget, Hold("", 5)
    )
    world.delivery.withdrawals.note(without)
    assert rooms(world) == []


def test_a_failed_withdrawal(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """After a failure, the proxy waits, then tries the other rooms first, and then this one."""
    caplog.set_level(logging.WARNING)
    note(world, "board")
    note(world, "kitchen")
    world.backend.usual = BROKEN
    world.step()
    world.step()
    assert [call.room for call in world.backend.calls] == ["board"]
    assert world.deliveries("withdrawn", "failed") == 1
    ((level, message, fields),) = lines(caplog)
    assert (level, message) == (logging.WARNING, "withdrawal pending")
    assert fields["fault"] == "broken"
    assert fields["detail"] == "why"
    world.backend.usual = DONE
    world.clock.pass_by(1)
    world.step()
    assert [call.room for call in world.backend.calls][1:] == ["kitchen", "board"]


def test_repeated_failures(world: World) -> None:
    """The proxy waits longer after each failure, but at most a minute."""
    note(world)
    world.backend.usual = UNREACHABLE
    world.work(600)
    assert 10 <= len(world.backend.calls) <= 25


def test_a_withdrawal_is_given_up(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """The proxy gives up a withdrawal after `give_up_after`, and logs this as an error."""
    note(world)
    world.backend.usual = BROKEN
    world.clock.pass_by(timedelta(days=7).total_seconds())
    world.step()
    assert rooms(world) == []
    assert lines(caplog)[-1][:2] == (logging.ERROR, "withdrawal abandoned")


def test_a_pending_deletion_comes_first(world: World) -> None:
    """The proxy delivers the deletions of a backend before its withdrawals."""
    note(world)
    world.end("7", "kitchen")
    world.step()
    assert [call.conference_id for call in world.backend.calls] == ["7", ""]


def test_many_withdrawals_do_not_delay_deletions(world: World) -> None:
    """The proxy delivers the pending deletions again after some withdrawals."""
    for number in range(2 * MAX_AT_ONCE + 1):
        note(world, str(number))
    assert world.step() == 0
    world.end("7", "kitchen")
    assert world.step() == 0
    assert world.step() > 0
    told = [call.conference_id for call in world.backend.calls]
    assert told == [""] * MAX_AT_ONCE + ["7"] + [""] * (MAX_AT_ONCE + 1)


def test_locked_rooms_do_not_make_the_thread_spin(world: World) -> None:
    """If the rooms of many withdrawals are locked, the thread waits, and withdraws the others."""
    rooms = [str(number) for number in range(2 * MAX_AT_ONCE)]
    for room in rooms:
        note(world, room)
    with ExitStack() as stack:
        for room in rooms[: MAX_AT_ONCE + 1]:
            assert stack.enter_context(world.store.locks.hold((BACKEND, room), 0))
        assert world.step() > 0
        assert [call.room for call in world.backend.calls] == rooms[MAX_AT_ONCE + 1 :]


def test_a_withdrawal_that_takes_long_is_repeated(world: World) -> None:
    """A withdrawal that began before the ten minutes were over is not the last one."""
    note(world)
    world.clock.pass_by(LATE_SECONDS - 1)
    world.backend.meanwhile = lambda _: world.clock.pass_by(5)
    world.step()
    world.step()
    assert len(world.backend.calls) == 2
    assert world.store.withdrawals.of(BACKEND) == []


def test_the_drain(world: World) -> None:
    """No withdrawal begins after the end of the drain, and none takes longer than it."""
    note(world)
    note(world, "kitchen")
    until = world.clock.now + 5
    world.backend.meanwhile = lambda _: world.clock.pass_by(5)
    world.delivery.step(BACKEND, lambda: until)
    assert [call.within_seconds for call in world.backend.calls] == [5]
    assert rooms(world) == ["board", "kitchen"]
    assert world.ledger.counts[RecordState.OPEN] == 0
