"""The bookings of an HTTP backend: which rooms are open, for whom and since when."""

import itertools
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

SECONDS = 3600
"""The duration of each booking."""


@dataclass(frozen=True, slots=True)
class Booking:
    """An open room. `number` is the row in the table; `start` is in UTC."""

    number: int
    room: str
    owner: str
    start: datetime


class Bookings:
    """The open bookings, at most one for each room. Any thread may use them.

    With `keeps_rows`, a room has the same row whenever it is booked.
    """

    def __init__(self, *, keeps_rows: bool = False) -> None:
        self._lock = threading.Lock()
        self._open: dict[str, Booking] = {}
        self._numbers = itertools.count(1)
        self._rows: dict[str, int] | None = {} if keeps_rows else None
        self._made: list[str] = []

    @property
    def open(self) -> Sequence[Booking]:
        """The open bookings."""
        with self._lock:
            return list(self._open.values())

    @property
    def made(self) -> Sequence[str]:
        """The rooms of all bookings that were made."""
        with self._lock:
            return list(self._made)

    def book(self, room: str, owner: str, start: datetime | None = None) -> tuple[Booking, bool]:
        """Return the booking of a room, and whether it is new."""
        with self._lock:
            if found := self._open.get(room):
                return found, False
            self._made.append(room)
            made = Booking(self._number(room), room, owner, start or datetime.now(UTC))
            self._open[room] = made
            return made, True

    def end(self, booking: Booking) -> bool:
        """End a booking; return whether it was open."""
        with self._lock:
            return self._open.pop(booking.room, None) is not None

    def _number(self, room: str) -> int:
        if self._rows is None:
            return next(self._numbers)
        return self._rows.setdefault(room, len(self._rows) + 1)
