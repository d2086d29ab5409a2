"""Aliases: the numbers under which Jicofo knows conferences whose own id is no number for it.

An alias is on the disk before it is given out, since after a restart it is the only way from a
GET or a DELETE to the conference. And it is known whose the other numbers are, so that they still
lead somewhere when a second backend is added.
"""

import logging
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count

from jicofo_reservation_proxy import ids
from jicofo_reservation_proxy.clock import now_ms
from jicofo_reservation_proxy.errors import StateError
from jicofo_reservation_proxy.model import ConferenceRef

from .sqlite_database import Database

MAX_ALIASES = 1_000_000
"""Some 100 MB of disk. Beyond it the oldest alias gives way to a new one."""

logger = logging.getLogger(__name__)


class SqliteAliases:
    """The `Aliases` in a database. All methods may be called from any thread.

    All raise `StateError` where the database cannot be read or written.
    """

    def __init__(
        self,
        database: Database,
        *,
        max_aliases: int = MAX_ALIASES,
        now_ms: Callable[[], int] = now_ms,
    ) -> None:
        self._database = database
        self._max_aliases = max_aliases
        self._now_ms = now_ms
        self._lock = threading.Lock()
        self._count: int = database.rows("SELECT count(*) FROM alias")[0][0]

    def alias(self, ref: ConferenceRef) -> int:
        """Return the number that stands for a conference; it is on the disk by then."""
        string_id = ids.encode(ref)
        known = self._database.rows("SELECT number FROM alias WHERE string_id = ?", string_id)
        return known[0][0] if known else self._make(ref, string_id)

    def resolve(self, number: int) -> ConferenceRef | None:
        """Return the conference that an alias stands for, or `None` where it stands for none."""
        found = self._database.rows("SELECT string_id FROM alias WHERE number = ?", number)
        ref = ids.decode(found[0][0]) if found else None
        return ref if isinstance(ref, ConferenceRef) else None

    def forget(self, ref: ConferenceRef) -> None:
        """Drop the alias of a conference that is gone. Unknown is fine."""
        if not self._count:
            return
        with self._transaction() as connection:
            sql = "DELETE FROM alias WHERE string_id = ?"
            self._count -= connection.execute(sql, (ids.encode(ref),)).rowcount

    @property
    def number_owner(self) -> str | None:
        """The backend whose own numbers Jicofo was last given, when it was the only one."""
        found = self._database.rows("SELECT backend FROM number_owner")
        return found[0][0] if found else None

    def set_number_owner(self, backend: str) -> None:
        """Note that from now on Jicofo is given this backend's own numbers."""
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT INTO number_owner (only, backend) VALUES (1, ?)"
                " ON CONFLICT (only) DO UPDATE SET backend = excluded.backend",
                (backend,),
            )

    def _make(self, ref: ConferenceRef, string_id: str) -> int:
        with self._transaction() as connection:
            known = connection.execute(
                "SELECT number FROM alias WHERE string_id = ?", (string_id,)
            ).fetchone()
            if known:
                return int(known[0])
            self._make_room(connection)
            number = next(
                number
                for attempt in count()
                if self._insert(connection, number := ids.alias_candidate(ref, attempt), string_id)
            )
        return number

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Change aliases, and their count with them, or nothing."""
        with self._lock:
            before = self._count
            try:
                with self._database.transaction() as connection:
                    yield connection
            except StateError:
                self._count = before
                raise

    def _insert(self, connection: sqlite3.Connection, number: int, string_id: str) -> bool:
        """Return whether the number was free, and is now taken."""
        cursor = connection.execute(
            "INSERT INTO alias (number, string_id, made_at_ms) VALUES (?, ?, ?)"
            " ON CONFLICT (number) DO NOTHING",
            (number, string_id, self._now_ms()),
        )
        self._count += cursor.rowcount
        return cursor.rowcount == 1

    def _make_room(self, connection: sqlite3.Connection) -> None:
        if self._count < self._max_aliases:
            return
        (string_id,) = connection.execute(
            "DELETE FROM alias WHERE number ="
            " (SELECT number FROM alias ORDER BY made_at_ms LIMIT 1) RETURNING string_id"
        ).fetchone()
        logger.warning(
            "the ledger is full at %d aliases; the oldest, of %s, was dropped",
            self._max_aliases,
            string_id,
        )
        self._count -= 1
