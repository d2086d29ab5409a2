"""Packed records: the records in memory, as tuples of texts and numbers.

A ledger may have a million conferences. A `Record` with its `Conference` takes 500 bytes without
its texts, and a packed record half of that. The garbage collector visits every object in a full
collection, which took 1.5 seconds for a million `Record`s; it does not visit a tuple that contains
only texts and numbers.

A packed record has all data of a record except the reference of the conference. The index has the
reference as a text (`key_of`): a tuple with this text takes 64 bytes more.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import overload

from jicofo_reservation_proxy.model import Conference, ConferenceRef, DeleteReason

from .records import Record, RecordState

Rest = tuple[
    int | None,  # over_at_ms
    str | None,  # the value of the reason
    str | None,  # the id in the conference, if it is not the id in the reference
    int | None,  # max_occupants
    bool | None,  # lobby
    str | None,  # password
    str | None,  # pin
    str | None,  # url
    int | None,  # sip_id
]
"""The data that few open conferences have."""

Packed = tuple[
    int,  # the state, and the flags (`pack_flags`)
    str,  # the raw name of the room
    str | None,  # the room in the conference, or `None` if there is no conference
    str | None,  # the owner
    int | None,  # the start, in milliseconds
    int | None,  # the end, in milliseconds, or `None` if the conference has no end
    int,  # the hold
    int,  # the revision
    Rest | None,  # `None` in place of `NO_REST`
]
"""All tuples are plain tuples: the garbage collector visits each instance of a `NamedTuple`."""

NO_REST: Rest = (None, None, None, None, None, None, None, None, None)

STATES = tuple(RecordState)
STATE = 3
"""The bits of the first field that have the index of the state in `STATES`."""
_IS_WHOLE, _HAS_ROW, _HAS_NO_HOLDER = 4, 8, 16

MAX_SHARED_OWNERS = 10_000
"""Many conferences of one person have equal owners, and one text in memory serves them all. The
owner of an anonymous user is never seen again, so only the last owners are remembered."""


def key_of(ref: ConferenceRef) -> str:
    """Return the reference of a conference as a text; `ref_of` gives it back.

    The name of a backend contains neither "." nor "-" (ids.BACKEND_NAME).
    """
    return f"{ref.backend}{'-' if ref.is_fallback else '.'}{ref.conference_id}"


def ref_of(key: str) -> ConferenceRef:
    """Return the reference of a conference from its text."""
    backend, _, conference_id = key.partition(".")
    if "-" not in backend:
        return ConferenceRef(backend, conference_id)
    backend, _, conference_id = key.partition("-")
    return ConferenceRef(backend, conference_id, is_fallback=True)


@lru_cache(MAX_SHARED_OWNERS)
def shared(owner: str) -> str:
    """Return an equal text: the same object for the same owner."""
    return owner


def pack_flags(state: RecordState, *, is_whole: bool, has_row: bool, has_no_holder: bool) -> int:
    """Return the first field of a packed record."""
    return (
        STATES.index(state)
        | (_IS_WHOLE if is_whole else 0)
        | (_HAS_ROW if has_row else 0)
        | (_HAS_NO_HOLDER if has_no_holder else 0)
    )


def pack(record: Record) -> Packed:
    """Return the packed record; `unpack` gives back the record."""
    held = record.conference
    flags = pack_flags(
        record.state,
        is_whole=record.is_whole,
        has_row=record.has_row,
        has_no_holder=record.has_no_holder,
    )
    over = (record.over_at_ms, record.reason.value if record.reason else None)
    if held is None:
        rest: Rest = (*over, *NO_REST[2:])
        name = owner = start_time_ms = ends_at_ms = None
    else:
        other_id = None if held.id == record.ref.conference_id else held.id
        rest = (
            *over,
            other_id,
            held.max_occupants,
            held.lobby,
            held.password,
            held.pin,
            held.url,
            held.sip_id,
        )
        # One text serves both names, because most backends give back the name from the request.
        name = record.room if held.room == record.room else held.room
        owner, start_time_ms, ends_at_ms = shared(held.owner), held.start_time_ms, held.ends_at_ms
    return (
        flags,
        record.room,
        name,
        owner,
        start_time_ms,
        ends_at_ms,
        record.hold,
        record.revision,
        None if rest == NO_REST else rest,
    )


def unpack(ref: ConferenceRef, packed: Packed) -> Record:
    """Return the record of a conference."""
    _, room, _, _, _, _, hold, revision, rest = packed
    over_at_ms, reason, *_ = rest or NO_REST
    is_whole, has_row, has_no_holder = flags_of(packed)
    return Record(
        ref,
        state_of(packed),
        room,
        _conference(ref, packed),
        is_whole,
        over_at_ms,
        None if reason is None else DeleteReason(reason),
        hold,
        has_row,
        has_no_holder,
        revision,
    )


def _conference(ref: ConferenceRef, packed: Packed) -> Conference | None:
    _, _, name, owner, start_time_ms, ends_at_ms, _, _, rest = packed
    if name is None or owner is None or start_time_ms is None:
        return None
    _, _, other_id, max_occupants, lobby, password, pin, url, sip_id = rest or NO_REST
    return Conference(
        ref.conference_id if other_id is None else other_id,
        name,
        owner,
        start_time_ms,
        None if ends_at_ms is None else (ends_at_ms - start_time_ms) // 1000,
        max_occupants,
        lobby,
        password,
        pin,
        url,
        sip_id,
    )


def state_of(packed: Packed) -> RecordState:
    """Return the state of the conference."""
    return STATES[packed[0] & STATE]


def flags_of(packed: Packed) -> tuple[bool, bool, bool]:
    """Return the flags `is_whole`, `has_row` and `has_no_holder`."""
    flags = packed[0]
    return bool(flags & _IS_WHOLE), bool(flags & _HAS_ROW), bool(flags & _HAS_NO_HOLDER)


def room_of(packed: Packed) -> str:
    """Return the raw name of the room; "" if the room is unknown."""
    return packed[1]


def start_of(packed: Packed) -> int:
    """Return the start of the conference in milliseconds; 0 if it is unknown."""
    return packed[4] or 0


def end_of(packed: Packed) -> int | None:
    """Return the end of the conference in milliseconds; `None` if it is unknown or never."""
    return packed[5]


def over_at_of(packed: Packed) -> int:
    """Return since when the conference is over, in milliseconds; 0 if it is not over."""
    return (packed[8] and packed[8][0]) or 0


def size_of(packed: Packed) -> int:
    """Return the number of characters in the texts."""
    _, room, name, owner, _, _, _, _, rest = packed
    size = len(room) + len(owner or "")
    if name is not room:
        size += len(name or "")
    if rest is not None:
        size += sum(len(field) for field in rest if isinstance(field, str))
    return size


class RecordList(Sequence[Record]):
    """A list of records that unpacks a record only when it is read.

    A million records in a list take 16 MB, and 600 MB if all of them are unpacked. The list does
    not change when the ledger changes.
    """

    def __init__(self, packed: Iterable[tuple[str, Packed]]) -> None:
        self._packed = tuple(packed)

    def __len__(self) -> int:
        return len(self._packed)

    @overload
    def __getitem__(self, at: int) -> Record: ...

    @overload
    def __getitem__(self, at: slice) -> "RecordList": ...

    def __getitem__(self, at: int | slice) -> "Record | RecordList":
        if isinstance(at, slice):
            return RecordList(self._packed[at])
        key, packed = self._packed[at]
        return unpack(ref_of(key), packed)

    def __eq__(self, other: object) -> bool:
        """Return whether the other sequence has equal records."""
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]  # as of a list

    def __repr__(self) -> str:
        return repr(list(self))
