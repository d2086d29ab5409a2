"""Creating a room's conference: POST.

A room whose last meeting is over, but not yet at the backend, is asked for in this order: tell the
backend that the old meeting is over; ask for the room; where the old conference is named still,
tell once more and ask once more. A conference that is named even then goes on. The invariant that
this keeps is in deletion_delivery.py.
"""

from collections.abc import Mapping

from jicofo_reservation_proxy.backends.backend import Backend
from jicofo_reservation_proxy.ledger.ledger import Ledger
from jicofo_reservation_proxy.ledger.records import RecordState
from jicofo_reservation_proxy.ledger.room_locks import Locks
from jicofo_reservation_proxy.model import (
    Conference,
    ConferenceRef,
    Conflict,
    CreateOutcome,
    CreateReply,
    Denied,
    Fault,
    Granted,
    Result,
)

from .conflicts import Conflicts
from .context import IN_FLIGHT_LIMIT_REACHED, ROOM_IS_BUSY, Handled, RoomRequest
from .deletions import Deletions
from .fallback import Fallback
from .grants import Grants

DELIVERY_SHARE = 0.4
"""How much of what is left of its time a request spends on the end of the meeting before it: the
greater part remains for the room itself."""


class Creation:
    """Asks a room's backend for the room, and turns its answer into a reply."""

    def __init__(
        self,
        backends: Mapping[str, Backend],
        ledger: Ledger,
        locks: Locks,
        deletions: Deletions,
        grants: Grants,
        conflicts: Conflicts,
        fallback: Fallback,
    ) -> None:
        self._backends = backends
        self._ledger = ledger
        self._locks = locks
        self._deletions = deletions
        self._grants = grants
        self._conflicts = conflicts
        self._fallback = fallback

    def create(self, asked: RoomRequest, *, is_admitted: bool) -> Handled[CreateReply]:
        """Ask for a room, or let the fallback answer for a request that was not admitted."""
        patience_seconds = asked.budget.left_seconds if is_admitted else 0
        with self._locks.hold(asked.room_key, patience_seconds) as is_free:
            if not is_free:
                return Handled(ROOM_IS_BUSY, asked.backend)
            if not is_admitted:
                return self._fallback.answer(asked, IN_FLIGHT_LIMIT_REACHED)
            self._deliver_pending(asked)
            return self._ask_and_answer(asked)

    def _ask_and_answer(self, asked: RoomRequest, *, again: bool = False) -> Handled[CreateReply]:
        """Ask the backend, and once more where it names a conference that is over."""
        result = self._ask(asked)
        if (conference := _named(result.outcome)) is None:
            return self._answer(asked, result)
        ref = ConferenceRef(asked.backend, conference.id)
        with self._locks.hold(ref, asked.budget.left_seconds) as is_free:
            if not is_free:
                return Handled(ROOM_IS_BUSY, asked.backend, result.code)
            if again or not self._was_told_of_the_end(ref, asked):
                return self._answer(asked, result)
        return self._ask_and_answer(asked, again=True)

    def _ask(self, asked: RoomRequest) -> Result[CreateOutcome]:
        backend = self._backends[asked.backend]
        return backend.create(
            asked.request, asked.dialect.kind, asked.incident_id, asked.budget.left_seconds
        )

    def _was_told_of_the_end(self, ref: ConferenceRef, asked: RoomRequest) -> bool:
        """Tell the backend of the end of the conference that it named, if that is over.

        Return whether to ask the backend again: the deletion was delivered, or may have been, so
        that its answer may be out of date.
        """
        if not self._ledger.is_over(ref):
            return False
        return self._deliver(ref, asked) or self._deletions.is_uncertain(ref)

    def _deliver_pending(self, asked: RoomRequest) -> None:
        """Tell the backend, in order, of the meetings in this room that are over."""
        room = asked.request.room.raw
        for record in self._ledger.in_room(asked.backend, room, RecordState.PENDING):
            with self._locks.hold(record.ref, 0) as is_free:
                if not (is_free and self._deliver(record.ref, asked)):
                    return

    def _deliver(self, ref: ConferenceRef, asked: RoomRequest) -> bool:
        within_seconds = DELIVERY_SHARE * asked.budget.left_seconds
        return self._deletions.attempt(ref, asked.incident_id, within_seconds)

    def _answer(self, asked: RoomRequest, result: Result[CreateOutcome]) -> Handled[CreateReply]:
        """Turn what the backend said into what the client is told."""
        if isinstance(result.outcome, Fault):
            return self._fallback.answer(asked, result.outcome)
        self._deletions.backend_answers(asked.backend)
        reply: CreateReply
        match result.outcome:
            case Granted(conference):
                ref = ConferenceRef(asked.backend, conference.id)
                reply = self._grants.give(asked, ref, conference)
            case Conflict(conference):
                ref = ConferenceRef(asked.backend, conference.id)
                reply = self._conflicts.answer(asked, ref, conference)
            case Denied() as reply:
                pass
        return Handled(reply, asked.backend, result.code)


def _named(outcome: CreateOutcome) -> Conference | None:
    """Return the conference that a backend names as the one that holds the room."""
    return outcome.conference if isinstance(outcome, Granted | Conflict) else None
