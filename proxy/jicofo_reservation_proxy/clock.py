"""Time: the time of day, and what is left of the time of one request."""

import time
from collections.abc import Callable


def now_ms() -> int:
    """Return the time in whole milliseconds since the epoch, UTC."""
    return time.time_ns() // 1_000_000


class Budget:
    """The time that one request may take, from its arrival to its answer.

    It counts down from `seconds`. Everything that a request waits for draws on the same budget.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until = clock() + seconds

    @property
    def left_seconds(self) -> float:
        """What is left, never less than 0."""
        return max(0.0, self._until - self._clock())
