"""What the tests of the ledger and of the deliveries share."""

import pickle
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from jicofo_reservation_proxy.errors import StateError
from jicofo_reservation_proxy.ledger.ledger import Ledger
from jicofo_reservation_proxy.ledger.sqlite_database import Database
from jicofo_reservation_proxy.ledger.sqlite_ledger import SqliteLedger
from jicofo_reservation_proxy.model import Conference, ConferenceRef

START_MS = 2_471_018_112_000
LONG_SECONDS = 10.0
"""Far more than anything here takes, and a bound for what never comes."""


def ref(conference_id: str = "7", backend: str = "default") -> ConferenceRef:
    """Return the name of a conference."""
    return ConferenceRef(backend, conference_id)


def conference(
    conference_id: str = "7",
    *,
    starts: int = 0,
    lasts: int | None = 3600,
    password: str | None = None,
    pin: str | None = None,
) -> Conference:
    """Return a conference that begins so many seconds after START_MS, and lasts so many."""
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
    """Open a ledger, which writes when it is told to, and close it."""
    with (
        closing(Database(state_dir)) as database,
        closing(
            SqliteLedger(database, max_conferences=max_conferences, write_behind=write_behind)
        ) as ledger,
    ):
        yield ledger


def abandon(ledger: Ledger, name: ConferenceRef) -> None:
    """Abandon the deletion of a conference, if there is a record of it."""
    if record := ledger.find(name):
        ledger.abandon(record)


class Elsewhere:
    """A ledger that is not in this process: all that goes in and comes out is a copy.

    The methods in `away` raise `StateError`, as all of a store's do that cannot be reached.
    """

    def __init__(self, ledger: Ledger) -> None:
        self.away: set[str] = set()
        self._ledger = ledger

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - any method of the ledger
        if name in self.away:
            raise StateError(f"{name}: the store is away")
        found = getattr(self._ledger, name)
        if not callable(found):
            return found
        return lambda *given: _copied(found(*_copied(given)))


def _copied(value: Any) -> Any:  # noqa: ANN401 - as above
    return pickle.loads(pickle.dumps(value))  # noqa: S301 - what this process has pickled


@contextmanager
def failing_disk(ledger: SqliteLedger) -> Iterator[None]:
    """Let every write of a ledger fail inside, as a disk that was mounted again, read-only."""
    connection = ledger._database._connection
    connection.execute("PRAGMA query_only = ON")
    try:
        yield
    finally:
        connection.execute("PRAGMA query_only = OFF")


READ_ONLY = "attempt to write a readonly database"
"""What SQLite says then."""


def eventually(happened: Callable[[], bool]) -> None:
    """Wait until something has happened; fail where it does not."""
    until = time.monotonic() + LONG_SECONDS
    pause = threading.Event()
    while not happened():
        assert time.monotonic() < until
        pause.wait(0.005)


def together(*works: Callable[[], object]) -> None:
    """Run functions at the same time, each in a thread of its own, and wait for them."""
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG_SECONDS)
        assert not thread.is_alive()
