"""The use case of POST: the proxy asks the backend for a room, and answers the client.

A client may have ended the last conference of the room, and the backend may not know it yet: the
deletion is pending. Then the proxy works in this order:

1. Try to deliver the pending deletions of the room.
2. Ask the backend for the room.
3. If the answer names a conference that a client has ended, try to deliver its deletion. If the
   deletion was delivered or is uncertain, ask the backend once more (named_conferences.py).
4. If the answer to the last call names such a conference, its end has not passed, and the client
   may have it, the conference goes on: cancel its deletion.

This order keeps the invariant that is described in deletion_delivery.py.

If the backend granted a conference and the client does not get it, no client would send a DELETE
for it. The proxy then withdraws the conference: it ends the conference at the backend.
"""

from collections.abc import Mapping

from jicofo_reservation_proxy.backends.backend import Backend
from jicofo_reservation_proxy.ledger.room_locks import Locks
from jicofo_reservation_proxy.model import (
    OVER,
    ConferenceRef,
    Conflict,
    CreateOutcome,
    CreateReply,
    Denied,
    Fault,
    FaultKind,
    Granted,
    Reservation,
    Result,
)

from .conflicts import Conflicts
from .context import IN_FLIGHT_LIMIT_REACHED, ROOM_IS_BUSY, Handled, RoomRequest
from .deletions import Deletions
from .fallback import Fallback
from .grants import Grants
from .named_conferences import UNIQUE_IDS, NamedConferences, Verdict

_ONE_ID_TWO_ROOMS = f"is the id of a conference in another room; the contract says: {UNIQUE_IDS}"


class Creation:
    """Asks a backend for a room, and turns the outcome into a reply."""

    def __init__(
        self,
        backends: Mapping[str, Backend],
        locks: Locks,
        named: NamedConferences,
        deletions: Deletions,
        grants: Grants,
        conflicts: Conflicts,
        fallback: Fallback,
    ) -> None:
        self._backends = backends
        self._locks = locks
        self._named = named
        self._deletions = deletions
        self._grants = grants
        self._conflicts = conflicts
        self._fallback = fallback

    def create(self, asked: RoomRequest, *, is_admitted: bool) -> Handled[CreateReply]:
        """Ask the backend for a room, and answer the client.

        `is_admitted` is false if the in-flight limit is reached. Then the proxy does not ask the
        backend, and the fallback answers. The caller holds the lock of the room.
        """
        if not is_admitted:
            return self._fallback.answer(asked, IN_FLIGHT_LIMIT_REACHED)
        self._deletions.deliver_pending(asked)
        return self._ask_and_answer(asked)

    def _ask_and_answer(self, asked: RoomRequest, *, is_last: bool = False) -> Handled[CreateReply]:
        """Ask the backend and answer; ask once more if the answer names a conference that is gone.

        Withdraw the conference that the backend granted, if the client does not get it.
        """
        result = self._ask(asked)
        granted_id = _granted_id(result.outcome)
        try:
            handled = self._judge_and_answer(asked, result, is_last=is_last)
        except Exception:
            self._withdraw(asked, granted_id)
            raise
        if handled is None:
            return self._ask_and_answer(asked, is_last=True)
        if granted_id != _given_id(handled.reply):
            self._withdraw(asked, granted_id)
        return handled

    def _ask(self, asked: RoomRequest) -> Result[CreateOutcome]:
        backend = self._backends[asked.backend]
        return backend.create(
            asked.request, asked.dialect.kind, asked.incident_id, asked.budget.left_seconds
        )

    def _withdraw(self, asked: RoomRequest, granted_id: str) -> None:
        if granted_id:
            self._deletions.withdraw(asked, ConferenceRef(asked.backend, granted_id))

    def _judge_and_answer(
        self, asked: RoomRequest, result: Result[CreateOutcome], *, is_last: bool
    ) -> Handled[CreateReply] | None:
        """Turn the outcome of the call into the reply; return `None` if the outcome is outdated."""
        outcome = result.outcome
        if isinstance(outcome, Fault):
            return self._fallback.answer(asked, outcome)
        self._deletions.backend_answers(asked.backend)
        if isinstance(outcome, Denied):
            return Handled(outcome, asked.backend, result.code)
        ref = ConferenceRef(asked.backend, outcome.conference.id)
        with self._locks.hold(ref, asked.budget.left_seconds) as is_free:
            if not is_free:
                return Handled(ROOM_IS_BUSY, asked.backend, result.code)
            verdict = self._named.judge(asked, ref, outcome, is_last=is_last)
            if verdict is Verdict.OUTDATED:
                return None
            return Handled(self._reply(asked, ref, outcome, verdict), asked.backend, result.code)

    def _reply(
        self, asked: RoomRequest, ref: ConferenceRef, outcome: Granted | Conflict, verdict: Verdict
    ) -> CreateReply:
        """Turn an answer with a conference into the reply. The caller holds the locks."""
        if verdict is Verdict.OVER:
            return Denied("", OVER)
        if verdict is Verdict.IN_ANOTHER_ROOM:
            return Fault(FaultKind.BROKEN, "OK", f"{ref.conference_id!r} {_ONE_ID_TWO_ROOMS}")
        if isinstance(outcome, Granted):
            return self._grants.give(asked, ref, outcome.conference)
        return self._conflicts.answer(asked, ref, outcome.conference)


def _granted_id(outcome: CreateOutcome) -> str:
    """Return the id of the conference that the backend granted; "" if it granted none."""
    match outcome:
        case Granted(conference):
            return conference.id
        case Fault(granted_id=granted_id):
            return granted_id
        case _:
            return ""


def _given_id(reply: CreateReply) -> str:
    """Return the id of the conference that the client gets; "" if it gets none."""
    return reply.conference.id if isinstance(reply, Reservation) else ""
