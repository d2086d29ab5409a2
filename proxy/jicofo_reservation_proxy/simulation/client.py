"""What a simulated client does, whichever it is."""

from dataclasses import dataclass
from typing import Protocol

from .outcomes import Opened, Remark, Verdict
from .wire import Answer, ExchangeError


@dataclass(frozen=True, slots=True)
class Reply:
    """What came of a request in the end, and how often it was repeated for it."""

    came: Answer | ExchangeError
    repeats: int


@dataclass(frozen=True, slots=True)
class Opening:
    """What came of opening a room, and how many requests were repeated on the way."""

    verdict: Verdict
    repeats: int = 0


@dataclass(frozen=True, slots=True)
class Closing:
    """What came of closing a room; without a remark, the reservation system knows that it is."""

    remark: Remark | None
    repeats: int = 0


class Client(Protocol):
    """A client of the reservation API. It may be used by as many threads as `max_requests`."""

    @property
    def max_requests(self) -> int:
        """How many requests it has under way at once."""

    @property
    def ends_rooms(self) -> bool:
        """Whether it still closes rooms by itself when their reservation ends."""

    def open(self, room: str, owner: str | None) -> Opening:
        """Ask for a room, as often as this client does, and read the answer as it does."""

    def close(self, room: str, opened: Opened) -> Closing:
        """Say that a room is over, as often as this client does."""

    def seconds_to_end(self, opened: Opened) -> float:
        """Return in how many seconds it will close the room because its reservation ends."""
