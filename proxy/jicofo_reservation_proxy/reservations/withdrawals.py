"""Withdrawals: end what the backend may hold for a create whose conference no client got.

An answer to a create may be lost, may break the contract, or may name a conference that the client
may not have. The backend then has a row of this proxy, and no client will send a DELETE for it. So
the proxy notes the room and withdraws it:

- A withdrawal is for a room, because the proxy may not know the id of the conference.
- The proxy withdraws a room only while no client of this proxy has a conference of the room. A
  client that gets the conference later sends a DELETE, which ends the row too.
- The proxy withdraws once more ten minutes after the create: the create may be executed late, after
  the first withdrawal.
- A withdrawal may end a conference whose deletion is pending. So that deletion is uncertain
  afterwards, and the room does not go on under this conference without the backend.

A backend without rows gets no withdrawals: it would not know what to do with an empty id. Until the
first answer, the proxy does not know whether the backend keeps rows, and the withdrawals wait.

tests/model shows that each of these rules is needed.
"""

import logging
import time
from collections.abc import Callable, Mapping

from jicofo_reservation_proxy.backends.backend import Deleter
from jicofo_reservation_proxy.clock import now_ms
from jicofo_reservation_proxy.ids import new_incident_id
from jicofo_reservation_proxy.ledger.ledger import Store
from jicofo_reservation_proxy.ledger.records import RecordState
from jicofo_reservation_proxy.ledger.withdrawals import Withdrawal
from jicofo_reservation_proxy.model import Deleted, DeleteReason, Deletion, Fault, Hold
from jicofo_reservation_proxy.observability import logs
from jicofo_reservation_proxy.observability.metrics import Metrics
from jicofo_reservation_proxy.text_rules import one_line

from .context import RoomRequest
from .retry_schedule import RetrySchedule, back_off

LATE_CREATE_MS = 600_000
"""No create arrives at a backend later than this after the proxy has sent it."""

MAX_AT_ONCE = 20
"""The pending deletions of the backend have their turn again after this many withdrawals."""

logger = logging.getLogger(__name__)


