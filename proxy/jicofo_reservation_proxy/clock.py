"""Time: the time of day, and the time budget of one request."""

import time
from collections.abc import Callable


def now_ms() -> int:
    """Return the time of day in whole milliseconds since the epoch, UTC."""
    return time.time_ns() // 1_000_000


class Budget:
    """The time budget of one request, from its arrival to its answer.

    The budget counts down from `seconds`. All waits of the request share it.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until = clock() + seconds

    @property
    def left_seconds(self) -> float:
        """The remaining time, at least 0."""
        return max(0.0, self._until - self._clock())
