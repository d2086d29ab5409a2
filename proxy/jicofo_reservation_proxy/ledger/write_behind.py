"""Write-behind: changes of the ledger wait for a short time and are then written together.

A thread that needs its change on the disk calls `write`. That call also writes the waiting changes
of all other threads (a group commit).
"""

import logging
import threading
from collections.abc import Callable, Sequence

from jicofo_reservation_proxy.errors import StateError
from jicofo_reservation_proxy.model import ConferenceRef

from . import records
from .records import Record
from .sqlite_database import Database

WRITE_AFTER_SECONDS = 0.05
"""The time that a change waits, so that other changes can be written together with it."""

RETRY_SECONDS = 1.0
"""The time between a failed write and the next attempt."""

Change = tuple[ConferenceRef, Record | None]
"""A conference and its record; `None` means that the conference's row is deleted."""

logger = logging.getLogger(__name__)


class WriteBehind:
    """The changes that wait to be written to a database.

    `find` returns the record of a conference; `lock` guards the data that `find` reads. With
    `has_thread`, a thread writes the waiting changes; without it, the caller must call `flush`.
    """

    def __init__(
        self,
        database: Database,
        find: Callable[[ConferenceRef], Record | None],
        lock: threading.Lock,
        *,
        has_thread: bool,
    ) -> None:
        self._database = database
        self._find = find
        self._lock = lock
        self._writing = threading.Lock()
        self._waiting: dict[ConferenceRef, None] = {}
        self._writer = _Writer(self.flush) if has_thread else None

    def note(self, ref: ConferenceRef) -> None:
        """Add a conference to the waiting changes. The caller holds the lock."""
        self._waiting[ref] = None
        if self._writer:
            self._writer.wake()

    def write(self, ref: ConferenceRef, on_failure: Callable[[], None]) -> None:
        """Return after the changes of a conference are written; write them if necessary.

        If the write fails, this method calls `on_failure` before another thread can write, and
        raises `StateError`. The changes then keep waiting.
        """
        with self._writing:
            with self._lock:
                is_written = ref not in self._waiting
            if is_written:
                return
            try:
                self._write_what_waits()
            except StateError:
                on_failure()
                raise

    def flush(self) -> None:
        """Write the waiting changes. Raises `StateError`; the changes then keep waiting."""
        with self._writing:
            self._write_what_waits()

    def close(self) -> None:
        """Write the waiting changes; if that fails, log that they are lost."""
        if self._writer:
            self._writer.stop()
        try:
            self.flush()
        except StateError as error:
            # The text of the error says enough; a stack trace would not help.
            logger.error("the last changes of the ledger are lost: %s", error)  # noqa: TRY400

    def _write_what_waits(self) -> None:
        with self._lock:
            waiting, self._waiting = self._waiting, {}
            changes = [(ref, self._find(ref)) for ref in waiting]
        is_written = False
        try:
            self._commit(changes)
            is_written = True
        finally:
            if not is_written:
                with self._lock:
                    self._waiting = waiting | self._waiting

    def _commit(self, changes: Sequence[Change]) -> None:
        if not changes:
            return
        with self._database.transaction() as connection:
            gone = [records.key(ref) for ref, record in changes if record is None]
            connection.executemany(records.DELETE, gone)
            connection.executemany(
                records.UPSERT, [records.to_row(record) for _, record in changes if record]
            )


class _Writer:
    """The thread that writes each waiting change a short time after it was made."""

    def __init__(self, flush: Callable[[], None]) -> None:
        self._flush = flush
        self._woken = threading.Event()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ledger", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Tell the thread that a change is waiting."""
        self._woken.set()

    def stop(self) -> None:
        """End the thread, and wait until it has ended."""
        self._stopped.set()
        self._woken.set()
        self._thread.join()

    def _run(self) -> None:
        complaint = ""
        while not self._stopped.is_set():
            self._woken.wait()
            # Clear the event before `_stopped` is checked. `stop` sets `_stopped` before the event,
            # so its wake-up is not lost.
            self._woken.clear()
            if self._stopped.wait(WRITE_AFTER_SECONDS):
                return
            try:
                self._flush()
                complaint = ""
            except StateError as error:
                if str(error) != complaint:
                    complaint = str(error)
                    logger.error("cannot write changes to the ledger: %s", error)  # noqa: TRY400
                self._stopped.wait(RETRY_SECONDS)
                self._woken.set()
