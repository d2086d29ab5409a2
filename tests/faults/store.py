"""The store of the fault tests' backend: one SQLite file, shared by its replicas and the test.

It holds the conferences that exist, every call that arrived, every call that was carried out, and
the failures that each replica must simulate. Times are `time.monotonic()`; on Linux all processes
share that clock.
"""

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Literal, Self

Method = Literal["create", "get", "delete"]
Failure = Literal[
    "refuse",
    "break",
    "no_route",
    "no_service",
    "ended",
    "wait",
    "late",
    "not_serving",
    "page",
    "garbage",
    "drip",
]
"""A failure that a replica simulates.

- `refuse`: it answers UNAVAILABLE; over HTTP 503 with JSON.
- `break`: it answers INTERNAL; over HTTP it resets the connection.
- `no_route`: it answers as gRPC reports an ingress without a route (HTTP 404); over HTTP 404 with a
  page.
- `no_service`: it answers as a server on which the service is not registered yet; over HTTP 404
  with a text.
- `ended`: it grants conferences that are over already.
- `wait`: it waits, and then carries out the call.
- `late`: it carries out the call, and answers late.
- `not_serving`: it carries out the call, but its health service says NOT_SERVING. Only over gRPC.
- `page`: it answers 500 with a page. Only over HTTP, as the next two.
- `garbage`: it carries out the call, and answers with bytes that are not HTTP.
- `drip`: it carries out the call, and sends an answer without an end, one byte after the other.
"""

BUSY_SECONDS = 20.0

REUSING = "again"
"""In rooms whose name begins with this word, a new conference gets the lowest free id, so the
backend uses ids again. It never uses a serial number again."""

FIRST_ROW = 1_000_001
"""The first id of a conference in such a room."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS conference (
    number        INTEGER PRIMARY KEY AUTOINCREMENT,
    id            TEXT UNIQUE,
    request_id    TEXT NOT NULL UNIQUE,
    room          TEXT NOT NULL UNIQUE,
    owner         TEXT NOT NULL,
    start_time_ms INTEGER NOT NULL,
    has_ended     INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS held (
    number INTEGER NOT NULL,
    holder TEXT NOT NULL,
    hold   INTEGER NOT NULL,
    at     REAL NOT NULL,
    PRIMARY KEY (number, holder)
);
CREATE TABLE IF NOT EXISTS call (at REAL, replica TEXT, method TEXT, subject TEXT);
CREATE TABLE IF NOT EXISTS change (
    at REAL, replica TEXT, method TEXT, serial INTEGER, has_changed INTEGER
);
CREATE TABLE IF NOT EXISTS failure (
    replica TEXT, method TEXT, failure TEXT, seconds REAL, PRIMARY KEY (replica, method)
);
"""
_COLUMNS = "number, id, request_id, room, owner, start_time_ms, has_ended"


class GivenUpError(Exception):
    """The caller gave up the call, so the backend did not carry it out."""


