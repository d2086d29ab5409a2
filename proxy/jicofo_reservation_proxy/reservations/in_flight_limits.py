"""The in-flight limits: the maximum number of requests at each backend, and at all backends.

A request at a backend occupies one of the server's threads, while it waits for its call and during
its call. A backend that is slow or hangs must not occupy all threads:

- Each backend has a number of reserved places, which no other backend can use.
- The limit for all backends together leaves threads free for DELETEs and refusals, which do not
  wait for a backend.

A request without a free place is not admitted, and does not wait. A request with a place may wait
until the number of calls allows its own call.
"""

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass

STALLED_SECONDS = 0.5
"""If no call to a backend began or ended within this time, the proxy assumes that the calls hang.
Requests then stop waiting for a call. A healthy backend answers in milliseconds."""


@dataclass(slots=True)
class _Backend:
    """The limits of one backend, and its current numbers of requests and calls.

    `own` is the number of its reserved places. A call belongs to a request, so `calls` is never
    greater than `requests`.
    """

    most_calls: int
    own: int
    changed: threading.Condition
    requests: int = 0
    calls: int = 0
    changed_at: float = 0.0
    others: "tuple[_Backend, ...]" = ()

    @property
    def most_requests(self) -> int:
        """The maximum number of requests: `most_calls` with a call, and `most_calls` that wait."""
        return 2 * self.most_calls

    @property
    def taken(self) -> int:
        """The number of places that other backends cannot use: taken ones, and reserved ones."""
        return max(self.requests, self.own)


class InFlightLimits:
    """The limit of each backend, and the limit for all backends together.

    `per_backend` maps the name of each backend to its maximum number of calls. `in_all` is the
    maximum number of requests at all backends. The backends share half of `in_all` as reserved
    places.
    """

    def __init__(
        self,
        per_backend: Mapping[str, int],
        in_all: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._backends: dict[str, _Backend] = {}
        self.change(per_backend, in_all)

    def change(self, per_backend: Mapping[str, int], in_all: int) -> None:
        """Use other limits from now on. Requests that were admitted keep their places."""
        own = max(1, in_all // (2 * max(1, len(per_backend))))
        with self._lock:
            found = {name: self._entry(name) for name in per_backend}
            for name, entry in found.items():
                entry.most_calls = per_backend[name]
                entry.own = min(own, entry.most_calls)
                entry.others = tuple(other for other in found.values() if other is not entry)
                entry.changed.notify_all()
            self._backends = found
            self._most_requests = max(in_all, len(found))

    def _entry(self, name: str) -> _Backend:
        known = self._backends.get(name)
        return known or _Backend(0, 0, threading.Condition(self._lock))

    def admit(self, backend: str, within_seconds: float) -> AbstractContextManager[bool]:
        """Admit a request to a backend, after a wait if necessary; yield whether it may call."""
        return _Admission(self, self._backends[backend], self._clock() + within_seconds)

    def begin(self, entry: _Backend, until: float) -> bool:
        """Take a place for a request, and wait for its call; return whether it may call."""
        with self._lock:
            if not self._has_room(entry):
                return False
            entry.requests += 1
            is_admitted = self._wait(entry, until)
            if is_admitted:
                entry.calls += 1
                entry.changed_at = self._clock()
            else:
                entry.requests -= 1
            return is_admitted

    def _wait(self, entry: _Backend, until: float) -> bool:
        """Wait until the request may make its call; return whether it may."""
        while entry.calls >= entry.most_calls:
            left_seconds = min(until, entry.changed_at + STALLED_SECONDS) - self._clock()
            if left_seconds <= 0:
                return False
            entry.changed.wait(left_seconds)
        return True

    def _has_room(self, entry: _Backend) -> bool:
        """Return whether a backend has a free place for one more request."""
        taken = entry.requests + sum([other.taken for other in entry.others])
        return entry.requests < entry.most_requests and taken < self._most_requests

    def end(self, entry: _Backend) -> None:
        """Give back the place of a request that was admitted."""
        with self._lock:
            entry.requests -= 1
            entry.calls -= 1
            entry.changed_at = self._clock()
            entry.changed.notify()


class _Admission:
    """A place for one request in a `with` block. A class and not a generator, for speed."""

    __slots__ = ("_entry", "_is_admitted", "_limits", "_until")

    def __init__(self, limits: InFlightLimits, entry: _Backend, until: float) -> None:
        self._limits = limits
        self._entry = entry
        self._until = until

    def __enter__(self) -> bool:
        self._is_admitted = self._limits.begin(self._entry, self._until)
        return self._is_admitted

    def __exit__(self, *_: object) -> None:
        if self._is_admitted:
            self._limits.end(self._entry)
