"""The log of evictions: a full ledger evicts an entry for each new one, which is many lines."""

import logging
import time
from collections.abc import Callable

SECONDS_BETWEEN_LINES = 60.0

logger = logging.getLogger(__name__)


class EvictionLog:
    """Logs evictions, at most one line each minute. `what` names the entries, `most` is the limit.

    `clock` counts seconds from an arbitrary start. The caller holds the lock of the entries.
    """

    def __init__(self, what: str, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._what = what
        self._most = most
        self._clock = clock
        self._next_at = -float("inf")
        self._evicted = 0

    def note(self, entry: str) -> None:
        """Record that an entry was evicted; `entry` describes it."""
        self._evicted += 1
        if self._clock() < self._next_at:
            return
        logger.warning(
            "the ledger is full (%d %s): evicted %d since the last such line; the last one was %s",
            self._most,
            self._what,
            self._evicted,
            entry,
        )
        self._evicted = 0
        self._next_at = self._clock() + SECONDS_BETWEEN_LINES
