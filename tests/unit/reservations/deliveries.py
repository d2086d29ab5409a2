"""Helpers that the tests of the deliveries share: backends with fixed answers, and a clock."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from jicofo_reservation_proxy.ledger.ledger import Store
from jicofo_reservation_proxy.ledger.records import RecordState
from jicofo_reservation_proxy.ledger.sqlite_ledger import SqliteLedger
from jicofo_reservation_proxy.model import (
    ConferenceRef,
    Deleted,
    DeleteOutcome,
    DeleteReason,
    Deletion,
    Fault,
    FaultKind,
    Hold,
    Result,
)
from jicofo_reservation_proxy.observability.metrics import Metrics
from jicofo_reservation_proxy.reservations.deletion_delivery import Delivery

from tests.unit.ledgers import LONG_SECONDS, START_MS, conference, ref

EXPIRE_AFTER = timedelta(minutes=5)

GIVE_UP_AFTER = timedelta(days=7)

END_MS = START_MS + 3_600_000
"""When `conference()` ends."""

LATER_MS = END_MS + 3_600_000
"""A time at which `conference()` has expired."""

DONE: Result[DeleteOutcome] = Result(Deleted(), "OK")

NO_SUCH_METHOD: Result[DeleteOutcome] = Result(Deleted(is_unsupported=True), "UNIMPLEMENTED")

OF_THE_BACKEND = [
    FaultKind.UNREACHABLE,
    FaultKind.OVERLOADED,
    FaultKind.SLOW,
    FaultKind.SATURATED,
    FaultKind.UNAUTHORIZED,
]


def failed(kind: FaultKind, code: str = "X", detail: str = "why") -> Result[DeleteOutcome]:
    """Return the result of a call that ends in a fault."""
    return Result(Fault(kind, code, detail), code)


BROKEN = failed(FaultKind.BROKEN)

UNREACHABLE = failed(FaultKind.UNREACHABLE)

NOT_SENT = failed(FaultKind.UNREACHABLE, code="")


@dataclass
class Clock:
    """Both clocks of a delivery: seconds from an arbitrary start, and the time of day."""

    now: float = 1000.0
    now_ms: int = START_MS

    def pass_by(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds
        self.now_ms += round(1000 * seconds)


@dataclass(frozen=True)
class Call:
    """A deletion that a backend received, and when."""

    conference_id: str
    delete_time_ms: int
    reason: DeleteReason
    incident_id: str
    within_seconds: float
    at: float
    holds: tuple[Hold, ...]
    room: str


@dataclass
class Backend:
    """A backend that records its calls. `answers` has its answers by id; `usual` is the default."""

    drops_old_deletions = True

    clock: Clock
    answers: dict[str, Result[DeleteOutcome]] = field(default_factory=dict)
    usual: Result[DeleteOutcome] = DONE
    calls: list[Call] = field(default_factory=list)
    meanwhile: Callable[[str], None] = lambda _: None

    def delete(
        self, deletion: Deletion, incident_id: str, within_seconds: float
    ) -> Result[DeleteOutcome]:
        """Record the deletion of a conference, and return the prepared answer."""
        at = self.clock.now
        self.calls.append(
            Call(
                deletion.conference_id,
                deletion.over_at_ms,
                deletion.reason,
                incident_id,
                within_seconds,
                at,
                tuple(deletion.holds),
                deletion.room,
            )
        )
        self.meanwhile(deletion.conference_id)
        return self.answers.get(deletion.conference_id, self.usual)

    @property
    def told(self) -> list[str]:
        """The ids of the deletions that the backend got since this property was read last."""
        found = [call.conference_id for call in self.calls]
        self.calls.clear()
        return found


@dataclass
class World:
    """A delivery to two backends, and all objects that it uses."""

    clock: Clock
    ledger: SqliteLedger
    store: Store
    metrics: Metrics
    backends: dict[str, Backend]
    delivery: Delivery

    @property
    def backend(self) -> Backend:
        """The backend that most tests are about."""
        return self.backends["default"]

    def end(self, conference_id: str = "7", room: str = "board", backend: str = "default") -> None:
        """Grant a conference, and let a client end it now."""
        name = ref(conference_id, backend)
        self.ledger.grant(name, room, conference(conference_id), LONG_SECONDS)
        self.ledger.end(name, self.clock.now_ms, LONG_SECONDS)

    def state(self, conference_id: str = "7") -> RecordState | None:
        """Return the state of a conference in the ledger."""
        record = self.ledger.find(ref(conference_id))
        return record.state if record else None

    def step(self) -> float:
        """Deliver the due deletions to the backend "default"."""
        return self.delivery.step("default")

    def work(self, seconds: float) -> None:
        """Do what the thread of the backend "default" does during this time."""
        until = self.clock.now + seconds
        while self.clock.now < until:
            self.clock.pass_by(self.step())

    def restarted(self, seconds: Callable[[], float] | None = None) -> Delivery:
        """Return the delivery of the next process over the same ledger."""
        return new_delivery(
            self.store,
            self.metrics,
            self.backends,
            self.clock,
            seconds,
        )

    def attempt(self, name: ConferenceRef, within_seconds: float = 1.0) -> bool:
        """Attempt a deletion as a request does that holds the locks."""
        return self.delivery.deletions.attempt(name, "0123456789ab", within_seconds)

    def deliveries(self, reason: str, result: str) -> float:
        """Return how many attempts the metric has counted."""
        counted = self.metrics.deletion_attempts.labels("default", reason, result)
        return float(counted._value.get())


def new_delivery(
    store: Store,
    metrics: Metrics,
    backends: dict[str, Backend],
    clock: Clock,
    seconds: Callable[[], float] | None = None,
    expire_after: timedelta = EXPIRE_AFTER,
    is_in_doubt: Callable[[], bool] = lambda: False,
) -> Delivery:
    """Return a delivery to these backends."""
    return Delivery(
        backends,
        store,
        metrics,
        expire_after=expire_after,
        give_up_after=GIVE_UP_AFTER,
        now_ms=lambda: clock.now_ms,
        clock=seconds or (lambda: clock.now),
        is_in_doubt=is_in_doubt,
    )


def lines(caplog: pytest.LogCaptureFixture) -> list[tuple[int, str, dict[str, object]]]:
    """Return the level, the message and the fields of each log line."""
    return [
        (record.levelno, record.getMessage(), getattr(record, "fields", {}))
        for record in caplog.records
    ]
