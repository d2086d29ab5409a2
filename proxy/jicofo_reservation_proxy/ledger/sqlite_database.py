"""The file of the ledger: one SQLite database in the state directory, used by one proxy.

This module handles the schema, its versions, and commits that survive a power cut. ledger.py
describes the contents of the file.
"""

import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from jicofo_reservation_proxy.errors import StateError
from jicofo_reservation_proxy.observability.health import Component, Words

from .row_batches import Statement
from .state_directory import HINT, create, held, make

WORDS = Words("cannot be written", "can be written again", level=logging.ERROR)
"""The words of the component of the ledger."""

APPLICATION_ID = int.from_bytes(b"JRPl", "big")
"""Marks the file as a ledger (SQLite's PRAGMA application_id)."""
FILE_NAME = "ledger.sqlite3"

_ALIASES = """
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
_CONFERENCES = """
CREATE TABLE conference (
    backend          TEXT NOT NULL,
    conference_id    TEXT NOT NULL,
    is_stand_in      INTEGER NOT NULL,
    state            TEXT NOT NULL,
    room             TEXT NOT NULL,
    owner            TEXT,
    start_time_ms    INTEGER,
    duration_seconds INTEGER,
    options          TEXT NOT NULL,
    is_whole         INTEGER NOT NULL,
    over_at_ms       INTEGER,
    reason           TEXT,
    PRIMARY KEY (backend, conference_id, is_stand_in)
) STRICT, WITHOUT ROWID;
"""
_HOLDS = """
ALTER TABLE conference ADD COLUMN hold          INTEGER NOT NULL DEFAULT 0;
ALTER TABLE conference ADD COLUMN has_row       INTEGER NOT NULL DEFAULT 0;
ALTER TABLE conference ADD COLUMN has_no_holder INTEGER NOT NULL DEFAULT 1;
CREATE TABLE holder (
    only   INTEGER PRIMARY KEY CHECK (only = 1),
    holder TEXT NOT NULL,
    starts INTEGER NOT NULL
) STRICT;
CREATE TABLE withdrawal (
    backend     TEXT NOT NULL,
    room        TEXT NOT NULL,
    hold        INTEGER NOT NULL,
    asked_at_ms INTEGER NOT NULL,
    is_sent     INTEGER NOT NULL,
    PRIMARY KEY (backend, room)
) STRICT, WITHOUT ROWID;
"""
MIGRATIONS = (_ALIASES, _CONFERENCES, _HOLDS)
"""Entry n - 1 upgrades the schema from version n - 1 to version n. Version 0 is an empty file."""

SCHEMA_VERSION = len(MIGRATIONS)

WRITE_A_PAGE: Statement = (f"PRAGMA user_version = {SCHEMA_VERSION}", ())
"""A statement that changes nothing, and still writes a page to the write-ahead log."""

CHECKPOINT_CHANGES = 500
"""How many rows are written between two checkpoints. Each row changes about one page of 4 KiB."""

RESERVED_LOG_BYTES = 4 * 1024 * 1024
"""The length of the log's file while the database is open. The log begins again at the start of the
file after each checkpoint, so it seldom becomes longer."""

PAGE_BYTES = 4096

MAX_LOG_BYTES = 8 * 1024 * 1024
"""If nobody has made a checkpoint before (`Database.maintain_log`), SQLite makes one in the commit
that makes the log longer. A log that is still longer after a burst of changes is cut."""

LOCK_SECONDS = 0.5
"""How long to wait for another program that uses the file."""

CLOSE_SECONDS = 1.0
"""How long `close` and `copy` wait for a write that is in progress."""


class Database:
    """The open database of a state directory, or a database in memory if `state_dir` is `None`.

    The constructor creates the directory if it does not exist. The directory belongs to this
    process until `close`. Any thread may call the methods.

    The constructor raises `StateInUseError` if another process uses the directory. It raises
    `StateError` if the directory or the file cannot be used, or if the file is damaged, is not a
    ledger, or has a newer version. In these cases it does not change the file.
    """

    def __init__(
        self,
        state_dir: Path | None,
        component: Component | None = None,
        note_commit: Callable[[float], None] = lambda _: None,
    ) -> None:
        self.component = component or Component("ledger", WORDS)
        self._note_commit = note_commit
        self._busy_since: float | None = None
        self._lock = threading.Lock()
        self._state_dir = state_dir
        self._seen: dict[Path, os.stat_result] = {}
        self.generation = 0
        """How often `renew` has opened a new, empty database."""
        with ExitStack() as stack:
            if state_dir is None:
                self.name = "the ledger in memory"
                self._connection = _connect(":memory:")
            else:
                self.name = str(state_dir / FILE_NAME)
                make(state_dir)
                self._connection = self._open(state_dir, stack)
            self._changes = self._connection.total_changes
            """How many rows were changed through the connection."""
            self._copied_changes = self._changes
            """How many of them a checkpoint has copied into the database."""
            self._is_log_reserved = False
            stack.callback(self._close_connection)
            self._stack = stack.pop_all()

    def close(self) -> None:
        """Close the file and release the directory. Other methods raise `StateError` afterwards.

        If the disk hangs, the end of the process closes the file.
        """
        if self._lock.acquire(timeout=CLOSE_SECONDS):
            try:
                self._stack.close()
            finally:
                self._lock.release()

    @property
    def is_on_disk(self) -> bool:
        """Whether the database is a file; false for a database in memory."""
        return self._state_dir is not None

    def find_damage(self) -> str:
        """Return what happened to the files since they were opened; "" if they are as before."""
        for file in self._files:
            try:
                found, before = file.stat(), self._seen.get(file)
            except FileNotFoundError:
                if file in self._seen:
                    return f"{file} was removed"
                continue
            except OSError as error:
                return f"{file} cannot be read ({error.strerror})"
            if before and (found.st_dev, found.st_ino) != (before.st_dev, before.st_ino):
                return f"{file} was replaced"
            if before and found.st_size < before.st_size and file.name == FILE_NAME:
                return f"{file} was cut"
            self._seen[file] = found
        return ""

    def renew(self) -> None:
        """Open a new, empty database in place of the damaged one, which is kept under new names.

        If the directory was replaced, lock the new one first. Raises `StateError`; then every
        write fails until `renew` succeeds.
        """
        if self._state_dir is None or not self._lock.acquire(timeout=CLOSE_SECONDS):
            raise StateError(f"{self.name}: the disk does not answer")
        try:
            self._connection.close()
            make(self._state_dir)
            if not os.path.samestat(self._state_dir.stat(), self._held):
                # Somebody made a new directory. Another process may use it by now.
                self._hold(self._state_dir, self._stack)
            for file in self._files:
                with suppress(FileNotFoundError):
                    file.rename(file.with_name(f"{file.name}.damaged"))
            self._seen.clear()
            create(self._state_dir / FILE_NAME)
            self._connection = _connect(self.name)
            self._changes = self._copied_changes = self._connection.total_changes
            self._is_log_reserved = False
            self.generation += 1
        except (OSError, sqlite3.Error) as error:
            raise StateError(f"{self.name}: {error}") from error
        finally:
            self._lock.release()

    def _hold(self, state_dir: Path, stack: ExitStack) -> None:
        """Lock the directory, and create the file."""
        stack.enter_context(held(state_dir, FILE_NAME))
        self._held = state_dir.stat()

    def _close_connection(self) -> None:
        self._connection.close()

    @property
    def _files(self) -> tuple[Path, ...]:
        """The files of the database, which exist while it is open."""
        if self._state_dir is None:
            return ()
        return self._state_dir / FILE_NAME, self._state_dir / f"{FILE_NAME}-wal"

    def copy(self) -> bytes:
        """Return the file of a new database with the same rows. Raises `StateError`."""
        if not self._lock.acquire(timeout=CLOSE_SECONDS):
            raise StateError(f"{self.name}: the disk does not answer")
        try:
            with closing(sqlite3.connect(":memory:")) as target:
                self._connection.backup(target)
                return target.serialize()
        except sqlite3.Error as error:
            raise StateError(f"{self.name}: {error}") from error
        finally:
            self._lock.release()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Commit all statements of the `with` block durably, or none. Raises `StateError`."""
        with self._exclusive() as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")

    def write(self, statements: Sequence[Statement]) -> None:
        """Commit all these statements durably, or none. Raises `StateError`.

        SQLite commits a single statement without BEGIN and COMMIT, which are two more calls that
        give up Python's interpreter lock (row_batches.py) while a DELETE waits.
        """
        started = time.perf_counter()
        if len(statements) == 1:
            with self._exclusive() as connection:
                connection.execute(*statements[0])
        else:
            with self.transaction() as connection:
                for statement in statements:
                    connection.execute(*statement)
        self._note_commit(time.perf_counter() - started)

    @property
    def busy_seconds(self) -> float:
        """How long the statement or commit in progress has taken so far; 0 if there is none."""
        since = self._busy_since
        return 0.0 if since is None else time.monotonic() - since

    @property
    def file_bytes(self) -> int:
        """The size of the files, as `find_damage` saw them last; it does not touch the disk."""
        return sum(found.st_size for found in list(self._seen.values()))

    @property
    def is_upkeep_due(self) -> bool:
        """Whether `maintain_log` has something to do."""
        is_long = self._changes - self._copied_changes >= CHECKPOINT_CHANGES
        return self.is_on_disk and (is_long or not self._is_log_reserved)

    def maintain_log(self) -> None:
        """Make each of the next commits wait for one sync of the log only. Raises `StateError`.

        Call this while nobody waits for a commit. SQLite would make the checkpoint in the commit
        that makes the log too long, and it syncs the log twice in the first commit after a
        checkpoint, which is made here. The sync of a commit that makes the file of the log longer
        takes 1.5 times as long, so the file gets its length here.
        """
        with self._exclusive() as connection:
            if not self.is_upkeep_due:  # the thread of another table was faster
                return
            self._copied_changes, self._is_log_reserved = self._changes, True
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            connection.execute(*WRITE_A_PAGE)
            _lengthen(f"{self.name}-wal", RESERVED_LOG_BYTES)

    @contextmanager
    def _exclusive(self) -> Iterator[sqlite3.Connection]:
        """Lock the database, and leave no transaction open. Raises `StateError`."""
        with self._lock:
            self._busy_since = time.monotonic()
            try:
                yield self._connection
                self._changes = self._connection.total_changes
            except (sqlite3.Error, OSError, OverflowError, ValueError) as error:
                raise StateError(f"{self.name}: {error}") from error
            finally:
                self._roll_back()
                self._busy_since = None

    def rows(self, sql: str, *parameters: object) -> list[Any]:
        """Return the rows of a query. Raises `StateError`."""
        with self._lock:
            try:
                return self._connection.execute(sql, parameters).fetchall()
            except sqlite3.Error as error:
                raise StateError(f"{self.name}: {error}") from error

    def stream(self, sql: str) -> Iterator[Any]:
        """Yield the rows of a query, and lock the database until the last row. Raises `StateError`.

        `rows` would have all rows of a large table in memory at the same time.
        """
        with self._lock:
            try:
                yield from self._connection.execute(sql)
            except sqlite3.Error as error:
                raise StateError(f"{self.name}: {error}") from error

    def _open(self, state_dir: Path, stack: ExitStack) -> sqlite3.Connection:
        try:
            _refuse_orphan(state_dir)
            self._hold(state_dir, stack)
            _check(state_dir / FILE_NAME)
            return _connect(self.name)
        except OSError as error:
            file = error.filename or state_dir
            raise StateError(
                f"state_dir: cannot write to {file}: {error.strerror}; {HINT}"
            ) from error
        except sqlite3.Error as error:
            raise StateError(f"{self.name}: cannot be used as the ledger: {error}") from error

    def _roll_back(self) -> None:
        """Roll back a transaction that was not committed."""
        with suppress(sqlite3.Error):
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")


