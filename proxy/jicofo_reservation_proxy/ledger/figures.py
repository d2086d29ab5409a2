"""The figures of the ledger for metrics and the status page. Reading them touches no disk."""

from collections.abc import Mapping
from dataclasses import dataclass

from .sqlite_aliases import SqliteAliases
from .sqlite_database import Database
from .sqlite_ledger import SqliteLedger
from .sqlite_withdrawals import SqliteWithdrawals


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures at one moment.

    `records` has the number of rows of each table, `text_bytes` the size of the conferences as
    their limit counts it, and `file_bytes` the size of the files. `pending` maps each backend with
    pending deletions to their number, and `oldest_pending_ms` to the time since when the oldest of
    them is over.
    """

    records: Mapping[str, int]
    text_bytes: int
    file_bytes: int
    pending: Mapping[str, int]
    oldest_pending_ms: Mapping[str, int]


class LedgerFigures:
    """Reads the figures. Any thread may use it, also after the ledger was closed."""

    def __init__(
        self,
        database: Database,
        ledger: SqliteLedger,
        aliases: SqliteAliases,
        withdrawals: SqliteWithdrawals,
    ) -> None:
        self._database = database
        self._ledger = ledger
        self._aliases = aliases
        self._withdrawals = withdrawals

    def read(self) -> Figures:
        """Return the figures now."""
        pending = self._ledger.pending_times()
        return Figures(
            {
                "conferences": sum(self._ledger.counts.values()),
                "aliases": len(self._aliases),
                "withdrawals": len(self._withdrawals),
            },
            self._ledger.text_bytes,
            self._database.file_bytes,
            {backend: number for backend, (number, _) in pending.items()},
            {backend: oldest for backend, (_, oldest) in pending.items()},
        )
