"""The ledger: every conference that was granted and is not yet known to be gone at its backend.

    open    the client has it, as far as the proxy knows
    ended   the client said DELETE, or its end passed; the backend is still to be told
    dead    the same, but given up: the backend did not take it for days

It is kept in memory and in the database. A grant is written a moment later, so that no meeting
waits for the disk. What a promise rests on is on the disk before the method returns: that a
conference is over, and that one which was over goes on after all.

Conferences that are gone are remembered for a while, in memory, so that an answer of the backend
that still names one is recognized as old.

All methods may be called from any thread.
"""

import dataclasses
import logging
import threading
from collections.abc import Iterable, Mapping
from heapq import heapify, heappop, heappush
from itertools import count
from pathlib import Path
from typing import TypeVar

from . import records
from .database import Database, reading
from .errors import StateError
from .ids import encode
from .model import Conference, ConferenceRef, DeleteReason
from .records import Record, RecordState

MAX_CONFERENCES = 100_000
"""Some 130 MB of memory and 20 MB of disk. Beyond it the oldest dead one, or else the oldest open
one, gives way to a new one; ended ones never do."""

MAX_GONE = 10_000
"""How many conferences that are gone are remembered."""

WRITE_AFTER_SECONDS = 0.05
"""How long a grant may wait for others to be written with."""

RETRY_SECONDS = 1.0
"""How soon a write that failed is tried again."""

KeyT = TypeVar("KeyT")

logger = logging.getLogger(__name__)


