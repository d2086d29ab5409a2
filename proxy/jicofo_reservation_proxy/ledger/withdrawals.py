"""Withdrawals: the creates whose conference no client has, although the backend may hold it.

The proxy does not know the id of such a conference, or may not end it for other holders. So a
withdrawal is for a room: it ends what this proxy holds there, up to the number of a hold.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from .room_locks import RoomKey


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """A room to withdraw: `hold` is the number of the newest create that no client got.

    `asked_at_ms` is the time of that create. `is_sent` is true if the backend has acknowledged the
    withdrawal once.
    """

    backend: str
    room: str
    hold: int
    asked_at_ms: int
    is_sent: bool = False

    @property
    def room_key(self) -> RoomKey:
        """The key of the room's lock."""
        return self.backend, self.room


class Withdrawals(Protocol):
    """The withdrawals of a ledger, at most one for each room. Any thread may call the methods."""

    def note(self, withdrawal: Withdrawal) -> None:
        """Add a withdrawal in place of an earlier one of the same room."""

    def of(self, backend: str) -> Sequence[Withdrawal]:
        """Return the withdrawals of a backend, the oldest one first."""

    def sent(self, withdrawal: Withdrawal) -> None:
        """Record that the backend has acknowledged a withdrawal for the first time."""

    def remove(self, withdrawal: Withdrawal) -> None:
        """Remove a withdrawal, unless a newer one has replaced it."""
