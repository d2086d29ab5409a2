"""What is in time, and what is at once, on a machine that is busy with other things as well."""

import time
from collections.abc import Callable
from typing import TypeVar

RESPOND_SECONDS = 3.0
"""How long a request may take, by the settings of most tests."""

MARGIN_SECONDS = 3.0
"""What a busy machine may add."""

IN_TIME = RESPOND_SECONDS + MARGIN_SECONDS
AT_ONCE = 1.0
"""Nothing that waits for a disk, and for nothing else, takes as long."""

PATIENT = {"answer_within": "2s"}
"""More than gRPC needs for its retries (channel.py), so that the proxy learns of a refusal."""

ResultT = TypeVar("ResultT")


def timed(ask: Callable[[], ResultT]) -> tuple[ResultT, float]:
    """Return what a call returned, and how many seconds it took."""
    began = time.monotonic()
    return ask(), time.monotonic() - began
