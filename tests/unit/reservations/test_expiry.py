"""Expiry: what is over without a DELETE, and what is abandoned."""

import logging
from datetime import timedelta

import pytest
from jicofo_reservation_proxy.ledger.ledger import Store
from jicofo_reservation_proxy.ledger.records import Record, RecordState
from jicofo_reservation_proxy.model import DeleteReason, FaultKind

from tests.unit.ledgers import conference, ref
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


def test_an_end_that_nobody_said(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Some time after its end a conference is over, since its end, and the backend is told why."""
    caplog.set_level(logging.INFO)
    world.ledger.grant(ref(), "board", conference())
    world.clock.now_ms = END_MS + EXPIRE_AFTER // timedelta(milliseconds=1)
    world.step()
    assert world.backend.calls == []
    world.clock.now_ms += 1
    world.step()
    (call,) = world.backend.calls
    assert (call.reason, call.delete_time_ms) == (DeleteReason.EXPIRED, END_MS)
    assert world.deliveries("expired", "delivered") == 1
    assert lines(caplog)[0] == (logging.INFO, "expired", {"id": "default.7", "room": "board"})


def test_expired_ones_of_another_backend(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever thread sees that a conference has expired, its own backend is told."""
    world.ledger.grant(ref("x", "other"), "board", conference("x"))
    world.clock.now_ms = LATER_MS
    woken: list[str] = []
    monkeypatch.setattr(world.delivery._schedule, "wake", woken.append)
    world.step()
    assert woken == ["other"]
    assert world.backend.calls == []
    assert [record.ref for record in world.ledger.pending("other")] == [ref("x", "other")]
    world.delivery.step("other")
    assert world.backends["other"].told == ["x"]


def test_giving_up(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """What was not taken for days is tried no more; that is an error, with all that is known."""
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
def test_nothing_is_given_up_untried(world: World, days: int) -> None:
    """However late it is noticed that a conference is over, its backend is told at least once."""
    patient = new_delivery(
        Store(world.ledger, world.aliases, world.locks),
        world.metrics,
        world.backends,
        world.clock,
        expire_after=GIVE_UP_AFTER if days == 1 else EXPIRE_AFTER,
    )
    world.ledger.grant(ref(), "board", conference())
    for _ in range(10):
        world.clock.pass_by(days * 86400)
        patient.step("default")
    assert world.backend.told == ["7"]


def test_an_expired_one_has_as_long_as_every_other(world: World) -> None:
    """The time in which it is tried begins when it is first due, not at its end."""
    world.backend.usual = BROKEN
    world.ledger.grant(ref(), "board", conference())
    world.clock.now_ms = END_MS + EXPIRE_AFTER // timedelta(milliseconds=1) + 1
    world.step()
    assert world.backend.told == ["7"]
    world.clock.pass_by(GIVE_UP_AFTER.total_seconds() - 1)
    world.step()
    assert world.state() is RecordState.PENDING
    world.clock.pass_by(2)
    world.step()
    assert world.state() is RecordState.ABANDONED


def test_what_was_promised_anew_is_not_given_up(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A deletion that was looked at, and promised anew before it was given up, stays uncertain."""
    world.backend.usual = BROKEN
    world.end()
    world.step()
    world.clock.pass_by((GIVE_UP_AFTER + timedelta(seconds=1)).total_seconds())
    (old,) = world.ledger.pending("default")
    abandon = world.ledger.abandon

    def promised_anew(record: Record) -> bool:
        world.ledger.grant(ref(), "board", conference())
        world.ledger.end(ref(), world.clock.now_ms)
        return abandon(record)

    monkeypatch.setattr(world.ledger, "abandon", promised_anew)
    world.step()
    assert not abandon(old)
    assert world.state() is RecordState.PENDING
    assert world.delivery.deletions.is_uncertain(ref())
    assert "deletion abandoned" not in caplog.text
