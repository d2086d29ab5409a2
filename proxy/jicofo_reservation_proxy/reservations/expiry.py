"""Expiry: end the conferences whose time is over, and abandon deletions that are too old."""

import logging
from collections.abc import Callable, Collection
from datetime import timedelta

from jicofo_reservation_proxy.clock import now_ms
from jicofo_reservation_proxy.ids import encode
from jicofo_reservation_proxy.ledger.ledger import Ledger
from jicofo_reservation_proxy.ledger.records import Record
from jicofo_reservation_proxy.model import ConferenceRef, DeleteReason
from jicofo_reservation_proxy.observability import logs

from .deletions import Deletions
from .retry_schedule import RetrySchedule

logger = logging.getLogger(__name__)

_MILLISECOND = timedelta(milliseconds=1)


class Expiry:
    """Ends conferences that have expired, and abandons deletions that are too old.

    `expire_after` is the time from the end of a conference to its expiry. `give_up_after` is the
    time for which the proxy tries to deliver a deletion. Both are settings, which may change at any
    time, as may the names in `backends`.
    """

    def __init__(
        self,
        backends: Collection[str],
        ledger: Ledger,
        schedule: RetrySchedule,
        deletions: Deletions,
        *,
        expire_after: timedelta,
        give_up_after: timedelta,
        now_ms: Callable[[], int] = now_ms,
    ) -> None:
        self._backends = backends
        self._ledger = ledger
        self._schedule = schedule
        self._deletions = deletions
        self._now_ms = now_ms
        self.change(expire_after, give_up_after)

    def change(self, expire_after: timedelta, give_up_after: timedelta) -> None:
        """Use other settings from now on."""
        self._expire_after_ms = expire_after // _MILLISECOND
        self._give_up_after_ms = give_up_after // _MILLISECOND

    def run(self, *, may_abandon: bool) -> None:
        """End the conferences and abandon the deletions whose time is over. Raises `StateError`."""
        now = self._now_ms()
        self._expire(now)
        if may_abandon:
            self._abandon(now)
        self._schedule.trim(self._is_known)

    def _expire(self, now: int) -> None:
        for record in self._ledger.expire(now - self._expire_after_ms):
            if record.ref.is_fallback:
                self._deletions.forget_alias(record.ref)
            _log(logging.INFO, "expired", record)
            self._schedule.wake(record.ref.backend)

    def _abandon(self, now: int) -> None:
        for record in self._ledger.pending_since(now - self._give_up_after_ms):
            if self._was_tried_for_too_long(record, now) and self._ledger.abandon(record):
                self._schedule.forget(record.ref)
                _log(logging.ERROR, "deletion abandoned", record)

    def _was_tried_for_too_long(self, record: Record, now: int) -> bool:
        """Return whether to abandon a deletion.

        The proxy abandons a deletion for a backend in the settings only after a failed attempt in
        this process. The time counts from the moment at which the deletion was first due. For an
        expired conference, this moment is `expire_after` later than its end.
        """
        if record.ref.backend not in self._backends:
            return True
        grace_ms = self._expire_after_ms if record.reason is DeleteReason.EXPIRED else 0
        due_ms = (record.over_at_ms or 0) + grace_ms
        return self._schedule.count(record.ref) > 0 and due_ms < now - self._give_up_after_ms

    def _is_known(self, ref: ConferenceRef) -> bool:
        return self._ledger.find(ref) is not None or self._ledger.is_over(ref)


def _log(level: int, message: str, record: Record) -> None:
    logs.event(logger, level, message, {"id": encode(record.ref), "room": record.room})
