"""The withdrawals in SQLite: the rooms for which a create got no usable answer.

A withdrawal is written a short time after it was noted (write_behind.py). If the proxy is killed
before that, the room is held at the backend until the end of its conference.
"""

import dataclasses
import threading
from collections.abc import Sequence

from . import row_batches
from .eviction_log import EvictionLog
from .room_locks import RoomKey
from .row_batches import Statement
from .sqlite_database import Database
from .withdrawals import Withdrawal
from .write_behind import CLOSE_SECONDS, WriteBehind

MAX_WITHDRAWALS = 10_000
"""About 5 MB of memory. When there are this many withdrawals, a new one evicts the oldest one."""


class SqliteWithdrawals:
    """The `Withdrawals` in a database (withdrawals.py describes the methods).

    `write_behind` says whether a thread writes the waiting changes; without it, the caller must
    call `flush`. The constructor raises `StateError` if the database cannot be read.
    """

    def __init__(
        self,
        database: Database,
        *,
        max_withdrawals: int = MAX_WITHDRAWALS,
        write_behind: bool = True,
    ) -> None:
        self._max_withdrawals = max_withdrawals
        self._evictions = EvictionLog("withdrawals", max_withdrawals)
        self._lock = threading.Lock()
        self._table = _Table(database)
        thread_name = "withdrawals" if write_behind else None
        self._writes = WriteBehind(database, self._table, self._lock, thread_name)

    def note(self, withdrawal: Withdrawal) -> None:
        """Add a withdrawal in place of an earlier one of the same room."""
        with self._lock:
            self._remove(withdrawal.room_key)
            while len(self._table.rows) >= self._max_withdrawals:
                oldest = next(iter(self._table.rows))
                self._evictions.note(f"the oldest withdrawal, of room {oldest[1]!r}")
                self._remove(oldest)
            self._put(withdrawal)

    def of(self, backend: str) -> list[Withdrawal]:
        """Return the withdrawals of a backend, the oldest one first."""
        with self._lock:
            return [noted for noted in self._table.rows.values() if noted.backend == backend]

    def sent(self, withdrawal: Withdrawal) -> None:
        """Record that the backend has acknowledged a withdrawal for the first time."""
        with self._lock:
            if self._table.rows.get(withdrawal.room_key) == withdrawal:
                self._put(dataclasses.replace(withdrawal, is_sent=True))

    def remove(self, withdrawal: Withdrawal) -> None:
        """Remove a withdrawal, unless a newer one has replaced it."""
        with self._lock:
            if self._table.rows.get(withdrawal.room_key) == withdrawal:
                self._remove(withdrawal.room_key)

    def __len__(self) -> int:
        """Return the number of withdrawals."""
        return len(self._table.rows)

    def rewrite(self) -> None:
        """Let all withdrawals be written again, into a database that has none."""
        with self._lock:
            for key in self._table.rows:
                self._writes.note(key)

    def flush(self) -> None:
        """Write the waiting changes. Raises `StateError`; the changes then keep waiting."""
        self._writes.flush()

    def close(self, within_seconds: float = CLOSE_SECONDS) -> None:
        """Write the waiting changes; if that fails or takes too long, log that they are lost."""
        self._writes.close(within_seconds)

    def _put(self, withdrawal: Withdrawal) -> None:
        self._table.rows[withdrawal.room_key] = withdrawal
        self._writes.note(withdrawal.room_key)

    def _remove(self, key: RoomKey) -> None:
        if self._table.rows.pop(key, None) is not None:
            self._writes.note(key)


class _Table:
    """The withdrawals, as `WriteBehind` writes them (write_behind.Table describes the methods)."""

    def __init__(self, database: Database) -> None:
        found = database.rows(
            "SELECT backend, room, hold, asked_at_ms, is_sent FROM withdrawal ORDER BY asked_at_ms"
        )
        noted = [
            Withdrawal(backend, room, hold, asked_at_ms, bool(is_sent))
            for backend, room, hold, asked_at_ms, is_sent in found
        ]
        self.rows = {withdrawal.room_key: withdrawal for withdrawal in noted}

    def latest(self, key: RoomKey) -> Withdrawal | None:
        return self.rows.get(key)

    def written(self, key: RoomKey, value: Withdrawal | None) -> None:
        """Do nothing: no thread waits for a withdrawal."""

    def failed(self, key: RoomKey, value: Withdrawal | None) -> None:
        """Keep the withdrawal: it may still be sent."""

    def statements(self, changes: Sequence[tuple[RoomKey, Withdrawal | None]]) -> list[Statement]:
        gone = [key for key, value in changes if value is None]
        changed = [dataclasses.astuple(value) for _, value in changes if value]
        return [
            *row_batches.delete("withdrawal", ("backend", "room"), gone),
            *row_batches.insert("withdrawal (backend, room, hold, asked_at_ms, is_sent)", changed),
        ]
