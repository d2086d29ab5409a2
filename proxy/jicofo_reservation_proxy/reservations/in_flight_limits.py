"""The in-flight limits: how many requests may be with each backend at once, and with all of them.

A request that is with a backend holds one of the server's threads, be it in a call or waiting for
its turn. So a backend that is slow, or hangs, must not get all of them: each backend has some that
are its own, and all together leave some for DELETEs and refusals, which wait for no backend. A
request that finds no free place is refused at once; one with a place may wait briefly for its call.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

STALLED_SECONDS = 0.5
"""When no call began or ended for so long, those under way hang, and nobody waits for them: a
backend that is well answers in milliseconds."""


@dataclass(slots=True)
class _Backend:
    """What one backend may have and has: requests that are with it, and calls of those."""

    most_calls: int
    own: int
    changed: threading.Condition
    requests: int = 0
    calls: int = 0
    changed_at: float = field(default=0.0)

    @property
    def most_requests(self) -> int:
        """As many again as may be in calls may wait for their turn."""
        return 2 * self.most_calls

    @property
    def kept(self) -> int:
        """How many more requests must be let in, whatever the others do."""
        return max(0, self.own - self.requests)


class InFlightLimits:
    """The limits for the calls to each backend, by its name, within a limit for all of them.

    Half of that number is divided among the backends as their own.
    """

    def __init__(
        self,
        per_backend: Mapping[str, int],
        in_all: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._in_all = in_all
        self._clock = clock
        self._lock = threading.Lock()
        own = max(1, in_all // (2 * max(1, len(per_backend))))
        self._backends = {
            name: _Backend(count, min(own, count), threading.Condition(self._lock))
            for name, count in per_backend.items()
        }

    @contextmanager
    def admit(self, backend: str, within_seconds: float) -> Iterator[bool]:
        """Let a request ask a backend; yield whether it may, now or soon."""
        entry, until = self._backends[backend], self._clock() + within_seconds
        is_admitted = self._admit(entry, until)
        try:
            yield is_admitted
        finally:
            if is_admitted:
                self._give_back(entry)

    def _admit(self, entry: _Backend, until: float) -> bool:
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
        """Wait for a call's turn; return whether it came."""
        while entry.calls >= entry.most_calls:
            left_seconds = min(until, entry.changed_at + STALLED_SECONDS) - self._clock()
            if left_seconds <= 0:
                return False
            entry.changed.wait(left_seconds)
        return True

    def _has_room(self, entry: _Backend) -> bool:
        """Whether one more request may be with a backend."""
        others = (other for other in self._backends.values() if other is not entry)
        taken = sum(other.requests + other.kept for other in others)
        return entry.requests < entry.most_requests and entry.requests + taken < max(
            self._in_all, len(self._backends)
        )

    def _give_back(self, entry: _Backend) -> None:
        with self._lock:
            entry.requests -= 1
            entry.calls -= 1
            entry.changed_at = self._clock()
            entry.changed.notify()
