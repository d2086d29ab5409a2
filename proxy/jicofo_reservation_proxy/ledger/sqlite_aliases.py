"""The aliases in SQLite: numbers for Jicofo, for conferences whose own id is not a usable number.

An alias is on the disk before Jicofo gets it: after a restart, only the alias leads from a GET or a
DELETE of Jicofo to the conference.

The module also stores the backend to which all other numbers belong (`number_owner`). So these
numbers still lead to their conferences after the operator has added a second backend.
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
"""About 100 MB of disk. When there are this many aliases, a new alias evicts the oldest alias."""

logger = logging.getLogger(__name__)


class SqliteAliases:
    """The `Aliases` in a database. Any thread may call the methods.

    The constructor and all methods raise `StateError` if the database cannot be read or written.
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
        """Return the alias of a conference; write a new alias to the disk before that."""
        string_id = ids.encode(ref)
        known = self._database.rows("SELECT number FROM alias WHERE string_id = ?", string_id)
        return known[0][0] if known else self._make(ref, string_id)

    def resolve(self, number: int) -> ConferenceRef | None:
        """Return the conference that an alias stands for; `None` if the alias is unknown."""
        found = self._database.rows("SELECT string_id FROM alias WHERE number = ?", number)
        ref = ids.decode(found[0][0]) if found else None
        return ref if isinstance(ref, ConferenceRef) else None

    def forget(self, ref: ConferenceRef) -> None:
        """Remove the alias of a conference that is gone, if it has one."""
        if not self._count:
            return
        with self._transaction() as connection:
            sql = "DELETE FROM alias WHERE string_id = ?"
            self._count -= connection.execute(sql, (ids.encode(ref),)).rowcount

    @property
    def number_owner(self) -> str | None:
        """The last backend that was the only backend, so that Jicofo got its own numbers."""
        found = self._database.rows("SELECT backend FROM number_owner")
        return found[0][0] if found else None

    def set_number_owner(self, backend: str) -> None:
        """Record that Jicofo gets this backend's own numbers from now on."""
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
        """Change the aliases and their count together; if the change fails, change neither."""
        with self._lock:
            before = self._count
            try:
                with self._database.transaction() as connection:
                    yield connection
            except StateError:
                self._count = before
                raise

    def _insert(self, connection: sqlite3.Connection, number: int, string_id: str) -> bool:
        """Insert an alias if its number is free; return whether it was free."""
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
            "the ledger is full (%d aliases): evicted the oldest alias, of conference %s",
            self._max_aliases,
            string_id,
        )
        self._count -= 1
