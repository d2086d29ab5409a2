"""The interface of both simulated clients."""

from dataclasses import dataclass
from typing import Protocol

from .outcomes import Opened, Remark, Verdict
from .wire import Answer, ExchangeError


@dataclass(frozen=True, slots=True)
class Reply:
    """The last result of a request, and the number of repetitions by the client."""

    came: Answer | ExchangeError
    repeats: int


@dataclass(frozen=True, slots=True)
class Opening:
    """The result of opening a room, and the number of repeated requests."""

    verdict: Verdict
    repeats: int = 0


@dataclass(frozen=True, slots=True)
class Closing:
    """The result of closing a room. There is a remark if the DELETE did not succeed."""

    remark: Remark | None
    repeats: int = 0


class Client(Protocol):
    """A client of the reservation API. At most `max_requests` threads may use it."""

    @property
    def max_requests(self) -> int:
        """The maximum number of simultaneous requests of this client."""

    @property
    def ends_rooms(self) -> bool:
        """Whether the client still closes rooms by itself when their reservation ends."""

    def open(self, room: str, owner: str | None) -> Opening:
        """Request a room with the retries of this client, and read the answer by its rules."""

    def close(self, room: str, opened: Opened) -> Closing:
        """Send the DELETE for a room, with the retries of this client."""

    def seconds_to_end(self, opened: Opened) -> float:
        """Return the seconds until the client closes the room because its reservation ends."""
