"""The ledger of one proxy: in memory, and in SQLite so that it survives a restart.

All reads are from memory. A grant is written a short time later (write_behind.py), so that no
meeting waits for the disk. Two changes are on the disk before the method returns, because the proxy
promises them: a client ended a conference, and a deletion was cancelled.
"""

import dataclasses
import logging
import threading
from collections.abc import Mapping
from itertools import count
from pathlib import Path

from jicofo_reservation_proxy.errors import StateError
from jicofo_reservation_proxy.ids import encode
from jicofo_reservation_proxy.model import Conference, ConferenceRef, DeleteReason

from . import records
from .memory_index import Index
from .records import Record, RecordState
from .sqlite_database import Database, reading
from .write_behind import WriteBehind

MAX_CONFERENCES = 100_000
"""About 130 MB of memory and 20 MB of disk. When there are this many conferences, a new conference
evicts the oldest abandoned one, or otherwise the oldest open one. Pending conferences are never
evicted."""

_DROPPED = "the ledger is full (%d conferences): evicted the oldest %s conference, %s"

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
        write_behind: bool = True,
    ) -> None:
        self._database = database
        self._max_conferences = max_conferences
        self._lock = threading.Lock()
        self._index = Index()
        self._revisions = count(1)
        self._ending: dict[ConferenceRef, Record] = {}  # ends that are being written
        self._end_was_written = threading.Condition(self._lock)
        for record in records.from_rows(database.rows(records.SELECT), database.name):
            self._index.put(record)
        self._writes = WriteBehind(database, self._latest, self._lock, has_thread=write_behind)

    def grant(self, ref: ConferenceRef, room: str, conference: Conference) -> None:
        """Record that a client has this conference. If it was over, wait for the disk."""
        with self._lock:
            # If an end is being written, only its result says whether this grant cancels it.
            self._end_was_written.wait_for(lambda: ref not in self._ending)
            known = self._index.records.get(ref)
            is_same = known is not None and known.room in {"", room}
            told = _later_end(known if is_same else None, conference)
            revision = next(self._revisions)
            record = Record(ref, room=room, conference=told, revision=revision)
            if not self._index.is_over(ref):
                self._add(record)
                return
            was_gone = self._index.is_gone(ref)
            self._add(record, supersedes=False)
        self._make_durable(record, known, was_gone=was_gone)
        with self._lock:
            self._supersede(record)

    def update(self, ref: ConferenceRef, conference: Conference) -> None:
        """Record the new data of an open conference."""
        with self._lock:
            known = self._index.records.get(ref)
            if known is not None and known.state is RecordState.OPEN:
                told = _later_end(known, conference)
                self._change(dataclasses.replace(known, conference=told, is_whole=True))

    def end(self, ref: ConferenceRef, over_at_ms: int) -> None:
        """Record on the disk that a client ended a conference.

        Raises `StateError` also if the ledger is full of pending deletions.
        """
        if ref.is_fallback:
            self.settle(ref)
            return
        with self._lock:
            # Wait for another DELETE of this conference.
            self._end_was_written.wait_for(lambda: ref not in self._ending)
            known = self._index.records.get(ref)
            if self._index.is_gone(ref):
                return
            if known is None and not self._make_room():
                raise StateError(
                    f"{self._database.name}: wanted space for one more deletion, got a ledger full "
                    "of pending deletions; the log says why the backends do not acknowledge them"
                )
            record = known
            if record is None or record.state is not RecordState.PENDING:
                record = _over(record or Record(ref), over_at_ms, DeleteReason.ENDED)
                self._writes.note(ref)
            self._ending[ref] = record
        is_durable = False
        try:
            self._writes.write(ref, lambda: self._finish_end(record, is_durable=False))
            is_durable = True
        finally:
            self._finish_end(record, is_durable=is_durable)

    def withdraw(self, ref: ConferenceRef, room: str, over_at_ms: int) -> bool:
        """Record that a conference that no client got is pending; wait for the disk."""
        with self._lock:
            known = self._index.records.get(ref)
            is_pending = known is not None and known.state is RecordState.PENDING
            if known is not None and not is_pending and not _is_abandoned_in(known, room):
                return False
            record = _over(known or Record(ref, room=room), over_at_ms, DeleteReason.ENDED)
            if not is_pending and not self._add(record, supersedes=False):
                return False
        try:
            self._writes.write(ref, lambda: None)
        except StateError as error:
            logger.warning(
                "the deletion of conference %s is not on the disk yet: %s", encode(ref), error
            )
        return not is_pending

    def end_early(self, ref: ConferenceRef, room: str, conference: Conference, now_ms: int) -> bool:
        """Record that a conference is over if its end has passed; return whether it is over."""
        with self._lock:
            if not self._index.is_over(ref):
                record = self._index.records.get(ref) or Record(ref, room=room)
                record = dataclasses.replace(record, conference=record.conference or conference)
                ends_at_ms = record.ends_at_ms
                if ends_at_ms is not None and ends_at_ms <= now_ms:
                    self._add(_over(record, ends_at_ms, DeleteReason.EXPIRED), supersedes=False)
            return self._index.is_over(ref)

    def expire(self, before_ms: int) -> list[Record]:
        """Record that the open conferences whose end was before this time are over; return them."""
        expired = []
        with self._lock:
            for known, ends_at_ms in self._index.pop_expired(before_ms):
                record = _over(known, ends_at_ms, DeleteReason.EXPIRED)
                self._change(record)
                expired.append(record)
                if record.ref.is_fallback:
                    self._forget(record.ref)
        return expired

    def settle(self, ref: ConferenceRef) -> None:
        """Record that a conference is gone at its backend."""
        with self._lock:
            self._forget(ref)
            self._index.note_gone(ref)

    def abandon(self, record: Record) -> bool:
        """Abandon a deletion if its record is unchanged and pending; return whether it did."""
        with self._lock:
            is_pending = record.state is RecordState.PENDING and self._index.has(record)
            if is_pending:
                self._change(dataclasses.replace(record, state=RecordState.ABANDONED))
        return is_pending

    def find(self, ref: ConferenceRef) -> Record | None:
        """Return the record of a conference."""
        with self._lock:
            return self._index.records.get(ref)

    def is_over(self, ref: ConferenceRef) -> bool:
        """Return whether a conference is known to be over."""
        with self._lock:
            return self._index.is_over(ref)

    def in_room(self, backend: str, room: str, state: RecordState) -> list[Record]:
        """Return the conferences of a room in this state."""
        with self._lock:
            return [found for found in self._index.in_room(backend, room) if found.state is state]

    def pending(self, backend: str) -> list[Record]:
        """Return the conferences of a backend whose deletion is pending."""
        with self._lock:
            return self._index.pending(backend)

    def pending_since(self, before_ms: int) -> list[Record]:
        """Return the pending conferences that were over before this time."""
        with self._lock:
            found = self._index.all_pending()
        return [record for record in found if (record.over_at_ms or 0) < before_ms]

    @property
    def counts(self) -> Mapping[RecordState, int]:
        """The number of conferences in each state."""
        with self._lock:
            return {state: self._index.count(state) for state in RecordState}

    def flush(self) -> None:
        """Write the waiting changes. Raises `StateError`; the changes then keep waiting."""
        self._writes.flush()

    def close(self) -> None:
        """Write the waiting changes; if that fails, log that they are lost."""
        self._writes.close()

    def _make_durable(
        self, record: Record, previous: Record | None, *, was_gone: bool = False
    ) -> None:
        """Wait until a change is written; undo it and raise `StateError` if the write fails."""

        def undo() -> None:
            with self._lock:
                if self._index.records.get(record.ref) is not record or previous is record:
                    return
                if previous is None:
                    self._forget(record.ref)
                else:
                    self._change(previous)
                if was_gone:
                    self._index.note_gone(record.ref)

        self._writes.write(record.ref, undo)

    def _finish_end(self, end: Record, *, is_durable: bool) -> None:
        """Make an end visible after it was written, or drop it. A second call does nothing."""
        ref = end.ref
        with self._lock:
            if self._ending.pop(ref, None) is None:
                return
            self._end_was_written.notify_all()
            current = self._index.records.get(ref)
            # It may have expired or been deleted at its backend in the meantime.
            is_over = self._index.is_gone(ref) or (current and current.state is RecordState.PENDING)
            if is_durable and not is_over:
                self._index.put(end)
            elif current is not end:
                self._writes.note(ref)  # the database may have the end that is not visible

    def _latest(self, ref: ConferenceRef) -> Record | None:
        """Return the record to write. The caller holds the lock."""
        return self._ending.get(ref) or self._index.records.get(ref)

    def _add(self, record: Record, *, supersedes: bool = True) -> bool:
        """Add a conference; return whether there was space. A full ledger evicts another one.

        With `supersedes`, remove the conferences that the new conference replaces.
        """
        self._index.revive(record.ref)
        if record.ref not in self._index.records and not self._make_room():
            logger.warning(
                "the ledger is full of pending deletions: conference %s is not stored, and the"
                " proxy will not delete it at its end",
                encode(record.ref),
            )
            return False
        if supersedes:
            self._supersede(record)
        self._change(record)
        return True

    def _supersede(self, record: Record) -> None:
        for other in self._index.superseded_by(record):
            self._forget(other)

    def _make_room(self) -> bool:
        """Evict a conference if the ledger is full; return whether there is space for another."""
        if len(self._index.records) < self._max_conferences:
            return True
        for state in (RecordState.ABANDONED, RecordState.OPEN):
            if ref := self._index.oldest(state):
                logger.warning(_DROPPED, self._max_conferences, state.value, encode(ref))
                self._forget(ref)
                return True
        return False

    def _change(self, record: Record) -> None:
        self._index.put(record)
        self._writes.note(record.ref)

    def _forget(self, ref: ConferenceRef) -> None:
        if self._index.remove(ref):
            self._writes.note(ref)


def read(state_dir: Path) -> list[Record]:
    """Return the conferences in the ledger of a state directory, also while a proxy uses it.

    Raises `StateError` if the ledger cannot be read.
    """
    with reading(state_dir) as connection:
        rows = connection.execute(records.SELECT).fetchall()
    return records.from_rows(rows, str(state_dir))


def _over(record: Record, over_at_ms: int, reason: DeleteReason) -> Record:
    return dataclasses.replace(
        record, state=RecordState.PENDING, over_at_ms=over_at_ms, reason=reason
    )


def _is_abandoned_in(record: Record, room: str) -> bool:
    return record.state is RecordState.ABANDONED and record.room in {"", room}


def _later_end(known: Record | None, conference: Conference) -> Conference:
    """Return the conference with the latest end that a client was told."""
    if known is None or known.conference is None or conference.duration_seconds is None:
        return conference
    if known.conference.duration_seconds is None:
        return dataclasses.replace(conference, duration_seconds=None)
    ends_at_ms = known.ends_at_ms or 0
    seconds = max(conference.duration_seconds, (ends_at_ms - conference.start_time_ms) // 1000)
    return dataclasses.replace(conference, duration_seconds=seconds)
