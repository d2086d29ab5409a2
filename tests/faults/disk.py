"""The disk and the clock of a proxy, with faults below SQLite (below_sqlite.c)."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from jicofo_reservation_proxy.ledger.records import RecordState
from jicofo_reservation_proxy.ledger.sqlite_database import FILE_NAME
from jicofo_reservation_proxy.ledger.sqlite_ledger import read

from .processes import Proxy


@dataclass(frozen=True)
class Disk:
    """The disk of a proxy. `faults` is the directory that the library reads."""

    faults: Path
    library: Path

    def attach(self, proxy: Proxy) -> None:
        """Let a proxy that is not started use this disk."""
        (self.faults / "synced").mkdir(parents=True, exist_ok=True)
        proxy.environ |= {"LD_PRELOAD": str(self.library), "LEDGER_FAULTS": str(self.faults)}

    def let(self, **faults: str) -> None:
        """Let each kind of call (sync, write, read) have a fault; `clock` has an error in s."""
        for kind, fault in faults.items():
            part = self.faults / f"{kind}.part"
            part.write_text(fault)
            part.rename(self.faults / kind)

    def repair(self) -> None:
        """Let all calls work."""
        for kind in ("sync", "write", "read", "clock"):
            (self.faults / kind).unlink(missing_ok=True)

    def after_a_power_cut(self) -> set[str]:
        """Return the pending conferences that the next process would find after a power cut."""
        copy = self.faults / "after"
        shutil.rmtree(copy, ignore_errors=True)
        copy.mkdir()
        # In this order, a checkpoint between the two copies loses nothing.
        for name in (f"{FILE_NAME}-wal", FILE_NAME):
            shutil.copy(self.faults / "synced" / name, copy)
        found = read(copy)
        return {one.ref.conference_id for one in found if one.state is RecordState.PENDING}
