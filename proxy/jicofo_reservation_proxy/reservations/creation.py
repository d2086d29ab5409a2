"""The use case of POST: the proxy asks the backend for a room, and answers the client.

A client may have ended the last conference of the room, and the backend may not know it yet: the
deletion is pending. Then the proxy works in this order:

1. Try to deliver the pending deletions of the room. If the backend may carry out one of them later,
   although the proxy has given it up, refuse the room: the deletion could end the new meeting. Only
   HTTP backends do so; the contract for gRPC forbids it.
2. Ask the backend for the room.
3. If the answer names a conference that a client has ended, try to deliver its deletion. If the
   deletion was delivered or is uncertain, ask the backend once more (named_conferences.py). If the
   backend may carry it out later, refuse the room, as in step 1: the ledger may not know the room
   of the conference, or know it from another room.
4. If the answer to the last call names such a conference, its end has not passed, and the client
   may have it, the conference goes on: cancel its deletion.

This order keeps the invariant that is described in deletion_delivery.py.

If the client does not get the conference of a create, no client would send a DELETE for it. The
proxy then ends it at the backend: by a withdrawal (withdrawals.py), or by a deletion if the backend
keeps no rows and granted the conference.
"""

from collections.abc import Mapping, Sequence

from jicofo_reservation_proxy.backends.backend import Backend
from jicofo_reservation_proxy.ledger.ledger import Store
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
    Taken,
    UnnamedConflict,
)

from .conflicts import Conflicts, may_share
from .context import (
    DELETION_MAY_HAPPEN_LATER,
    IN_FLIGHT_LIMIT_REACHED,
    ROOM_IS_BUSY,
    Handled,
    RoomRequest,
)
from .deletions import Deletions
from .fallback import Fallback
from .grants import Grants
from .named_conferences import UNIQUE_IDS, NamedConferences, Verdict
from .withdrawals import Withdrawals

_ONE_ID_TWO_ROOMS = f"is the id of a conference in another room; the contract says: {UNIQUE_IDS}"
_TO_GIVE = frozenset({Verdict.VALID, Verdict.OUTDATED})
"""A client gets the conference of such an answer, or of the next one, maybe with the same id."""


