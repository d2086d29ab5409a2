"""Delivery: the backends are told of every conference that is over, however long that takes.

The invariant: no conference that a client has is deleted at its backend.

- A DELETE is sent only while its conference is over in the ledger, by whoever holds the locks of
  its room and of the conference itself. So no two are ever sent at once for one conference.
- Whoever gives a conference to a client holds the same locks from the moment in which the backend
  was asked for the room, and notes in the ledger, before the client hears of it, that the
  conference is not over. So no DELETE is sent from then on, nor is one under way.

Each backend has a thread of its own, so that one which hangs holds up no other's. What is not
taken is tried again, with exponential back-off and jitter, in this process or the next one.
"""

import logging
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol

from . import clients, logs
from .aliases import Aliases
from .clock import now_ms
from .errors import StateError
from .ids import encode, new_incident_id
from .ledger import Ledger
from .locks import Locks
from .metrics import Metrics
from .model import (
    ConferenceRef,
    Deleted,
    DeleteOutcome,
    DeleteReason,
    Fault,
    FaultKind,
    Result,
)
from .records import Record, RecordState

FIRST_RETRY_SECONDS = 1.0
MAX_RETRY_SECONDS = 60.0
"""The back-off doubles from the one to the other; each wait is cut by up to a half, at random."""

LOOK_SECONDS = 1.0
"""How often a thread looks for conferences whose end has passed."""

BUSY_SECONDS = 0.1
"""How soon it comes back to a room that is being asked for."""

MANY_REFUSALS = 5
"""A backend that refused to take the ends of so many conferences, and of none in between, is not
bothered with those of all the others."""

MANY_ATTEMPTS = 1000
"""Beyond so many more than are needed, those that are not are looked for."""

_OF_THE_BACKEND = {
    FaultKind.UNREACHABLE,
    FaultKind.OVERLOADED,
    FaultKind.SLOW,
    FaultKind.SATURATED,
    FaultKind.UNAUTHORIZED,
}
"""Faults that the next call would meet as well."""

logger = logging.getLogger(__name__)


class Deleter(Protocol):
    """What delivery needs of a backend (backend.py)."""

    def delete(
        self,
        conference_id: str,
        delete_time_ms: int,
        reason: DeleteReason,
        incident_id: str,
        within_seconds: float,
    ) -> Result[DeleteOutcome]:
        """Say that a conference is over."""


@dataclass(slots=True)
class _Attempts:
    """What was tried for one conference.

    `is_in_doubt` is whether a DELETE may have been carried out, or may still be: it was sent, by
    this process or perhaps by an earlier one, and the backend has not said that it took it.
    """

    count: int = 0
    next_at: float = 0.0
    is_in_doubt: bool = False


@dataclass(slots=True)
class _Pause:
    """For how long a backend as a whole is left alone.

    `faults` counts what a pause is for, `count` the pauses in a row. `refused` are the conferences
    whose end the backend refused to take since it last took one.
    """

    faults: int = 0
    count: int = 0
    until: float = 0.0
    refused: set[ConferenceRef] = field(default_factory=set)

    @property
    def is_for_refusals(self) -> bool:
        """Whether it refuses them all, rather than some."""
        return len(self.refused) >= MANY_REFUSALS


