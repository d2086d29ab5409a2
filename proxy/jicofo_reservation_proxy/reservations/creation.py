"""Creating the conference of a room: POST.

The last conference of the room may be over while its deletion is still pending. Then the proxy
works in this order:

1. Deliver the pending deletion.
2. Ask the backend for the room.
3. If the backend still names the old conference, deliver the deletion of that conference. Ask once
   more, unless the deletion was never sent.
4. If the backend still names the old conference, that conference goes on: cancel its deletion.

This order keeps the invariant that is described in deletion_delivery.py.
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
"""The maximum share of its remaining time that a request spends on each deletion of an earlier
conference. The larger part remains for the creation."""


class Creation:
    """Asks a backend for a room, and turns the outcome into a reply."""

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
        """Ask the backend for a room; the fallback answers a request that was not admitted."""
        patience_seconds = asked.budget.left_seconds if is_admitted else 0
        with self._locks.hold(asked.room_key, patience_seconds) as is_free:
            if not is_free:
                fault = ROOM_IS_BUSY if is_admitted else IN_FLIGHT_LIMIT_REACHED
                return Handled(fault, asked.backend)
            if not is_admitted:
                return self._fallback.answer(asked, IN_FLIGHT_LIMIT_REACHED)
            self._deliver_pending(asked)
            return self._ask_and_answer(asked)

    def _ask_and_answer(self, asked: RoomRequest, *, again: bool = False) -> Handled[CreateReply]:
        """Ask the backend; ask once more if its answer may be out of date."""
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
        """Deliver the deletion of the conference that the backend named, if it is over.

        Return whether to ask the backend again: its answer may be out of date if the deletion was
        delivered or is uncertain.
        """
        if not self._ledger.is_over(ref):
            return False
        return self._deliver(ref, asked) or self._deletions.is_uncertain(ref)

    def _deliver_pending(self, asked: RoomRequest) -> None:
        """Deliver the pending deletions of this room in order; stop at the first failure."""
        room = asked.request.room.raw
        for record in self._ledger.in_room(asked.backend, room, RecordState.PENDING):
            with self._locks.hold(record.ref, 0) as is_free:
                if not (is_free and self._deliver(record.ref, asked)):
                    return

    def _deliver(self, ref: ConferenceRef, asked: RoomRequest) -> bool:
        within_seconds = DELIVERY_SHARE * asked.budget.left_seconds
        return self._deletions.attempt(ref, asked.incident_id, within_seconds)

    def _answer(self, asked: RoomRequest, result: Result[CreateOutcome]) -> Handled[CreateReply]:
        """Turn the outcome of the call into the reply to the client."""
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
    """Return the conference that holds the room according to the backend; `None` if none does."""
    return outcome.conference if isinstance(outcome, Granted | Conflict) else None
