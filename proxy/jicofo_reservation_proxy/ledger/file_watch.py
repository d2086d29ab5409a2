"""The watch on the ledger's files: somebody may remove, replace or cut them while the proxy runs.

SQLite does not notice that: it goes on with the removed files, and everything is lost at the end of
the process. The watch notices it within seconds, and has the ledger written anew from memory.
"""

import logging
import threading
from collections.abc import Callable, Sequence

from jicofo_reservation_proxy.errors import StateError
from jicofo_reservation_proxy.text_rules import format_period

from .sqlite_database import Database
from .write_behind import HANGING_SECONDS

LOOK_SECONDS = 2.0

_HANGING, _FILES = "hanging", "files"
"""The sources of failures of the ledger that this module sees."""

logger = logging.getLogger(__name__)


class FileWatch:
    """A thread that looks at the files of a database until `close`.

    The functions in `rewrites` make everything that is in memory be written again.
    """

    def __init__(
        self,
        database: Database,
        rewrites: Sequence[Callable[[], None]],
        every_seconds: float = LOOK_SECONDS,
    ) -> None:
        self._database = database
        self._rewrites = rewrites
        self._every_seconds = every_seconds
        self._is_closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="file-watch", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop the thread; do not wait for a disk that hangs."""
        self._is_closed.set()
        self._thread.join(1.0)

    def _run(self) -> None:
        while not self._is_closed.wait(self._every_seconds):
            self._look()

    def _look(self) -> None:
        component = self._database.component
        if (seconds := self._database.busy_seconds) >= HANGING_SECONDS:
            component.fail(f"the disk has not answered for {format_period(seconds)}", _HANGING)
            return
        component.recover(_HANGING)
        damage = self._database.find_damage()
        if not damage:
            return
        try:
            self._database.renew()
            for rewrite in self._rewrites:
                rewrite()
        except StateError as error:
            component.fail(f"{damage}, and cannot be written anew: {error}", _FILES)
        else:
            component.recover(_FILES)
            logger.error("%s; the ledger was written anew from memory", damage)
