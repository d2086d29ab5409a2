"""Deletions: send a deletion to its backend, and record the outcome."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

from jicofo_reservation_proxy.backends.backend import Deleter
from jicofo_reservation_proxy.clock import now_ms
from jicofo_reservation_proxy.errors import StateError
from jicofo_reservation_proxy.ids import encode, new_incident_id
from jicofo_reservation_proxy.ledger.ledger import Store
from jicofo_reservation_proxy.ledger.records import Record, RecordState, is_unchanged
from jicofo_reservation_proxy.ledger.room_locks import LockKey
from jicofo_reservation_proxy.model import (
    NO_HOLD,
    ConferenceRef,
    Deleted,
    DeleteOutcome,
    DeleteReason,
    Deletion,
    Fault,
    Hold,
    Result,
)
from jicofo_reservation_proxy.observability import logs
from jicofo_reservation_proxy.observability.metrics import Metrics
from jicofo_reservation_proxy.text_rules import one_line

from .context import RoomRequest
from .retry_schedule import RetrySchedule

logger = logging.getLogger(__name__)


class Deletions:
    """Sends deletions to the backends, and records each outcome in the ledger and the schedule."""

    def __init__(
        self,
        backends: Mapping[str, Deleter],
        store: Store,
        schedule: RetrySchedule,
        metrics: Metrics,
        now_ms: Callable[[], int] = now_ms,
    ) -> None:
        self._backends = backends
        self._ledger = store.ledger
        self._aliases = store.aliases
        self._holder = store.holds.holder
        self._locks = store.locks
        self._schedule = schedule
        self._metrics = metrics
        self._now_ms = now_ms
        self._has_no_delete: set[str] = set()

    def attempt(self, ref: ConferenceRef, incident_id: str, within_seconds: float) -> bool:
        """Send the deletion of a conference; return whether the backend acknowledged it.

        The caller holds the locks of the conference and of its room. The method sends nothing if
        the conference is not over, or if its backend is no longer in the settings.
        """
        if ref.backend not in self._backends or not self._ledger.is_over(ref):
            return False
        record = self._ledger.find(ref) or Record(ref)
        return isinstance(self._send(record, incident_id, within_seconds).outcome, Deleted)

    def attempt_for(self, asked: RoomRequest, ref: ConferenceRef) -> bool:
        """Send a deletion before a POST is answered; return whether the backend acknowledged it.

        The caller holds the locks of the conference and of its room.
        """
        return self.attempt(ref, asked.incident_id, asked.share_seconds)

    def deliver_pending(self, asked: RoomRequest) -> None:
        """Try to deliver the pending deletions of a room; the last changed record comes last.

        Stop if a conference is locked, or if the backend does not acknowledge a deletion.
        The caller holds the lock of the room.
        """
        room = asked.request.room.raw
        for record in self._ledger.in_room(asked.backend, room, RecordState.PENDING):
            with self._locks.hold(record.ref, 0) as is_free:
                if not (is_free and self.attempt_for(asked, record.ref)):
                    return

    def may_happen_later(self, asked: RoomRequest) -> bool:
        """Return whether the backend may still carry out a deletion of a room that was given up."""
        room = asked.request.room.raw
        pending = self._ledger.in_room(asked.backend, room, RecordState.PENDING)
        return any(self.may_end_later(record.ref) for record in pending)

    def may_end_later(self, ref: ConferenceRef) -> bool:
        """Return whether the backend may still carry out a deletion of this conference."""
        return self._schedule.may_happen_later(ref)

    def attempt_if_free(self, record: Record, within_seconds: float) -> bool:
        """Send a pending deletion if the locks of its room and of its conference are free.

        Return whether nothing is left to do: the deletion was delivered, or is no longer pending.
        """
        with self._held(record.ref, record.room) as is_free:
            if not is_free:
                return False
            found = self._ledger.find(record.ref)
            if found is None or found.state is not RecordState.PENDING:
                return True
            return self.attempt(record.ref, new_incident_id(), within_seconds)

    def attempt_unnoted(
        self, ended: Record, known: Record | None, incident_id: str, within_seconds: float
    ) -> Result[DeleteOutcome] | None:
        """Send a deletion that the ledger could not store; return `None` if nothing was sent.

        `ended` is the record that the ledger could not store, and `known` the record before the
        DELETE. The method sends nothing if that record has changed since then, or if the lock of
        the room or of the conference is not free: a client may have got the conference in the
        meantime.
        """
        with self._held(ended.ref, ended.room) as is_free:
            if is_free and is_unchanged(self._ledger.find(ended.ref), known):
                return self._send(ended, incident_id, within_seconds)
        return None

    def withdraw(self, asked: RoomRequest, ref: ConferenceRef) -> None:
        """End a conference that the backend granted for a POST, and that no client got.

        The caller holds the lock of the room. A conference that a client has stays open.
        """
        room = asked.request.room.raw
        try:
            if self._ledger.withdraw(ref, room, self._now_ms(), asked.budget.left_seconds):
                fields = {"id": encode(ref), "room": room, "incident": asked.incident_id}
                logs.event(logger, logging.WARNING, "granted, but no client got it", fields)
                self.wake(ref.backend)
        except StateError as error:
            self._withdraw_now(asked, ref, error)

    def _withdraw_now(self, asked: RoomRequest, ref: ConferenceRef, error: StateError) -> None:
        """Send the deletion of such a conference at once, because the ledger cannot store it."""
        try:
            with self._locks.hold(ref, 0) as is_free:
                if is_free and self._ledger.find(ref) is None:
                    self._send(Record(ref), asked.incident_id, asked.share_seconds)
        except StateError:
            logger.error(  # noqa: TRY400 - the text says enough
                "cannot end conference %s, which no client got: %s", encode(ref), error
            )

    def cancel(self, ref: ConferenceRef) -> None:
        """Forget the attempts at a deletion that was cancelled."""
        self._schedule.forget(ref)

    def abandon(self, ref: ConferenceRef, within_seconds: float) -> bool:
        """Abandon a pending deletion on behalf of the operator; return whether there was one.

        Wait for an attempt that is in progress, so that none is in progress afterwards. Raises
        `StateError` if it does not end within this time.
        """
        known = self._ledger.find(ref)
        if known is None or known.state is not RecordState.PENDING:
            return False
        with self._held(ref, known.room, within_seconds) as is_free:
            if not is_free:
                raise StateError(
                    f"wanted to abandon {encode(ref)}, got: a request or a deletion of this room is"
                    " in progress; try again"
                )
            found = self._ledger.find(ref)
            is_abandoned = found is not None and self._ledger.abandon(found)
            if is_abandoned:
                self._schedule.forget(ref)
        if is_abandoned:
            fields = {"id": encode(ref), "room": known.room}
            logs.event(logger, logging.WARNING, "deletion abandoned by the operator", fields)
        return is_abandoned

    def attempts(self, ref: ConferenceRef) -> int:
        """Return the number of failed attempts at a deletion by this process."""
        return self._schedule.count(ref)

    def last_fault(self, backend: str) -> Fault | None:
        """Return the fault of the last deletion, if the backend has acknowledged none since."""
        return self._schedule.last_fault(backend)

    def has_no_delete(self, backend: str) -> bool:
        """Return whether the backend has said that it does not support deletions."""
        return backend in self._has_no_delete

    def backend_changed(self, backend: str) -> None:
        """Forget what the proxy has learned about a backend: another server answers now."""
        self._has_no_delete.discard(backend)

    def is_uncertain(self, ref: ConferenceRef) -> bool:
        """Return whether the deletion of this conference is uncertain."""
        return self._schedule.is_uncertain(ref)

    def backend_answers(self, backend: str) -> None:
        """Record that a backend answered, so that its pause after an outage ends."""
        self._schedule.backend_answers(backend)

    def wake(self, backend: str) -> None:
        """Wake the thread that delivers deletions to a backend."""
        self._schedule.wake(backend)

    def forget_alias(self, ref: ConferenceRef) -> None:
        """Remove the alias of a conference that is gone."""
        try:
            self._aliases.forget(ref)
        except StateError as error:
            logger.warning("cannot remove the alias of a deleted conference: %s", error)

    @contextmanager
    def _held(self, ref: ConferenceRef, room: str, within_seconds: float = 0.0) -> Iterator[bool]:
        """Hold the locks of a conference and its room; yield whether both became free in time.

        If the room is unknown (""), hold only the lock of the conference.
        """
        with ExitStack() as stack:
            keys: list[LockKey] = [(ref.backend, room), ref] if room else [ref]
            yield all(stack.enter_context(self._locks.hold(key, within_seconds)) for key in keys)

    def _send(
        self, record: Record, incident_id: str, within_seconds: float
    ) -> Result[DeleteOutcome]:
        ref, reason = record.ref, record.reason or DeleteReason.ENDED
        over_at_ms = self._now_ms() if record.over_at_ms is None else record.over_at_ms
        deletion = Deletion(
            ref.conference_id,
            over_at_ms,
            reason,
            self._holds_of(record),
            is_uncertain=self._schedule.is_uncertain(ref),
        )
        result = self._backends[ref.backend].delete(deletion, incident_id, within_seconds)
        self._log(record, reason, result, incident_id)
        if isinstance(result.outcome, Deleted):
            self._settle(ref, result.outcome)
        else:
            self._schedule.put_off(ref, result.outcome, was_sent=result.code != "")
        return result

    def _holds_of(self, record: Record) -> Sequence[Hold]:
        """Return the holds that the deletion of a conference has to end."""
        if not self._holder or not record.has_row:
            return (NO_HOLD,)
        own = Hold(self._holder, record.hold)
        return (NO_HOLD, own) if record.has_no_holder else (own,)

    def _settle(self, ref: ConferenceRef, deleted: Deleted) -> None:
        self._schedule.note_sent(ref)  # the deletion stays uncertain if the next line raises
        self._ledger.settle(ref)
        self._schedule.delivered(ref)
        if not deleted.is_unsupported:
            self._has_no_delete.discard(ref.backend)
        elif ref.backend not in self._has_no_delete:
            self._has_no_delete.add(ref.backend)
            logger.warning(
                "backends.%s does not support deletions; its rooms become free only when"
                " their reservations end",
                ref.backend,
            )
        self.forget_alias(ref)

    def _log(
        self, record: Record, reason: DeleteReason, result: Result[DeleteOutcome], incident_id: str
    ) -> None:
        outcome = result.outcome
        is_delivered = isinstance(outcome, Deleted)
        counted = self._metrics.deletion_attempts.labels(
            record.ref.backend, reason.value, "delivered" if is_delivered else "failed"
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
            fields |= {
                "fault": outcome.kind.value,
                "detail": one_line(outcome.detail),
                "attempt": 1 + self._schedule.count(record.ref),
            }
        level = logging.INFO if is_delivered else logging.WARNING
        message = "deletion delivered" if is_delivered else "deletion pending"
        if isinstance(outcome, Deleted) and outcome.is_unsupported:
            message = "deletion not needed"
        logs.event(logger, level, message, fields)
