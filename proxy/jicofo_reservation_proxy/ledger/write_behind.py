"""What waits to be written: changes of the ledger go to the disk together, some moments later.

Whoever needs a change on the disk waits for it (`write`), and writes with it what all others have
changed meanwhile: a group commit.
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
"""How long a grant may wait for others to be written with."""

RETRY_SECONDS = 1.0
"""How soon a write that failed is tried again."""

Change = tuple[ConferenceRef, Record | None]
"""A conference, and its record; `None` where it is to be taken out."""

logger = logging.getLogger(__name__)


class WriteBehind:
    """The changes that wait to be written to a database.

    `find` returns a conference's record, `lock` guards what it reads. With `has_thread` a thread
    writes what waits; without it, `flush` does.
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
        """Let a conference be written later. The caller holds the lock."""
        self._waiting[ref] = None
        if self._writer:
            self._writer.wake()

    def write(self, ref: ConferenceRef, on_failure: Callable[[], None]) -> None:
        """Wait until the changes of a conference are written.

        Raises `StateError` where they cannot be, after `on_failure`, which is called before
        anybody else can write. The changes go on waiting.
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
        """Write what waits. Raises `StateError`; then it goes on waiting."""
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
    """The thread that writes what waits, some moments after it came."""

    def __init__(self, flush: Callable[[], None]) -> None:
        self._flush = flush
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
            # Before the look at `_stopped`, which `stop` sets first: so its wake-up is not lost.
            self._woken.clear()
            if self._stopped.wait(WRITE_AFTER_SECONDS):
                return
            try:
                self._flush()
                complaint = ""
            except StateError as error:
                if str(error) != complaint:
                    complaint = str(error)
                    logger.error("grants cannot be written: %s", error)  # noqa: TRY400
                self._stopped.wait(RETRY_SECONDS)
                self._woken.set()
