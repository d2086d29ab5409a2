"""The holds in SQLite: the holder of this ledger, and a new number for each create.

A new number must be greater than all numbers before it, also after a crash and after the ledger was
restored from a copy. So the number has two parts: the upper bits grow with each start of the proxy,
and are on the disk before the first create. The lower 30 bits count the creates since then.
"""

import threading
import time
import uuid
from collections.abc import Callable
from itertools import count

from jicofo_reservation_proxy.model import Hold

from .sqlite_database import Database

CREATES_PER_START = 2**30
"""If there are more creates, the numbers go on into those of the next second: the number of the
next start is at least the time in seconds, and 2^30 creates take longer than a second."""


LATEST_SECONDS = 2**33 - 2**20
"""A later time, after the year 2242, is an error of the clock. All numbers fit into an int64."""


class SqliteHolds:
    """The `Holds` of a database. Any thread may call the methods.

    The holder of a database in memory is "", because the next process could not continue its
    numbers. The constructor raises `StateError` if the database cannot be read or written.
    """

    def __init__(self, database: Database, now_seconds: Callable[[], float] = time.time) -> None:
        self._database = database
        known = database.rows("SELECT holder, starts FROM holder")
        self._holder: str = known[0][0] if known else str(uuid.uuid4())
        last = known[0][1] if known else 0
        # A new ledger has a new holder, but a client may still have an id from the old ledger. The
        # time in seconds is greater than the number of any earlier start.
        self._starts = max(last + 1, min(int(now_seconds()), LATEST_SECONDS))
        self.rewrite()
        self._lock = threading.Lock()
        self._numbers = count(self._starts * CREATES_PER_START + 1)
        self._newest = self._starts * CREATES_PER_START

    def next(self) -> Hold:
        """Return the hold for a create; its number is greater than all numbers before it."""
        with self._lock:
            self._newest = next(self._numbers)
            return Hold(self.holder, self._newest)

    @property
    def holder(self) -> str:
        """The holder of this ledger; "" if the ledger is in memory only."""
        return self._holder if self._database.is_on_disk else ""

    @property
    def newest(self) -> int:
        """The greatest number of all holds so far."""
        return self._newest

    def rewrite(self) -> None:
        """Write the holder and the number of this start durably. Raises `StateError`."""
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO holder (only, holder, starts) VALUES (1, ?, ?)",
                (self._holder, self._starts),
            )
