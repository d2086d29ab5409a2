"""A throttle for log lines about events that may come in great numbers."""

import threading
import time
from collections.abc import Callable

SECONDS_BETWEEN_LINES = 60.0


class Throttle:
    """Allows one line each minute, and counts the events in between.

    `clock` counts seconds from an arbitrary start.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._next_at = -float("inf")
        self._events = 0

    def note(self) -> int:
        """Record an event. Return the number of events since the last line, or 0: log no line."""
        with self._lock:
            self._events += 1
            if self._clock() < self._next_at:
                return 0
            self._next_at = self._clock() + SECONDS_BETWEEN_LINES
            events, self._events = self._events, 0
            return events
