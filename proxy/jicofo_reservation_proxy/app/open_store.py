"""The store of this proxy: the database with its tables, and what the control socket asks of it."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from jicofo_reservation_proxy.errors import StateError
from jicofo_reservation_proxy.ids import Named, decode
from jicofo_reservation_proxy.ledger import record_rows
from jicofo_reservation_proxy.ledger.figures import LedgerFigures
from jicofo_reservation_proxy.ledger.file_watch import FileWatch
from jicofo_reservation_proxy.ledger.ledger import Store
from jicofo_reservation_proxy.ledger.records import RecordState
from jicofo_reservation_proxy.ledger.room_locks import LocalLocks
from jicofo_reservation_proxy.ledger.sqlite_aliases import SqliteAliases
from jicofo_reservation_proxy.ledger.sqlite_database import WORDS, Database
from jicofo_reservation_proxy.ledger.sqlite_holds import SqliteHolds
from jicofo_reservation_proxy.ledger.sqlite_ledger import SqliteLedger, not_pending, retry
from jicofo_reservation_proxy.ledger.sqlite_withdrawals import SqliteWithdrawals
from jicofo_reservation_proxy.observability.health import Health
from jicofo_reservation_proxy.observability.metrics import Metrics
from jicofo_reservation_proxy.reservations.deletions import Deletions

ABANDON_SECONDS = 20.0
"""How long `ledger abandon` waits for an attempt in progress: longer than any `answer_within`."""


class OpenStore:
    """The open store of a state directory, or one in memory if `state_dir` is `None`.

    `stack` closes it; `closing_seconds` returns how long each table may then take. Raises
    `StateError`.
    """

    def __init__(
        self,
        state_dir: Path | None,
        health: Health,
        metrics: Metrics,
        stack: ExitStack,
        closing_seconds: Callable[[], float],
    ) -> None:
        self._database = database = Database(
            state_dir,
            health.component("ledger", WORDS),
            metrics.ledger_write_seconds.observe,
        )
        stack.callback(database.close)
        holds = SqliteHolds(database)
        self._ledger = ledger = SqliteLedger(database)
        stack.callback(lambda: ledger.close(closing_seconds()))
        aliases = SqliteAliases(database)
        stack.callback(lambda: aliases.close(closing_seconds()))
        withdrawals = SqliteWithdrawals(database)
        stack.callback(lambda: withdrawals.close(closing_seconds()))
        if state_dir:
            rewrites = [holds.rewrite, ledger.rewrite, aliases.rewrite, withdrawals.rewrite]
            stack.callback(FileWatch(database, rewrites).close)
        self.store = Store(ledger, aliases, holds, withdrawals, LocalLocks())
        self.figures = LedgerFigures(database, ledger, aliases, withdrawals)

    def has_conferences(self, backend: str) -> bool:
        """Return whether a backend has conferences or deletions of this proxy."""
        counts = self.store.ledger.counts_of(backend)
        held = counts[RecordState.OPEN] + counts[RecordState.PENDING]
        return held > 0 or any(self.store.withdrawals.of(backend))

    def dump(self) -> bytes:
        """Return all conferences as JSON."""
        return record_rows.to_json(self._ledger.dump())

    def copy(self) -> bytes:
        """Return a copy of the database. Raises `StateError`."""
        return self._database.copy()

    def retry(self, deletions: Deletions, public_id: str, now_ms: int) -> None:
        """Make an abandoned deletion pending again, and deliver it soon. Raises `StateError`."""
        deletions.wake(retry(self._ledger, public_id, now_ms).backend)

    def abandon(self, deletions: Deletions, public_id: str) -> None:
        """Abandon a pending deletion, durably. Raises `StateError`."""
        found = decode(public_id)
        if not isinstance(found, Named) or not deletions.abandon(found.ref, ABANDON_SECONDS):
            raise StateError(not_pending(public_id))
        self._ledger.flush()
