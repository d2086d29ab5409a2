"""The room queue: the POSTs that wait until another request for the same room is answered.

A POST that waits for its room waits for no backend, so it has no place in the in-flight limits
(in_flight_limits.py). But it occupies a thread of the server. One slow room must not take all
threads, so only a few POSTs may wait: for one room, and for all rooms together.
"""

import threading
from collections import Counter
from contextlib import AbstractContextManager

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
    """Lets one POST at a time work on a room.

    At most `max_in_all` POSTs wait for any room; the value may change at any time.
    """

    def __init__(self, locks: Locks, max_in_all: int) -> None:
        self._locks = locks
        self.max_in_all = max_in_all
        self._waiting: Counter[RoomKey] = Counter()
        self._guard = threading.Lock()

    def enter(self, room: RoomKey, within_seconds: float) -> AbstractContextManager[Fault | None]:
        """Hold the lock of a room; yield `None`, or the fault if the lock is not held.

        Wait at most `within_seconds` for the lock. Do not wait if too many others wait.
        """
        return _Turn(self, self._locks, room, within_seconds)

    def join(self, room: RoomKey) -> bool:
        """Begin to wait for a room; return false if too many others wait."""
        with self._guard:
            is_full = self._waiting[room] >= MAX_WAITING
            if is_full or self._waiting.total() >= self.max_in_all:
                return False
            self._waiting[room] += 1
            return True

    def leave(self, room: RoomKey) -> None:
        """Wait no more for a room."""
        with self._guard:
            self._waiting[room] -= 1
            if not self._waiting[room]:
                del self._waiting[room]


class _Turn:
    """The lock of a room in a `with` block. A class and not a generator, for speed."""

    __slots__ = ("_hold", "_locks", "_queue", "_room", "_within_seconds")

    _hold: AbstractContextManager[bool] | None

    def __init__(
        self, queue: RoomQueue, locks: Locks, room: RoomKey, within_seconds: float
    ) -> None:
        self._queue = queue
        self._locks = locks
        self._room = room
        self._within_seconds = within_seconds

    def __enter__(self) -> Fault | None:
        if self._take(0):
            return None
        if not self._queue.join(self._room):
            return ROOM_QUEUE_IS_FULL
        try:
            return None if self._take(self._within_seconds) else ROOM_IS_BUSY
        finally:
            self._queue.leave(self._room)

    def _take(self, within_seconds: float) -> bool:
        hold = self._locks.hold(self._room, within_seconds)
        is_held = hold.__enter__()
        self._hold = hold if is_held else None
        if not is_held:
            hold.__exit__(None, None, None)
        return is_held

    def __exit__(self, *_: object) -> None:
        if self._hold:
            self._hold.__exit__(None, None, None)
