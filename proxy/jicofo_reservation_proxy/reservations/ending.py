"""Ending a conference: DELETE.

The backend is told soon (deletion_delivery.py). Where the end cannot be noted durably it is told
at once. The client is told of a fault only where that fails too, or where the record cannot be
read: it is then unknown whether a client was given the conference.
"""

import logging
from collections.abc import Callable

from jicofo_reservation_proxy.errors import StateError
from jicofo_reservation_proxy.ledger.ledger import Ledger
from jicofo_reservation_proxy.ledger.records import Record
from jicofo_reservation_proxy.model import ConferenceRef, Deleted, DeleteReply, Fault

from .context import Handled, state_fault
from .deletions import Deletions
from .numeric_ids import NumericIds

logger = logging.getLogger(__name__)


class Ending:
    """Notes that conferences are over."""

    def __init__(
        self,
        ledger: Ledger,
        numeric_ids: NumericIds,
        deletions: Deletions,
        respond_within_seconds: float,
        now_ms: Callable[[], int],
    ) -> None:
        self._ledger = ledger
        self._numeric_ids = numeric_ids
        self._deletions = deletions
        self._respond_within_seconds = respond_within_seconds
        self._now_ms = now_ms

    def delete(self, public_id: str, incident_id: str) -> Handled[DeleteReply]:
        """Note that the conference that a client knows by this id is over. Raises `StateError`."""
        ref = self._numeric_ids.ref(public_id)
        if ref is None:
            return Handled(Deleted())
        known = self._ledger.find(ref)
        try:
            self._ledger.end(ref, self._now_ms())
        except StateError as error:
            return self._delete_now(ref, known, incident_id, error)
        if ref.is_fallback:
            self._deletions.forget_alias(ref)
        self._deletions.wake(ref.backend)
        return Handled(Deleted(), ref.backend)

    def _delete_now(
        self, ref: ConferenceRef, known: Record | None, incident_id: str, error: StateError
    ) -> Handled[DeleteReply]:
        """Tell the backend before the client is answered, as its end cannot be kept."""
        if self._ledger.find(ref) is None and self._ledger.is_over(ref):
            return Handled(Deleted(), ref.backend)
        result = self._deletions.attempt_unnoted(
            ref, known, incident_id, self._respond_within_seconds
        )
        if result is None:
            return Handled(state_fault(error), ref.backend)
        if isinstance(result.outcome, Fault):
            return Handled(state_fault(error), ref.backend, result.code)
        logger.warning("a DELETE was delivered before its answer, since %s", error)
        return Handled(result.outcome, ref.backend, result.code)