class Withdrawals:
    """Notes and delivers the withdrawals.

    `give_up_after_ms` is the setting `give_up_after`, which may change at any time.
    """

    def __init__(
        self,
        backends: Mapping[str, Deleter],
        store: Store,
        schedule: RetrySchedule,
        metrics: Metrics,
        *,
        give_up_after_ms: int,
        now_ms: Callable[[], int] = now_ms,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._backends = backends
        self._ledger = store.ledger
        self._withdrawals = store.withdrawals
        self._holder = store.holds.holder
        self._locks = store.locks
        self._schedule = schedule
        self._metrics = metrics
        self.give_up_after_ms = give_up_after_ms
        self._now_ms = now_ms
        self._clock = clock
        self._keeps_rows: dict[str, bool] = {}
        self._reported: set[str] = set()
        self._failures: dict[str, int] = {}
        self._next_at: dict[str, float] = {}

    def backend_named(self, backend: str, *, has_row: bool) -> None:
        """Record whether a backend keeps rows; its answer to a create with a holder shows that.

        Log once that a backend without rows belongs to one proxy.
        """
        if not self._holder or self._keeps_rows.get(backend) is has_row:
            return
        self._keeps_rows[backend] = has_row
        if has_row:
            self._schedule.wake(backend)
            return
        if backend not in self._reported:
            self._reported.add(backend)
            logger.info(
                "backends.%s keeps no rows for holders: do not let several proxies ask it for the"
                " same rooms",
                backend,
            )
        for withdrawal in self._withdrawals.of(backend):
            self._withdrawals.remove(withdrawal)

    def backend_changed(self, backend: str) -> None:
        """Forget whether a backend keeps rows: another server answers now."""
        self._keeps_rows.pop(backend, None)
        self._next_at.pop(backend, None)

    def note(self, asked: RoomRequest) -> None:
        """Note that no client got the conference of the newest create of a request.

        The caller holds the lock of the room.
        """
        if not asked.hold.holder or self._keeps_rows.get(asked.backend) is False:
            return
        room, hold = asked.request.room.raw, asked.hold.number
        self._withdrawals.note(Withdrawal(asked.backend, room, hold, self._now_ms()))
        self._schedule.wake(asked.backend)

    def deliver(self, backend: str, left_seconds: Callable[[], float]) -> bool:
        """Send some due withdrawals of a backend; return whether others can be sent at once.

        Stop after the first that fails. `left_seconds` returns the time that is left for the next
        call.
        """
        if not self._keeps_rows.get(backend) or self._clock() < self._next_at.get(backend, 0.0):
            return False
        delivered = 0
        for withdrawal in filter(self._is_due, self._withdrawals.of(backend)):
            if delivered == MAX_AT_ONCE:
                return True
            within_seconds = left_seconds()
            if within_seconds <= 0:
                return False
            is_delivered = self._send_if_free(withdrawal, within_seconds)
            if is_delivered is False:
                return False
            delivered += bool(is_delivered)
        return False

    def _is_due(self, withdrawal: Withdrawal) -> bool:
        is_late = self._age_ms(withdrawal) >= LATE_CREATE_MS
        return (is_late or not withdrawal.is_sent) and not self._has_open(withdrawal)

    def _age_ms(self, withdrawal: Withdrawal) -> int:
        return self._now_ms() - withdrawal.asked_at_ms

    def _send_if_free(self, withdrawal: Withdrawal, within_seconds: float) -> bool | None:
        """Send a withdrawal; return whether it was delivered, or `None` if its room is not free."""
        with self._locks.hold(withdrawal.room_key, 0) as is_free:
            if not is_free or self._has_open(withdrawal):
                return None
            return self._send(withdrawal, within_seconds)

    def _has_open(self, withdrawal: Withdrawal) -> bool:
        """Return whether a client has a conference of the room that its backend knows."""
        found = self._ledger.in_room(withdrawal.backend, withdrawal.room, RecordState.OPEN)
        return any(not record.ref.is_fallback for record in found)

    def _send(self, withdrawal: Withdrawal, within_seconds: float) -> bool:
        backend, room = withdrawal.room_key
        for record in self._ledger.in_room(backend, room, RecordState.PENDING):
            self._schedule.note_sent(record.ref)
        deletion = Deletion(
            "",
            withdrawal.asked_at_ms,
            DeleteReason.ENDED,
            (Hold(self._holder, withdrawal.hold),),
            room,
        )
        incident_id = new_incident_id()
        is_late = self._age_ms(withdrawal) >= LATE_CREATE_MS
        result = self._backends[backend].delete(deletion, incident_id, within_seconds)
        fields = {"room": room, "code": result.code, "incident": incident_id}
        is_delivered = isinstance(result.outcome, Deleted)
        self._metrics.deletion_attempts.labels(
            backend, "withdrawn", "delivered" if is_delivered else "failed"
        ).inc()
        if isinstance(result.outcome, Fault):
            fields |= {
                "fault": result.outcome.kind.value,
                "detail": one_line(result.outcome.detail),
            }
            self._put_off(withdrawal, fields)
            return False
        logs.event(logger, logging.INFO, "withdrawal delivered", fields)
        self._failures.pop(backend, None)
        if is_late:
            self._withdrawals.remove(withdrawal)
        else:
            self._withdrawals.sent(withdrawal)
        return True

    def _put_off(self, withdrawal: Withdrawal, fields: Mapping[str, str]) -> None:
        """Wait before the next withdrawal of the backend, and try the others first."""
        backend = withdrawal.backend
        self._failures[backend] = 1 + self._failures.get(backend, 0)
        self._next_at[backend] = self._clock() + back_off(self._failures[backend])
        self._withdrawals.remove(withdrawal)
        if self._age_ms(withdrawal) < self.give_up_after_ms:
            self._withdrawals.note(withdrawal)
            logs.event(logger, logging.WARNING, "withdrawal pending", fields)
        else:
            logs.event(logger, logging.ERROR, "withdrawal abandoned", fields)
