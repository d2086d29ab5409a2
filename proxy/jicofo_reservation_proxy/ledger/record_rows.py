"""The row of a record in the database, and its line of JSON."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from json.encoder import encode_basestring_ascii
from typing import Any

from jicofo_reservation_proxy.errors import StateError
from jicofo_reservation_proxy.model import ConferenceRef, DeleteReason

from .packed_records import (
    NO_REST,
    Packed,
    flags_of,
    pack,
    pack_flags,
    shared,
    state_of,
    unpack,
)
from .records import Record, RecordState

_STORED_STATES: Mapping[RecordState, str] = {
    RecordState.OPEN: "open",
    RecordState.PENDING: "ended",
    RecordState.ABANDONED: "dead",
}
"""The states as the database stores them. Do not change these texts: older versions of the proxy
read the same file."""

_STATES = {stored: state for state, stored in _STORED_STATES.items()}

_OPTIONS = ("room", "max_occupants", "lobby", "url", "sip_id")
"""The fields of a conference in the column `options`. A password or a PIN is never written."""

_NO_OTHERS = (None,) * (len(_OPTIONS) - 1)

SELECT = """
SELECT backend, conference_id, is_stand_in, state, room, owner, start_time_ms, duration_seconds,
       options, is_whole, over_at_ms, reason, hold, has_row, has_no_holder
FROM conference ORDER BY over_at_ms, start_time_ms
"""
TABLE = "conference"
Row = Sequence[Any]
KEY_COLUMNS = ("backend", "conference_id", "is_stand_in")


def key(ref: ConferenceRef) -> tuple[str, str, bool]:
    """Return the values of `KEY_COLUMNS`."""
    return ref.backend, ref.conference_id, ref.is_fallback


def to_row(ref: ConferenceRef, packed: Packed) -> tuple[object, ...]:
    """Return the values of all columns."""
    _, room, name, owner, start_time_ms, ends_at_ms, hold, _, rest = packed
    over_at_ms, reason, _, max_occupants, lobby, password, pin, url, sip_id = rest or NO_REST
    is_whole, has_row, has_no_holder = flags_of(packed)
    duration_seconds = None
    if ends_at_ms is not None and start_time_ms is not None:
        duration_seconds = (ends_at_ms - start_time_ms) // 1000
    return (
        *key(ref),
        _STORED_STATES[state_of(packed)],
        room,
        owner,
        start_time_ms,
        duration_seconds,
        "{}" if name is None else _to_options(name, max_occupants, lobby, url, sip_id),
        is_whole and not (password or pin),
        over_at_ms,
        reason,
        hold,
        has_row,
        has_no_holder,
    )


def from_row(row: Row) -> tuple[ConferenceRef, Packed]:
    """Return the record in a row. Raises an error of Python if the row is invalid."""
    (
        backend,
        conference_id,
        is_fallback,
        state,
        room,
        owner,
        start_time_ms,
        duration_seconds,
        options,
        is_whole,
        over_at_ms,
        reason,
        hold,
        has_row,
        has_no_holder,
    ) = row
    name = ends_at_ms = max_occupants = lobby = url = sip_id = None
    if owner is None or start_time_ms is None:
        owner = start_time_ms = None
    else:
        owner = shared(owner)
        if duration_seconds is not None:
            ends_at_ms = start_time_ms + 1000 * duration_seconds
        # A parser takes 5 microseconds. Most conferences have a room only, with the raw name.
        if options == _plain_options(room):
            name = room
        else:
            name, max_occupants, lobby, url, sip_id = _from_options(options)
    if reason is not None:
        reason = DeleteReason(reason).value
    rest = (over_at_ms, reason, None, max_occupants, lobby, None, None, url, sip_id)
    return ConferenceRef(backend, conference_id, bool(is_fallback)), (
        _stored_flags(state, is_whole, has_row, has_no_holder),
        room,
        name,
        owner,
        start_time_ms,
        ends_at_ms,
        hold,
        0,
        None if rest == NO_REST else rest,
    )


@lru_cache
def _stored_flags(state: str, is_whole: int, has_row: int, has_no_holder: int) -> int:
    """Return the first field of a packed record. Raises `KeyError` if there is no such state."""
    return pack_flags(
        _STATES[state],
        is_whole=bool(is_whole),
        has_row=bool(has_row),
        has_no_holder=bool(has_no_holder),
    )


def from_rows(rows: Iterable[Row], name: str) -> Iterator[tuple[ConferenceRef, Packed]]:
    """Yield the records in rows of the database. Raises `StateError` if a row is invalid."""
    try:
        for row in rows:
            yield from_row(row)
    except (TypeError, ValueError, KeyError) as error:
        raise StateError(
            f"{name}: wanted an undamaged ledger, got an invalid row ({error}); move the ledger "
            "away to start with an empty ledger; all pending deletions are then lost"
        ) from error


def to_json(found: Iterable[Record]) -> bytes:
    """Return the records as lines of JSON; `from_json` gives back the records."""
    return b"".join(
        json.dumps(to_row(record.ref, pack(record))).encode() + b"\n" for record in found
    )


def from_json(lines: bytes, name: str) -> list[Record]:
    """Return the records of `to_json`. Raises `StateError` if a line is invalid."""
    rows = (json.loads(line) for line in lines.splitlines())
    return [unpack(ref, packed) for ref, packed in from_rows(rows, name)]


def _plain_options(name: str) -> str:
    """Return the options of a conference that has only a room, as `json.dumps` writes them."""
    return (
        f'{{"room": {encode_basestring_ascii(name)}, "max_occupants": null, "lobby": null, '
        '"url": null, "sip_id": null}'
    )


def _to_options(name: str, *others: object) -> str:
    """Return the column `options`; `others` are the values of `_OPTIONS` after the room."""
    if others == _NO_OTHERS:
        return _plain_options(name)
    return json.dumps(dict(zip(_OPTIONS, (name, *others), strict=True)))


def _from_options(text: str) -> Sequence[Any]:
    """Return the values of `_OPTIONS`."""
    options = json.loads(text)
    if not isinstance(options, dict) or "room" not in options or options.keys() - set(_OPTIONS):
        raise ValueError(f"wanted options with a room, got {text}")
    return [options.get(name) for name in _OPTIONS]
