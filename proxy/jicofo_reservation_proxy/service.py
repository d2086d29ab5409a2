"""The use cases: create, get and delete a conference. Only this module knows the order of things.

What came of a backend's answer (an outcome) becomes what the client is told (a reply): under
which id, and whether a room that is held already may be had.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from . import clients, ids
from .backend import Backend
from .clients import Dialect
from .clock import now_ms
from .errors import StateError
from .ledger import Ledger
from .model import (
    Conference,
    ConferenceRef,
    Conflict,
    CreateReply,
    CreateRequest,
    Deleted,
    DeleteOutcome,
    Denied,
    Fault,
    FaultKind,
    Found,
    GetReply,
    Granted,
    NotFound,
    PublicId,
    Reservation,
    Taken,
)
from .routing import Router

Conflicts = Literal["answer", "report"]
ReplyT_co = TypeVar("ReplyT_co", covariant=True)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Handled(Generic[ReplyT_co]):
    """A reply, with what the log wants to know of it.

    `backend` is "" and `code` is "" where no backend was asked.
    """

    reply: ReplyT_co
    backend: str = ""
    code: str = ""


class ReservationProxy:
    """The three use cases over a set of backends."""

    def __init__(
        self,
        router: Router,
        backends: Mapping[str, Backend],
        ledger: Ledger,
        conflicts: Conflicts = "answer",
        now_ms: Callable[[], int] = now_ms,
    ) -> None:
        self._router = router
        self._backends = backends
        self._ledger = ledger
        self._conflicts = conflicts
        self._now_ms = now_ms
        self._number_owner = _number_owner(ledger, backends)

    def create(
        self, request: CreateRequest, dialect: Dialect, incident_id: str
    ) -> Handled[CreateReply]:
        """Ask the room's backend for the room."""
        name = self._router.backend_of(request.room)
        if name is None:
            return Handled(Denied(clients.NO_BACKEND, "no_route"))
        result = self._backends[name].create(request, dialect.kind, incident_id)
        reply: CreateReply
        match result.outcome:
            case Granted(conference):
                reply = self._reservation(dialect, name, conference)
            case Conflict(conference):
                reply = self._conflict(dialect, name, request, conference)
            case Denied() | Fault() as reply:
                pass
        return Handled(reply, name, result.code)

    def get(self, public_id: str, dialect: Dialect, incident_id: str) -> Handled[GetReply]:
        """Read the conference that a client knows by this id."""
        try:
            ref = self._ref(public_id)
        except StateError as error:
            return Handled(_state_fault(error))
        if ref is None:
            return Handled(NotFound())
        result = self._backends[ref.backend].get(ref.conference_id, incident_id)
        reply: GetReply
        match result.outcome:
            case Found(conference):
                reply = self._reservation(dialect, ref.backend, conference)
            case NotFound() | Fault() as reply:
                pass
        return Handled(reply, ref.backend, result.code)

    def delete(self, public_id: str, incident_id: str) -> Handled[DeleteOutcome]:
        """Tell the backend that the conference that a client knows by this id is over."""
        try:
            ref = self._ref(public_id)
        except StateError as error:
            return Handled(_state_fault(error))
        if ref is None:
            return Handled(Deleted())
        backend = self._backends[ref.backend]
        result = backend.delete(ref.conference_id, self._now_ms(), incident_id)
        if isinstance(result.outcome, Deleted):
            self._forget(ref)
        return Handled(result.outcome, ref.backend, result.code)

    def _conflict(
        self, dialect: Dialect, backend: str, request: CreateRequest, existing: Conference
    ) -> CreateReply:
        if self._conflicts == "report":
            reply = self._reservation(dialect, backend, existing)
            return Taken(reply.public_id) if isinstance(reply, Reservation) else reply
        if clients.may_repeat(dialect, request, existing):
            return self._reservation(dialect, backend, existing)
        return Denied(clients.TAKEN, "other_owner")

    def _reservation(
        self, dialect: Dialect, backend: str, conference: Conference
    ) -> Reservation | Fault:
        try:
            return Reservation(
                self._public_id(dialect, ConferenceRef(backend, conference.id)), conference
            )
        except StateError as error:
            return _state_fault(error)

    def _public_id(self, dialect: Dialect, ref: ConferenceRef) -> PublicId:
        """Return what the client will know a conference by (ids.py)."""
        if not dialect.numeric_ids:
            return ids.encode(ref)
        number = ids.own_number(ref.conference_id) if len(self._backends) == 1 else None
        return number if number is not None else self._ledger.alias(ref)

    def _ref(self, public_id: str) -> ConferenceRef | None:
        """Return the conference that a client's id leads to, or `None` where it leads nowhere."""
        found = ids.decode(public_id)
        if isinstance(found, ids.Number):
            found = self._ref_of_number(found)
        is_ours = found and found.conference_id and found.backend in self._backends
        return found if is_ours else None

    def _ref_of_number(self, number: ids.Number) -> ConferenceRef | None:
        if number.is_alias:
            return self._ledger.resolve(number.value)
        return ConferenceRef(self._number_owner, str(number.value)) if self._number_owner else None

    def _forget(self, ref: ConferenceRef) -> None:
        try:
            self._ledger.forget(ref)
        except StateError as error:
            logger.warning("the alias of a deleted conference stays: %s", error)


def _number_owner(ledger: Ledger, backends: Mapping[str, Backend]) -> str | None:
    """Return whose the numbers are that are no aliases: the only backend's, or the one's before.

    Raises `StateError` where a change of it cannot be kept.
    """
    known = ledger.number_owner
    if len(backends) != 1:
        return known
    only = next(iter(backends))
    if only != known:
        ledger.set_number_owner(only)
    return only


def _state_fault(error: StateError) -> Fault:
    return Fault(FaultKind.STATE, "", str(error))
