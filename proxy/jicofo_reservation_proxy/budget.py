"""The time that one request may take, from its arrival to its answer."""

import time
from collections.abc import Callable


class Budget:
    """Counts down from `seconds`; everything that a request waits for draws on the same one."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until = clock() + seconds

    @property
    def left_seconds(self) -> float:
        """What is left, never less than 0."""
        return max(0.0, self._until - self._clock())
