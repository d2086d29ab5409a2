"""Deletions: what a backend is told, and what comes of it."""

import logging
import re

import pytest
from jicofo_reservation_proxy.model import DeleteReason, FaultKind
from jicofo_reservation_proxy.reservations.deletion_delivery import LOOK_SECONDS

from tests.unit.ledgers import START_MS, abandon, conference, failing_disk, ref
from tests.unit.reservations.deliveries import (
    BROKEN,
    DONE,
    GIVE_UP_AFTER,
    NO_SUCH_METHOD,
    World,
    failed,
    lines,
)

# -- a delivery ---------------------------------------------------------------------------------


def test_a_delivery(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """The backend is told which conference is over, since when and why; then it is gone."""
    caplog.set_level(logging.INFO)
    world.end()
    world.clock.pass_by(3)
    assert world.step() == LOOK_SECONDS
    (call,) = world.backend.calls
    assert (call.conference_id, call.reason) == ("7", DeleteReason.ENDED)
    assert call.delete_time_ms == START_MS
    assert re.fullmatch(r"[0-9a-f]{12}", call.incident_id)
    assert world.state() is None
    assert world.ledger.is_over(ref())
    assert world.deliveries("ended", "delivered") == 1
    fields = {"id": "default.7", "room": "board", "reason": "ended", "code": "OK"}
    assert lines(caplog) == [
        (logging.INFO, "deletion delivered", fields | {"incident": call.incident_id})
    ]


def test_an_unknown_id(world: World) -> None:
    """A DELETE of an id that the ledger never heard of is told, too."""
    world.ledger.end(ref("unknown"), START_MS - 5)
    world.step()
    assert [(call.conference_id, call.delete_time_ms) for call in world.backend.calls] == [
        ("unknown", START_MS - 5)
    ]
    assert world.state("unknown") is None


def test_the_alias_is_forgotten(world: World) -> None:
    """A conference that is gone has no number for Jicofo any more."""
    number = world.aliases.alias(ref())
    world.end()
    world.step()
    assert world.aliases.resolve(number) is None


def test_an_alias_that_cannot_be_forgotten(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """A disk that fails does not make a delivery fail that was done."""
    number = world.aliases.alias(ref())
    world.end()
    world.end("8", "kitchen")
    with failing_disk(world.ledger):
        world.step()
    assert world.backend.told == ["7", "8"]
    assert world.ledger.pending("default") == []
    assert world.aliases.resolve(number) == ref()
    assert "the alias of a deleted conference stays: " in caplog.text


def test_a_backend_without_the_method(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """It counts as told, and the operator is warned, once for each backend."""
    for backend in world.backends:
        world.backends[backend].usual = NO_SUCH_METHOD
        for conference_id in ("7", "8"):
            world.end(conference_id, conference_id, backend)
        world.delivery.step(backend)
        assert world.ledger.pending(backend) == []
    warned = [text for level, text, _ in lines(caplog) if level == logging.WARNING]
    assert warned == [
        f"backends.{backend} deletes no conferences; its rooms are free when their time is over"
        for backend in ("default", "other")
    ]


# -- what is not taken --------------------------------------------------------------------------


def test_what_the_log_says_of_it(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Each attempt is a line, with its number and with what went wrong, on one line."""
    world.backend.usual = failed(FaultKind.BROKEN, "INTERNAL", "a\nb")
    world.end()
    world.work(1.2)
    found = lines(caplog)
    assert [(level, text) for level, text, _ in found] == [
        (logging.WARNING, "deletion pending")
    ] * len(found)
    assert [fields["attempt"] for _, _, fields in found[:2]] == [1, 2]
    assert {name: found[0][2][name] for name in ("code", "fault", "detail", "id", "room")} == {
        "code": "INTERNAL",
        "fault": "broken",
        "detail": "a b",
        "id": "default.7",
        "room": "board",
    }


# -- what is over, and what is not --------------------------------------------------------------


def test_what_goes_on_is_not_told(world: World) -> None:
    """A conference that a client has again is left alone, for good."""
    world.backend.usual = BROKEN
    world.end()
    world.step()
    assert world.backend.told == ["7"]
    world.ledger.grant(ref(), "board", conference())
    world.delivery.deletions.cancel(ref())
    world.work(100)
    assert not world.attempt(ref())
    assert world.backend.told == []


def test_after_a_cancellation_all_begins_anew(world: World) -> None:
    """The next end of a conference is due at once, whatever was tried before."""
    world.backend.usual = BROKEN
    world.end()
    world.work(60)
    world.ledger.grant(ref(), "board", conference())
    world.delivery.deletions.cancel(ref())
    world.delivery.deletions.cancel(ref("unknown"))
    world.backend.calls.clear()
    world.end()
    world.step()
    assert world.backend.told == ["7"]


def test_an_attempt_of_a_request(world: World) -> None:
    """It is told in the time and under the id of the request, and whether it is gone is known."""
    world.end()
    world.backend.usual = BROKEN
    assert not world.attempt(ref(), 2.5)
    world.backend.usual = DONE
    assert world.attempt(ref(), 1.5)
    assert [(call.incident_id, call.within_seconds) for call in world.backend.calls] == [
        ("0123456789ab", 2.5),
        ("0123456789ab", 1.5),
    ]
    assert world.state() is None


@pytest.mark.parametrize("before", ["abandoned", "gone"])
def test_an_attempt_of_what_was_over_long_ago(world: World, before: str) -> None:
    """A backend that still names a conference is told once more."""
    world.end()
    if before == "abandoned":
        abandon(world.ledger, ref())
    else:
        world.step()
        world.backend.calls.clear()
    world.clock.pass_by(5)
    assert world.attempt(ref())
    (call,) = world.backend.calls
    assert call.reason is DeleteReason.ENDED
    assert call.delete_time_ms == START_MS + (0 if before == "abandoned" else 5000)


def test_attempts_of_what_is_not_over(world: World) -> None:
    """What is open or unknown, or of a backend that is no more, is left alone."""
    world.ledger.grant(ref("open"), "board", conference("open"))
    world.ledger.end(ref("7", "removed"), 5)
    assert not world.attempt(ref("open"))
    assert not world.attempt(ref("unknown"))
    assert not world.attempt(ref("7", "removed"))
    assert world.backend.calls == []


def test_a_backend_that_is_no_more(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """What was ended for a backend that the settings do not have waits, and is given up at last."""
    world.ledger.end(ref("7", "removed"), START_MS)
    made = world.restarted()
    made.deletions.wake("removed")
    made.step("default")
    assert [record.ref.backend for record in world.ledger.pending("removed")] == ["removed"]
    world.clock.pass_by(GIVE_UP_AFTER.total_seconds() + 1)
    made.step("default")
    assert world.ledger.pending("removed") == []
    assert "deletion abandoned" in caplog.text
