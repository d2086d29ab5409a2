"""The fallback: the answer to a POST when the backend gave no answer.

The fallback gives the first possible answer of this list:

1. The last conference of the room whose deletion is pending, if the backend certainly still holds
   that conference and the client may have it. The conference goes on.
2. The answer to a conflict with the open conference that holds the room, if the operator allows
   fallback grants and the backend is unreachable or too slow.
3. A *fallback grant*, under the same conditions: the proxy grants the room without the backend.
4. The fault, as an error.
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
"""Faults that mean that the backend is unreachable or too slow to answer."""


class Fallback:
    """Answers requests for which the backend gave no answer.

    `seconds` maps each backend that allows fallback grants to their duration in seconds (the
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
        """Answer a POST for which the backend gave no answer; `fault` is the reason."""
        if old := self._gone_on(asked):
            return Handled(old, asked.backend, fault.code, FROM_LEDGER)
        seconds = self._seconds.get(asked.backend)
        if seconds is None or fault.kind not in _OUTAGE:
            return Handled(fault, asked.backend, fault.code)
        if shared := self._shared(asked):
            return Handled(shared, asked.backend, fault.code, FROM_LEDGER)
        return Handled(self._granted(asked, seconds), asked.backend, fault.code, FROM_FALLBACK)

    def _gone_on(self, asked: RoomRequest) -> CreateReply | None:
        """Give the client the last pending conference of the room (case 1 of the list above)."""
        for record in reversed(self._in_room(asked, RecordState.PENDING)):
            conference = self._certain(record)
            if conference and may_share(asked.dialect, asked.request, conference):
                return self._grants.give(asked, record.ref, conference, has_row=record.has_row)
        return None

    def _shared(self, asked: RoomRequest) -> CreateReply | None:
        """Answer with the open conference that holds the room."""
        for record in self._in_room(asked, RecordState.OPEN):
            if conference := self._certain(record):
                return self._conflicts.answer(asked, record.ref, conference, has_row=record.has_row)
        return None

    def _in_room(self, asked: RoomRequest, state: RecordState) -> Sequence[Record]:
        return self._ledger.in_room(asked.backend, asked.request.room.raw, state)

    def _certain(self, record: Record) -> Conference | None:
        """Return the conference if it is complete and its backend certainly holds it.

        Otherwise return `None`: the end of the conference has passed, or its deletion is uncertain.
        The backend may still carry out an uncertain deletion, and so end the meeting.
        """
        is_past = record.ends_at_ms is not None and record.ends_at_ms <= self._now_ms()
        if not record.is_whole or is_past or self._deletions.is_uncertain(record.ref):
            return None
        return record.conference

    def _granted(self, asked: RoomRequest, seconds: int) -> Reservation | Fault:
        """Grant a room without its backend, for at most `seconds`.

        The grant begins now, not at the start time of the request: Jicofo's start time may be wrong
        by half an hour (clients.md "start_time").
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
        return self._grants.give(asked, ref, conference, has_row=False)
