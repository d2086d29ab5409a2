"""The three use cases: create, get and delete a conference.

A use case turns the outcome of a call to a backend into the reply to the client. It decides which
id the client gets, and whether the client may have a room that a conference already holds. If the
backend gives no answer, the ledger may answer in its place.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from jicofo_reservation_proxy.backends.backend import Backend
from jicofo_reservation_proxy.clock import Budget
from jicofo_reservation_proxy.errors import StateError
from jicofo_reservation_proxy.model import (
    NO_ROUTE,
    CreateReply,
    CreateRequest,
    DeleteReply,
    Denied,
    Dialect,
    GetReply,
)

from .conflicts import Conflicts
from .context import Handled, RoomRequest, state_fault
from .creation import Creation
from .ending import Ending
from .fallback import Fallback
from .grants import Grants
from .named_conferences import NamedConferences
from .reading import Reading
from .routing import Router
from .shared import Shared


@dataclass(frozen=True, slots=True)
class Policy:
    """The operator's settings for the use cases.

    `fallback_seconds` maps each backend that allows fallback grants to their duration in seconds.
    """

    conflicts: Literal["answer", "report"]
    respond_within_seconds: float
    fallback_seconds: Mapping[str, int]


class UseCases:
    """The use cases for a set of backends, a router and a policy, which a reload replaces together.

    The methods return a `Fault` if the store cannot be used.
    """

    def __init__(
        self,
        router: Router,
        backends: Mapping[str, Backend],
        shared: Shared,
        policy: Policy,
    ) -> None:
        store, numeric_ids, now_ms = shared.store, shared.numeric_ids, shared.now_ms
        ledger, within_seconds = store.ledger, policy.respond_within_seconds
        deletions, in_flight = shared.delivery.deletions, shared.in_flight
        grants = Grants(ledger, numeric_ids, deletions)
        conflicts = Conflicts(ledger, grants, now_ms, reports=policy.conflicts == "report")
        fallback = Fallback(ledger, grants, conflicts, deletions, policy.fallback_seconds, now_ms)
        self._router = router
        self._in_flight = in_flight
        self._room_queue = shared.room_queue
        self._respond_within_seconds = within_seconds
        named = NamedConferences(backends, ledger, deletions, now_ms)
        self._creation = Creation(
            backends,
            store,
            named,
            deletions,
            grants,
            conflicts,
            fallback,
            shared.delivery.withdrawals,
        )
        self._reading = Reading(
            backends, ledger, numeric_ids, grants, in_flight, within_seconds, now_ms
        )
        self._ending = Ending(ledger, store.holds, numeric_ids, deletions, within_seconds, now_ms)

    def create(
        self, request: CreateRequest, dialect: Dialect, incident_id: str
    ) -> Handled[CreateReply]:
        """Ask the responsible backend for a room; deny a room without a backend."""
        backend = self._router.backend_of(request.room)
        if backend is None:
            return Handled(Denied("", NO_ROUTE))
        budget = Budget(self._respond_within_seconds)
        asked = RoomRequest(request, dialect, incident_id, backend, budget)
        try:
            return self._create(asked)
        except StateError as error:
            return Handled(state_fault(error), backend)

    def _create(self, asked: RoomRequest) -> Handled[CreateReply]:
        """Wait for the room, then for a place at the backend, and create the conference.

        A request that waits for its room takes no place from the requests for other rooms.
        """
        with self._room_queue.enter(asked.room_key, asked.budget.left_seconds) as fault:
            if fault is not None:
                return Handled(fault, asked.backend)
            with self._in_flight.admit(asked.backend, asked.budget.left_seconds) as is_admitted:
                return self._creation.create(asked, is_admitted=is_admitted)

    def get(self, public_id: str, dialect: Dialect, incident_id: str) -> Handled[GetReply]:
        """Read the conference that a client knows by this id."""
        try:
            return self._reading.get(public_id, dialect, incident_id)
        except StateError as error:
            return Handled(state_fault(error))

    def delete(self, public_id: str, incident_id: str) -> Handled[DeleteReply]:
        """Record that the conference that a client knows by this id is over."""
        try:
            return self._ending.delete(public_id, incident_id)
        except StateError as error:
            return Handled(state_fault(error))
