"""Locks by name: whoever works on a room, or on a conference, works on it alone."""

import threading
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(slots=True)
class _Entry:
    lock: threading.Lock = field(default_factory=threading.Lock)
    users: int = 0


class Locks:
    """A lock for each key in use; keys that nobody holds or waits for cost nothing."""

    def __init__(self) -> None:
        self._entries: dict[Hashable, _Entry] = {}
        self._guard = threading.Lock()

    @contextmanager
    def hold(self, key: Hashable, within_seconds: float) -> Iterator[bool]:
        """Hold the lock of a key; yield whether it was free within that time."""
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
