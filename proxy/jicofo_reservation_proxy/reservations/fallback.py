"""The fallback: what is answered to a POST when the backend gave no answer.

The room's last conference goes on where that is safe; else the room is granted without the
backend where the operator allows it (a *fallback grant*); else the fault is told.
"""

from collections.abc import Callable, Mapping, Sequence

from jicofo_reservation_proxy.ledger.ledger import Ledger
from jicofo_reservation_proxy.ledger.records import Record, RecordState
from jicofo_reservation_proxy.model import (
    Conference,
    ConferenceRef,
    CreateReply,
    Fault,
    FaultKind,
    Reservation,
)

from .conflicts import Conflicts, may_share
from .context import FROM_FALLBACK, FROM_LEDGER, Handled, RoomRequest
from .deletions import Deletions
from .grants import Grants

_OUTAGE = {FaultKind.UNREACHABLE, FaultKind.SLOW, FaultKind.SATURATED}
"""Faults that mean that the backend could not be asked."""


class Fallback:
    """Answers for backends that gave no answer.

    `seconds` maps each backend that allows fallback grants to the seconds that they last (the
    settings `when_unreachable` and `allow_for`).
    """

    def __init__(
        self,
        ledger: Ledger,
        grants: Grants,
        conflicts: Conflicts,
        deletions: Deletions,
        seconds: Mapping[str, int],
        now_ms: Callable[[], int],
    ) -> None:
        self._ledger = ledger
        self._grants = grants
        self._conflicts = conflicts
        self._deletions = deletions
        self._seconds = seconds
        self._now_ms = now_ms

    def answer(self, asked: RoomRequest, fault: Fault) -> Handled[CreateReply]:
        """Answer a POST whose backend met a fault."""
        if old := self._gone_on(asked):
            return Handled(old, asked.backend, fault.code, FROM_LEDGER)
        seconds = self._seconds.get(asked.backend)
        if seconds is None or fault.kind not in _OUTAGE:
            return Handled(fault, asked.backend, fault.code)
        if shared := self._shared(asked):
            return Handled(shared, asked.backend, fault.code, FROM_LEDGER)
        return Handled(self._granted(asked, seconds), asked.backend, fault.code, FROM_FALLBACK)

    def _gone_on(self, asked: RoomRequest) -> CreateReply | None:
        """Let the room's last conference that is over go on, if the client may have it."""
        for record in reversed(self._in_room(asked, RecordState.PENDING)):
            conference = self._certain(record)
            if conference and may_share(asked.dialect, asked.request, conference):
                return self._grants.give(asked, record.ref, conference)
        return None

    def _shared(self, asked: RoomRequest) -> CreateReply | None:
        """Answer with the open conference that holds the room."""
        for record in self._in_room(asked, RecordState.OPEN):
            if conference := self._certain(record):
                return self._conflicts.answer(asked, record.ref, conference)
        return None

    def _in_room(self, asked: RoomRequest, state: RecordState) -> Sequence[Record]:
        return self._ledger.in_room(asked.backend, asked.request.room.raw, state)

    def _certain(self, record: Record) -> Conference | None:
        """Return a conference that is all there, and held at the backend for certain.

        Not if a DELETE of it was sent: it may be carried out still, and would end the meeting.
        """
        is_past = record.ends_at_ms is not None and record.ends_at_ms <= self._now_ms()
        if not record.is_whole or is_past or self._deletions.is_uncertain(record.ref):
            return None
        return record.conference

    def _granted(self, asked: RoomRequest, seconds: int) -> Reservation | Fault:
        """Grant a room without its backend, for the time that the operator chose.

        It begins now: Jicofo's own time may be half an hour off (clients.md "start_time").
        """
        request = asked.request
        wanted = request.duration_seconds
        conference = Conference(
            id=asked.incident_id,
            room=request.room.raw,
            owner=request.mail_owner or "",
            start_time_ms=self._now_ms(),
            duration_seconds=seconds if wanted is None else min(seconds, wanted),
        )
        ref = ConferenceRef(asked.backend, conference.id, is_fallback=True)
        return self._grants.give(asked, ref, conference)
