"""The time limits of the tests.

A test must pass on a machine that stalls for a second at any moment. So a deadline is either
so long that no call reaches it, or the test wants a call to exceed it.
"""

import time
from collections.abc import Callable, Iterable
from typing import TypeVar

MARGIN_SECONDS = 5.0
"""The additional time that a busy machine may need."""

IN_TIME = 6.0
"""More than the retries of a call (1.5 s, retries.py) and more than a `SHORT` deadline."""

AT_ONCE = 1.0
"""More than the time of a request that waits only for the disk, and less than `SHORT`."""

SHORT_SECONDS = 1.5
SHORT = {"answer_within": f"{SHORT_SECONDS}s"}
"""For backends that do not answer."""

ResultT = TypeVar("ResultT")


def timed(ask: Callable[[], ResultT]) -> tuple[ResultT, float]:
    """Return the result of a call, and how many seconds the call took."""
    began = time.monotonic()
    return ask(), time.monotonic() - began


def quickest(asks: Iterable[Callable[[], ResultT]]) -> tuple[list[ResultT], float]:
    """Return the results of calls, and the seconds of the quickest call.

    A stall of the machine delays only one of the calls.
    """
    results, seconds = zip(*map(timed, asks), strict=True)
    return list(results), min(seconds)
