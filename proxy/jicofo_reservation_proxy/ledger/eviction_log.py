"""The log of evictions: a full ledger evicts an entry for each new one, which is many lines."""

import logging
import time
from collections.abc import Callable

from jicofo_reservation_proxy.observability.throttle import Throttle

logger = logging.getLogger(__name__)


class EvictionLog:
    """Logs evictions, at most one line each minute. `what` names the entries, `most` is the limit.

    `clock` counts seconds from an arbitrary start.
    """

    def __init__(self, what: str, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._what = what
        self._most = most
        self._throttle = Throttle(clock)

    def note(self, entry: str) -> None:
        """Record that an entry was evicted; `entry` describes it."""
        if evicted := self._throttle.note():
            logger.warning(
                "the ledger is full (%d %s): evicted %d since the last such line; the last one was "
                "%s",
                self._most,
                self._what,
                evicted,
                entry,
            )