class Ledger:
    """The ledger in a database.

    `write_behind` is whether a thread writes what waits; without it, `flush` does. Raises
    `StateError` where the database cannot be read.
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
        self._writing = threading.Lock()
        self._records: dict[ConferenceRef, Record] = {}
        self._in_state: dict[RecordState, dict[ConferenceRef, None]] = {
            state: {} for state in RecordState
        }
        self._rooms: dict[tuple[str, str], dict[ConferenceRef, None]] = {}
        self._ended: dict[str, dict[ConferenceRef, None]] = {}
        self._ends: list[tuple[int, int, ConferenceRef]] = []
        self._numbers = count()
        self._gone: dict[ConferenceRef, None] = {}
        self._unwritten: dict[ConferenceRef, None] = {}
        self._unpromised: set[ConferenceRef] = set()
        self._promised = threading.Condition(self._lock)
        for record in records.from_rows(database.rows(records.SELECT), database.name):
            self._put(record)
        self._writer = _Writer(self) if write_behind else None

    def grant(self, ref: ConferenceRef, room: str, conference: Conference) -> None:
        """Note that a client has this conference; its end is the latest that was told to anyone.

        If it was over, it goes on, and its deletion is called off: then this waits for the disk,
        and raises `StateError` where that cannot be written. Other open conferences of the room
        are forgotten: a backend grants one at a time.
        """
        with self._lock:
            known = self._records.get(ref)
            record = Record(ref, room=room, conference=_later_end(known, conference))
            was_over = self._is_over(ref)
            if not was_over:
                self._add(record)
                return
            was_gone = ref in self._gone
            self._add(record, supersedes=False)
        self._make_durable(record, known, was_gone=was_gone)
        with self._lock:
            self._supersede(record)

    def update(self, ref: ConferenceRef, conference: Conference) -> None:
        """Note what a client was told of a conference that is open; others are left alone."""
        with self._lock:
            known = self._records.get(ref)
            if known is not None and known.state is RecordState.OPEN:
                told = _later_end(known, conference)
                self._change(dataclasses.replace(known, conference=told, is_whole=True))

    def end(self, ref: ConferenceRef, over_at_ms: int) -> None:
        """Note, durably, that the client said that a conference is over; unknown ones too.

        Nothing changes where that is known, or where it is gone already. A stand-in, which no
        backend knows, is gone by this. Raises `StateError` where it cannot be written, or where
        the ledger is full of ended ones; the conference is then as it was.
        """
        if ref.is_stand_in:
            self.gone(ref)
            return
        with self._lock:
            # Another DELETE of it that is being written may have to be undone.
            self._promised.wait_for(lambda: ref not in self._unpromised)
            known = self._records.get(ref)
            if ref in self._gone:
                return
            if known is None and not self._make_room():
                raise StateError(f"{self._database.name}: full, of DELETEs yet to be delivered")
            if known is not None and known.state is RecordState.ENDED:
                record = known
            else:
                record = _over(known or Record(ref), over_at_ms, DeleteReason.ENDED)
                self._change(record)
            self._unpromised.add(ref)
        try:
            self._make_durable(record, known)
        finally:
            with self._lock:
                self._unpromised.discard(ref)
                self._promised.notify_all()

    def expire(self, before_ms: int) -> list[Record]:
        """Note that the open conferences whose end was before this are over; return them."""
        expired = []
        with self._lock:
            while self._ends and self._ends[0][0] < before_ms:
                entry = heappop(self._ends)
                if self._is_the_end(entry):
                    ends_at_ms, _, ref = entry
                    record = _over(self._records[ref], ends_at_ms, DeleteReason.EXPIRED)
                    self._change(record)
                    expired.append(record)
                    if ref.is_stand_in:
                        self._forget(ref)
        return expired

    def ended_before(self, before_ms: int) -> list[Record]:
        """Return the ended conferences that were over before this."""
        with self._lock:
            ended = [self._records[ref] for refs in self._ended.values() for ref in refs]
        return [record for record in ended if (record.over_at_ms or 0) < before_ms]

    def bury(self, ref: ConferenceRef) -> None:
        """Give up an ended conference: it is dead. Where it is not ended any more, nothing."""
        with self._lock:
            record = self._records.get(ref)
            if record is not None and record.state is RecordState.ENDED:
                self._change(dataclasses.replace(record, state=RecordState.DEAD))

    def gone(self, ref: ConferenceRef) -> None:
        """Note that a conference is gone at its backend. Unknown is fine."""
        with self._lock:
            self._forget(ref)
            self._gone[ref] = None
            if len(self._gone) > MAX_GONE:
                del self._gone[next(iter(self._gone))]

    def find(self, ref: ConferenceRef) -> Record | None:
        """Return the record of a conference, `None` where there is none."""
        with self._lock:
            return self._records.get(ref)

    def is_over(self, ref: ConferenceRef) -> bool:
        """Whether a conference is known to be over: ended, given up, or gone."""
        with self._lock:
            return self._is_over(ref)

    def of_room(self, backend: str, room: str, state: RecordState) -> list[Record]:
        """Return the conferences of a room in this state, in the order in which they began."""
        with self._lock:
            found = [self._records[ref] for ref in self._rooms.get((backend, room), ())]
        return [record for record in found if record.state is state]

    def ended(self, backend: str) -> list[Record]:
        """Return the conferences whose end a backend is to be told, in the order of their ends.

        Not yet those whose end is just being written: it may have to be undone.
        """
        with self._lock:
            refs = self._ended.get(backend, ())
            return [self._records[ref] for ref in refs if ref not in self._unpromised]

    @property
    def counts(self) -> Mapping[RecordState, int]:
        """How many conferences there are in each state."""
        with self._lock:
            return {state: len(refs) for state, refs in self._in_state.items()}

    def flush(self) -> None:
        """Write what waits to be written. Raises `StateError`; then it goes on waiting."""
        with self._writing:
            self._write_what_waits()

    def close(self) -> None:
        """Write what waits; what cannot be written is said in the log."""
        if self._writer:
            self._writer.stop()
        try:
            self.flush()
        except StateError as error:
            logger.error("the last changes are lost: %s", error)  # noqa: TRY400 - it says it all

    def _make_durable(
        self, record: Record, previous: Record | None, *, was_gone: bool = False
    ) -> None:
        """Wait until a change is written; undo it where it cannot be. Raises `StateError`.

        Whoever waits for the disk writes what all have changed meanwhile.
        """
        with self._writing:
            with self._lock:
                is_written = record.ref not in self._unwritten
            if is_written:
                return
            try:
                self._write_what_waits()
            except StateError:
                with self._lock:
                    if self._records.get(record.ref) is record and previous is not record:
                        self._undo(record.ref, previous, was_gone=was_gone)
                raise

    def _undo(self, ref: ConferenceRef, previous: Record | None, *, was_gone: bool) -> None:
        if previous is None:
            self._forget(ref)
        else:
            self._change(previous)
        if was_gone:
            self._gone[ref] = None

    def _write_what_waits(self) -> None:
        with self._lock:
            waiting, self._unwritten = self._unwritten, {}
            changes = [(ref, self._records.get(ref)) for ref in waiting]
        is_written = False
        try:
            self._write(changes)
            is_written = True
        finally:
            if not is_written:
                with self._lock:
                    self._unwritten = waiting | self._unwritten

    def _is_over(self, ref: ConferenceRef) -> bool:
        record = self._records.get(ref)
        return ref in self._gone if record is None else record.state is not RecordState.OPEN

    def _add(self, record: Record, *, supersedes: bool = True) -> None:
        """Put a granted conference in; older ones of its room, or of the ledger, give way."""
        self._gone.pop(record.ref, None)
        if record.ref not in self._records and not self._make_room():
            string_id = encode(record.ref)
            logger.warning("the ledger is full: %s is not in it, and will not expire", string_id)
            return
        if supersedes:
            self._supersede(record)
        self._change(record)

    def _supersede(self, record: Record) -> None:
        """Forget the other conferences of a room that hold it no more.

        Not those of which the backend is still to be told; and a stand-in is not its word.
        """
        others = self._rooms.get((record.ref.backend, record.room), {}).keys() - {record.ref}
        for ref in others:
            is_superseded = ref.is_stand_in or not record.ref.is_stand_in
            if is_superseded and self._records[ref].state is not RecordState.ENDED:
                self._forget(ref)

    def _make_room(self) -> bool:
        """Return whether there is room for one more, now at the latest."""
        if len(self._records) < self._max_conferences:
            return True
        for state in (RecordState.DEAD, RecordState.OPEN):
            if ref := next(iter(self._in_state[state]), None):
                logger.warning(
                    "the ledger is full at %d conferences; the oldest %s one, %s, was dropped",
                    self._max_conferences,
                    state.value,
                    encode(ref),
                )
                self._forget(ref)
                return True
        return False

    def _change(self, record: Record) -> None:
        self._put(record)
        self._write_later(record.ref)

    def _put(self, record: Record) -> None:
        """Take a record into memory, in place of what was known of its conference."""
        ref = record.ref
        known = self._records.get(ref)
        self._take_out(ref)
        self._records[ref] = record
        self._in_state[record.state][ref] = None
        if record.room:
            self._rooms.setdefault((ref.backend, record.room), {})[ref] = None
        if record.state is RecordState.ENDED:
            self._ended.setdefault(ref.backend, {})[ref] = None
        if record.state is RecordState.OPEN and record.ends_at_ms is not None:
            has_entry = known and (known.state, known.ends_at_ms) == (
                record.state,
                record.ends_at_ms,
            )
            if not has_entry:
                heappush(self._ends, (record.ends_at_ms, next(self._numbers), ref))
                self._trim_ends()

    def _trim_ends(self) -> None:
        """Keep the ends of conferences that are long gone from piling up."""
        if len(self._ends) > 2 * len(self._records) + 1000:
            self._ends = list(
                {entry[2]: entry for entry in self._ends if self._is_the_end(entry)}.values()
            )
            heapify(self._ends)

    def _is_the_end(self, entry: tuple[int, int, ConferenceRef]) -> bool:
        """Whether this is when an open conference ends, as far as is known now."""
        ends_at_ms, _, ref = entry
        record = self._records.get(ref)
        if record is None or record.state is not RecordState.OPEN:
            return False
        return record.ends_at_ms == ends_at_ms

    def _forget(self, ref: ConferenceRef) -> None:
        if self._take_out(ref):
            self._write_later(ref)

    def _take_out(self, ref: ConferenceRef) -> bool:
        """Take a record out of memory; return whether there was one."""
        record = self._records.pop(ref, None)
        if record is None:
            return False
        del self._in_state[record.state][ref]
        _discard(self._rooms, (ref.backend, record.room), ref)
        _discard(self._ended, ref.backend, ref)
        return True

    def _write_later(self, ref: ConferenceRef) -> None:
        self._unwritten[ref] = None
        if self._writer:
            self._writer.wake()

    def _write(self, changes: Iterable[tuple[ConferenceRef, Record | None]]) -> None:
        changes = list(changes)
        if not changes:
            return
        with self._database.transaction() as connection:
            gone = [records.key(ref) for ref, record in changes if record is None]
            connection.executemany(records.DELETE, gone)
            connection.executemany(
                records.UPSERT, [records.to_row(record) for _, record in changes if record]
            )


class _Writer:
    """The thread that writes what waits, some moments after it came."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._woken = threading.Event()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ledger", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Say that something waits."""
        self._woken.set()

    def stop(self) -> None:
        """End the thread, and wait for it."""
        self._stopped.set()
        self._woken.set()
        self._thread.join()

    def _run(self) -> None:
        complaint = ""
        while not self._stopped.is_set():
            self._woken.wait()
            # Before the look at the end, which is said first: so no end is slept through.
            self._woken.clear()
            if self._stopped.wait(WRITE_AFTER_SECONDS):
                return
            try:
                self._ledger.flush()
                complaint = ""
            except StateError as error:
                if str(error) != complaint:
                    complaint = str(error)
                    logger.error("grants cannot be written: %s", error)  # noqa: TRY400
                self._stopped.wait(RETRY_SECONDS)
                self._woken.set()


def read(state_dir: Path) -> list[Record]:
    """Return the conferences in a state directory's ledger, also beside a running proxy.

    Raises `StateError` where it cannot be read.
    """
    with reading(state_dir) as connection:
        rows = connection.execute(records.SELECT).fetchall()
    return records.from_rows(rows, str(state_dir))


def _discard(index: dict[KeyT, dict[ConferenceRef, None]], key: KeyT, ref: ConferenceRef) -> None:
    """Take a conference out of an index, and its key with the last one."""
    refs = index.get(key, {})
    refs.pop(ref, None)
    if not refs:
        index.pop(key, None)


def _over(record: Record, over_at_ms: int, reason: DeleteReason) -> Record:
    return dataclasses.replace(
        record, state=RecordState.ENDED, over_at_ms=over_at_ms, reason=reason
    )


def _later_end(known: Record | None, conference: Conference) -> Conference:
    """Return the conference with the end that the client with the longest one was told."""
    if known is None or known.conference is None or conference.duration_seconds is None:
        return conference
    if known.conference.duration_seconds is None:
        return dataclasses.replace(conference, duration_seconds=None)
    ends_at_ms = known.ends_at_ms or 0
    seconds = max(conference.duration_seconds, (ends_at_ms - conference.start_time_ms) // 1000)
    return dataclasses.replace(conference, duration_seconds=seconds)
