"""The index: all records in memory, with access by conference, room, backend, state and end.

The index also remembers the last gone conferences. It is not thread-safe: the caller holds a lock.

A million conferences take 400 to 700 MB: for each conference the texts of its key, room and owner,
a packed record, and an entry in the dicts of the records, the rooms and the ends.
"""

from collections import OrderedDict
from collections.abc import Iterator, Mapping

from jicofo_reservation_proxy.model import ConferenceRef

from .ends import Ends
from .oldest import Oldest
from .packed_records import (
    STATE,
    STATES,
    Packed,
    RecordList,
    end_of,
    key_of,
    pack,
    ref_of,
    size_of,
    unpack,
)
from .records import Record, RecordState, is_unchanged
from .rooms import Rooms

MAX_GONE = 10_000
"""The maximum number of gone conferences that the index remembers."""

ROW_BYTES = 200
"""About the size of a row in the database without its texts."""


class Index:
    """The records. In each state and each room, the last changed record is last."""

    def __init__(self) -> None:
        # In the order of STATES.
        self._records: list[dict[str, Packed]] = [{} for _ in STATES]
        self._open, self._pending, self._abandoned = self._records
        self._oldest = [Oldest(found) for found in self._records]
        self._pending_at: dict[str, dict[str, Packed]] = {}
        """The pending conferences of each backend."""
        self._rooms = Rooms()
        self._ends = Ends()
        self.bytes = 0
        """About the number of bytes that the texts of all records need in the database."""
        self.unknown = 0
        """The number of pending conferences that the ledger knows only from a DELETE."""
        self._gone: OrderedDict[str, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._open) + len(self._pending) + len(self._abandoned)

    def __contains__(self, ref: ConferenceRef) -> bool:
        return self.packed(ref) is not None

    def find(self, ref: ConferenceRef) -> Record | None:
        """Return the record of a conference; `None` if there is none."""
        packed = self.packed(ref)
        return None if packed is None else unpack(ref, packed)

    def packed(self, ref: ConferenceRef) -> Packed | None:
        """Return the packed record of a conference; the same object until the record changes."""
        return self._find(key_of(ref))

    def put(self, record: Record) -> Packed:
        """Add a record in place of an earlier record of the same conference; return it packed."""
        packed = pack(record)
        self.put_packed(record.ref, packed)
        return packed

    def put_packed(self, ref: ConferenceRef, packed: Packed) -> None:
        """Add a packed record in place of an earlier record of the same conference."""
        self.remove(ref)
        self.add(ref, packed)

    def add(self, ref: ConferenceRef, packed: Packed) -> None:
        """Add the packed record of a conference that has no record."""
        key = key_of(ref)
        flags, room, _, _, _, ends_at_ms, _, _, _ = packed
        records = self._records[flags & STATE]
        records[key] = packed
        self.bytes += ROW_BYTES + len(key) + size_of(packed)
        if room:
            self._rooms.add(ref.backend, room, key)
        if records is self._pending:
            self._pending_at.setdefault(ref.backend, {})[key] = packed
            self.unknown += not room
        elif records is self._open and ends_at_ms is not None:
            self._ends.add(key, ends_at_ms)

    def remove(self, ref: ConferenceRef) -> bool:
        """Remove the record of a conference; return whether there was one."""
        key = key_of(ref)
        packed = self._find(key)
        if packed is None:
            return False
        flags, room, _, _, _, ends_at_ms, _, _, _ = packed
        records = self._records[flags & STATE]
        del records[key]
        self.bytes -= ROW_BYTES + len(key) + size_of(packed)
        if room:
            self._rooms.discard(ref.backend, room, key)
        if records is self._pending:
            del self._pending_at[ref.backend][key]
            self.unknown -= not room
        elif records is self._open and ends_at_ms is not None:
            self._ends.discard(key, ends_at_ms)
        return True

    def has(self, record: Record) -> bool:
        """Return whether this is the current record of its conference."""
        return is_unchanged(self.find(record.ref), record)

    def note_gone(self, ref: ConferenceRef) -> None:
        """Remember that a conference is gone."""
        self._gone[key_of(ref)] = None
        if len(self._gone) > MAX_GONE:
            self._gone.popitem(last=False)

    def revive(self, ref: ConferenceRef) -> None:
        """Record that a conference is not gone, because its backend granted it again."""
        self._gone.pop(key_of(ref), None)

    def is_gone(self, ref: ConferenceRef) -> bool:
        """Return whether the index remembers a conference as gone."""
        return key_of(ref) in self._gone

    def is_over(self, ref: ConferenceRef) -> bool:
        """Return whether a conference is known to be over."""
        key = key_of(ref)
        if key in self._open:
            return False
        return key in self._gone or self._find(key) is not None

    def is_pending(self, ref: ConferenceRef) -> bool:
        """Return whether the deletion of a conference is pending."""
        return key_of(ref) in self._pending

    def superseded_by(self, ref: ConferenceRef, room: str) -> list[ConferenceRef]:
        """Return the other conferences of the room that this conference replaces.

        It does not replace pending conferences, because their deletions must be delivered. A
        fallback grant replaces only other fallback grants, because the backend did not grant it.
        """
        return [
            other
            for other in map(ref_of, self._rooms.of(ref.backend, room))
            if other != ref and (other.is_fallback or not ref.is_fallback)
            if not self.is_pending(other)
        ]

    def in_room(self, backend: str, room: str, state: RecordState) -> list[Record]:
        """Return the conferences of a room in this state."""
        found = self._records[STATES.index(state)]
        return [
            unpack(ref_of(key), found[key]) for key in self._rooms.of(backend, room) if key in found
        ]

    def pending(self, backend: str) -> RecordList:
        """Return the conferences of a backend whose deletion is pending."""
        return RecordList(self._pending_at.get(backend, {}).items())

    def pending_by_backend(self) -> Iterator[tuple[str, Mapping[str, Packed]]]:
        """Yield the name of each backend with pending conferences, and their packed records."""
        return ((name, found) for name, found in self._pending_at.items() if found)

    def all_pending(self) -> list[tuple[str, Packed]]:
        """Return the keys and packed records of the pending conferences of all backends."""
        return list(self._pending.items())

    def all(self) -> tuple[list[str], list[Packed]]:
        """Return the keys of all conferences, and their packed records in the same order."""
        keys = [key for found in self._records for key in found]
        return keys, [packed for found in self._records for packed in found.values()]

    def keys(self, state: RecordState) -> list[str]:
        """Return the keys of all conferences in this state."""
        return list(self._records[STATES.index(state)])

    def oldest(self, state: RecordState) -> ConferenceRef | None:
        """Return the conference in this state that was changed least recently, or `None`."""
        key = self._oldest[STATES.index(state)].key()
        return None if key is None else ref_of(key)

    def count(self, state: RecordState) -> int:
        """Return the number of conferences in this state."""
        return len(self._records[STATES.index(state)])

    def pop_expired(self, before_ms: int) -> Iterator[tuple[Record, int]]:
        """Yield the open conferences whose end was before this time, each once and with its end."""
        while found := self._ends.pop(before_ms):
            key, ends_at_ms = found
            packed = self._open.get(key)
            if packed is not None and end_of(packed) == ends_at_ms:
                yield unpack(ref_of(key), packed), ends_at_ms

    def _find(self, key: str) -> Packed | None:
        return self._open.get(key) or self._pending.get(key) or self._abandoned.get(key)
