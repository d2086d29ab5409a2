"""The ledger of one proxy: in memory, and in SQLite so that it survives a restart.

All reads are from memory. A grant is written a short time later (write_behind.py), so that no
meeting waits for the disk. `end` and a `grant` of a conference that the disk may have as over, or
with an earlier end, return only when the change is on the disk, because the proxy promises these
changes to the client. `withdraw` waits for the disk too, but does not fail without it.
"""

import dataclasses
import gc
import logging
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import count, islice
from pathlib import Path

from jicofo_reservation_proxy.errors import StateError
from jicofo_reservation_proxy.ids import Named, decode, encode
from jicofo_reservation_proxy.model import Conference, ConferenceRef, DeleteReason
from jicofo_reservation_proxy.observability.throttle import Throttle

from . import record_rows, records
from .eviction_log import EvictionLog
from .memory_index import Index
from .packed_records import (
    Packed,
    RecordList,
    key_of,
    over_at_of,
    pack,
    ref_of,
    room_of,
    start_of,
    unpack,
)
from .record_table import Cancellation, RecordTable
from .records import Record, RecordState
from .sqlite_database import Database, reading
from .write_behind import CLOSE_SECONDS, WriteBehind

MAX_CONFERENCES = 1_000_000
"""Up to 820 MB of memory and 320 MB of disk. When there are this many conferences, a new conference
evicts the oldest abandoned one, or otherwise the oldest open one. Pending conferences are never
evicted."""

MAX_BYTES = 400 * 1024 * 1024
"""The limit for the texts of all conferences. An ordinary conference needs about 300 bytes."""

UNKNOWN_SHARE = 4
"""At most every fourth conference may be one that the ledger knows only from a DELETE. Otherwise
DELETEs for conferences that never existed could fill the ledger while a backend is unreachable."""

AT_ONCE = 500
"""How many of a million conferences are changed while a request waits for the lock."""

logger = logging.getLogger(__name__)


