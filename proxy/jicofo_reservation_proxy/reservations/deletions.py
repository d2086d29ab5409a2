"""Deletions: sending one to its backend, and what comes of it."""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager

from jicofo_reservation_proxy.backends.backend import Deleter
from jicofo_reservation_proxy.clock import now_ms
from jicofo_reservation_proxy.errors import StateError
from jicofo_reservation_proxy.ids import encode, new_incident_id
from jicofo_reservation_proxy.ledger.ledger import Store
from jicofo_reservation_proxy.ledger.records import Record, RecordState, is_unchanged
from jicofo_reservation_proxy.ledger.room_locks import LockKey
from jicofo_reservation_proxy.model import (
    ConferenceRef,
    Deleted,
    DeleteOutcome,
    DeleteReason,
    Deletion,
    Fault,
    Result,
)
from jicofo_reservation_proxy.observability import logs
from jicofo_reservation_proxy.observability.metrics import Metrics
from jicofo_reservation_proxy.text_rules import one_line

from .retry_schedule import RetrySchedule

logger = logging.getLogger(__name__)


class Deletions:
    """Sends deletions to these backends, and notes in ledger and schedule what came of each."""

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
        self._locks = store.locks
        self._schedule = schedule
        self._metrics = metrics
        self._now_ms = now_ms
        self._has_no_delete: set[str] = set()

    def attempt(self, ref: ConferenceRef, incident_id: str, within_seconds: float) -> bool:
        """Tell the backend that a conference is over; return whether it is gone there.

        The caller holds the locks of the conference and of its room. A conference that is not
        over, or that belongs to a backend that is no more, is left alone.
        """
        if ref.backend not in self._backends or not self._ledger.is_over(ref):
            return False
        return isinstance(self._send(ref, incident_id, within_seconds).outcome, Deleted)

    def attempt_if_free(self, record: Record, within_seconds: float) -> bool:
        """Tell the backend that a conference is over, if nobody is asking for its room.

        Return whether there is nothing left to do for it.
        """
        with self._held(record.ref, record.room) as is_free:
            if not is_free:
                return False
            found = self._ledger.find(record.ref)
            if found is None or found.state is not RecordState.PENDING:
                return True
            return self.attempt(record.ref, new_incident_id(), within_seconds)

    def attempt_unnoted(
        self, ref: ConferenceRef, known: Record | None, incident_id: str, within_seconds: float
    ) -> Result[DeleteOutcome] | None:
        """Tell the backend of a DELETE that the ledger could not note; `None` if nothing was sent.

        `known` is the conference's record from before. Nothing is sent where that has changed
        since, or where the room or the conference is being asked for: a client may have got it.
        """
        with self._held(ref, known.room if known else "") as is_free:
            if is_free and is_unchanged(self._ledger.find(ref), known):
                return self._send(ref, incident_id, within_seconds)
        return None

    def cancel(self, ref: ConferenceRef) -> None:
        """Take note that a conference goes on after all."""
        self._schedule.forget(ref)

    def is_uncertain(self, ref: ConferenceRef) -> bool:
        """Whether the backend may have been told that this conference is over."""
        return self._schedule.is_uncertain(ref)

    def backend_answers(self, backend: str) -> None:
        """Take note that a backend does its work, so that it is not paused any longer."""
        self._schedule.backend_answers(backend)

    def wake(self, backend: str) -> None:
        """Say that a deletion is to be delivered to a backend."""
        self._schedule.wake(backend)

    def forget_alias(self, ref: ConferenceRef) -> None:
        """Forget the number of a conference that is gone."""
        try:
            self._aliases.forget(ref)
        except StateError as error:
            logger.warning("the alias of a deleted conference stays: %s", error)

    @contextmanager
    def _held(self, ref: ConferenceRef, room: str) -> Iterator[bool]:
        """Hold the locks of a conference, and of its room where that is known, if they are free."""
        with ExitStack() as stack:
            keys: list[LockKey] = [(ref.backend, room), ref] if room else [ref]
            yield all(stack.enter_context(self._locks.hold(key, 0)) for key in keys)

    def _send(
        self, ref: ConferenceRef, incident_id: str, within_seconds: float
    ) -> Result[DeleteOutcome]:
        record = self._ledger.find(ref) or Record(ref)
        deletion = Deletion(
            ref.conference_id,
            self._now_ms() if record.over_at_ms is None else record.over_at_ms,
            record.reason or DeleteReason.ENDED,
        )
        result = self._backends[ref.backend].delete(deletion, incident_id, within_seconds)
        self._log(record, deletion.reason, result, incident_id)
        if isinstance(result.outcome, Deleted):
            self._settle(ref, result.outcome)
        else:
            self._schedule.put_off(ref, result.outcome, was_sent=result.code != "")
        return result

    def _settle(self, ref: ConferenceRef, deleted: Deleted) -> None:
        self._schedule.note_sent(ref)  # which holds where the ledger cannot be told
        self._ledger.settle(ref)
        self._schedule.delivered(ref)
        if deleted.is_unsupported and ref.backend not in self._has_no_delete:
            self._has_no_delete.add(ref.backend)
            logger.warning(
                "backends.%s deletes no conferences; its rooms are free when their time is over",
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
        logs.event(logger, level, message, fields)
