"""Ending a conference: DELETE.

The proxy stores the deletion in the ledger, answers the client, and delivers the deletion soon
afterwards (deletion_delivery.py). If the ledger cannot store the deletion, the proxy sends it to
the backend before it answers the client.

The client gets a fault only in three cases:

- The proxy cannot read the alias or the record of the conference.
- The ledger cannot store the deletion, and another thread holds a lock of the conference or its
  room. A client may be getting the conference at this moment.
- The ledger cannot store the deletion, and the backend does not acknowledge it.

A DELETE is void if a client got the conference again before the end was stored, or if the id names
an earlier grant than the newest one: Prosody repeats a DELETE whose answer was lost. The proxy
answers 200, and the conference goes on. Jicofo's numbers name no grant. A DELETE with a number may
end all grants that were made before it arrived, because Jicofo sends one request at a time.
"""

import logging
from collections.abc import Callable

from jicofo_reservation_proxy.clock import Budget
from jicofo_reservation_proxy.errors import StateError
from jicofo_reservation_proxy.ledger import records
from jicofo_reservation_proxy.ledger.ledger import Holds, Ledger
from jicofo_reservation_proxy.ledger.records import Record, RecordState
from jicofo_reservation_proxy.model import ConferenceRef, Deleted, DeleteReply, Fault
from jicofo_reservation_proxy.observability import logs
from jicofo_reservation_proxy.observability.throttle import Throttle

from .context import Handled, state_fault
from .deletions import Deletions
from .numeric_ids import NumericIds

DISK_SHARE = 0.5
"""The maximum share of its time that a DELETE waits for the disk. The rest remains for the backend,
which can take the deletion in place of the disk."""

logger = logging.getLogger(__name__)


class Ending:
    """Records that conferences are over."""

    def __init__(
        self,
        ledger: Ledger,
        holds: Holds,
        numeric_ids: NumericIds,
        deletions: Deletions,
        respond_within_seconds: float,
        now_ms: Callable[[], int],
    ) -> None:
        self._ledger = ledger
        self._holds = holds
        self._numeric_ids = numeric_ids
        self._deletions = deletions
        self._respond_within_seconds = respond_within_seconds
        self._sent_early = Throttle()
        self._now_ms = now_ms

    def delete(self, public_id: str, incident_id: str) -> Handled[DeleteReply]:
        """Record that the conference with this public id is over. Raises `StateError`."""
        newest = self._holds.newest
        named = self._numeric_ids.named(public_id)
        if named is None:
            fields = {"id": public_id, "incident": incident_id}
            logs.event(logger, logging.WARNING, "DELETE of an unknown conference", fields)
            return Handled(Deleted())
        ref = named.ref
        known = self._ledger.find(ref)
        budget = Budget(self._respond_within_seconds)
        # A person may have typed the id, so its number may be greater than that of any grant.
        hold = min(named.hold or newest, newest)
        try:
            within_seconds = DISK_SHARE * budget.left_seconds
            if not self._ledger.end(ref, self._now_ms(), within_seconds, hold=hold):
                fields = {"id": public_id, "incident": incident_id}
                logs.event(logger, logging.INFO, "DELETE of an earlier grant", fields)
                return Handled(Deleted(), ref.backend)
        except StateError as error:
            return self._delete_now(ref, known, hold, incident_id, error, budget)
        if ref.is_fallback:
            self._deletions.forget_alias(ref)
        self._deletions.wake(ref.backend)
        return Handled(Deleted(), ref.backend)

    def _is_void(self, ref: ConferenceRef, known: Record | None) -> bool:
        """Return whether a client got the conference after the record `known` was read."""
        found = self._ledger.find(ref)
        if found is None or found.state is not RecordState.OPEN:
            return False
        return known is None or found.revision != known.revision

    def _delete_now(
        self,
        ref: ConferenceRef,
        known: Record | None,
        hold: int,
        incident_id: str,
        error: StateError,
        budget: Budget,
    ) -> Handled[DeleteReply]:
        """Send a deletion that the ledger cannot store, before the client gets its answer."""
        if self._ledger.find(ref) is None and self._ledger.is_over(ref):
            return Handled(Deleted(), ref.backend)
        ended = records.ended(ref, known, self._now_ms(), hold)
        result = self._deletions.attempt_unnoted(ended, known, incident_id, budget.left_seconds)
        if result is None and self._is_void(ref, known):
            return Handled(Deleted(), ref.backend)
        if result is None:
            return Handled(state_fault(error), ref.backend)
        if isinstance(result.outcome, Fault):
            return Handled(state_fault(error), ref.backend, result.code)
        if number := self._sent_early.note():
            logger.warning(
                "delivered %d deletions before the answers to their DELETEs, because the ledger"
                " could not store them: %s",
                number,
                error,
            )
        return Handled(result.outcome, ref.backend, result.code)
