"""Conflicts: another conference already holds the room that a client asks for.

This module decides whether the client gets that conference, only the id of that conference (409),
or a denial.
"""

from collections.abc import Callable
from dataclasses import replace

from jicofo_reservation_proxy.ledger.ledger import Ledger
from jicofo_reservation_proxy.ledger.records import RecordState
from jicofo_reservation_proxy.model import (
    OTHER_OWNER,
    OVER,
    Conference,
    ConferenceRef,
    CreateReply,
    CreateRequest,
    Denied,
    Dialect,
    Reservation,
    Taken,
    UnnamedConflict,
)

from .context import RoomRequest
from .grants import Grants


def may_share(dialect: Dialect, request: CreateRequest, existing: Conference) -> bool:
    """Return whether the client may have the conference that already holds the room.

    The client may have the conference in three cases (clients.md "409 and GET"):

    - Owners of this dialect do not identify people.
    - The request has no owner.
    - The request and the conference have the same owner. The comparison ignores case, as for JIDs.
    """
    if not dialect.owner_is_a_person or request.owner is None:
        return True
    return request.owner.raw.lower() == existing.owner.lower()


class Conflicts:
    """Answers requests for rooms that a conference already holds.

    With `reports`, the client gets only the id of that conference, and reads the conference with a
    GET, as Jitsi's handbook describes (`conflicts = "report"`).
    """

    def __init__(
        self, ledger: Ledger, grants: Grants, now_ms: Callable[[], int], *, reports: bool
    ) -> None:
        self._ledger = ledger
        self._grants = grants
        self._now_ms = now_ms
        self._reports = reports

    def answer(
        self, asked: RoomRequest, ref: ConferenceRef, existing: Conference, *, has_row: bool
    ) -> CreateReply:
        """Answer a request for the room that the conference `existing` holds.

        An owner that the backend does not name is that of the ledger, if the conference is open
        there. `has_row` is as in `Ledger.grant`.
        """
        known = self._ledger.find(ref)
        if not existing.owner and known and known.conference and known.state is RecordState.OPEN:
            existing = replace(existing, owner=known.conference.owner)
        if may_share(asked.dialect, asked.request, existing):
            reply = self._grants.give(asked, ref, existing, has_row=has_row)
        elif self._reports and not self._ledger.is_over(ref):
            reply = self._grants.reservation(asked.dialect, ref, existing, 0, asked.budget)
        else:
            return Denied("", OTHER_OWNER)
        if self._reports and isinstance(reply, Reservation):
            return Taken(reply.public_id)
        return reply

    def resolve(self, asked: RoomRequest, conflict: UnnamedConflict) -> CreateReply:
        """Answer a request for a room that a conference holds which the backend does not describe.

        The ledger may know the conference: a client has it open. Otherwise deny the room. The
        caller holds the lock of the room, which is enough for a conference from the ledger.
        """
        room = asked.request.room.raw
        for record in self._ledger.in_room(asked.backend, room, RecordState.OPEN):
            is_it = conflict.conference_id in {"", record.ref.conference_id}
            if is_it and record.conference and record.is_whole and not record.ref.is_fallback:
                if record.ends_at_ms is not None and record.ends_at_ms <= self._now_ms():
                    return Denied(conflict.message, OVER)
                return self.answer(asked, record.ref, record.conference, has_row=record.has_row)
        return Denied(conflict.message, OTHER_OWNER)
