"""How many requests may wait for backends at once: for each backend, and for all of them.

A backend that hangs holds its own slots and no more, so that the other backends' rooms, and every
DELETE, always find a thread. While its slots come free again and again, a request waits for one;
once they do not, it is refused at once instead of standing in a queue.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager

STALLED_SECONDS = 0.5
"""When no slot was taken or came free for so long, the calls in them hang: a backend that is well
answers in milliseconds, and a call on a machine that is too busy is still done in less."""


class _Pool:
    """A number of slots."""

    def __init__(self, count: int, clock: Callable[[], float]) -> None:
        self._free = count
        self._clock = clock
        self._changed = threading.Condition()
        self._changed_at = clock()

    def take(self, until: float) -> bool:
        with self._changed:
            while not self._free:
                stalled_at = self._changed_at + STALLED_SECONDS
                left_seconds = min(until, stalled_at) - self._clock()
                if left_seconds <= 0:
                    return False
                self._changed.wait(left_seconds)
            self._change(-1)
            return True

    def give_back(self) -> None:
        with self._changed:
            self._change(1)
            self._changed.notify()

    def _change(self, by: int) -> None:
        self._free += by
        self._changed_at = self._clock()


class Slots:
    """Slots for the calls to each backend, by its name, within a number for all of them."""

    def __init__(
        self,
        per_backend: Mapping[str, int],
        in_all: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._in_all = _Pool(in_all, clock)
        self._of = {name: _Pool(count, clock) for name, count in per_backend.items()}

    @contextmanager
    def take(self, backend: str, within_seconds: float) -> Iterator[bool]:
        """Hold a slot; yield whether there was one in time, or was likely to be."""
        until = self._clock() + within_seconds
        with ExitStack() as stack:
            yield all(_take(pool, until, stack) for pool in (self._of[backend], self._in_all))


def _take(pool: _Pool, until: float, stack: ExitStack) -> bool:
    is_taken = pool.take(until)
    if is_taken:
        stack.callback(pool.give_back)
    return is_taken


def slots_in_all(threads: int) -> int:
    """Return how many of the server's threads may wait for backends: three quarters of them.

    The others are there for DELETEs and for refusals, which wait for no backend.
    """
    return max(1, threads - threads // 4)