class SqliteLedger:
    """The `Ledger` in a database (ledger.py describes the methods).

    `write_behind` says whether a thread writes the waiting changes; without it, the caller must
    call `flush`. The constructor raises `StateError` if the database cannot be read.
    """

    def __init__(
        self,
        database: Database,
        *,
        max_conferences: int = MAX_CONFERENCES,
        max_bytes: int = MAX_BYTES,
        write_behind: bool = True,
    ) -> None:
        self._database = database
        self._max_conferences = max_conferences
        self._max_bytes = max_bytes
        self._evictions = EvictionLog("conferences", max_conferences)
        self._refusals = Throttle()
        self._lock = threading.Lock()
        self._index = Index()
        self._revisions = count(1)
        with _no_garbage_collection():
            rows = database.stream(record_rows.SELECT)
            for ref, packed in record_rows.from_rows(rows, database.name):
                self._index.add(ref, packed)
        self._table = RecordTable(self._index, self._lock)
        thread_name = "ledger" if write_behind else None
        self._writes = WriteBehind(database, self._table, self._lock, thread_name)

    def grant(
        self,
        ref: ConferenceRef,
        room: str,
        conference: Conference,
        within_seconds: float,
        *,
        hold: int = 0,
        has_row: bool = False,
    ) -> None:
        """Record that a client has this conference; wait for the disk if `_must_be_durable`."""
        with self._lock:
            # If an end is being written, only its result says whether this grant cancels it.
            if not self._table.wait_for_end(ref, within_seconds):
                raise StateError(f"{self._database.name}: the disk does not answer in time")
            known = self._index.find(ref)
            is_same = known is not None and known.room in {"", room}
            granted = records.granted(
                ref,
                room,
                conference,
                known if is_same else None,
                hold=hold,
                has_row=has_row,
                revision=next(self._revisions),
            )
            packed = pack(granted)
            if not self._must_be_durable(known, granted):
                if known is None:
                    self._add_new(ref, packed)
                else:
                    self._renew(ref, packed)
                return
            was_gone = self._index.is_gone(ref)
            undo = Cancellation(ref, packed, self._index.packed(ref), was_gone=was_gone)
            self._add(ref, packed)
            self._table.cancelling[ref] = undo
            begun = self._writes.begun
        try:
            self._writes.write(ref, begun, within_seconds)
        finally:
            with self._lock:
                if self._table.cancelling.get(ref) is undo:
                    self._table.undo(undo)
                    self._writes.note(ref)
        with self._lock:
            self._supersede(ref, room)

    def _must_be_durable(self, known: Record | None, granted: Record) -> bool:
        """Return whether a grant that is lost in a crash could end the meeting.

        The next process would have the record that is on the disk now. If the conference is over
        there, or has an earlier end, that process would delete it while the client has it.
        """
        if known is not None:
            return records.is_extended(known, granted)
        return self._index.is_gone(granted.ref) or self._writes.is_waiting(granted.ref)

    def update(self, ref: ConferenceRef, conference: Conference) -> None:
        """Record the new data of an open conference."""
        with self._lock:
            known = self._index.find(ref)
            if known is not None and known.state is RecordState.OPEN:
                told = records.with_later_end(known, conference)
                self._change(dataclasses.replace(known, conference=told, is_whole=True))

    def end(
        self,
        ref: ConferenceRef,
        over_at_ms: int,
        within_seconds: float,
        *,
        hold: int | None = None,
    ) -> bool:
        """Record on the disk that a client ended a conference; return false if the DELETE is void.

        Raises `StateError` also if the ledger is full of pending deletions.
        """
        until = time.monotonic() + within_seconds
        while True:
            is_over = self._end(ref, over_at_ms, until - time.monotonic(), hold)
            if is_over is not None:
                return is_over

    def _end(
        self, ref: ConferenceRef, over_at_ms: int, within_seconds: float, hold: int | None
    ) -> bool | None:
        """Return as `end`; return `None` if another DELETE failed to write the end."""
        with self._lock:
            if self._index.is_gone(ref):
                return True
            known = self._index.find(ref)
            if known and known.state is RecordState.OPEN and known.hold > (hold or known.hold):
                return False
            if ref.is_fallback:
                self._settle(ref)
                return True
            if known is None and not self._has_room_for_unknown():
                raise StateError(
                    f"{self._database.name}: wanted space for the deletion of one more unknown "
                    "conference, got a ledger full of deletions; the log says why the backends do "
                    "not acknowledge them"
                )
            end: Packed | None = None
            is_pending = known is not None and known.state is RecordState.PENDING
            if not is_pending and ref not in self._table.ending:
                end = pack(records.ended(ref, known, over_at_ms, hold or 0))
                self._table.ending[ref] = end
                self._writes.note(ref)
            begun = self._writes.begun
        try:
            self._writes.write(ref, begun, within_seconds)
        finally:
            with self._lock:
                self._table.drop_end(ref, end)
        return True if end is not None or self.is_over(ref) else None

    def withdraw(
        self, ref: ConferenceRef, room: str, over_at_ms: int, within_seconds: float
    ) -> bool:
        """Record that a conference that no client got is pending; wait for the disk."""
        with self._lock:
            known = self._index.find(ref)
            is_pending = known is not None and known.state is RecordState.PENDING
            if known is not None and not is_pending and not _is_abandoned_in(known, room):
                return False
            record = records.over(known or Record(ref, room=room), over_at_ms, DeleteReason.ENDED)
            if not is_pending and not self._add(ref, pack(record)):
                return False
            begun = self._writes.begun
        try:
            self._writes.write(ref, begun, within_seconds)
        except StateError as error:
            logger.warning(
                "the deletion of conference %s is not on the disk yet: %s", encode(ref), error
            )
        return not is_pending

    def name_over(self, ref: ConferenceRef, hold: int) -> None:
        """Record that the backend has a row with this hold for a conference that is over."""
        with self._lock:
            known = self._index.find(ref)
            if known is not None and known.state is not RecordState.OPEN:
                self._change(records.named(known, hold, has_row=True))

    def end_early(self, ref: ConferenceRef, room: str, conference: Conference, now_ms: int) -> bool:
        """Record that a conference is over if its end has passed; return whether it is over."""
        with self._lock:
            if not self._index.is_over(ref):
                record = self._index.find(ref) or Record(ref, room=room)
                record = dataclasses.replace(record, conference=record.conference or conference)
                ends_at_ms = record.ends_at_ms
                if ends_at_ms is not None and ends_at_ms <= now_ms:
                    over = records.over(record, ends_at_ms, DeleteReason.EXPIRED)
                    self._add(ref, pack(over))
            return self._index.is_over(ref)

    def expire(self, before_ms: int) -> RecordList:
        """Record that the open conferences whose end was before this time are over; return them."""
        expired: list[tuple[str, Packed]] = []
        while found := self._expire_some(before_ms):
            expired.extend(found)
        return RecordList(expired)

    def _expire_some(self, before_ms: int) -> list[tuple[str, Packed]]:
        """Expire some conferences: if there are many, requests have their turns in between."""
        with self._lock:
            expired = []
            for known, ends_at_ms in islice(self._index.pop_expired(before_ms), AT_ONCE):
                packed = self._change(records.over(known, ends_at_ms, DeleteReason.EXPIRED))
                expired.append((key_of(known.ref), packed))
                if known.ref.is_fallback:
                    self._forget(known.ref)
            return expired

    def settle(self, ref: ConferenceRef) -> None:
        """Record that a conference is gone at its backend."""
        with self._lock:
            self._settle(ref)

    def abandon(self, record: Record) -> bool:
        """Abandon a deletion if its record is unchanged and pending; return whether it did."""
        with self._lock:
            is_pending = record.state is RecordState.PENDING and self._index.has(record)
            if is_pending:
                self._change(dataclasses.replace(record, state=RecordState.ABANDONED))
        return is_pending

    def retry(self, ref: ConferenceRef, now_ms: int) -> bool:
        """Make an abandoned deletion pending again, from now on; return whether there was one."""
        with self._lock:
            known = self._index.find(ref)
            is_abandoned = known is not None and known.state is RecordState.ABANDONED
            if known is not None and is_abandoned:
                reason = known.reason or DeleteReason.ENDED
                self._change(records.over(known, now_ms, reason))
        return is_abandoned

    def find(self, ref: ConferenceRef) -> Record | None:
        """Return the record of a conference."""
        with self._lock:
            return self._index.find(ref)

    def is_over(self, ref: ConferenceRef) -> bool:
        """Return whether a conference is known to be over."""
        with self._lock:
            return self._index.is_over(ref)

    def in_room(self, backend: str, room: str, state: RecordState) -> list[Record]:
        """Return the conferences of a room in this state."""
        with self._lock:
            return self._index.in_room(backend, room, state)

    def pending(self, backend: str) -> RecordList:
        """Return the conferences of a backend whose deletion is pending."""
        with self._lock:
            return self._index.pending(backend)

    def pending_since(self, before_ms: int) -> RecordList:
        """Return the pending conferences that were over before this time."""
        with self._lock:
            found = self._index.all_pending()
        return RecordList(item for item in found if over_at_of(item[1]) < before_ms)

    @property
    def counts(self) -> Mapping[RecordState, int]:
        """The number of conferences in each state."""
        with self._lock:
            return {state: self._index.count(state) for state in RecordState}

    def counts_of(self, backend: str) -> Mapping[RecordState, int]:
        """Return the number of conferences of a backend in each state.

        The method looks at the key of each conference, but not while it holds the lock.
        """
        with self._lock:
            keys = {state: self._index.keys(state) for state in RecordState}
        prefixes = (f"{backend}.", f"{backend}-")
        return {state: sum(key.startswith(prefixes) for key in keys[state]) for state in keys}

    @property
    def text_bytes(self) -> int:
        """About the number of bytes of all conferences, which `max_bytes` limits."""
        return self._index.bytes

    def pending_times(self) -> Mapping[str, tuple[int, int]]:
        """Return the number of pending deletions of each backend that has some, and the oldest one.

        The oldest one is the time since when it is over, in milliseconds. A million are copied
        under the lock, in some milliseconds, and looked at without it.
        """
        with self._lock:
            by_backend = self._index.pending_by_backend()
            copies = {name: list(found.values()) for name, found in by_backend}
        return {name: (len(found), min(map(over_at_of, found))) for name, found in copies.items()}

    def dump(self) -> RecordList:
        """Return all conferences, also those that are not on the disk yet."""
        with self._lock:
            keys, packed = self._index.all()
        return RecordList(sorted(zip(keys, packed, strict=True), key=_age))

    def rewrite(self) -> None:
        """Let all conferences be written again, into a database that has none.

        A conference that is added meanwhile is written because it is new.
        """
        with self._lock:
            keys, _ = self._index.all()
        for start in range(0, len(keys), AT_ONCE):
            with self._lock:
                for key in keys[start : start + AT_ONCE]:
                    self._writes.note(ref_of(key))

    def flush(self) -> None:
        """Write the waiting changes. Raises `StateError`; the changes then keep waiting."""
        self._writes.flush()

    def close(self, within_seconds: float = CLOSE_SECONDS) -> None:
        """Write the waiting changes; if that fails or takes too long, log that they are lost."""
        self._writes.close(within_seconds)

    def _add(self, ref: ConferenceRef, packed: Packed) -> bool:
        """Add or replace a record; return whether there was space for a new one."""
        self._index.revive(ref)
        if ref not in self._index and not self._has_space_for(ref):
            return False
        self._put(ref, packed)
        return True

    def _add_new(self, ref: ConferenceRef, packed: Packed) -> None:
        """Add a conference that the ledger does not know, in place of the others of its room."""
        if self._has_space_for(ref):
            self._supersede(ref, room_of(packed))
            self._index.add(ref, packed)
            self._writes.note(ref)

    def _renew(self, ref: ConferenceRef, packed: Packed) -> None:
        """Replace the record of an open conference, in place of the others of its room."""
        self._supersede(ref, room_of(packed))
        self._put(ref, packed)

    def _has_space_for(self, ref: ConferenceRef) -> bool:
        """Return whether there is space for a new conference; a full ledger evicts another one."""
        has_space = self._make_room()
        if not has_space and (refused := self._refusals.note()):
            more = f", like {refused - 1} others since the last such line" if refused > 1 else ""
            logger.warning(
                "the ledger is full of pending deletions: conference %s is not stored, and the"
                " proxy will not delete it at its end%s",
                encode(ref),
                more,
            )
        return has_space

    def _supersede(self, ref: ConferenceRef, room: str) -> None:
        for other in self._index.superseded_by(ref, room):
            self._forget(other)

    def _has_room_for_unknown(self) -> bool:
        """Return whether there is space for a conference that is known only from a DELETE.

        Such a conference evicts no open one: it may never have existed.
        """
        is_few = self._index.unknown < max(1, self._max_conferences // UNKNOWN_SHARE)
        return is_few and self._make_room(RecordState.ABANDONED)

    def _make_room(self, *states: RecordState) -> bool:
        """Evict conferences if the ledger is full; return whether there is space for another.

        Evict the oldest conferences in these states; by default, abandoned ones and then open ones.
        """
        while self._is_full():
            for state in states or (RecordState.ABANDONED, RecordState.OPEN):
                if ref := self._index.oldest(state):
                    self._evictions.note(f"the oldest {state.value} conference, {encode(ref)}")
                    self._forget(ref)
                    break
            else:
                return False
        return True

    def _is_full(self) -> bool:
        has_most = len(self._index) >= self._max_conferences
        return has_most or self._index.bytes >= self._max_bytes

    def _settle(self, ref: ConferenceRef) -> None:
        self._forget(ref)
        self._index.note_gone(ref)

    def _change(self, record: Record) -> Packed:
        packed = pack(record)
        self._put(record.ref, packed)
        return packed

    def _put(self, ref: ConferenceRef, packed: Packed) -> None:
        self._index.put_packed(ref, packed)
        self._writes.note(ref)

    def _forget(self, ref: ConferenceRef) -> None:
        if self._index.remove(ref):
            self._writes.note(ref)


def read(state_dir: Path) -> list[Record]:
    """Return the conferences in the ledger of a state directory that no proxy uses.

    Raises `StateError` if the ledger cannot be read.
    """
    with reading(state_dir) as connection:
        rows = connection.execute(record_rows.SELECT)
        found = record_rows.from_rows(rows, str(state_dir))
        return [unpack(ref, packed) for ref, packed in found]


def retry(ledger: SqliteLedger, public_id: str, now_ms: int) -> ConferenceRef:
    """Make the abandoned deletion of a conference pending again, from now on.

    Raises `StateError` if the ledger has no such deletion.
    """
    found = decode(public_id)
    if not isinstance(found, Named) or not ledger.retry(found.ref, now_ms):
        raise StateError(
            "wanted the id of an abandoned deletion, as `ledger abandoned` shows it, got "
            f"{public_id!r}"
        )
    return found.ref


def abandon(ledger: SqliteLedger, public_id: str) -> None:
    """Abandon a pending deletion in a ledger that no proxy uses.

    Raises `StateError` if the ledger has no such deletion.
    """
    found = decode(public_id)
    record = ledger.find(found.ref) if isinstance(found, Named) else None
    if record is None or not ledger.abandon(record):
        raise StateError(not_pending(public_id))


def not_pending(public_id: str) -> str:
    """Return the sentence about an id that is not of a pending deletion."""
    return f"wanted the id of a pending deletion, as `ledger pending` shows it, got {public_id!r}"


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Do not look for garbage: that makes the loading of a million conferences a tenth longer."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _age(item: tuple[str, Packed]) -> tuple[int, int]:
    """Return the sort key that `record_rows.SELECT` uses too."""
    _, packed = item
    return over_at_of(packed), start_of(packed)


def _is_abandoned_in(record: Record, room: str) -> bool:
    return record.state is RecordState.ABANDONED and record.room in {"", room}
