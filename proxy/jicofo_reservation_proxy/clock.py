"""Time: the time of day, and the time budget of one request."""

import logging
import threading
import time
from collections.abc import Callable

DOUBT_MS = 2_000
"""A larger difference between the system's clock and the elapsed time is a jump."""

BELIEVE_MS = 600_000
"""A jump is believed after the system's clock has kept the new time for ten minutes."""

logger = logging.getLogger(__name__)


def now_ms() -> int:
    """Return the time of day in whole milliseconds since the epoch, UTC."""
    return time.time_ns() // 1_000_000


def elapsed_ms() -> int:
    """Return the milliseconds since the machine booted, including the time of its suspension."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000


class SteadyClock:
    """The time of day, which does not follow a jump of the system's clock for ten minutes.

    A clock that jumps ahead for some seconds must not end meetings. So the time is the system's
    clock at the start plus the elapsed time. Small differences are followed at once, because NTP
    makes them. `wall_ms` is the system's clock, `elapsed_ms` never jumps.
    """

    def __init__(
        self,
        wall_ms: Callable[[], int] = now_ms,
        elapsed_ms: Callable[[], int] = elapsed_ms,
    ) -> None:
        self._wall_ms = wall_ms
        self._elapsed_ms = elapsed_ms
        self._lock = threading.Lock()
        self._offset_ms = wall_ms() - elapsed_ms()
        self._jump_ms = 0
        self._since_ms: int | None = None

    def now_ms(self) -> int:
        """Return the time of day in whole milliseconds since the epoch, UTC."""
        with self._lock:
            elapsed_ms = self._elapsed_ms()
            self._look(elapsed_ms)
            return elapsed_ms + self._offset_ms

    @property
    def is_in_doubt(self) -> bool:
        """Whether the system's clock has jumped, and the jump is not believed yet."""
        self.now_ms()
        return self._since_ms is not None

    def _look(self, elapsed_ms: int) -> None:
        """Compare the system's clock with the elapsed time."""
        jump_ms = self._wall_ms() - elapsed_ms - self._offset_ms
        if abs(jump_ms) <= DOUBT_MS:
            if self._since_ms is not None:
                logger.warning("the system's clock is right again")
            self._offset_ms += jump_ms
            self._since_ms = None
        elif self._since_ms is None or abs(jump_ms - self._jump_ms) > DOUBT_MS:
            logger.warning(
                "the system's clock has jumped by %.0f s; until it has kept this time for ten "
                "minutes, no conference expires and no deletion is abandoned",
                jump_ms / 1000,
            )
            self._jump_ms, self._since_ms = jump_ms, elapsed_ms
        elif elapsed_ms - self._since_ms >= BELIEVE_MS:
            logger.warning("the proxy follows the system's clock, which jumped ten minutes ago")
            self._offset_ms += jump_ms
            self._since_ms = None


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