class Delivery:
    """Delivers what the ledger holds as ended, and ends what has expired.

    `expire_after` is the grace after a conference's end, `give_up_after` how long a backend is
    tried. `clock` counts seconds from anywhere, for back-offs; `now_ms` is the time of day.

    `locks` are those of the rooms, each a backend's name and a raw name, and of the conferences,
    each a `ConferenceRef`. Who holds one of each took the room's first.
    """

    def __init__(
        self,
        backends: Mapping[str, Deleter],
        ledger: Ledger,
        aliases: Aliases,
        metrics: Metrics,
        *,
        expire_after: timedelta,
        give_up_after: timedelta,
        now_ms: Callable[[], int] = now_ms,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._backends = backends
        self._ledger = ledger
        self._aliases = aliases
        self.locks = Locks()
        self._metrics = metrics
        self._expire_after_ms = expire_after // timedelta(milliseconds=1)
        self._give_up_after_ms = give_up_after // timedelta(milliseconds=1)
        self._now_ms = now_ms
        self._clock = clock
        self._pauses = {name: _Pause() for name in backends}
        self._attempts = {
            record.ref: _Attempts(is_in_doubt=True)
            for name in backends
            for record in ledger.ended(name)
        }
        self._most_attempts = 2 * len(self._attempts) + MANY_ATTEMPTS
        self._has_no_delete: set[str] = set()
        self._workers: dict[str, _Worker] = {}

    def start(self) -> None:
        """Start the threads."""
        self._workers = {name: _Worker(self, name) for name in self._backends}

    def wake(self, backend: str) -> None:
        """Say that there is something to deliver to a backend, or that it answers again."""
        if worker := self._workers.get(backend):
            worker.wake()

    def stop(self, within_seconds: float) -> None:
        """Deliver what can be delivered in this time, and end the threads."""
        until = self._clock() + within_seconds
        for worker in self._workers.values():
            worker.stop(until)
        for worker in self._workers.values():
            worker.join(max(0.0, until - self._clock()))
        self._workers = {}

    def is_in_doubt(self, ref: ConferenceRef) -> bool:
        """Whether the backend may have been told that this conference is over."""
        attempts = self._attempts.get(ref)
        return attempts is not None and attempts.is_in_doubt

    def attempt(self, ref: ConferenceRef, incident_id: str, within_seconds: float) -> bool:
        """Tell the backend that a conference is over; return whether it is gone there.

        The caller holds the locks of the conference and of its room. A conference that is not
        over, or that belongs to a backend that is no more, is left alone.
        """
        if ref.backend not in self._backends or not self._ledger.is_over(ref):
            return False
        return isinstance(self._send(ref, incident_id, within_seconds).outcome, Deleted)

    def tell_now(
        self, ref: ConferenceRef, known: Record | None, incident_id: str, within_seconds: float
    ) -> Result[DeleteOutcome]:
        """Tell the backend of a DELETE that the ledger could not note.

        `known` is the conference's record from before. Nothing is sent where that has changed
        since, or where the room or the conference is being asked for: a client may have got it.
        """
        with self._held(ref, known.room if known else "") as is_free:
            if is_free and self._ledger.find(ref) is known:
                return self._send(ref, incident_id, within_seconds)
        return Result(Fault(FaultKind.SATURATED, "", "not sent: the room is being asked for"), "")

    def _send(
        self, ref: ConferenceRef, incident_id: str, within_seconds: float
    ) -> Result[DeleteOutcome]:
        record = self._ledger.find(ref) or Record(ref)
        over_at_ms = self._now_ms() if record.over_at_ms is None else record.over_at_ms
        reason = record.reason or DeleteReason.ENDED
        result = self._backends[ref.backend].delete(
            ref.conference_id, over_at_ms, reason, incident_id, within_seconds
        )
        self._log(record, reason, result, incident_id)
        if isinstance(result.outcome, Deleted):
            self._settle(ref, result.code)
        else:
            self._put_off(ref, result.outcome, was_sent=result.code != "")
        return result

    def backend_answers(self, name: str) -> None:
        """Take note that a backend does its work: what could not be sent because of it is due."""
        pause = self._pauses[name]
        if pause.count and not pause.is_for_refusals:
            pause.count, pause.until = 0, 0.0
            self.wake(name)

    def called_off(self, ref: ConferenceRef) -> None:
        """Take note that a conference goes on after all."""
        self._attempts.pop(ref, None)

    def step(self, name: str, until: Callable[[], float | None] = lambda: None) -> float:
        """Deliver what is due to a backend; return in how many seconds to come again.

        Once `until` has a time, by `clock`, everything is due, and nothing is begun after it.
        """
        self._housekeep()
        pause_seconds = self._pauses[name].until - self._clock()
        if pause_seconds > 0 and until() is None:
            return min(LOOK_SECONDS, pause_seconds)
        waits = [LOOK_SECONDS]
        waiting_rooms: set[str] = set()
        for record in self._ledger.ended(name):
            if record.room in waiting_rooms:
                continue
            now, end = self._clock(), until()
            if end is not None and now >= end:
                break
            faults = self._pauses[name].faults
            is_due = end is not None or self._wait_seconds(record.ref, now) <= 0
            left_seconds = float("inf") if end is None else end - now
            if is_due and self._deliver(record, left_seconds):
                continue
            waits.append(max(BUSY_SECONDS, self._wait_seconds(record.ref, self._clock())))
            waiting_rooms |= {record.room} - {""}
            if end is not None and self._pauses[name].faults > faults:
                break
        return min(waits)

    def _deliver(self, record: Record, left_seconds: float) -> bool:
        """Tell the backend that a conference is over, if nobody is asking for its room."""
        with self._held(record.ref, record.room) as is_free:
            if not is_free:
                return False
            found = self._ledger.find(record.ref)
            if found is None or found.state is not RecordState.ENDED:
                return True
            return self.attempt(record.ref, new_incident_id(), left_seconds)

    @contextmanager
    def _held(self, ref: ConferenceRef, room: str) -> Iterator[bool]:
        """Hold the locks of a conference, and of its room where that is known, if they are free."""
        with ExitStack() as stack:
            keys = [(ref.backend, room), ref] if room else [ref]
            yield all(stack.enter_context(self.locks.hold(key, 0)) for key in keys)

    def _wait_seconds(self, ref: ConferenceRef, now: float) -> float:
        attempts = self._attempts.get(ref)
        own = attempts.next_at if attempts else 0.0
        return max(0.0, own - now, self._pauses[ref.backend].until - now)

    def _settle(self, ref: ConferenceRef, code: str) -> None:
        self._ledger.gone(ref)
        self._attempts.pop(ref, None)
        self._pauses[ref.backend].refused.clear()
        self.backend_answers(ref.backend)
        if code == "UNIMPLEMENTED" and ref.backend not in self._has_no_delete:
            self._has_no_delete.add(ref.backend)
            logger.warning(
                "backends.%s has no DeleteConference; its rooms are free when their time is over",
                ref.backend,
            )
        self.forget_alias(ref)

    def forget_alias(self, ref: ConferenceRef) -> None:
        """Forget the number of a conference that is gone."""
        try:
            self._aliases.forget(ref)
        except StateError as error:
            logger.warning("the alias of a deleted conference stays: %s", error)

    def _put_off(self, ref: ConferenceRef, fault: Fault, *, was_sent: bool) -> None:
        now = self._clock()
        is_of_the_backend = fault.kind in _OF_THE_BACKEND
        attempts = self._attempts.setdefault(ref, _Attempts())
        attempts.count += 1
        # One that hangs whenever it is told must not be the first to be tried again.
        is_its_own = was_sent or not is_of_the_backend
        attempts.next_at = now + _back_off(attempts.count) if is_its_own else now
        attempts.is_in_doubt |= was_sent
        pause = self._pauses[ref.backend]
        if not is_of_the_backend:
            pause.refused.add(ref)
        if not (is_of_the_backend or pause.is_for_refusals):
            return
        pause.faults += 1
        if pause.until <= now:
            pause.count += 1
            pause.until = now + _back_off(pause.count)

    def _housekeep(self) -> None:
        """End what has expired, and give up what was tried for too long."""
        now = self._now_ms()
        for record in self._ledger.expire(now - self._expire_after_ms):
            if record.ref.is_stand_in:
                self.forget_alias(record.ref)
            fields = {"id": encode(record.ref), "room": record.room}
            logs.event(logger, logging.INFO, "expired", fields)
            self.wake(record.ref.backend)
        for record in self._ledger.ended_before(now - self._give_up_after_ms):
            if self._was_tried_for_too_long(record, now):
                self._ledger.bury(record.ref)
                self._attempts.pop(record.ref, None)
                fields = {"id": encode(record.ref), "room": record.room}
                logs.event(logger, logging.ERROR, "gave up to deliver a DELETE", fields)
        if len(self._attempts) > self._most_attempts:
            self._forget_attempts()

    def _forget_attempts(self) -> None:
        """Forget the attempts for conferences of which the ledger knows nothing any more."""
        for ref in list(self._attempts):
            if self._ledger.find(ref) is None and not self._ledger.is_over(ref):
                self._attempts.pop(ref, None)
        self._most_attempts = 2 * len(self._attempts) + MANY_ATTEMPTS

    def _was_tried_for_too_long(self, record: Record, now_ms: int) -> bool:
        """Tell whether to give a conference up: never without one attempt in this process.

        Its time counts from when it was due, which for an expired one is not its end.
        """
        if record.ref.backend not in self._backends:
            return True
        attempts = self._attempts.get(record.ref)
        grace_ms = self._expire_after_ms if record.reason is DeleteReason.EXPIRED else 0
        due_ms = (record.over_at_ms or 0) + grace_ms
        return bool(attempts and attempts.count) and due_ms < now_ms - self._give_up_after_ms

    def _log(
        self, record: Record, reason: DeleteReason, result: Result[DeleteOutcome], incident_id: str
    ) -> None:
        outcome = result.outcome
        is_done = isinstance(outcome, Deleted)
        counted = self._metrics.deliveries.labels(
            record.ref.backend, reason.value, "done" if is_done else "failed"
        )
        counted.inc()
        fields: dict[str, str | int] = {
            "id": encode(record.ref),
            "room": record.room,
            "reason": reason.value,
            "code": result.code,
            "incident": incident_id,
        }
        if isinstance(outcome, Fault):
            attempts = self._attempts.get(record.ref)
            fields |= {
                "fault": outcome.kind.value,
                "detail": clients.one_line(outcome.detail),
                "attempt": 1 + (attempts.count if attempts else 0),
            }
        level = logging.INFO if is_done else logging.WARNING
        logs.event(logger, level, "delivered" if is_done else "not delivered yet", fields)


def _back_off(count: int) -> float:
    """Return how long to wait after so many failures in a row, in seconds."""
    longest = min(MAX_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2.0 ** min(count - 1, 16))
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 - it spreads load, it hides nothing


class _Worker:
    """The thread that delivers to one backend."""

    def __init__(self, delivery: Delivery, backend: str) -> None:
        self._delivery = delivery
        self._backend = backend
        self._woken = threading.Event()
        self._until: float | None = None
        self._thread = threading.Thread(target=self._run, name=f"delivery-{backend}", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        self._woken.set()

    def stop(self, until: float) -> None:
        self._until = until
        self._woken.set()

    def join(self, within_seconds: float) -> None:
        self._thread.join(within_seconds)

    def _run(self) -> None:
        while self._until is None:
            self._woken.wait(self._step())
            self._woken.clear()
        self._step()

    def _step(self) -> float:
        try:
            return self._delivery.step(self._backend, lambda: self._until)
        except Exception:  # what goes wrong here must not end the deliveries
            logger.exception("a fault of the proxy in the delivery to %s", self._backend)
            return MAX_RETRY_SECONDS
