"""Records: what the ledger knows of a conference, and how that stands in a row of its table."""

import enum
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from jicofo_reservation_proxy.errors import StateError
from jicofo_reservation_proxy.model import Conference, ConferenceRef, DeleteReason


class RecordState(enum.Enum):
    """What is known of a conference (ledger.py)."""

    OPEN = "open"
    PENDING = "pending"
    """Its deletion is pending."""
    ABANDONED = "abandoned"
    """Its deletion was abandoned."""


_STORED_STATES: Mapping[RecordState, str] = {
    RecordState.OPEN: "open",
    RecordState.PENDING: "ended",
    RecordState.ABANDONED: "dead",
}
"""The states as they stand in the database, which older versions of the proxy read as well."""

_STATES = {stored: state for state, stored in _STORED_STATES.items()}


@dataclass(frozen=True, slots=True)
class Record:
    """A conference in the ledger.

    `room` is the room's raw name, "" where it is unknown, and `conference` what the backend said
    of it, `None` where that is unknown: both are for an id that the ledger hears of in a DELETE.
    `is_whole` tells whether the conference is all that the backend said: after a restart it is
    not where that held a password or a PIN. `over_at_ms` and `reason` are there from the end on.

    Every grant sets a new `revision`. So a changed revision shows that a client was given the
    conference meanwhile.
    """

    ref: ConferenceRef
    state: RecordState = RecordState.OPEN
    room: str = ""
    conference: Conference | None = None
    is_whole: bool = True
    over_at_ms: int | None = None
    reason: DeleteReason | None = None
    revision: int = field(default=0, compare=False)

    @property
    def ends_at_ms(self) -> int | None:
        """When its time is over; `None` where that is unknown or never."""
        held = self.conference
        if held is None or held.duration_seconds is None:
            return None
        return held.start_time_ms + 1000 * held.duration_seconds


def is_unchanged(found: Record | None, known: Record | None) -> bool:
    """Whether what is found of a conference is what was known: no client was given it since."""
    if found is None or known is None:
        return found is known
    return found == known and found.revision == known.revision


_OPTIONS = ("room", "max_occupants", "lobby", "url", "sip_id")
"""What is kept of the rest of a conference. A password or a PIN is never written."""

SELECT = """
SELECT backend, conference_id, is_stand_in, state, room, owner, start_time_ms, duration_seconds,
       options, is_whole, over_at_ms, reason
FROM conference ORDER BY over_at_ms, start_time_ms
"""
UPSERT = "INSERT OR REPLACE INTO conference VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
DELETE = "DELETE FROM conference WHERE backend = ? AND conference_id = ? AND is_stand_in = ?"


def key(ref: ConferenceRef) -> tuple[str, str, bool]:
    """Return the parameters of DELETE."""
    return ref.backend, ref.conference_id, ref.is_fallback


def to_row(record: Record) -> tuple[object, ...]:
    """Return the parameters of UPSERT."""
    held = record.conference
    options = {name: getattr(held, name) for name in _OPTIONS} if held else {}
    return (
        *key(record.ref),
        _STORED_STATES[record.state],
        record.room,
        held.owner if held else None,
        held.start_time_ms if held else None,
        held.duration_seconds if held else None,
        json.dumps(options),
        record.is_whole and not (held and (held.password or held.pin)),
        record.over_at_ms,
        record.reason.value if record.reason else None,
    )


def from_rows(rows: Iterable[tuple[Any, ...]], name: str) -> list[Record]:
    """Return the records in the database's rows. Raises `StateError` where one makes no sense."""
    try:
        return [_record(row) for row in rows]
    except (TypeError, ValueError, KeyError) as error:
        raise StateError(
            f"{name}: wanted a sound ledger, got a row that makes no sense ({error})"
        ) from error


def _record(row: tuple[Any, ...]) -> Record:
    backend, conference_id, is_fallback, state, room, *held, is_whole, over_at_ms, reason = row
    return Record(
        ConferenceRef(backend, conference_id, bool(is_fallback)),
        _STATES[state],
        room,
        _conference(conference_id, *held),
        bool(is_whole),
        over_at_ms,
        DeleteReason(reason) if reason else None,
    )


def _conference(
    conference_id: str,
    owner: str | None,
    start_time_ms: int | None,
    duration_seconds: int | None,
    options: str,
) -> Conference | None:
    if owner is None or start_time_ms is None:
        return None
    return Conference(
        id=conference_id,
        owner=owner,
        start_time_ms=start_time_ms,
        duration_seconds=duration_seconds,
        **json.loads(options),
    )
