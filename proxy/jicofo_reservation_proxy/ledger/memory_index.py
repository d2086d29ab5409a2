"""The index: all records in memory, with access by conference, room, backend, state and end.

The index also remembers the last gone conferences. It is not thread-safe: the caller holds a lock.
"""

from collections.abc import Iterator
from heapq import heapify, heappop, heappush
from itertools import count
from typing import TypeVar

from jicofo_reservation_proxy.model import ConferenceRef

from .records import Record, RecordState, is_unchanged
from .room_locks import RoomKey

MAX_GONE = 10_000
"""The maximum number of gone conferences that the index remembers."""

ROW_BYTES = 200
"""About the size of a row in the database without its texts."""

KeyT = TypeVar("KeyT")


class Index:
    """The records. In each state and each room, the last changed record is last."""

    def __init__(self) -> None:
        self.records: dict[ConferenceRef, Record] = {}
        self._in_state: dict[RecordState, dict[ConferenceRef, None]] = {
            state: {} for state in RecordState
        }
        self._rooms: dict[RoomKey, dict[ConferenceRef, None]] = {}
        self._pending: dict[str, dict[ConferenceRef, None]] = {}
        self._ends: list[tuple[int, int, ConferenceRef]] = []
        self._numbers = count()
        self.bytes = 0
        """About the number of bytes that the texts of all records need in the database."""
        self.unknown = 0
        """The number of pending conferences that the ledger knows only from a DELETE."""
        self._gone: dict[ConferenceRef, None] = {}

    def put(self, record: Record) -> None:
        """Add a record; it replaces an earlier record of the same conference."""
        ref = record.ref
        known = self.records.get(ref)
        self.remove(ref)
        self.records[ref] = record
        self.bytes += _size(record)
        self.unknown += _is_unknown(record)
        self._in_state[record.state][ref] = None
        if record.room:
            self._rooms.setdefault((ref.backend, record.room), {})[ref] = None
        if record.state is RecordState.PENDING:
            self._pending.setdefault(ref.backend, {})[ref] = None
        if record.state is RecordState.OPEN and record.ends_at_ms is not None:
            self._note_end(record, record.ends_at_ms, known)

    def has(self, record: Record) -> bool:
        """Return whether this is the current record of its conference."""
        return is_unchanged(self.records.get(record.ref), record)

    def remove(self, ref: ConferenceRef) -> bool:
        """Remove the record of a conference; return whether there was one."""
        record = self.records.pop(ref, None)
        if record is None:
            return False
        self.bytes -= _size(record)
        self.unknown -= _is_unknown(record)
        del self._in_state[record.state][ref]
        _discard(self._rooms, (ref.backend, record.room), ref)
        _discard(self._pending, ref.backend, ref)
        return True

    def note_gone(self, ref: ConferenceRef) -> None:
        """Remember that a conference is gone."""
        self._gone[ref] = None
        if len(self._gone) > MAX_GONE:
            del self._gone[next(iter(self._gone))]

    def revive(self, ref: ConferenceRef) -> None:
        """Record that a conference is not gone, because its backend granted it again."""
        self._gone.pop(ref, None)

    def is_gone(self, ref: ConferenceRef) -> bool:
        """Return whether the index remembers a conference as gone."""
        return ref in self._gone

    def is_over(self, ref: ConferenceRef) -> bool:
        """Return whether a conference is known to be over."""
        record = self.records.get(ref)
        return ref in self._gone if record is None else record.state is not RecordState.OPEN

    def superseded_by(self, record: Record) -> list[ConferenceRef]:
        """Return the other conferences of the room that this conference replaces.

        It does not replace pending conferences, because their deletions must be delivered. A
        fallback grant replaces only other fallback grants, because the backend did not grant it.
        """
        return [
            other.ref
            for other in self.in_room(record.ref.backend, record.room)
            if other.ref != record.ref and other.state is not RecordState.PENDING
            if other.ref.is_fallback or not record.ref.is_fallback
        ]

    def in_room(self, backend: str, room: str) -> list[Record]:
        """Return the conferences of a room."""
        return [self.records[ref] for ref in self._rooms.get((backend, room), ())]

    def pending(self, backend: str) -> list[Record]:
        """Return the conferences of a backend whose deletion is pending."""
        return [self.records[ref] for ref in self._pending.get(backend, ())]

    def all_pending(self) -> list[Record]:
        """Return the conferences of all backends whose deletion is pending."""
        return [self.records[ref] for refs in self._pending.values() for ref in refs]

    def oldest(self, state: RecordState) -> ConferenceRef | None:
        """Return the conference in this state that was changed least recently, or `None`."""
        return next(iter(self._in_state[state]), None)

    def count(self, state: RecordState) -> int:
        """Return the number of conferences in this state."""
        return len(self._in_state[state])

    def pop_expired(self, before_ms: int) -> Iterator[tuple[Record, int]]:
        """Yield the open conferences whose end was before this time, each once and with its end."""
        while self._ends and self._ends[0][0] < before_ms:
            entry = heappop(self._ends)
            if self._is_the_end(entry):
                ends_at_ms, _, ref = entry
                yield self.records[ref], ends_at_ms

    def _note_end(self, record: Record, ends_at_ms: int, known: Record | None) -> None:
        if known and (known.state, known.ends_at_ms) == (record.state, ends_at_ms):
            return
        heappush(self._ends, (ends_at_ms, next(self._numbers), record.ref))
        self._trim_ends()

    def _trim_ends(self) -> None:
        """If there are too many ends, remove the ends that are no longer valid."""
        if len(self._ends) > 2 * len(self.records) + 1000:
            self._ends = list(
                {entry[2]: entry for entry in self._ends if self._is_the_end(entry)}.values()
            )
            heapify(self._ends)

    def _is_the_end(self, entry: tuple[int, int, ConferenceRef]) -> bool:
        """Return whether an entry is the current end of an open conference."""
        ends_at_ms, _, ref = entry
        record = self.records.get(ref)
        if record is None or record.state is not RecordState.OPEN:
            return False
        return record.ends_at_ms == ends_at_ms


def _size(record: Record) -> int:
    held = record.conference
    url = held.url if held and held.url else ""
    owner = held.owner if held else ""
    return ROW_BYTES + sum(map(len, (record.ref.conference_id, record.room, owner, url)))


def _is_unknown(record: Record) -> bool:
    return record.state is RecordState.PENDING and not record.room


def _discard(index: dict[KeyT, dict[ConferenceRef, None]], key: KeyT, ref: ConferenceRef) -> None:
    """Remove a conference from an index; remove its key too if no conference is left."""
    refs = index.get(key, {})
    refs.pop(ref, None)
    if not refs:
        index.pop(key, None)
