"""The locks: only one thread at a time works on a room, or on a conference.

The key of a room's lock is a `RoomKey`. The key of a conference's lock is its `ConferenceRef`. A
thread that needs both locks takes the room's lock first.
"""

import threading
from collections.abc import Hashable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from jicofo_reservation_proxy.model import ConferenceRef

RoomKey = tuple[str, str]
"""A room: its backend's name and its raw name."""

LockKey = RoomKey | ConferenceRef


class Locks(Protocol):
    """A lock for each room and each conference of one ledger."""

    def hold(self, key: LockKey, within_seconds: float) -> AbstractContextManager[bool]:
        """Hold the lock of a key; yield whether it was free within `within_seconds`."""


@dataclass(slots=True)
class _Entry:
    lock: threading.Lock = field(default_factory=threading.Lock)
    users: int = 0


class LocalLocks:
    """`Locks` in this process. A key uses memory only while a thread holds it or waits for it."""

    def __init__(self) -> None:
        self._entries: dict[Hashable, _Entry] = {}
        self._guard = threading.Lock()

    @contextmanager
    def hold(self, key: Hashable, within_seconds: float) -> Iterator[bool]:
        """Hold the lock of a key; yield whether it was free within `within_seconds`."""
        with self._guard:
            entry = self._entries.setdefault(key, _Entry())
            entry.users += 1
        is_held = entry.lock.acquire(timeout=within_seconds)
        try:
            yield is_held
        finally:
            if is_held:
                entry.lock.release()
            with self._guard:
                entry.users -= 1
                if not entry.users:
                    del self._entries[key]
