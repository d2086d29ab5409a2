"""Write-behind: changes of a table wait for a short time and are then written together.

Each table has one thread that writes to the disk. A disk may hang, so no thread that answers
requests touches it: a thread that needs its change on the disk calls `write`, and waits for a
limited time. The same commit writes the waiting changes of all other threads (a group commit).
"""

import logging
import threading
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from typing import Generic, Protocol, TypeVar

from jicofo_reservation_proxy.errors import StateError

from .row_batches import Statement
from .sqlite_database import WRITE_A_PAGE, Database

WRITE_AFTER_SECONDS = 0.05
"""The time from the first waiting change to the write. Changes that arrive in this time are written
together with it."""

RETRY_SECONDS = 1.0
"""The time between a failed write and the next attempt."""

HANGING_SECONDS = 2.0
"""A disk hangs if a write takes longer. Then `write` does not wait any more, so that a disk that
hangs does not take all threads."""

MAX_CHANGES = 500
"""How many changes are written together. If a million changes wait, for example after the disk was
full for hours, a DELETE does not wait for all of them, and no request waits for the lock for more
than some milliseconds."""

IDLE_SECONDS = 0.1
"""How long no change must come before the thread maintains the log of the database: a DELETE would
have to wait for that."""

CLOSE_SECONDS = 5.0
"""How long the end of the process waits for the last changes."""

KeyT = TypeVar("KeyT")
KeyT_contra = TypeVar("KeyT_contra", contravariant=True)
ValueT = TypeVar("ValueT")

logger = logging.getLogger(__name__)


class Table(Protocol[KeyT_contra, ValueT]):
    """The data in memory that a `WriteBehind` writes.

    The caller of all methods except `statements` holds the lock of the table.
    """

    def latest(self, key: KeyT_contra) -> ValueT | None:
        """Return the value to write; `None` means that the row is deleted."""

    def written(self, key: KeyT_contra, value: ValueT | None) -> None:
        """Note that a value is on the disk."""

    def failed(self, key: KeyT_contra, value: ValueT | None) -> None:
        """Note that a value could not be written. It keeps waiting, unless it changes now."""

    def statements(
        self, changes: Sequence[tuple[KeyT_contra, ValueT | None]]
    ) -> Sequence[Statement]:
        """Return the statements that write these changes. Called without the lock."""


