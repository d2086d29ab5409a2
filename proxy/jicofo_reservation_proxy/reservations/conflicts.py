"""Conflicts: a room that is held already. Who may have its conference, and what others are told."""

from jicofo_reservation_proxy.ledger.ledger import Ledger
from jicofo_reservation_proxy.model import (
    OTHER_OWNER,
    Conference,
    ConferenceRef,
    CreateReply,
    CreateRequest,
    Denied,
    Dialect,
    Reservation,
    Taken,
)

from .context import RoomRequest
from .grants import Grants


def may_share(dialect: Dialect, request: CreateRequest, existing: Conference) -> bool:
    """Tell whether the client may have the conference that holds the room already.

    It may where ownership says nothing, where no owner was sent, and where the owner is the one
    on record (clients.md "409 and GET"). JIDs do not tell upper from lower case.
    """
    if not dialect.owner_is_a_person or request.owner is None:
        return True
    return request.owner.raw.lower() == existing.owner.lower()


class Conflicts:
    """Answers for rooms that are held already.

    With `reports` the client is told which conference holds the room, and asks for that by GET, as
    in Jitsi's handbook (the setting `conflicts`).
    """

    def __init__(self, ledger: Ledger, grants: Grants, *, reports: bool) -> None:
        self._ledger = ledger
        self._grants = grants
        self._reports = reports

    def answer(self, asked: RoomRequest, ref: ConferenceRef, existing: Conference) -> CreateReply:
        """Answer a request for the room that this conference holds."""
        if may_share(asked.dialect, asked.request, existing):
            reply = self._grants.give(asked, ref, existing)
        elif self._reports and not self._ledger.is_over(ref):
            reply = self._grants.reservation(asked.dialect, ref, existing)
        else:
            return Denied("", OTHER_OWNER)
        if self._reports and isinstance(reply, Reservation):
            return Taken(reply.public_id)
        return reply
