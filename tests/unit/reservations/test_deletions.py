"""Deletions: what the proxy sends to a backend, and what it does with the outcome."""

import logging
import re

import pytest
from jicofo_reservation_proxy.errors import StateError
from jicofo_reservation_proxy.model import DeleteReason, FaultKind
from jicofo_reservation_proxy.reservations.deletion_delivery import LOOK_SECONDS

from tests.unit.ledgers import LONG_SECONDS, START_MS, abandon, conference, ref
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
    """A deletion has the id, the end and the reason; once delivered, the conference is gone."""
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
    """The proxy also delivers the deletion of an id that the ledger does not know."""
    world.ledger.end(ref("unknown"), START_MS - 5, LONG_SECONDS)
    world.step()
    assert [(call.conference_id, call.delete_time_ms) for call in world.backend.calls] == [
        ("unknown", START_MS - 5)
    ]
    assert world.state("unknown") is None


def test_the_alias_is_forgotten(world: World) -> None:
    """A conference that is gone no longer has an alias."""
    number = world.store.aliases.alias(ref(), LONG_SECONDS)
    world.end()
    world.step()
    assert world.store.aliases.resolve(number) is None


def test_an_alias_that_cannot_be_forgotten(
    world: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A deletion counts as delivered even if the store of the aliases fails."""

    def fail(_: object) -> None:
        raise StateError("the store is away")

    monkeypatch.setattr(world.store.aliases, "forget", fail)
    world.end()
    world.end("8", "kitchen")
    world.step()
    assert world.backend.told == ["7", "8"]
    assert world.ledger.pending("default") == []
    assert "cannot remove the alias of a deleted conference: " in caplog.text


def test_a_backend_without_the_method(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """A deletion counts as delivered if the backend does not support it; one warning is logged."""
    for backend in world.backends:
        world.backends[backend].usual = NO_SUCH_METHOD
        for conference_id in ("7", "8"):
            world.end(conference_id, conference_id, backend)
        world.delivery.step(backend)
        assert world.ledger.pending(backend) == []
    warned = [text for level, text, _ in lines(caplog) if level == logging.WARNING]
    assert warned == [
        f"backends.{backend} does not support deletions; its rooms become free only when"
        " their reservations end"
        for backend in ("default", "other")
    ]


def test_a_backend_that_supports_deletions_again(world: World) -> None:
    """After a backend has acknowledged a deletion, it counts as supporting deletions."""
    world.backend.usual = NO_SUCH_METHOD
    world.end()
    world.step()
    assert world.delivery.deletions.has_no_delete("default")
    world.backend.usual = DONE
    world.end("8", "kitchen")
    world.step()
    assert not world.delivery.deletions.has_no_delete("default")


# -- deletions that the backend does not acknowledge --------------------------------------------


def test_the_log_of_failed_attempts(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """The log has one line for each attempt, with the attempt's number and its fault."""
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


# -- which conferences are deleted --------------------------------------------------------------


def test_a_cancelled_deletion_is_not_sent(world: World) -> None:
    """The proxy sends no deletion for a conference that a client has again."""
    world.backend.usual = BROKEN
    world.end()
    world.step()
    assert world.backend.told == ["7"]
    world.ledger.grant(ref(), "board", conference(), LONG_SECONDS)
    world.delivery.deletions.cancel(ref())
    world.work(100)
    assert not world.attempt(ref())
    assert world.backend.told == []


def test_after_a_cancellation_the_next_deletion_is_due_at_once(world: World) -> None:
    """After a cancellation, the next deletion of the conference is due at once."""
    world.backend.usual = BROKEN
    world.end()
    world.work(60)
    world.ledger.grant(ref(), "board", conference(), LONG_SECONDS)
    world.delivery.deletions.cancel(ref())
    world.delivery.deletions.cancel(ref("unknown"))
    world.backend.calls.clear()
    world.end()
    world.step()
    assert world.backend.told == ["7"]


def test_an_attempt_of_a_request(world: World) -> None:
    """An attempt has the time and incident id of the request, and returns whether it succeeded."""
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
def test_an_attempt_for_an_abandoned_or_gone_conference(world: World, before: str) -> None:
    """A request can send the deletion of an abandoned or gone conference once more."""
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


def test_attempts_for_conferences_that_are_not_over(world: World) -> None:
    """Nothing is sent for an open or unknown conference, or for a removed backend."""
    world.ledger.grant(ref("open"), "board", conference("open"), LONG_SECONDS)
    world.ledger.end(ref("7", "removed"), 5, LONG_SECONDS)
    assert not world.attempt(ref("open"))
    assert not world.attempt(ref("unknown"))
    assert not world.attempt(ref("7", "removed"))
    assert world.backend.calls == []


def test_a_backend_that_was_removed(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """A deletion for a backend that is not in the settings stays pending, and is then abandoned."""
    world.ledger.end(ref("7", "removed"), START_MS, LONG_SECONDS)
    made = world.restarted()
    made.deletions.wake("removed")
    made.step("default")
    assert [record.ref.backend for record in world.ledger.pending("removed")] == ["removed"]
    world.clock.pass_by(GIVE_UP_AFTER.total_seconds() + 1)
    made.step("default")
    assert world.ledger.pending("removed") == []
    assert "deletion abandoned" in caplog.text
