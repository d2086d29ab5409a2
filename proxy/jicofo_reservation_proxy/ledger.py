"""The ledger: what must survive a restart, in one SQLite file in the state directory.

It holds the aliases: the numbers under which Jicofo knows conferences whose own id is no number
that Jicofo could keep. An alias is on the disk before it is given out, since after a restart it
is the only way from a GET or a DELETE to the conference. And it knows whose the other numbers are,
so that they still lead somewhere when a second backend is added.

This module knows no gRPC and no HTTP. All methods may be called from any thread.
"""

import fcntl
import logging
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

from . import ids
from .clock import now_ms
from .errors import StateError
from .model import ConferenceRef

SCHEMA_VERSION = 1
APPLICATION_ID = int.from_bytes(b"JRPl", "big")
"""Marks the file as a ledger (SQLite's PRAGMA application_id)."""
FILE_NAME = "ledger.sqlite3"
LOCK_NAME = "ledger.lock"
MAX_ALIASES = 1_000_000
"""Some 100 MB of disk. Beyond it the oldest alias gives way to a new one."""

_SCHEMA = """
CREATE TABLE alias (
    number     INTEGER PRIMARY KEY,
    string_id  TEXT NOT NULL UNIQUE,
    made_at_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX alias_by_age ON alias (made_at_ms);
CREATE TABLE number_owner (
    only    INTEGER PRIMARY KEY CHECK (only = 1),
    backend TEXT NOT NULL
) STRICT;
"""

logger = logging.getLogger(__name__)


class Ledger:
    """The open ledger of one state directory, which is made where it is missing.

    Raises `StateError` where the directory cannot be used, or where the file is not a ledger or
    one of a newer version; the file is then left as it is.
    """

    def __init__(
        self,
        state_dir: Path,
        *,
        max_aliases: int = MAX_ALIASES,
        now_ms: Callable[[], int] = now_ms,
    ) -> None:
        self._file = state_dir / FILE_NAME
        self._max_aliases = max_aliases
        self._now_ms = now_ms
        self._lock = threading.Lock()
        _make_directory(state_dir)
        try:
            with _lock(state_dir):
                self._connection, self._alias_count = self._open()
        except OSError as error:
            raise StateError(f"state_dir: cannot write to {state_dir}: {error.strerror}") from error
        except sqlite3.Error as error:
            raise StateError(f"{self._file}: cannot be used as the ledger: {error}") from error

    def alias(self, ref: ConferenceRef) -> int:
        """Return the number that stands for a conference, durably, making it where there is none.

        Raises `StateError` where it cannot be written.
        """
        string_id = ids.encode(ref)
        with self._transaction():
            known: int | None = self._one("SELECT number FROM alias WHERE string_id = ?", string_id)
            return known if known is not None else self._insert(ref, string_id)

    def resolve(self, number: int) -> ConferenceRef | None:
        """Return the conference that an alias stands for, or `None` where it stands for none.

        Raises `StateError` where the ledger cannot be read.
        """
        with self._transaction():
            string_id = self._one("SELECT string_id FROM alias WHERE number = ?", number)
        ref = ids.decode(string_id) if string_id else None
        return ref if isinstance(ref, ConferenceRef) else None

    def forget(self, ref: ConferenceRef) -> None:
        """Drop a conference that is gone. Unknown is fine.

        Raises `StateError` where that cannot be written.
        """
        with self._transaction() as connection:
            cursor = connection.execute("DELETE FROM alias WHERE string_id = ?", (ids.encode(ref),))
            self._alias_count -= cursor.rowcount

    @property
    def number_owner(self) -> str | None:
        """The backend whose own numbers Jicofo was last given, when it was the only one."""
        with self._transaction():
            owner: str | None = self._one("SELECT backend FROM number_owner")
        return owner

    def set_number_owner(self, backend: str) -> None:
        """Note that from now on Jicofo is given this backend's own numbers.

        Raises `StateError` where that cannot be written.
        """
        with self._transaction() as connection:
            connection.execute(
                "INSERT INTO number_owner (only, backend) VALUES (1, ?)"
                " ON CONFLICT (only) DO UPDATE SET backend = excluded.backend",
                (backend,),
            )

    def close(self) -> None:
        """Close the file. The ledger raises `StateError` afterwards."""
        with self._lock:
            self._connection.close()

    def _open(self) -> tuple[sqlite3.Connection, int]:
        connection = sqlite3.connect(self._file, isolation_level=None, check_same_thread=False)
        try:
            self._prepare(connection)
            alias_count = connection.execute("SELECT count(*) FROM alias").fetchone()[0]
        except (sqlite3.Error, StateError):
            connection.close()
            raise
        return connection, alias_count

    def _prepare(self, connection: sqlite3.Connection) -> None:
        """Check or make the schema, then choose durability.

        FULL makes a commit in WAL mode survive a power cut, not just the end of the process.
        """
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        application = connection.execute("PRAGMA application_id").fetchone()[0]
        tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
        if application != APPLICATION_ID and (tables or version):
            raise StateError(
                f"{self._file}: wanted a ledger, got another program's SQLite file; "
                "use another state_dir"
            )
        if version > SCHEMA_VERSION:
            raise StateError(
                f"{self._file}: wanted a ledger of version {SCHEMA_VERSION}, got {version}; it was "
                "written by a newer jicofo-reservation-proxy: use that one, or another state_dir"
            )
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        if version < SCHEMA_VERSION:
            connection.executescript(
                f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA application_id = {APPLICATION_ID};"
                f" PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;"
            )

    def _insert(self, ref: ConferenceRef, string_id: str) -> int:
        self._make_room()
        number = next(
            number
            for attempt in count()
            if self._insert_number(number := ids.alias_candidate(ref, attempt), string_id)
        )
        self._alias_count += 1
        return number

    def _insert_number(self, number: int, string_id: str) -> bool:
        """Return whether the number was free, and is now taken."""
        cursor = self._connection.execute(
            "INSERT INTO alias (number, string_id, made_at_ms) VALUES (?, ?, ?)"
            " ON CONFLICT (number) DO NOTHING",
            (number, string_id, self._now_ms()),
        )
        return cursor.rowcount == 1

    def _make_room(self) -> None:
        if self._alias_count < self._max_aliases:
            return
        string_id = self._one(
            "DELETE FROM alias WHERE number ="
            " (SELECT number FROM alias ORDER BY made_at_ms LIMIT 1) RETURNING string_id"
        )
        self._alias_count -= 1
        logger.warning(
            "the ledger is full at %d aliases; the oldest, of %s, was dropped",
            self._max_aliases,
            string_id,
        )

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            alias_count = self._alias_count
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                yield self._connection
                self._connection.execute("COMMIT")
            except sqlite3.Error as error:
                self._alias_count = alias_count
                self._roll_back()
                raise StateError(f"{self._file}: {error}") from error

    def _roll_back(self) -> None:
        with suppress(sqlite3.Error):
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    def _one(self, sql: str, *parameters: object) -> Any:  # noqa: ANN401 - SQL is not typed
        row = self._connection.execute(sql, parameters).fetchone()
        return row[0] if row else None


@contextmanager
def _lock(state_dir: Path) -> Iterator[None]:
    """Let one process at a time make the ledger, for this user only; SQLite does not wait."""
    for name in (LOCK_NAME, FILE_NAME):
        (state_dir / name).touch(mode=0o600)
    with (state_dir / LOCK_NAME).open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _make_directory(state_dir: Path) -> None:
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StateError(
            f"state_dir: wanted a writable directory, got {state_dir}: {error.strerror}"
        ) from error