@contextmanager
def reading(state_dir: Path) -> Iterator[sqlite3.Connection]:
    """Open the ledger of a state directory read-only. No process may use it meanwhile.

    Raises `StateError` if there is no ledger, or if it cannot be read.
    """
    file = state_dir / FILE_NAME
    if not file.exists():
        raise StateError(
            f"state_dir: wanted a directory with a ledger, got {state_dir}, which has no "
            f"{FILE_NAME}; set the state_dir that the proxy uses"
        )
    try:
        _check(file)
        with closing(_read_only(file)) as connection:
            if _version(connection) < SCHEMA_VERSION:
                raise StateError(
                    f"{file}: wanted a ledger of version {SCHEMA_VERSION}, got an older version; "
                    "start the proxy once to upgrade the ledger"
                )
            yield connection
    except (OSError, sqlite3.Error) as error:
        raise StateError(f"{file}: cannot be read as the ledger: {error}") from error


def backup(state_dir: Path) -> bytes:
    """Return a copy of the ledger of a state directory that no proxy uses. Raises `StateError`."""
    with reading(state_dir) as connection, closing(sqlite3.connect(":memory:")) as target:
        connection.backup(target)
        return target.serialize()


def _lengthen(file: str, size: int) -> None:
    """Append zeros to a file, durably, up to this size.

    SQLite ignores what follows the last commit in a write-ahead log. It locks the database, and not
    the log, so closing the file here releases no lock.
    """
    descriptor = os.open(file, os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        missing = size - os.fstat(descriptor).st_size
        if missing > 0:
            os.write(descriptor, bytes(missing))
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _refuse_orphan(state_dir: Path) -> None:
    """Raise `StateError` if there is a write-ahead log without its database.

    SQLite would delete the log, and with it the last deletions.
    """
    file, log = state_dir / FILE_NAME, state_dir / f"{FILE_NAME}-wal"
    if _size(log) and not _size(file):
        got = "an empty file" if file.exists() else "no file"
        raise StateError(
            f"{file}: wanted the ledger to which {log.name} belongs, got {got}; restore the ledger "
            f"from a copy, or move {log.name} away to start with an empty ledger; the deletions in "
            "it are then lost"
        )


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def _connect(file: str) -> sqlite3.Connection:
    """Open the database for writing, and upgrade its schema to the current version.

    `synchronous = FULL` makes a commit in WAL mode survive a power cut, not only the end of the
    process.
    """
    with ExitStack() as stack:
        connection = sqlite3.connect(
            file, LOCK_SECONDS, isolation_level=None, check_same_thread=False
        )
        stack.callback(connection.close)
        _set_up(connection)
        stack.pop_all()
    return connection


def _set_up(connection: sqlite3.Connection) -> None:
    # Another process, such as a shell with an open transaction, must not block the proxy.
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA journal_size_limit = {MAX_LOG_BYTES}")
    connection.execute(f"PRAGMA wal_autocheckpoint = {MAX_LOG_BYTES // PAGE_BYTES}")
    version = _version(connection)
    if version < SCHEMA_VERSION:
        connection.executescript(
            f"BEGIN IMMEDIATE; {''.join(MIGRATIONS[version:])}"
            f" PRAGMA application_id = {APPLICATION_ID};"
            f" PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;"
        )


def _check(file: Path) -> None:
    """Raise `StateError` if the proxy must not write to the file. This check only reads it."""
    with closing(_read_only(file)) as connection:
        version = _version(connection)
        application = connection.execute("PRAGMA application_id").fetchone()[0]
        tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
        damage = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if application != APPLICATION_ID and (tables or version):
        raise StateError(
            f"{file}: wanted a ledger, got another program's SQLite file; set another state_dir"
        )
    if version > SCHEMA_VERSION:
        raise StateError(
            f"{file}: wanted a ledger of version {SCHEMA_VERSION}, got version {version}, written "
            "by a newer jicofo-reservation-proxy; start that newer proxy, or set another state_dir"
        )
    if damage != "ok":
        raise StateError(
            f"{file}: wanted an undamaged ledger, got damage ({damage}); move the ledger away to "
            "start with an empty ledger; all pending deletions are then lost"
        )


def _read_only(file: Path) -> sqlite3.Connection:
    uri = f"{file.absolute().as_uri()}?mode=ro"
    return sqlite3.connect(uri, LOCK_SECONDS, uri=True, isolation_level=None)


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])