@dataclass(frozen=True, slots=True)
class CreateRequest:
    """The fields of a CreateConference request that the backend uses.

    With `ends_at_once` the conference is over before it is granted. A backend that keeps no rows
    sets no `holder` and no `hold`.
    """

    request_id: str
    room: str
    owner: str
    start_time_ms: int
    ends_at_once: bool = False
    holder: str = ""
    hold: int = 0


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a holder; `at` is when its hold was raised last."""

    serial: int
    holder: str
    hold: int
    at: float


@dataclass(frozen=True, slots=True)
class Stored:
    """A conference that exists."""

    serial: int
    id: str
    request_id: str
    room: str
    owner: str
    start_time_ms: int
    has_ended: bool


@dataclass(frozen=True, slots=True)
class Call:
    """A call that arrived. `subject` is the room or the id of the conference."""

    at: float
    replica: str
    method: str
    subject: str


@dataclass(frozen=True, slots=True)
class Change:
    """A call that the backend carried out.

    `has_changed` is false for a DELETE of an unknown conference; its serial number is 0.
    """

    at: float
    replica: str
    method: str
    serial: int
    has_changed: bool


class Store:
    """The store in a file. Every thread and every process may call its methods."""

    def __init__(self, file: Path) -> None:
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(
            file, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        self._connection.execute("PRAGMA journal_mode = WAL")
        # A commit survives the end of the process. No test cuts the power.
        self._connection.execute("PRAGMA synchronous = OFF")
        self._connection.executescript(_SCHEMA)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def create(
        self, replica: str, request: CreateRequest, is_waited_for: Callable[[], bool]
    ) -> tuple[Stored, bool]:
        """Return the conference that holds the room, and whether this request created it.

        The holder has a row of the conference afterwards.

        Raises `GivenUpError` if the caller has given up the call, as `delete` does. The check is
        inside the transaction, so that no wait for a lock comes between the check and the write.
        """
        with self._transaction(is_waited_for) as connection:
            found = connection.execute(
                f"SELECT {_COLUMNS} FROM conference WHERE request_id = ? OR room = ?"  # noqa: S608
                " ORDER BY request_id = ? DESC",
                (request.request_id, request.room, request.request_id),
            ).fetchone()
            if found:
                stored = Stored(*found)
            else:
                stored = self._insert(connection, request)
                self._note(connection, replica, "create", stored.serial)
            connection.execute(
                "INSERT INTO held VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE"
                " SET hold = max(hold, excluded.hold), at = excluded.at",
                (stored.serial, request.holder, request.hold, time.monotonic()),
            )
            return stored, stored.request_id == request.request_id

    def get(self, conference_id: str) -> Stored | None:
        """Return the conference with this id, or `None`."""
        return next((found for found in self.conferences if found.id == conference_id), None)

    def delete(
        self,
        replica: str,
        conference_id: str,
        is_waited_for: Callable[[], bool],
        *,
        room: str = "",
        holder: str = "",
        hold: int = 0,
    ) -> None:
        """Remove the row of a holder, and delete the conference if no row is left.

        The deletion of an unknown conference changes nothing. A `room` is for a withdrawal.
        """
        with self._transaction(is_waited_for) as connection:
            column, value = ("room", room) if room else ("id", conference_id)
            sql = f"SELECT number FROM conference WHERE {column} = ?"  # noqa: S608
            found = connection.execute(sql, (value,)).fetchone()
            serial = found[0] if found else 0
            connection.execute(
                "DELETE FROM held WHERE number = ? AND holder = ? AND hold <= ?",
                (serial, holder, hold),
            )
            ended = connection.execute(
                "DELETE FROM conference WHERE number = ?1"
                " AND NOT EXISTS (SELECT 1 FROM held WHERE number = ?1) RETURNING number",
                (serial,),
            ).fetchall()
            if ended or not serial:
                self._note(connection, replica, "delete", serial)

    @property
    def rows(self) -> list[Row]:
        """The rows of the holders."""
        return [Row(*row) for row in self._execute("SELECT * FROM held", ())]

    def note_call(self, replica: str, method: Method, subject: str) -> None:
        """Record that a call arrived, before its result is known."""
        row = (time.monotonic(), replica, method, subject)
        self._execute("INSERT INTO call VALUES (?, ?, ?, ?)", row)

    def fail(
        self,
        failure: Failure,
        *,
        seconds: float | None = None,
        methods: tuple[Method, ...] = ("create", "get", "delete"),
        replica: str = "a",
    ) -> None:
        """Make a replica simulate a failure from its next call on.

        `seconds` is the duration of each `wait` or `late`; `None` means until `recover`.
        """
        for method in methods:
            row = (replica, method, failure, seconds)
            self._execute("INSERT OR REPLACE INTO failure VALUES (?, ?, ?, ?)", row)

    def recover(self) -> None:
        """Make all replicas work normally."""
        self._execute("DELETE FROM failure", ())

    def failure(self, replica: str, method: Method) -> tuple[Failure, float | None] | None:
        """Return the failure of a replica in a method and its seconds; `None` without a failure."""
        sql = "SELECT failure, seconds FROM failure WHERE replica = ? AND method = ?"
        found = self._execute(sql, (replica, method))
        return found[0] if found else None

    @property
    def conferences(self) -> list[Stored]:
        """The conferences that exist."""
        sql = f"SELECT {_COLUMNS} FROM conference ORDER BY number"  # noqa: S608
        return [Stored(*row) for row in self._execute(sql, ())]

    @property
    def serials(self) -> list[int]:
        """The serial numbers of the conferences that exist."""
        return [stored.serial for stored in self.conferences]

    @property
    def ids(self) -> list[str]:
        """The ids of the conferences that exist."""
        return [stored.id for stored in self.conferences]

    def calls(self, method: Method | None = None) -> list[Call]:
        """Return the calls that arrived, of one method or of all."""
        calls = [Call(*row) for row in self._execute("SELECT * FROM call ORDER BY at", ())]
        return [call for call in calls if method in {None, call.method}]

    def changes(self, method: Method) -> list[Change]:
        """Return the calls of this method that the backend carried out."""
        rows = self._execute("SELECT * FROM change WHERE method = ? ORDER BY at", (method,))
        return [Change(*row) for row in rows]

    def _insert(self, connection: sqlite3.Connection, request: CreateRequest) -> Stored:
        values = (
            request.request_id,
            request.room,
            request.owner,
            request.start_time_ms,
            request.ends_at_once,
        )
        serial = connection.execute(
            "INSERT INTO conference (request_id, room, owner, start_time_ms, has_ended)"
            " VALUES (?, ?, ?, ?, ?)",
            values,
        ).lastrowid
        assert serial
        conference_id = self._id(connection, request.room, serial)
        sql = "UPDATE conference SET id = ? WHERE number = ?"
        connection.execute(sql, (conference_id, serial))
        return Stored(serial, conference_id, *values)

    def _id(self, connection: sqlite3.Connection, room: str, serial: int) -> str:
        if room.startswith(REUSING):
            taken = {found[0] for found in connection.execute("SELECT id FROM conference")}
            return next(str(row) for row in count(FIRST_ROW) if str(row) not in taken)
        # Every second id is not a number, so that Jicofo needs an alias for it.
        return str(serial) if serial % 2 else f"order/{serial}"

    def _note(
        self, connection: sqlite3.Connection, replica: str, method: Method, serial: int
    ) -> None:
        row = (time.monotonic(), replica, method, serial, serial > 0)
        connection.execute("INSERT INTO change VALUES (?, ?, ?, ?, ?)", row)

    @contextmanager
    def _transaction(self, is_waited_for: Callable[[], bool]) -> Iterator[sqlite3.Connection]:
        with self._lock, self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            _check(is_waited_for)
            yield self._connection

    def _execute(self, sql: str, parameters: tuple[object, ...]) -> list[Any]:
        with self._lock, closing(self._connection.execute(sql, parameters)) as cursor:
            return cursor.fetchall()


def _check(is_waited_for: Callable[[], bool]) -> None:
    if not is_waited_for():
        raise GivenUpError
