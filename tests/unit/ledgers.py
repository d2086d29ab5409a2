"""Helpers that the tests of the ledger and of the deliveries share."""

import pickle
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from jicofo_reservation_proxy.errors import StateError
from jicofo_reservation_proxy.ledger.ledger import Aliases, Ledger, Store
from jicofo_reservation_proxy.ledger.packed_records import Packed
from jicofo_reservation_proxy.ledger.records import Record
from jicofo_reservation_proxy.ledger.room_locks import LocalLocks, Locks
from jicofo_reservation_proxy.ledger.sqlite_database import FILE_NAME, Database, reading
from jicofo_reservation_proxy.ledger.sqlite_holds import SqliteHolds
from jicofo_reservation_proxy.ledger.sqlite_ledger import SqliteLedger, read
from jicofo_reservation_proxy.ledger.sqlite_withdrawals import SqliteWithdrawals
from jicofo_reservation_proxy.model import Conference, ConferenceRef

START_MS = 2_471_018_112_000

Changes = Sequence[tuple[ConferenceRef, Packed | None]]
"""The changes that the ledger writes together."""
FIRST_HOLD = 2**30 + 1
"""The number of the first hold of a new ledger, if its clock says 0."""

LONG_SECONDS = 60.0
"""A time limit for waits: far longer than any step of these tests takes."""


def ref(conference_id: str = "7", backend: str = "default") -> ConferenceRef:
    """Return the reference of a conference."""
    return ConferenceRef(backend, conference_id)


def conference(
    conference_id: str = "7",
    *,
    starts: int = 0,
    lasts: int | None = 3600,
    password: str | None = None,
    pin: str | None = None,
) -> Conference:
    """Return a conference that starts `starts` seconds after START_MS and lasts `lasts` seconds."""
    return Conference(
        id=conference_id,
        room="Board",
        owner="juliet@example.com",
        start_time_ms=START_MS + 1000 * starts,
        duration_seconds=lasts,
        password=password,
        pin=pin,
    )


@contextmanager
def opened(
    state_dir: Path | None, *, max_conferences: int = 1000, write_behind: bool = False
) -> Iterator[SqliteLedger]:
    """Open a ledger, yield it, and close it. Without `write_behind` it writes only on `flush`."""
    with (
        closing(Database(state_dir)) as database,
        closing(
            SqliteLedger(database, max_conferences=max_conferences, write_behind=write_behind)
        ) as ledger,
    ):
        yield ledger


def new_store(
    database: Database, ledger: Ledger, aliases: Aliases, locks: Locks | None = None
) -> Store:
    """Return a store of a ledger and its aliases; the rest of the store is in the database.

    The first hold of the store is `FIRST_HOLD`.
    """
    return Store(
        ledger,
        aliases,
        SqliteHolds(database, now_seconds=lambda: 0),
        SqliteWithdrawals(database, write_behind=False),
        LocalLocks() if locks is None else locks,
    )


def stored(state_dir: Path) -> list[Record]:
    """Return the records that are on the disk, also while a ledger locks the files."""
    return _from_copy(state_dir, read)


def rows_on_disk(state_dir: Path, sql: str) -> list[Any]:
    """Return the rows of a query, also while a ledger locks the files."""

    def query(copy: Path) -> list[Any]:
        with reading(copy) as connection:
            return connection.execute(sql).fetchall()

    return _from_copy(state_dir, query)


def _from_copy(state_dir: Path, read_from: Callable[[Path], list[Any]]) -> list[Any]:
    """Read from a copy of the files.

    A checkpoint of the proxy may change the files while they are copied; then try again.
    """
    until = time.monotonic() + LONG_SECONDS
    while True:
        with tempfile.TemporaryDirectory() as copy:
            for file in state_dir.glob(FILE_NAME + "*"):
                with suppress(FileNotFoundError):
                    shutil.copy(file, copy)
            try:
                return read_from(Path(copy))
            except StateError:
                if time.monotonic() > until:
                    raise


def abandon(ledger: Ledger, name: ConferenceRef) -> None:
    """Abandon the deletion of a conference, if the ledger has a record of the conference."""
    if record := ledger.find(name):
        ledger.abandon(record)


class Elsewhere:
    """A ledger that acts as if it were in another process: it copies all arguments and results.

    The methods whose names are in `away` raise `StateError`, like the methods of a store that is
    unreachable.
    """

    def __init__(self, ledger: Ledger) -> None:
        self.away: set[str] = set()
        self._ledger = ledger

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - any method of the ledger
        if name in self.away:
            raise StateError(f"{name}: the store is unreachable")
        found = getattr(self._ledger, name)
        if not callable(found):
            return found
        return lambda *given, **named: _copied(found(*_copied(given), **named))


def _copied(value: Any) -> Any:  # noqa: ANN401 - as above
    return pickle.loads(pickle.dumps(value))  # noqa: S301 - this process made the pickle


@contextmanager
def failing_disk(ledger: SqliteLedger) -> Iterator[None]:
    """Make every write of the ledger fail, as on a disk that was remounted read-only."""
    connection = ledger._database._connection
    connection.execute("PRAGMA query_only = ON")
    try:
        yield
    finally:
        connection.execute("PRAGMA query_only = OFF")


READ_ONLY = "attempt to write a readonly database"
"""The message of SQLite while `failing_disk` is active."""


def eventually(happened: Callable[[], object]) -> None:
    """Wait until `happened` returns a true value; fail after `LONG_SECONDS`."""
    until = time.monotonic() + LONG_SECONDS
    pause = threading.Event()
    while not happened():
        assert time.monotonic() < until
        pause.wait(0.005)


def together(*works: Callable[[], object]) -> None:
    """Run the functions at the same time, each in its own thread, and wait for all of them."""
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG_SECONDS)
        assert not thread.is_alive()