class WriteBehind(Generic[KeyT, ValueT]):
    """The changes of one table that wait to be written to a database.

    `lock` guards the data of the table. With a `thread_name`, a thread of this name writes the
    waiting changes; without it, `write` and `flush` write them.
    """

    def __init__(
        self,
        database: Database,
        table: Table[KeyT, ValueT],
        lock: threading.Lock,
        thread_name: str | None,
    ) -> None:
        self._database = database
        self._name = thread_name or ""
        self._table = table
        self._lock = lock
        # Three conditions of one lock, so that a change wakes only a thread that waits for it.
        self._has_work = threading.Condition(lock)
        self._is_hurried = threading.Condition(lock)
        self._has_result = threading.Condition(lock)
        self._writing = threading.Lock()
        self._waiting: dict[KeyT, None] = {}
        self._being_written: Collection[KeyT] = ()
        self._begun = 0
        self._failed: dict[KeyT, int] = {}
        """The keys of the last failed writes, with the numbers of these writes."""
        self._is_failing = False
        self._error = ""
        self._began: float | None = None
        self._is_urgent = False
        self._is_stopped = False
        self._thread: threading.Thread | None = None
        if thread_name:
            self._thread = threading.Thread(target=self._run, name=thread_name, daemon=True)
            self._thread.start()

    def note(self, key: KeyT) -> None:
        """Add a key to the waiting changes. The caller holds the lock."""
        if not self._waiting:
            self._has_work.notify()
        self._waiting[key] = None

    @property
    def begun(self) -> int:
        """The number of writes that have begun. The caller holds the lock."""
        return self._begun

    def is_waiting(self, key: KeyT) -> bool:
        """Return whether a change of this key is not on the disk yet. The caller holds the lock."""
        return key in self._waiting or key in self._being_written

    def write(self, key: KeyT, begun: int, within_seconds: float) -> None:
        """Return after the change of this key is written.

        `begun` is as it was when the change was made. Raises `StateError` if a later write of the
        change fails, or if the change is not written within this time. It then keeps waiting.
        """
        if self._thread is None:
            self.flush()
            return
        until = time.monotonic() + within_seconds
        with self._lock:
            if key in self._waiting:
                self._move_to_end(key)
            self._hurry()
            while True:
                # The next attempt may have succeeded by now, but without what was undone.
                if self._failed.get(key, 0) > begun:
                    raise StateError(self._error)
                if not self.is_waiting(key):
                    return
                now = time.monotonic()
                if now >= until or self._is_hanging(now) or self._is_stopped:
                    raise StateError(f"{self._database.name}: the disk does not answer in time")
                # Look again soon: the write may begin, and hang, only after this moment.
                self._has_result.wait(min(until - now, HANGING_SECONDS / 2))

    def flush(self) -> None:
        """Write the waiting changes. Raises `StateError`; the changes then keep waiting."""
        with self._writing:
            self._write_what_waits()

    def close(self, within_seconds: float = CLOSE_SECONDS) -> None:
        """Write the waiting changes; if that fails or takes too long, log that they are lost."""
        with self._lock:
            self._is_stopped = True
            self._hurry()
            self._has_result.notify_all()
        if self._thread:
            self._thread.join(within_seconds)
        if not self._writing.acquire(timeout=0 if self._thread else -1):
            logger.error(
                "the last changes of the ledger are lost: %s: the disk does not answer",
                self._database.name,
            )
            return
        try:
            self._write_what_waits()
        except StateError as error:
            # The log line needs no stack trace, because the text of the error gives the cause.
            logger.error("the last changes of the ledger are lost: %s", error)  # noqa: TRY400
        finally:
            self._writing.release()

    def _hurry(self) -> None:
        """Make the thread write now. The caller holds the lock."""
        self._is_urgent = True
        self._has_work.notify()
        self._is_hurried.notify()

    def _is_hanging(self, now: float) -> bool:
        """Return whether the write that is in progress hangs."""
        return self._began is not None and now - self._began >= HANGING_SECONDS

    def _write_what_waits(self) -> None:
        while self._write_some() == MAX_CHANGES:
            pass

    def _write_some(self) -> int:
        """Write some of the waiting changes; return how many."""
        with self._lock:
            keys = self._being_written = self._take()
            changes = [(key, self._table.latest(key)) for key in keys]
            self._begun, self._began = self._begun + 1, time.monotonic()
            self._is_urgent = False
            generation = self._database.generation
        try:
            self._commit(changes)
        except BaseException as error:  # also after Ctrl-C: the changes must keep waiting
            with self._lock:
                self._keep_waiting(changes)
            self._erase(changes)
            with self._lock:
                self._note_failed(keys, str(error))
                self._note_end()
            raise
        with self._lock:
            self._note_written(changes, is_gone=generation != self._database.generation)
            self._note_end()
        return len(changes)

    def _take(self) -> dict[KeyT, None]:
        """Remove and return the changes to write now: if there are many, the last ones.

        `write` makes its change the last one, so its thread does not wait for older ones.
        """
        if len(self._waiting) > MAX_CHANGES:
            return dict(self._waiting.popitem() for _ in range(MAX_CHANGES))
        keys, self._waiting = self._waiting, {}
        return keys

    def _move_to_end(self, key: KeyT) -> None:
        del self._waiting[key]
        self._waiting[key] = None

    def _note_end(self) -> None:
        """Note that a write has ended. The caller holds the lock."""
        self._being_written, self._began = (), None
        self._has_result.notify_all()

    def _erase(self, changes: Sequence[tuple[KeyT, ValueT | None]]) -> None:
        """Overwrite the rest of a failed write, before a thread learns of the failure.

        If a sync failed, the log of SQLite already has the failed transaction: the next process
        would find it after a kill.
        """
        with self._lock:
            latest = [(key, self._table.latest(key)) for key, _ in changes]
        with suppress(StateError):
            self._database.write([WRITE_A_PAGE, *self._table.statements(latest)])

    def _commit(self, changes: Sequence[tuple[KeyT, ValueT | None]]) -> None:
        if changes:
            self._database.write(self._table.statements(changes))
            self._database.component.recover(self._name)

    def _note_written(
        self, changes: Sequence[tuple[KeyT, ValueT | None]], *, is_gone: bool
    ) -> None:
        """Note that changes were written; with `is_gone`, the database was replaced meanwhile."""
        self._is_failing = False
        for key, value in changes:
            self._table.written(key, value)
            has_changed = self._table.latest(key) != value
            if (has_changed or is_gone) and key not in self._waiting:
                self.note(key)

    def _keep_waiting(self, changes: Sequence[tuple[KeyT, ValueT | None]]) -> None:
        for key, value in changes:
            self._waiting[key] = None
            self._table.failed(key, value)

    def _note_failed(self, keys: Collection[KeyT], error: str) -> None:
        if not self._is_failing:
            self._failed.clear()
        self._failed.update(dict.fromkeys(keys, self._begun))
        self._is_failing, self._error = True, error

    def _run(self) -> None:
        while self._wait_for_changes():
            try:
                self.flush()
            except StateError as error:
                self._database.component.fail(str(error), self._name)
                self._pause(RETRY_SECONDS)
            except Exception:  # a bug must not end the thread
                logger.exception("cannot write changes to the ledger: a fault of the proxy")
                self._pause(RETRY_SECONDS)

    def _wait_for_changes(self) -> bool:
        """Wait until changes must be written; return whether the thread goes on."""
        while not self._has_changes(IDLE_SECONDS if self._database.is_upkeep_due else None):
            self._maintain_log()
        self._pause(WRITE_AFTER_SECONDS)
        return not self._is_stopped

    def _has_changes(self, within_seconds: float | None) -> bool:
        """Wait until changes must be written; return false if there are none within this time."""
        with self._lock:
            return self._has_work.wait_for(
                lambda: bool(self._waiting) or self._is_urgent or self._is_stopped, within_seconds
            )

    def _maintain_log(self) -> None:
        """Maintain the log of the database. A thread that waits meanwhile notices if it hangs."""
        with self._writing:
            with self._lock:
                self._began = time.monotonic()
            # After a failure, the next attempt comes after more changes.
            try:
                self._database.maintain_log()
            except StateError:
                pass
            except Exception:  # a bug must not end the thread
                logger.exception("cannot maintain the log of the ledger: a fault of the proxy")
            finally:
                with self._lock:
                    self._began = None

    def _pause(self, seconds: float) -> None:
        """Wait, unless a thread waits for its change."""
        with self._lock:
            self._is_hurried.wait_for(lambda: self._is_urgent or self._is_stopped, seconds)
