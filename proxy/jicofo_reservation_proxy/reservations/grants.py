"""Grants: the proxy records a conference in the ledger, and then gives it to a client."""

from jicofo_reservation_proxy.clock import Budget
from jicofo_reservation_proxy.errors import StateError
from jicofo_reservation_proxy.ledger.ledger import Ledger
from jicofo_reservation_proxy.model import Conference, ConferenceRef, Dialect, Fault, Reservation

from .context import RoomRequest, state_fault
from .deletions import Deletions
from .numeric_ids import NumericIds


class Grants:
    """Gives conferences to clients, under ids that the clients accept."""

    def __init__(self, ledger: Ledger, numeric_ids: NumericIds, deletions: Deletions) -> None:
        self._ledger = ledger
        self._numeric_ids = numeric_ids
        self._deletions = deletions

    def give(
        self, asked: RoomRequest, ref: ConferenceRef, conference: Conference, *, has_row: bool
    ) -> Reservation | Fault:
        """Record that the client has a conference from now on, and return the reply.

        `has_row` is as in `Ledger.grant`. If the reply is a fault, the ledger does not change.
        """
        hold = asked.hold.number
        reply = self.reservation(asked.dialect, ref, conference, hold, asked.budget)
        if isinstance(reply, Fault):
            return reply
        try:
            self._ledger.grant(
                ref,
                asked.request.room.raw,
                conference,
                asked.budget.left_seconds,
                hold=hold,
                has_row=has_row,
            )
        except StateError as error:
            return state_fault(error)
        self._deletions.cancel(ref)
        return reply

    def reservation(
        self,
        dialect: Dialect,
        ref: ConferenceRef,
        conference: Conference,
        hold: int,
        budget: Budget,
    ) -> Reservation | Fault:
        """Return the reservation for a conference, with an id that the client accepts.

        `hold` is the number of the grant's hold; 0 if the id shall name no grant.
        """
        try:
            public_id = self._numeric_ids.of(dialect, ref, hold, budget.left_seconds)
            return Reservation(public_id, conference)
        except StateError as error:
            return state_fault(error)
