"""Named conferences: whether the conference in a backend's answer may go to a client.

A backend may name a conference that is over, or a conference of another room:

- A client has ended the conference, and its deletion is pending. The answer is outdated once the
  deletion was delivered.
- The backend has acknowledged the deletion, and names the same id. Either the answer is outdated,
  or the backend uses the id again. Backends that use the row of a booking as the id do so. The
  proxy sends no deletion then: somebody may be in the new conference.
- The end of the conference has passed. A client would open the room and close it at once.
- The ledger knows the id from another room: one id for two rooms.

The contract forbids most of this. But many backends do it, and no client must suffer from it.
"""

import enum
import logging
from collections.abc import Callable, Mapping, Sequence

from jicofo_reservation_proxy.backends.backend import Backend
from jicofo_reservation_proxy.ids import encode
from jicofo_reservation_proxy.ledger.ledger import Ledger
from jicofo_reservation_proxy.ledger.records import Record
from jicofo_reservation_proxy.model import (
    Conference,
    ConferenceRef,
    Conflict,
    Found,
    GetOutcome,
    Granted,
    NotFound,
)
from jicofo_reservation_proxy.observability import logs

from .context import RoomRequest
from .deletions import Deletions

UNIQUE_IDS = (
    "The id MUST be unique among all conferences of this backend for ever. The backend MUST NOT use"
    " an id again."
)
"""The sentence of the contract (reservation.proto, `Conference.id`)."""

logger = logging.getLogger(__name__)


class Verdict(enum.Enum):
    """The verdict on the conference in an answer."""

    VALID = "valid"
    """A client may get the conference."""
    OUTDATED = "outdated"
    """The conference is over at the backend now: ask the backend once more."""
    OVER = "over"
    """The end of the conference has passed."""
    IN_ANOTHER_ROOM = "in another room"
    """The ledger knows the conference from another room."""


MAX_OUTDATED = 2
"""After so many answers with conferences that are gone, the next answer counts. Two are possible:
while the backend makes its second answer, a deletion of another conference with the same id may be
delivered."""


class NamedConferences:
    """Judges the conferences in the answers to CreateConference."""

    def __init__(
        self,
        backends: Mapping[str, Backend],
        ledger: Ledger,
        deletions: Deletions,
        now_ms: Callable[[], int],
    ) -> None:
        self._backends = backends
        self._ledger = ledger
        self._deletions = deletions
        self._now_ms = now_ms
        self._reusing: set[str] = set()

    def judge(
        self,
        asked: RoomRequest,
        ref: ConferenceRef,
        outcome: Granted | Conflict,
        outdated: Sequence[ConferenceRef],
    ) -> Verdict:
        """Judge the conference of an answer; end it at the backend if it is over.

        The caller holds the locks of the room and of the conference. `outdated` are the conferences
        of the answers before to this request. If the backend names one of them once more, the
        answer is not outdated: the backend was asked after its end. The same is true after
        `MAX_OUTDATED` answers. Raises `StateError`.
        """
        is_asked_after = ref in outdated or len(outdated) >= MAX_OUTDATED
        if outcome.has_row:
            # The create has raised the row of this proxy. The pending deletion has to end it.
            self._ledger.name_over(ref, asked.hold.number)
        record = self._ledger.find(ref)
        if record and not _is_same(record.room, asked):
            if not self._has_moved(asked, ref, record):
                return Verdict.IN_ANOTHER_ROOM
        elif not is_asked_after and self._is_outdated(asked, ref, record, has_row=outcome.has_row):
            return Verdict.OUTDATED
        if self._has_passed(outcome.conference):
            return self._end(asked, ref, outcome, is_last=bool(outdated))
        return Verdict.VALID

    def _has_moved(self, asked: RoomRequest, ref: ConferenceRef, record: Record) -> bool:
        """Return whether the backend says that the conference is in the room of the request."""
        match self._get(asked, ref):
            case Found(conference) if conference.room and _is_same(conference.room, asked):
                fields = {"id": encode(ref), "room": conference.room, "old_room": record.room}
                logs.event(logger, logging.WARNING, "conference moved to another room", fields)
                return True
            case _:
                return False

    def _is_outdated(
        self, asked: RoomRequest, ref: ConferenceRef, record: Record | None, *, has_row: bool
    ) -> bool:
        """Return whether to ask again, because the conference is over at the backend now.

        A gone conference of a backend without deletions is not over there. A backend that keeps
        rows has acknowledged only that this proxy does not have the conference.
        """
        if not self._ledger.is_over(ref):
            return False
        if record is None:  # the conference is gone
            if has_row:
                return False
            has_delete = not self._deletions.has_no_delete(asked.backend)
            return has_delete and not self._is_new(asked, ref)
        return self._deletions.attempt_for(asked, ref) or self._deletions.is_uncertain(ref)

    def _is_new(self, asked: RoomRequest, ref: ConferenceRef) -> bool:
        """Return whether a conference with the id of a gone one is a new conference."""
        match self._get(asked, ref):
            case NotFound():
                return False
            case Found(conference) if not _is_same(conference.room, asked):
                return False
        if asked.backend not in self._reusing:
            self._reusing.add(asked.backend)
            logger.warning(
                "backends.%s names %s again after it has acknowledged its deletion; "
                "the contract says: %s",
                asked.backend,
                encode(ref),
                UNIQUE_IDS,
            )
        return True

    def _get(self, asked: RoomRequest, ref: ConferenceRef) -> GetOutcome:
        backend = self._backends[asked.backend]
        seconds = asked.share_seconds
        return backend.get(ref.conference_id, asked.incident_id, seconds).outcome

    def _has_passed(self, conference: Conference) -> bool:
        ends_at_ms = conference.ends_at_ms
        return ends_at_ms is not None and ends_at_ms <= self._now_ms()

    def _end(
        self, asked: RoomRequest, ref: ConferenceRef, outcome: Granted | Conflict, *, is_last: bool
    ) -> Verdict:
        """End a conference whose end has passed, unless a client was told a later end."""
        room = asked.request.room.raw
        fields = {"id": encode(ref), "room": room}
        logs.event(logger, logging.WARNING, "the backend named a conference that is over", fields)
        is_over = self._ledger.end_early(ref, room, outcome.conference, self._now_ms())
        if outcome.has_row:
            self._ledger.name_over(ref, asked.hold.number)
        if not is_over or is_last:
            return Verdict.OVER
        if self._deletions.attempt_for(asked, ref):
            return Verdict.OUTDATED
        self._deletions.withdraw(asked, ref)  # so that the pending deletion is on the disk
        return Verdict.OUTDATED if self._deletions.is_uncertain(ref) else Verdict.OVER


def _is_same(room: str, asked: RoomRequest) -> bool:
    """Return whether a room is the room of the request; "" is an unknown room.

    The comparison ignores case, as for JIDs.
    """
    return room.lower() in {"", asked.request.room.raw.lower()}
