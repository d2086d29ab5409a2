"""The use cases: create, get and delete a conference. Only this module knows the order of things.

What came of a backend's answer (an outcome) becomes what the client is told (a reply): under
which id, and whether a room that is held already may be had. And where the backend gives no
answer, the ledger may.

A room whose last meeting is over, but not yet at the backend, is asked for in this order: tell the
backend that the old meeting is over; ask for the room; where the old conference is named still,
tell once more and ask once more. A conference that is named even then goes on (delivery.py has the
invariant that this keeps).
"""

import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Generic, Literal, Protocol, TypeVar

from . import clients, ids
from .aliases import Aliases
from .budget import Budget
from .clients import Dialect
from .clock import now_ms
from .delivery import Deleter, Delivery
from .errors import StateError
from .ledger import Ledger
from .model import (
    ClientKind,
    Conference,
    ConferenceRef,
    Conflict,
    CreateOutcome,
    CreateReply,
    CreateRequest,
    Deleted,
    DeleteReply,
    Denied,
    Fault,
    FaultKind,
    Found,
    GetOutcome,
    GetReply,
    Granted,
    NotFound,
    PublicId,
    Reservation,
    Result,
    Taken,
)
from .records import Record, RecordState
from .routing import Router
from .slots import Slots

Conflicts = Literal["answer", "report"]
ReplyT_co = TypeVar("ReplyT_co", covariant=True)

DELIVERY_SHARE = 0.4
"""How much of what is left of its time a request spends on the end of the meeting before it: the
greater part remains for the room itself."""

_OUTAGE = {FaultKind.UNREACHABLE, FaultKind.SLOW, FaultKind.SATURATED}
"""Faults that mean that the backend could not be asked."""

logger = logging.getLogger(__name__)


class AnyBackend(Deleter, Protocol):
    """What the use cases need of a backend (backend.py)."""

    def create(
        self, request: CreateRequest, client: ClientKind, incident_id: str, within_seconds: float
    ) -> Result[CreateOutcome]:
        """Ask for a room."""

    def get(
        self, conference_id: str, incident_id: str, within_seconds: float
    ) -> Result[GetOutcome]:
        """Ask for a conference."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What the operator decided.

    `stand_in_seconds` has, for the backends whose rooms are granted while they cannot be asked,
    for how long.
    """

    conflicts: Conflicts
    respond_within_seconds: float
    stand_in_seconds: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Handled(Generic[ReplyT_co]):
    """A reply, with what the log wants to know of it.

    `backend` and `code` are "" where no backend was asked; `source` is who answered in its place:
    "ledger" or "stand_in", else "".
    """

    reply: ReplyT_co
    backend: str = ""
    code: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True)
class _Call:
    """One POST on its way."""

    request: CreateRequest
    dialect: Dialect
    incident_id: str
    backend: str
    budget: Budget


