"""The ends of the open conferences, in groups of one minute.

A heap with an entry for each end takes 100 bytes for an entry, keeps the entries of conferences
that are gone, and must be rebuilt to remove them, while every request waits. A group takes 30 bytes
for an entry, and removes an entry at once.
"""

from collections import deque
from heapq import heapify, heappop, heappush

MINUTE_MS = 60_000

SPARE_MINUTES = 1000
"""How many groups may be empty without being removed."""


class Ends:
    """The ends, in milliseconds, by the keys of the conferences. Each key has at most one end."""

    def __init__(self) -> None:
        self._groups: dict[int, dict[str, int]] = {}
        """The groups by their minute. A group may be empty."""
        self._minutes: list[int] = []
        """A heap with the minute of each group."""
        self._due: deque[tuple[str, int]] = deque()
        self._count = 0

    def add(self, key: str, ends_at_ms: int) -> None:
        """Add an end."""
        minute = ends_at_ms // MINUTE_MS
        group = self._groups.get(minute)
        if group is None:
            self._trim()
            group = self._groups[minute] = {}
            heappush(self._minutes, minute)
        group[key] = ends_at_ms
        self._count += 1

    def discard(self, key: str, ends_at_ms: int) -> None:
        """Remove an end. Do nothing if it is not there, because it was popped."""
        group = self._groups.get(ends_at_ms // MINUTE_MS)
        if group and group.pop(key, None) is not None:
            self._count -= 1

    def pop(self, before_ms: int) -> tuple[str, int] | None:
        """Remove and return the earliest end before this time, or return `None`.

        An end may be returned after it was discarded, if an earlier end of the same minute was
        popped before. The caller must compare it with the current end.
        """
        if not self._due:
            self._take_due(before_ms)
        if self._due and self._due[0][1] < before_ms:
            return self._due.popleft()
        return None

    def _take_due(self, before_ms: int) -> None:
        """Move the ends of the first minute with an end before this time to `_due`, in order."""
        while self._minutes and self._minutes[0] * MINUTE_MS < before_ms and not self._due:
            group = self._groups[self._minutes[0]]
            due = sorted((item for item in group.items() if item[1] < before_ms), key=_end)
            self._due.extend(due)
            self._count -= len(due)
            if (self._minutes[0] + 1) * MINUTE_MS > before_ms:
                for key, _ in due:
                    del group[key]
                return
            del self._groups[heappop(self._minutes)]

    def _trim(self) -> None:
        """Remove the empty groups if there are many."""
        if len(self._groups) > 2 * self._count + SPARE_MINUTES:
            self._groups = {minute: group for minute, group in self._groups.items() if group}
            self._minutes = list(self._groups)
            heapify(self._minutes)


def _end(item: tuple[str, int]) -> int:
    return item[1]
