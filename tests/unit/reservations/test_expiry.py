"""Expiry: conferences that are over without a DELETE, and deletions that are abandoned."""

import logging
from datetime import timedelta

import pytest
from jicofo_reservation_proxy.ledger.records import Record, RecordState
from jicofo_reservation_proxy.model import DeleteReason, FaultKind
from jicofo_reservation_proxy.reservations.deletion_delivery import SETTLING_SECONDS

from tests.unit.ledgers import LONG_SECONDS, conference, ref
from tests.unit.reservations.deliveries import (
    BROKEN,
    END_MS,
    EXPIRE_AFTER,
    GIVE_UP_AFTER,
    LATER_MS,
    World,
    failed,
    lines,
    new_delivery,
)


def test_a_conference_that_ends_without_a_delete_expires(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """A conference expires `expire_after` after its end; its deletion has that end as its time."""
    caplog.set_level(logging.INFO)
    world.ledger.grant(ref(), "board", conference(), LONG_SECONDS)
    world.clock.now_ms = END_MS + EXPIRE_AFTER // timedelta(milliseconds=1)
    world.step()
    assert world.backend.calls == []
    world.clock.now_ms += 1
    world.step()
    (call,) = world.backend.calls
    assert (call.reason, call.delete_time_ms) == (DeleteReason.EXPIRED, END_MS)
    assert world.deliveries("expired", "delivered") == 1
    assert lines(caplog)[0] == (logging.INFO, "expired", {"id": "default.7", "room": "board"})


def test_expired_conferences_of_another_backend(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread that finds an expired conference of another backend wakes that backend's thread."""
    world.ledger.grant(ref("x", "other"), "board", conference("x"), LONG_SECONDS)
    world.clock.now_ms = LATER_MS
    woken: list[str] = []
    monkeypatch.setattr(world.delivery._schedule, "wake", woken.append)
    world.step()
    assert woken == ["other"]
    assert world.backend.calls == []
    assert [record.ref for record in world.ledger.pending("other")] == [ref("x", "other")]
    world.delivery.step("other")
    assert world.backends["other"].told == ["x"]


def test_an_old_deletion_is_abandoned(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """A deletion that was not acknowledged for days is abandoned; the log has an error."""
    world.backend.usual = failed(FaultKind.SLOW)
    world.end()
    world.step()
    world.clock.pass_by(GIVE_UP_AFTER.total_seconds())
    world.step()
    assert world.state() is RecordState.PENDING
    assert world.delivery.deletions.is_uncertain(ref())
    world.backend.calls.clear()
    world.clock.pass_by(1)
    world.step()
    assert world.backend.calls == []
    assert world.state() is RecordState.ABANDONED
    assert world.ledger.counts[RecordState.ABANDONED] == 1
    assert not world.delivery.deletions.is_uncertain(ref())
    assert lines(caplog)[-1] == (
        logging.ERROR,
        "deletion abandoned",
        {"id": "default.7", "room": "board"},
    )


@pytest.mark.parametrize("days", [1, 100])
def test_no_deletion_is_abandoned_without_an_attempt(world: World, days: int) -> None:
    """The proxy makes at least one attempt at a deletion, however old the deletion is."""
    patient = new_delivery(
        world.store,
        world.metrics,
        world.backends,
        world.clock,
        expire_after=GIVE_UP_AFTER if days == 1 else EXPIRE_AFTER,
    )
    world.ledger.grant(ref(), "board", conference(), LONG_SECONDS)
    for _ in range(10):
        world.clock.pass_by(days * 86400)
        patient.step("default")
    assert world.backend.told == ["7"]


def test_expired_conferences_are_not_abandoned_earlier(world: World) -> None:
    """The time until a deletion is abandoned begins when it is first due, not at the end."""
    world.backend.usual = BROKEN
    world.ledger.grant(ref(), "board", conference(), LONG_SECONDS)
    world.clock.now_ms = END_MS + EXPIRE_AFTER // timedelta(milliseconds=1) + 1
    world.step()
    assert world.backend.told == ["7"]
    world.clock.pass_by(GIVE_UP_AFTER.total_seconds() - 1)
    world.step()
    assert world.state() is RecordState.PENDING
    world.clock.pass_by(2)
    world.step()
    assert world.state() is RecordState.ABANDONED


def test_a_deletion_that_was_promised_again_is_not_abandoned(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A deletion is not abandoned if its conference was granted and ended again meanwhile."""
    world.backend.usual = BROKEN
    world.end()
    world.step()
    world.clock.pass_by((GIVE_UP_AFTER + timedelta(seconds=1)).total_seconds())
    (old,) = world.ledger.pending("default")
    abandon = world.ledger.abandon

    def promised_anew(record: Record) -> bool:
        world.ledger.grant(ref(), "board", conference(), LONG_SECONDS)
        world.ledger.end(ref(), world.clock.now_ms, LONG_SECONDS)
        return abandon(record)

    monkeypatch.setattr(world.ledger, "abandon", promised_anew)
    world.step()
    assert not abandon(old)
    assert world.state() is RecordState.PENDING
    assert world.delivery.deletions.is_uncertain(ref())
    assert "deletion abandoned" not in caplog.text


def test_nothing_expires_and_nothing_is_abandoned_while_the_time_is_in_doubt(world: World) -> None:
    """A clock that jumps eight days ahead for some seconds ends no meeting."""
    world.backend.usual = BROKEN
    world.end()
    world.ledger.grant(ref("8"), "kitchen", conference("8"), LONG_SECONDS)
    doubts = [True]
    store = world.store
    delivery = new_delivery(
        store, world.metrics, world.backends, world.clock, is_in_doubt=lambda: doubts[0]
    )
    world.clock.pass_by(SETTLING_SECONDS)
    delivery.step("default")
    world.clock.now_ms += GIVE_UP_AFTER // timedelta(milliseconds=1) + 86_400_000
    delivery.step("default")
    assert world.state("7") is RecordState.PENDING
    assert world.state("8") is RecordState.OPEN
    doubts[0] = False
    delivery.step("default")
    assert world.state("7") is RecordState.ABANDONED
    assert world.state("8") is RecordState.PENDING


def test_nothing_is_abandoned_in_the_first_ten_minutes(world: World) -> None:
    """After a start, no deletion is abandoned for ten minutes, because the clock may be wrong."""
    world.backend.usual = BROKEN
    world.end()
    world.clock.now_ms += GIVE_UP_AFTER // timedelta(milliseconds=1) + 1000
    delivery = world.restarted()
    delivery.step("default")
    world.clock.pass_by(SETTLING_SECONDS - 1)
    delivery.step("default")
    assert world.state() is RecordState.PENDING
    world.clock.pass_by(1)
    delivery.step("default")
    assert world.state() is RecordState.ABANDONED
