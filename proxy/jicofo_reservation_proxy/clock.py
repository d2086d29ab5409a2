"""The time, as everything here counts it."""

import time


def now_ms() -> int:
    """Return the time in whole milliseconds since the epoch, UTC."""
    return time.time_ns() // 1_000_000
