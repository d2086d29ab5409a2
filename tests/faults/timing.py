"""The time limits that the tests check, with a margin for a busy machine."""

import time
from collections.abc import Callable
from typing import TypeVar

RESPOND_SECONDS = 3.0
"""The setting `respond_within` of most tests."""

MARGIN_SECONDS = 3.0
"""The additional time that a busy machine may need."""

IN_TIME = RESPOND_SECONDS + MARGIN_SECONDS
AT_ONCE = 1.0
"""More than the time of any request that waits only for the disk."""

PATIENT = {"answer_within": "2s"}
"""More than gRPC needs for its retries (channel.py), so that the proxy sees the refusal itself."""

ResultT = TypeVar("ResultT")


def timed(ask: Callable[[], ResultT]) -> tuple[ResultT, float]:
    """Return the result of a call, and how many seconds the call took."""
    began = time.monotonic()
    return ask(), time.monotonic() - began
