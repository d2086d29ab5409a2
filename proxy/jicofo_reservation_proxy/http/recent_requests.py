"""The last requests, and those in flight, for the status page. They are in memory only.

Each request appends to a deque and changes a dict. Both are atomic in CPython, so no lock is
needed. Nothing is formatted until somebody looks.
"""

import time
from collections import deque
from collections.abc import Mapping
from typing import NamedTuple, Protocol

from jicofo_reservation_proxy.reservations.context import Handled

MAX_REQUESTS = 100


class SeenRequest(NamedTuple):
    """A request as the status page shows it.

    `subject` maps "room" or "id" to the text in the request. `age_seconds` counts from its start.
    `seconds` is the time until its answer was ready. Of a request in flight, `seconds` and
    `handled` are `None`, and `status` is 0. Of a request that ended in a bug of the proxy,
    `handled` is `None`, and `status` is 500.
    """

    operation: str
    client: str
    subject: Mapping[str, str]
    age_seconds: float
    seconds: float | None
    handled: Handled[object] | None
    status: int
    incident_id: str


class Request(Protocol):
    """A request that remembers what happened to it."""

    def seen(self, now: float) -> SeenRequest:
        """Return what is known; `now` is a time of `time.perf_counter`."""


class RecentRequests:
    """The requests in flight, and the last `MAX_REQUESTS` that ended. All threads may use it."""

    def __init__(self) -> None:
        self._ended: deque[Request] = deque(maxlen=MAX_REQUESTS)
        self._in_flight: dict[int, Request] = {}

    def began(self, request: Request) -> None:
        """Note that a request is in flight."""
        self._in_flight[id(request)] = request

    def ended(self, request: Request) -> None:
        """Note that the answer to a request is ready."""
        del self._in_flight[id(request)]
        self._ended.append(request)

    def last(self) -> list[SeenRequest]:
        """Return the requests that ended; the newest one is first."""
        now = time.perf_counter()
        return [request.seen(now) for request in reversed(self._ended.copy())]

    def in_flight(self) -> list[SeenRequest]:
        """Return the requests in flight; the oldest one is first."""
        now = time.perf_counter()
        return [request.seen(now) for request in self._in_flight.copy().values()]
