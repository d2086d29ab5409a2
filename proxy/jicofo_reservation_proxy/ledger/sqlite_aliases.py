"""The aliases in SQLite: numbers for Jicofo, for conferences whose own id is not a usable number.

An alias is on the disk before Jicofo gets it: after a restart, only the alias leads from a GET or a
DELETE of Jicofo to the conference. All aliases are in memory too, so that only a new alias waits
for the disk.

The module also stores the backend to which all other numbers belong (`number_owner`). So these
numbers still lead to their conferences after the operator has added a second backend.
"""

import threading
from collections.abc import Callable, Sequence
from itertools import count

from jicofo_reservation_proxy import ids
from jicofo_reservation_proxy.clock import now_ms
from jicofo_reservation_proxy.model import ConferenceRef

from . import row_batches
from .eviction_log import EvictionLog
from .oldest import Oldest
from .row_batches import Statement
from .sqlite_database import Database
from .write_behind import CLOSE_SECONDS, WriteBehind

MAX_ALIASES = 200_000
"""About 20 MB of disk and 60 MB of memory. When there are this many aliases, a new alias evicts the
oldest alias."""


class SqliteAliases:
    """The `Aliases` in a database. Any thread may call the methods.

    `write_behind` says whether a thread writes the waiting changes; without it, `alias` writes them
    itself. The constructor raises `StateError` if the database cannot be read.
    """

    def __init__(
        self,
        database: Database,
        *,
        max_aliases: int = MAX_ALIASES,
        write_behind: bool = True,
        now_ms: Callable[[], int] = now_ms,
    ) -> None:
        self._database = database
        self._max_aliases = max_aliases
        self._evictions = EvictionLog("aliases", max_aliases)
        self._now_ms = now_ms
        self._lock = threading.Lock()
        self._table = _Table(database)
        self._oldest = Oldest(self._table.numbers)
        found = database.rows("SELECT backend FROM number_owner")
        self._number_owner: str | None = found[0][0] if found else None
        thread_name = "aliases" if write_behind else None
        self._writes = WriteBehind(database, self._table, self._lock, thread_name)

    def alias(self, ref: ConferenceRef, within_seconds: float) -> int:
        """Return the alias of a conference; a new alias is on the disk before that."""
        string_id = ids.encode(ref)
        with self._lock:
            number = self._table.numbers.get(string_id)
            if number is None:
                number = self._make(ref, string_id)
            if number not in self._table.unwritten:
                return number
            begun = self._writes.begun
        self._writes.write(number, begun, within_seconds)
        return number

    def resolve(self, number: int) -> ConferenceRef | None:
        """Return the conference that an alias stands for; `None` if the alias is unknown."""
        with self._lock:
            found = self._table.rows.get(number)
        named = ids.decode(found[0]) if found else None
        return named.ref if isinstance(named, ids.Named) else None

    def forget(self, ref: ConferenceRef) -> None:
        """Remove the alias of a conference that is gone, if it has one."""
        string_id = ids.encode(ref)
        with self._lock:
            if string_id in self._table.numbers:
                self._remove(string_id)

    @property
    def number_owner(self) -> str | None:
        """The last backend that was the only backend, so that Jicofo got its own numbers."""
        return self._number_owner

    def set_number_owner(self, backend: str) -> None:
        """Record that Jicofo gets this backend's own numbers from now on."""
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT INTO number_owner (only, backend) VALUES (1, ?)"
                " ON CONFLICT (only) DO UPDATE SET backend = excluded.backend",
                (backend,),
            )
        self._number_owner = backend

    def __len__(self) -> int:
        """Return the number of aliases."""
        return len(self._table.rows)

    def rewrite(self) -> None:
        """Write everything again, into a database that has nothing. Raises `StateError`."""
        with self._lock:
            for number in self._table.rows:
                self._writes.note(number)
        if self._number_owner is not None:
            self.set_number_owner(self._number_owner)

    def flush(self) -> None:
        """Write the waiting changes. Raises `StateError`; the changes then keep waiting."""
        self._writes.flush()

    def close(self, within_seconds: float = CLOSE_SECONDS) -> None:
        """Write the waiting changes; if that fails or takes too long, log that they are lost."""
        self._writes.close(within_seconds)

    def _make(self, ref: ConferenceRef, string_id: str) -> int:
        while len(self._table.rows) >= self._max_aliases and (oldest := self._oldest.key()):
            self._evictions.note(f"the oldest alias, of conference {oldest}")
            self._remove(oldest)
        candidates = (ids.alias_candidate(ref, attempt) for attempt in count())
        number = next(number for number in candidates if number not in self._table.rows)
        self._table.numbers[string_id] = number
        self._table.rows[number] = string_id, self._now_ms()
        self._table.unwritten.add(number)
        self._writes.note(number)
        return number

    def _remove(self, string_id: str) -> None:
        number = self._table.numbers.pop(string_id)
        del self._table.rows[number]
        self._table.unwritten.discard(number)
        self._writes.note(number)


class _Table:
    """The aliases, as `WriteBehind` writes them (write_behind.Table describes the methods).

    `rows` maps a number to the id of its conference and to the time when the alias was made.
    `numbers` maps an id to its number; the oldest alias is first. `unwritten` has the numbers that
    are not on the disk yet.
    """

    def __init__(self, database: Database) -> None:
        found = database.rows("SELECT number, string_id, made_at_ms FROM alias ORDER BY made_at_ms")
        self.rows: dict[int, tuple[str, int]] = {number: (name, at) for number, name, at in found}
        self.numbers = {name: number for number, (name, _) in self.rows.items()}
        self.unwritten: set[int] = set()

    def latest(self, key: int) -> tuple[str, int] | None:
        return self.rows.get(key)

    def written(self, key: int, value: tuple[str, int] | None) -> None:
        if value is not None and self.rows.get(key) == value:
            self.unwritten.discard(key)

    def failed(self, key: int, value: tuple[str, int] | None) -> None:
        """Keep the alias: it is given to nobody before it is written."""

    def statements(self, changes: Sequence[tuple[int, tuple[str, int] | None]]) -> list[Statement]:
        gone = [(number,) for number, value in changes if value is None]
        changed = [(number, *value) for number, value in changes if value]
        return [
            *row_batches.delete("alias", ("number",), gone),
            *row_batches.insert("alias (number, string_id, made_at_ms)", changed),
        ]
