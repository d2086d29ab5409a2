"""Retries: repeat a call that failed because its backend was not available, within its deadline.

gRPC has the same retries in its service config (gRFC A6). The proxy does not use them: with an
`xds:///` target, the control plane replaces the service config, and most routes have no retries.

A gRPC call is repeated after UNAVAILABLE. That is safe, because the contract requires that a
backend recognizes a repeated create by its `request_id` and a repeated deletion by its conference
id. http/http_backend.py says which HTTP requests are repeated.
"""

import random
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

MAX_ATTEMPTS = 5
"""The maximum number of attempts of one call, including the first."""

INITIAL_BACKOFF_SECONDS = 0.1
MAX_BACKOFF_SECONDS = 1.0
BACKOFF_MULTIPLIER = 2.0
"""The proxy waits 0.1 s before the second attempt, and then twice as long before each attempt. So
all attempts at a backend that refuses connections take about 1.5 s."""

JITTER = 0.2
"""Each back-off is up to 20 % shorter or longer, so that calls that failed together are not
repeated together."""

ResponseT = TypeVar("ResponseT")


def retried(
    attempt: Callable[[float], ResponseT],
    timeout_seconds: float,
    *,
    is_retryable: Callable[[Exception], bool],
    on_retry: Callable[[], None],
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> ResponseT:
    """Return the response of the first attempt that succeeds, or that fails for good.

    `attempt` gets the seconds until the deadline of the call. `is_retryable` returns whether the
    failure of an attempt allows another one. The function calls `on_retry` before each further
    attempt. If the back-off would pass the deadline, it makes no further attempt.

    Raises the error of the last attempt that may have been sent. So it raises the `ValueError` of a
    closed gRPC channel only if the first attempt raised it: the call was certainly not sent.
    """
    until = clock() + timeout_seconds
    try:
        return attempt(timeout_seconds)
    except Exception as error:
        if not is_retryable(error):
            raise
        failure = error
    for backoff_seconds in _backoffs():
        if clock() + backoff_seconds >= until:
            break
        sleep(backoff_seconds)
        if (left_seconds := until - clock()) <= 0:
            break
        on_retry()
        try:
            return attempt(left_seconds)
        except ValueError:
            break
        except Exception as error:  # noqa: BLE001 - raised below, if no attempt follows
            failure = error
            if not is_retryable(error):
                break
    raise failure


def _backoffs() -> Iterator[float]:
    """Yield the time to wait before each attempt after the first."""
    for number in range(MAX_ATTEMPTS - 1):
        seconds = min(MAX_BACKOFF_SECONDS, INITIAL_BACKOFF_SECONDS * BACKOFF_MULTIPLIER**number)
        yield seconds * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - no secret
