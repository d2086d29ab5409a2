"""Conflicts: another conference already holds the room that a client asks for.

This module decides whether the client may have that conference. If not, it decides what the proxy
tells the client.
"""

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
    """Return whether the client may have the conference that already holds the room.

    The client may have it in three cases (clients.md "409 and GET"): owners of this dialect do not
    identify people, the request has no owner, or the request has the owner of the conference. The
    comparison ignores case, because JIDs do.
    """
    if not dialect.owner_is_a_person or request.owner is None:
        return True
    return request.owner.raw.lower() == existing.owner.lower()


class Conflicts:
    """Answers requests for rooms that a conference already holds.

    With `reports`, the client is told the id of that conference and reads the conference with a
    GET, as Jitsi's handbook describes (the setting `conflicts`).
    """

    def __init__(self, ledger: Ledger, grants: Grants, *, reports: bool) -> None:
        self._ledger = ledger
        self._grants = grants
        self._reports = reports

    def answer(self, asked: RoomRequest, ref: ConferenceRef, existing: Conference) -> CreateReply:
        """Answer a request for the room that the conference `existing` holds."""
        if may_share(asked.dialect, asked.request, existing):
            reply = self._grants.give(asked, ref, existing)
        elif self._reports and not self._ledger.is_over(ref):
            reply = self._grants.reservation(asked.dialect, ref, existing)
        else:
            return Denied("", OTHER_OWNER)
        if self._reports and isinstance(reply, Reservation):
            return Taken(reply.public_id)
        return reply