class ReservationProxy:
    """The three use cases over a set of backends."""

    def __init__(
        self,
        router: Router,
        backends: Mapping[str, AnyBackend],
        ledger: Ledger,
        aliases: Aliases,
        delivery: Delivery,
        slots: Slots,
        policy: Policy,
        now_ms: Callable[[], int] = now_ms,
    ) -> None:
        self._router = router
        self._backends = backends
        self._ledger = ledger
        self._aliases = aliases
        self._delivery = delivery
        self._locks = delivery.locks
        self._slots = slots
        self._policy = policy
        self._now_ms = now_ms
        self._number_owner = _number_owner(aliases, backends)

    def create(
        self, request: CreateRequest, dialect: Dialect, incident_id: str
    ) -> Handled[CreateReply]:
        """Ask the room's backend for the room."""
        name = self._router.backend_of(request.room)
        if name is None:
            return Handled(Denied(clients.NO_BACKEND, "no_route"))
        budget = Budget(self._policy.respond_within_seconds)
        call = _Call(request, dialect, incident_id, name, budget)
        with self._slots.take(name, budget.left_seconds) as has_slot:
            patience = budget.left_seconds if has_slot else 0
            with self._locks.hold((name, request.room.raw), patience) as is_free:
                if not is_free:
                    return Handled(_ROOM_IS_BUSY, name)
                return self._create(call) if has_slot else self._without_backend(call, _TOO_MANY)

    def get(self, public_id: str, dialect: Dialect, incident_id: str) -> Handled[GetReply]:
        """Read the conference that a client knows by this id."""
        try:
            ref = self._ref(public_id)
        except StateError as error:
            return Handled(_state_fault(error))
        if ref is None or self._ledger.is_over(ref):
            return Handled(NotFound())
        result = self._get(ref, incident_id)
        reply: GetReply
        match result.outcome:
            case Found(conference):
                self._ledger.update(ref, conference)
                reply = self._reservation(dialect, ref, conference)
            case Fault() if remembered := self._remembered(ref):
                reply = self._reservation(dialect, ref, remembered)
                return Handled(reply, ref.backend, result.code, "ledger")
            case NotFound() | Fault() as reply:
                pass
        return Handled(reply, ref.backend, result.code)

    def delete(self, public_id: str, incident_id: str) -> Handled[DeleteReply]:
        """Note that the conference that a client knows by this id is over.

        The backend is told soon (delivery.py). Where that cannot be noted durably it is told at
        once, and only where that fails too is the client told of a fault.
        """
        try:
            ref = self._ref(public_id)
        except StateError as error:
            return Handled(_state_fault(error))
        if ref is None:
            return Handled(Deleted())
        known = self._ledger.find(ref)
        try:
            self._ledger.end(ref, self._now_ms())
        except StateError as error:
            return self._delete_now(ref, known, incident_id, error)
        if ref.is_stand_in:
            self._delivery.forget_alias(ref)
        self._delivery.wake(ref.backend)
        return Handled(Deleted(), ref.backend)

    def _delete_now(
        self, ref: ConferenceRef, known: Record | None, incident_id: str, error: StateError
    ) -> Handled[DeleteReply]:
        """Tell the backend before the client is answered, as its end cannot be kept."""
        if self._ledger.find(ref) is None and self._ledger.is_over(ref):
            return Handled(Deleted(), ref.backend)
        within_seconds = self._policy.respond_within_seconds
        result = self._delivery.tell_now(ref, known, incident_id, within_seconds)
        if isinstance(result.outcome, Fault):
            return Handled(_state_fault(error), ref.backend, result.code)
        logger.warning("a DELETE was delivered before its answer, since %s", error)
        return Handled(result.outcome, ref.backend, result.code)

    def _get(self, ref: ConferenceRef, incident_id: str) -> Result[GetOutcome]:
        if ref.is_stand_in:
            conference = self._remembered(ref)
            return Result(Found(conference) if conference else NotFound(), "")
        budget = Budget(self._policy.respond_within_seconds)
        with self._slots.take(ref.backend, budget.left_seconds) as has_slot:
            if not has_slot:
                return Result(_TOO_MANY, "")
            backend = self._backends[ref.backend]
            return backend.get(ref.conference_id, incident_id, budget.left_seconds)

    def _remembered(self, ref: ConferenceRef) -> Conference | None:
        """Return a conference as the ledger holds it, `None` where that is not all of it."""
        record = self._ledger.find(ref)
        return record.conference if record and record.is_whole else None

    def _create(self, call: _Call) -> Handled[CreateReply]:
        """Ask for a room whose lock is held."""
        self._deliver_ended(call)
        return self._ask_and_answer(call)

    def _ask_and_answer(self, call: _Call, *, again: bool = False) -> Handled[CreateReply]:
        """Ask the backend, and once more where it names a conference that is over."""
        result = self._ask(call)
        if (conference := _named(result.outcome)) is None:
            return self._answer(call, result)
        ref = ConferenceRef(call.backend, conference.id)
        with self._locks.hold(ref, call.budget.left_seconds) as is_free:
            if not is_free:
                return Handled(_ROOM_IS_BUSY, call.backend, result.code)
            if again or not self._was_told_of_the_end(ref, call):
                return self._answer(call, result)
        return self._ask_and_answer(call, again=True)

    def _was_told_of_the_end(self, ref: ConferenceRef, call: _Call) -> bool:
        """Tell the backend of the end of the conference that it named, if that is over.

        Return whether its answer is old by that: also where it may not have taken it, only an
        answer to what is asked from now on tells.
        """
        if not self._ledger.is_over(ref):
            return False
        return self._deliver(ref, call) or self._delivery.is_in_doubt(ref)

    def _ask(self, call: _Call) -> Result[CreateOutcome]:
        backend = self._backends[call.backend]
        return backend.create(
            call.request, call.dialect.kind, call.incident_id, call.budget.left_seconds
        )

    def _deliver_ended(self, call: _Call) -> None:
        """Tell the backend, in order, of the meetings in this room that are over."""
        room = call.request.room.raw
        for record in self._ledger.of_room(call.backend, room, RecordState.ENDED):
            with self._locks.hold(record.ref, 0) as is_free:
                if not (is_free and self._deliver(record.ref, call)):
                    return

    def _deliver(self, ref: ConferenceRef, call: _Call) -> bool:
        within_seconds = DELIVERY_SHARE * call.budget.left_seconds
        return self._delivery.attempt(ref, call.incident_id, within_seconds)

    def _answer(self, call: _Call, result: Result[CreateOutcome]) -> Handled[CreateReply]:
        """Turn what the backend said into what the client is told."""
        if isinstance(result.outcome, Fault):
            return self._without_backend(call, result.outcome)
        self._delivery.backend_answers(call.backend)
        reply: CreateReply
        match result.outcome:
            case Granted(conference):
                reply = self._give(call, ConferenceRef(call.backend, conference.id), conference)
            case Conflict(conference):
                reply = self._share(call, ConferenceRef(call.backend, conference.id), conference)
            case Denied() as reply:
                pass
        return Handled(reply, call.backend, result.code)

    def _without_backend(self, call: _Call, fault: Fault) -> Handled[CreateReply]:
        """Answer for a backend that gave no answer, where the ledger or the operator allows it."""
        for record in reversed(self._of_room(call, RecordState.ENDED)):
            if self._may_go_on(call, record) and record.conference:
                old = self._give(call, record.ref, record.conference)
                return Handled(old, call.backend, fault.code, "ledger")
        seconds = self._policy.stand_in_seconds.get(call.backend)
        if seconds is None or fault.kind not in _OUTAGE:
            return Handled(fault, call.backend, fault.code)
        for record in self._of_room(call, RecordState.OPEN):
            if record.conference and self._is_certain(record):
                shared = self._share(call, record.ref, record.conference)
                return Handled(shared, call.backend, fault.code, "ledger")
        return Handled(self._stand_in(call, seconds), call.backend, fault.code, "stand_in")

    def _of_room(self, call: _Call, state: RecordState) -> list[Record]:
        return self._ledger.of_room(call.backend, call.request.room.raw, state)

    def _may_go_on(self, call: _Call, record: Record) -> bool:
        """Tell whether a client may have a conference back that was over."""
        return (
            record.conference is not None
            and self._is_certain(record)
            and clients.may_repeat(call.dialect, call.request, record.conference)
        )

    def _is_certain(self, record: Record) -> bool:
        """Tell whether a conference is all there, and held at the backend for certain.

        Not if a DELETE of it was sent: it may be carried out still, and would end the meeting.
        """
        is_past = record.ends_at_ms is not None and record.ends_at_ms <= self._now_ms()
        return record.is_whole and not is_past and not self._delivery.is_in_doubt(record.ref)

    def _stand_in(self, call: _Call, seconds: int) -> Reservation | Fault:
        """Grant a room without its backend, for the time that the operator chose.

        It begins now: Jicofo's own time may be half an hour off (clients.md "start_time").
        """
        request = call.request
        wanted = request.duration_seconds
        conference = Conference(
            id=call.incident_id,
            room=request.room.raw,
            owner=request.mail_owner or "",
            start_time_ms=self._now_ms(),
            duration_seconds=seconds if wanted is None else min(seconds, wanted),
        )
        ref = ConferenceRef(call.backend, conference.id, is_stand_in=True)
        return self._give(call, ref, conference)

    def _share(self, call: _Call, ref: ConferenceRef, existing: Conference) -> CreateReply:
        """Answer for a room that is held already."""
        is_reported = self._policy.conflicts == "report"
        if not clients.may_repeat(call.dialect, call.request, existing):
            if not is_reported or self._ledger.is_over(ref):
                return Denied(clients.TAKEN, "other_owner")
            reply = self._reservation(call.dialect, ref, existing)
        else:
            reply = self._give(call, ref, existing)
        if is_reported and isinstance(reply, Reservation):
            return Taken(reply.public_id)
        return reply

    def _give(self, call: _Call, ref: ConferenceRef, conference: Conference) -> Reservation | Fault:
        """Note that the client has a conference from now on, and tell it so.

        One that was over stays so where the client cannot be told.
        """
        reply = self._reservation(call.dialect, ref, conference)
        if isinstance(reply, Fault) and self._ledger.is_over(ref):
            return reply
        try:
            self._ledger.grant(ref, call.request.room.raw, conference)
        except StateError as error:
            return _state_fault(error)
        self._delivery.called_off(ref)
        return reply

    def _reservation(
        self, dialect: Dialect, ref: ConferenceRef, conference: Conference
    ) -> Reservation | Fault:
        try:
            return Reservation(self._public_id(dialect, ref), conference)
        except StateError as error:
            return _state_fault(error)

    def _public_id(self, dialect: Dialect, ref: ConferenceRef) -> PublicId:
        """Return what the client will know a conference by (ids.py)."""
        if not dialect.numeric_ids:
            return ids.encode(ref)
        is_plain = len(self._backends) == 1 and not ref.is_stand_in
        number = ids.own_number(ref.conference_id) if is_plain else None
        return number if number is not None else self._aliases.alias(ref)

    def _ref(self, public_id: str) -> ConferenceRef | None:
        """Return the conference that a client's id leads to, or `None` where it leads nowhere."""
        found = ids.decode(public_id)
        if isinstance(found, ids.Number):
            found = self._ref_of_number(found)
        is_ours = found and found.conference_id and found.backend in self._backends
        return found if is_ours else None

    def _ref_of_number(self, number: ids.Number) -> ConferenceRef | None:
        if number.is_alias:
            return self._aliases.resolve(number.value)
        return ConferenceRef(self._number_owner, str(number.value)) if self._number_owner else None


_TOO_MANY = Fault(FaultKind.OVERLOADED, "", "not asked: as many calls as may be are under way")
_ROOM_IS_BUSY = Fault(FaultKind.SLOW, "", "not asked: another request for the room took too long")


def _named(outcome: CreateOutcome) -> Conference | None:
    """Return the conference that a backend names as the one that holds the room."""
    return outcome.conference if isinstance(outcome, Granted | Conflict) else None


def _number_owner(aliases: Aliases, backends: Collection[str]) -> str | None:
    """Return whose the numbers are that are no aliases: the only backend's, or the one's before.

    Raises `StateError` where a change of it cannot be kept.
    """
    known = aliases.number_owner
    if len(backends) != 1:
        return known
    only = next(iter(backends))
    if only != known:
        aliases.set_number_owner(only)
    return only


def _state_fault(error: StateError) -> Fault:
    return Fault(FaultKind.STATE, "", str(error))