class Creation:
    """Asks a backend for a room, and turns the outcome into a reply."""

    def __init__(
        self,
        backends: Mapping[str, Backend],
        store: Store,
        named: NamedConferences,
        deletions: Deletions,
        grants: Grants,
        conflicts: Conflicts,
        fallback: Fallback,
        withdrawals: Withdrawals,
    ) -> None:
        self._backends = backends
        self._locks = store.locks
        self._named = named
        self._deletions = deletions
        self._grants = grants
        self._conflicts = conflicts
        self._fallback = fallback
        self._holds = store.holds
        self._withdrawals = withdrawals

    def create(self, asked: RoomRequest, *, is_admitted: bool) -> Handled[CreateReply]:
        """Ask the backend for a room, and answer the client.

        `is_admitted` is false if the in-flight limit is reached. Then the proxy does not ask the
        backend, and the fallback answers. The caller holds the lock of the room.
        """
        if not is_admitted:
            return self._fallback.answer(self._with_hold(asked), IN_FLIGHT_LIMIT_REACHED)
        self._deletions.deliver_pending(asked)
        if self._deletions.may_happen_later(asked):
            return self._fallback.answer(self._with_hold(asked), DELETION_MAY_HAPPEN_LATER)
        return self._ask_and_answer(self._with_hold(asked))

    def _with_hold(self, asked: RoomRequest) -> RoomRequest:
        """Return the request with a hold that is greater than those of all grants before."""
        return asked.with_hold(self._holds.next())

    def _ask_and_answer(
        self, asked: RoomRequest, outdated: Sequence[ConferenceRef] = ()
    ) -> Handled[CreateReply]:
        """Ask the backend and answer; ask again if the answer names a conference that is gone.

        `outdated` are the conferences of the answers before. Withdraw the conference of the answer
        if the client does not get it.
        """
        result = self._ask(asked)
        try:
            handled = self._judge_and_answer(asked, result, outdated)
        except Exception:
            self._withdraw(asked, result)
            raise
        if isinstance(handled, ConferenceRef):
            again = asked.after(handled.conference_id)
            return self._ask_and_answer(self._with_hold(again), (*outdated, handled))
        if not _is_given(asked, result.outcome, handled.reply):
            self._withdraw(asked, result)
        return handled

    def _ask(self, asked: RoomRequest) -> Result[CreateOutcome]:
        backend = self._backends[asked.backend]
        return backend.create(
            asked.request,
            asked.dialect.kind,
            asked.hold,
            asked.incident_id,
            asked.budget.left_seconds,
        )

    def _withdraw(self, asked: RoomRequest, result: Result[CreateOutcome]) -> None:
        """End what the backend may hold for a create whose conference no client got."""
        match result.outcome:
            case Granted(conference, has_row=False):
                granted_id = conference.id
            case Fault(granted_id=granted_id, has_row=False) if granted_id:
                pass
            case Denied() | UnnamedConflict() | Conflict(has_row=False):
                return
            case _:
                if result.code:
                    self._withdrawals.note(asked)
                return
        self._deletions.withdraw(asked, ConferenceRef(asked.backend, granted_id))

    def _judge_and_answer(
        self,
        asked: RoomRequest,
        result: Result[CreateOutcome],
        outdated: Sequence[ConferenceRef],
    ) -> Handled[CreateReply] | ConferenceRef:
        """Turn the outcome of the call into the reply; return its conference if it is outdated."""
        outcome = result.outcome
        if isinstance(outcome, Fault):
            return self._fallback.answer(asked, outcome)
        self._deletions.backend_answers(asked.backend)
        if isinstance(outcome, Denied):
            return Handled(outcome, asked.backend, result.code)
        if isinstance(outcome, UnnamedConflict):
            return Handled(self._conflicts.resolve(asked, outcome), asked.backend, result.code)
        self._withdrawals.backend_named(asked.backend, has_row=outcome.has_row)
        ref = ConferenceRef(asked.backend, outcome.conference.id)
        with self._locks.hold(ref, asked.budget.left_seconds) as is_free:
            if not is_free:
                return Handled(ROOM_IS_BUSY, asked.backend, result.code)
            judged = self._judge(asked, ref, outcome, outdated)
        return judged if isinstance(judged, ConferenceRef) else judged._replace(code=result.code)

    def _judge(
        self,
        asked: RoomRequest,
        ref: ConferenceRef,
        outcome: Granted | Conflict,
        outdated: Sequence[ConferenceRef],
    ) -> Handled[CreateReply] | ConferenceRef:
        """Judge the conference `ref` of an answer, as above. The caller holds the locks."""
        verdict = self._named.judge(asked, ref, outcome, outdated)
        if verdict in _TO_GIVE and self._deletions.may_end_later(ref):
            return self._fallback.answer(asked, DELETION_MAY_HAPPEN_LATER)
        if verdict is Verdict.OUTDATED:
            return ref
        return Handled(self._reply(asked, ref, outcome, verdict), asked.backend)

    def _reply(
        self, asked: RoomRequest, ref: ConferenceRef, outcome: Granted | Conflict, verdict: Verdict
    ) -> CreateReply:
        """Turn an answer with a conference into the reply. The caller holds the locks."""
        if verdict is Verdict.OVER:
            return Denied("", OVER)
        if verdict is Verdict.IN_ANOTHER_ROOM:
            return Fault(FaultKind.BROKEN, "OK", f"{ref.conference_id!r} {_ONE_ID_TWO_ROOMS}")
        if isinstance(outcome, Granted):
            return self._grants.give(asked, ref, outcome.conference, has_row=outcome.has_row)
        return self._conflicts.answer(asked, ref, outcome.conference, has_row=outcome.has_row)


def _is_given(asked: RoomRequest, outcome: CreateOutcome, reply: CreateReply) -> bool:
    """Return whether the client gets the conference that the outcome names."""
    match outcome, reply:
        case Granted() | Conflict(), Reservation():
            return True
        case Conflict(conference), Taken():
            return may_share(asked.dialect, asked.request, conference)
        case _:
            return False
