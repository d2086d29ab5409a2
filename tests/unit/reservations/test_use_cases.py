"""The use cases with a store that cannot be used: every request still gets an answer."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count

import pytest
from jicofo_reservation_proxy.errors import StateError
from jicofo_reservation_proxy.http.dialects import JICOFO, PROSODY
from jicofo_reservation_proxy.http.forms import parse_create
from jicofo_reservation_proxy.http.owners import guest_test
from jicofo_reservation_proxy.ledger.room_locks import LockKey, Locks
from jicofo_reservation_proxy.ledger.sqlite_ledger import SqliteLedger
from jicofo_reservation_proxy.model import (
    ClientKind,
    Conference,
    ConferenceRef,
    CreateOutcome,
    CreateRequest,
    Deleted,
    DeleteOutcome,
    Deletion,
    Fault,
    FaultKind,
    Found,
    GetOutcome,
    Granted,
    Hold,
    Reservation,
    Result,
)
from jicofo_reservation_proxy.observability.health import Component
from jicofo_reservation_proxy.reservations.deletion_delivery import WORDS, Delivery, _Worker
from jicofo_reservation_proxy.reservations.retry_schedule import RetrySchedule
from jicofo_reservation_proxy.reservations.use_cases import UseCases

from tests.unit.ledgers import (
    FIRST_HOLD,
    LONG_SECONDS,
    START_MS,
    Elsewhere,
    conference,
    eventually,
    ref,
)
from tests.unit.reservations.stage import INCIDENT, NAME, staged

FORM = b"name=board&mail_owner=juliet%40example.com&start_time=2048-04-20T17:55:12.000Z"


class Backend:
    """A backend that grants the conferences 7, 8, ... in turn, and deletes any conference."""

    drops_old_deletions = True

    def __init__(self) -> None:
        self._ids = count(7)
        self.deleted: list[str] = []

    def create(
        self,
        request: CreateRequest,
        client: ClientKind,
        hold: Hold,
        incident_id: str,
        within_seconds: float,
    ) -> Result[CreateOutcome]:
        """Grant the room."""
        del request, client, hold, incident_id, within_seconds
        return Result(Granted(conference(str(next(self._ids)))), "OK")

    def get(
        self, conference_id: str, incident_id: str, within_seconds: float
    ) -> Result[GetOutcome]:
        """Find the conference."""
        del incident_id, within_seconds
        return Result(Found(conference(conference_id)), "OK")

    def delete(
        self, deletion: Deletion, incident_id: str, within_seconds: float
    ) -> Result[DeleteOutcome]:
        """Record the id, and delete the conference."""
        del incident_id, within_seconds
        self.deleted.append(deletion.conference_id)
        return Result(Deleted(), "OK")


@dataclass
class World:
    """The use cases, and the objects that they use."""

    ledger: SqliteLedger
    elsewhere: Elsewhere
    locks: Locks
    backend: Backend
    delivery: Delivery
    use_cases: UseCases


@pytest.fixture
def world() -> Iterator[World]:
    """Return use cases with a store as if in another process."""
    backend = Backend()
    with staged(backend) as stage:
        yield World(
            stage.ledger,
            stage.elsewhere,
            stage.store.locks,
            backend,
            stage.delivery,
            stage.use_cases,
        )


def request() -> CreateRequest:
    """Return the request for a room."""
    parsed = parse_create("application/x-www-form-urlencoded", FORM, guest_test(()))
    assert isinstance(parsed, CreateRequest)
    return parsed


def is_state_fault(reply: object) -> bool:
    """Return whether a reply says that the store cannot be used."""
    return isinstance(reply, Fault) and reply.kind is FaultKind.STATE


def test_a_store_in_another_process(world: World) -> None:
    """With copied records, a room can be opened, read, ended, and opened again."""
    created = world.use_cases.create(request(), PROSODY, INCIDENT)
    assert created.reply == Reservation(f"default.7.{FIRST_HOLD}", conference())
    public_id = f"default.7.{FIRST_HOLD}"
    assert world.use_cases.get(public_id, PROSODY, INCIDENT).reply == created.reply
    assert world.use_cases.delete(public_id, INCIDENT).reply == Deleted()
    again = world.use_cases.create(request(), PROSODY, INCIDENT)
    assert again.reply == Reservation(f"default.8.{FIRST_HOLD + 1}", conference("8"))
    assert world.ledger.find(ref()) is None
    assert world.backend.deleted == ["7"]


@pytest.mark.parametrize(
    ("method", "code", "is_asked"),
    [("is_over", "", True), ("in_room", "", False), ("grant", "OK", True)],
)
def test_a_post_with_an_unreachable_store(
    world: World, method: str, code: str, *, is_asked: bool
) -> None:
    """If the store is unreachable, a POST gets a fault, and a granted conference is withdrawn."""
    world.elsewhere.away = {method}
    handled = world.use_cases.create(request(), JICOFO, INCIDENT)
    assert is_state_fault(handled.reply)
    assert (handled.backend, handled.code) == (NAME, code)
    assert [record.ref for record in world.ledger.pending(NAME)] == [ref()] * is_asked


@pytest.mark.parametrize("method", ["is_over", "update"])
def test_a_get_with_an_unreachable_store(world: World, method: str) -> None:
    """If the store is unreachable, a GET gets a fault, because the conference may be over."""
    world.elsewhere.away = {method}
    assert is_state_fault(world.use_cases.get("default.7", PROSODY, INCIDENT).reply)


def test_a_delete_that_cannot_be_stored(world: World) -> None:
    """A DELETE that cannot be stored is delivered at once, also if the records are copies."""
    world.ledger.grant(ref(), "board", conference(), LONG_SECONDS)
    world.elsewhere.away = {"end"}
    assert world.use_cases.delete("default.7", INCIDENT).reply == Deleted()
    assert world.backend.deleted == ["7"]


def test_a_delete_that_cannot_be_stored_while_the_room_is_granted(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A DELETE before a newer grant is void: it is answered 200, and never delivered."""
    world.ledger.grant(ref(), "board", conference(), LONG_SECONDS)

    def granted_meanwhile(*_: object, **__: object) -> None:
        world.ledger.grant(ref(), "board", conference(), LONG_SECONDS)
        raise StateError("the disk is full")

    monkeypatch.setattr(world.ledger, "end", granted_meanwhile)
    assert world.use_cases.delete("default.7", INCIDENT).reply == Deleted()
    world.delivery.step(NAME)
    assert world.backend.deleted == []


