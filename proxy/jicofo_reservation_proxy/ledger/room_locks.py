"""The locks: only one thread at a time works on a room, or on a conference.

The key of a room's lock is a `RoomKey`. The key of a conference's lock is its `ConferenceRef`. A
thread that needs both locks takes the room's lock first.
"""

import threading
from collections.abc import Hashable
from contextlib import AbstractContextManager
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

    def hold(self, key: Hashable, within_seconds: float) -> AbstractContextManager[bool]:
        """Hold the lock of a key; yield whether it was free within `within_seconds`."""
        return _Hold(self._entries, self._guard, key, within_seconds)


class _Hold:
    """The lock of a key in a `with` block.

    This is a class and not a generator, because each request holds several locks, and a generator
    needs four times as long.
    """

    __slots__ = ("_entries", "_entry", "_guard", "_is_held", "_key", "_within_seconds")

    def __init__(
        self,
        entries: dict[Hashable, _Entry],
        guard: threading.Lock,
        key: Hashable,
        within_seconds: float,
    ) -> None:
        self._entries = entries
        self._guard = guard
        self._key = key
        self._within_seconds = within_seconds

    def __enter__(self) -> bool:
        with self._guard:
            entry = self._entries.get(self._key)
            if entry is None:
                entry = self._entries[self._key] = _Entry()
            entry.users += 1
        self._entry = entry
        self._is_held = entry.lock.acquire(timeout=self._within_seconds)
        return self._is_held

    def __exit__(self, *_: object) -> None:
        if self._is_held:
            self._entry.lock.release()
        with self._guard:
            self._entry.users -= 1
            if not self._entry.users:
                del self._entries[self._key]
