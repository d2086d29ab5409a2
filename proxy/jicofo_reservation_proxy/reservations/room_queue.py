"""The room queue: the POSTs that wait until another request for the same room is answered.

A POST that waits for its room waits for no backend, so it has no place in the in-flight limits
(in_flight_limits.py). But it occupies a thread of the server. One slow room must not take all
threads, so only a few POSTs may wait: for one room, and for all rooms together.
"""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from jicofo_reservation_proxy.ledger.room_locks import Locks, RoomKey
from jicofo_reservation_proxy.model import Fault

from .context import ROOM_IS_BUSY, ROOM_QUEUE_IS_FULL

MAX_WAITING = 4
"""The maximum number of POSTs that wait for one room. Both clients send one POST for a room at a
time, so more come only from several clients, or from an attacker."""


def max_waiting_in_all(threads: int) -> int:
    """Return the maximum number of POSTs that wait for any room; `threads` is the setting."""
    return max(MAX_WAITING, threads // 4)


class RoomQueue:
    """Lets one POST at a time work on a room; `threads` is the setting."""

    def __init__(self, locks: Locks, threads: int) -> None:
        self._locks = locks
        self._max_in_all = max_waiting_in_all(threads)
        self._waiting: Counter[RoomKey] = Counter()
        self._guard = threading.Lock()

    @contextmanager
    def enter(self, room: RoomKey, within_seconds: float) -> Iterator[Fault | None]:
        """Hold the lock of a room; yield `None`, or the fault if the lock is not held.

        Wait at most `within_seconds` for the lock. Do not wait if too many others wait.
        """
        with ExitStack() as stack:
            is_held = stack.enter_context(self._locks.hold(room, 0))
            if is_held:
                yield None
            elif not self._join(room):
                yield ROOM_QUEUE_IS_FULL
            else:
                try:
                    is_held = stack.enter_context(self._locks.hold(room, within_seconds))
                finally:
                    self._leave(room)
                yield None if is_held else ROOM_IS_BUSY

    def _join(self, room: RoomKey) -> bool:
        with self._guard:
            is_full = self._waiting[room] >= MAX_WAITING
            if is_full or self._waiting.total() >= self._max_in_all:
                return False
            self._waiting[room] += 1
            return True

    def _leave(self, room: RoomKey) -> None:
        with self._guard:
            self._waiting[room] -= 1
            if not self._waiting[room]:
                del self._waiting[room]