@pytest.mark.parametrize("key", [(NAME, "board"), ref()])
def test_a_delete_that_cannot_be_stored_while_a_lock_is_held(world: World, key: LockKey) -> None:
    """A DELETE that cannot be stored is not sent while the room or the conference is locked."""
    world.ledger.grant(ref(), "board", conference(), LONG_SECONDS)
    world.elsewhere.away = {"end"}
    with world.locks.hold(key, 0) as is_free:
        assert is_free
        assert is_state_fault(world.use_cases.delete("default.7", INCIDENT).reply)
    assert world.backend.deleted == []


def test_a_delivered_deletion_that_cannot_be_recorded(world: World) -> None:
    """A delivered deletion is uncertain until the ledger has recorded the delivery."""
    world.ledger.end(ref(), 5, LONG_SECONDS)
    world.elsewhere.away = {"settle"}
    with pytest.raises(StateError):
        world.delivery.step(NAME)
    assert world.delivery.deletions.is_uncertain(ref())
    world.elsewhere.away = set()
    world.delivery.step(NAME)
    assert not world.delivery.deletions.is_uncertain(ref())
    assert world.ledger.find(ref()) is None


def test_a_delete_with_an_unreachable_store(world: World) -> None:
    """If the record cannot be read, a DELETE gets a fault, and nothing is sent."""
    world.elsewhere.away = {"find"}
    assert is_state_fault(world.use_cases.delete("default.7", INCIDENT).reply)
    assert world.backend.deleted == []


def test_a_post_beyond_the_in_flight_limit(world: World) -> None:
    """A POST that reaches the in-flight limit is refused as overloaded."""
    with ExitStack() as stack:
        for _ in range(4):
            assert stack.enter_context(world.use_cases._in_flight.admit(NAME, 0))
        reply = world.use_cases.create(request(), PROSODY, INCIDENT).reply
    assert isinstance(reply, Fault)
    assert reply.kind is FaultKind.OVERLOADED


def test_a_fallback_grant_is_read_from_the_ledger_alone(world: World) -> None:
    """GET reads a fallback grant from the ledger only; an unreachable store is a fault."""
    fallback = ConferenceRef(NAME, "6f1d2c3b", is_fallback=True)
    granted = Conference("6f1d2c3b", "board", "", START_MS, duration_seconds=60)
    world.ledger.grant(fallback, "board", granted, LONG_SECONDS)
    read = world.use_cases.get("default-6f1d2c3b", PROSODY, INCIDENT)
    assert read.reply == Reservation("default-6f1d2c3b", granted)
    world.elsewhere.away = {"find"}
    assert is_state_fault(world.use_cases.get("default-6f1d2c3b", PROSODY, INCIDENT).reply)


@pytest.mark.parametrize("method", ["expire", "pending", "settle"])
def test_a_delivery_with_an_unreachable_store(
    world: World, method: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The log reports an unreachable store without a stack trace; delivery continues afterwards."""
    world.ledger.end(ref(), 5, LONG_SECONDS)
    world.elsewhere.away = {method}
    world.delivery.start()
    try:
        complaint = (
            f"cannot deliver deletions to backends.default: {method}: the store is unreachable"
        )
        eventually(lambda: complaint in caplog.text)
        world.elsewhere.away = set()
        world.delivery.deletions.wake(NAME)
        eventually(lambda: world.ledger.find(ref()) is None)
    finally:
        world.delivery.stop(1)
    assert set(world.backend.deleted) == {"7"}
    assert "Traceback" not in caplog.text


def test_an_unreachable_store_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """The log has one line for each outage of the store, not one for each attempt."""
    steps: list[str] = []

    def step(*_: object) -> float:
        steps.append("")
        if len(steps) in {1, 2, 4}:
            raise StateError("the store is away")
        return 0.0

    schedule = RetrySchedule()
    schedule.add(NAME, ())
    worker = _Worker(step, schedule, NAME, Component("delivery", WORDS))
    try:
        for number in range(1, 6):
            eventually(lambda number=number: len(steps) >= number)  # type: ignore[misc]
            schedule.wake(NAME)
    finally:
        worker.stop(0)
        worker.join(LONG_SECONDS)
    away = "delivery: fails: cannot deliver deletions to backends.default: the store is away"
    assert caplog.messages == [away, "delivery: works again after 0s"] * 2
