"""Records: the data of a conference in the ledger, and how it changes."""

import dataclasses
import enum
from dataclasses import dataclass, field

from jicofo_reservation_proxy.model import Conference, ConferenceRef, DeleteReason


class RecordState(enum.Enum):
    """The state of a conference (ledger.py describes the states)."""

    OPEN = "open"
    PENDING = "pending"
    """Its deletion is pending."""
    ABANDONED = "abandoned"
    """Its deletion was abandoned."""


@dataclass(frozen=True, slots=True)
class Record:
    """A conference in the ledger.

    `room` is the raw name of the room, or "" if the room is unknown. `conference` has the data from
    the backend, or is `None` if the data is unknown. Both are unknown if the ledger knows the id
    only from a DELETE.

    `is_whole` is true if `conference` has all data from the backend. After a restart it is false
    for a conference with a password or a PIN, because the ledger never writes passwords or PINs.
    `over_at_ms` and `reason` are set when the conference is over.

    `hold` is the number of the newest grant's hold; 0 if it is unknown. The deletion has to end
    the grants of this proxy's holder if `has_row` is true, and grants without a holder if
    `has_no_holder` is true. Both are true if the proxy does not know.

    Every grant sets a new `revision`. So a changed revision shows that a client was given the
    conference in the meantime.
    """

    ref: ConferenceRef
    state: RecordState = RecordState.OPEN
    room: str = ""
    conference: Conference | None = None
    is_whole: bool = True
    over_at_ms: int | None = None
    reason: DeleteReason | None = None
    hold: int = 0
    has_row: bool = False
    has_no_holder: bool = True
    revision: int = field(default=0, compare=False)

    @property
    def ends_at_ms(self) -> int | None:
        """The end of the conference; `None` if the end is unknown or the conference has no end."""
        return self.conference.ends_at_ms if self.conference else None


def ended(ref: ConferenceRef, known: Record | None, over_at_ms: int, hold: int) -> Record:
    """Return the record after a DELETE for the grants up to `hold`; `known` is the one before.

    If the ledger does not know the conference, the backend may have a row of this proxy or not.
    """
    known = known or Record(ref, has_row=True)
    return dataclasses.replace(
        known,
        state=RecordState.PENDING,
        over_at_ms=over_at_ms,
        reason=DeleteReason.ENDED,
        hold=max(known.hold, hold),
    )


def granted(
    ref: ConferenceRef,
    room: str,
    conference: Conference,
    known: Record | None,
    *,
    hold: int,
    has_row: bool,
    revision: int,
) -> Record:
    """Return the record of a conference that a client gets; `known` is the record before.

    `hold` and `has_row` are as in `named`. The record keeps the latest end that a client was told.
    """
    if known is None:
        return Record(
            ref,
            room=room,
            conference=conference,
            hold=hold,
            has_row=has_row,
            has_no_holder=not has_row,
            revision=revision,
        )
    return dataclasses.replace(
        named(known, hold, has_row=has_row),
        state=RecordState.OPEN,
        room=room,
        conference=with_later_end(known, conference),
        is_whole=True,
        over_at_ms=None,
        reason=None,
        revision=revision,
    )


def over(record: Record, over_at_ms: int, reason: DeleteReason) -> Record:
    """Return the record after its conference is over: its deletion is pending."""
    return dataclasses.replace(
        record, state=RecordState.PENDING, over_at_ms=over_at_ms, reason=reason
    )


def with_later_end(known: Record, conference: Conference) -> Conference:
    """Return the new data of a conference, with the latest end that a client was told."""
    if known.conference is None or conference.duration_seconds is None:
        return conference
    if known.conference.duration_seconds is None:
        return dataclasses.replace(conference, duration_seconds=None)
    ends_at_ms = known.ends_at_ms or 0
    seconds = max(conference.duration_seconds, (ends_at_ms - conference.start_time_ms) // 1000)
    return dataclasses.replace(conference, duration_seconds=seconds)


def is_extended(known: Record, granted: Record) -> bool:
    """Return whether a grant makes the life of a conference longer than its record before.

    This is so if the conference was over, or if it now ends later or never.
    """
    if known.state is not RecordState.OPEN:
        return True
    if known.ends_at_ms is None:
        return False
    return granted.ends_at_ms is None or granted.ends_at_ms > known.ends_at_ms


def named(record: Record, hold: int, *, has_row: bool) -> Record:
    """Return the record after the backend named its conference in an answer to a create.

    `hold` is the number of the hold of that create, and `has_row` as in `model.Granted`.
    """
    return dataclasses.replace(
        record,
        hold=max(record.hold, hold),
        has_row=record.has_row or has_row,
        has_no_holder=record.has_no_holder or not has_row,
    )


def is_unchanged(found: Record | None, known: Record | None) -> bool:
    """Return whether the record `found` equals the earlier record `known`, including the revision.

    If the records are equal, no client got the conference since `known` was read.
    """
    if found is None or known is None:
        return found is known
    return found == known and found.revision == known.revision
