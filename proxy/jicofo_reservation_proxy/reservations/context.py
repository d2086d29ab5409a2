"""What the use cases hand to one another: a request on its way, and what came of one."""

from dataclasses import dataclass
from typing import Generic, TypeVar

from jicofo_reservation_proxy.clock import Budget
from jicofo_reservation_proxy.errors import StateError
from jicofo_reservation_proxy.ledger.room_locks import RoomKey
from jicofo_reservation_proxy.model import CreateRequest, Dialect, Fault, FaultKind

ReplyT_co = TypeVar("ReplyT_co", covariant=True)

IN_FLIGHT_LIMIT_REACHED = Fault(
    FaultKind.OVERLOADED, "", "not asked: as many calls as may be are under way"
)
ROOM_IS_BUSY = Fault(FaultKind.SLOW, "", "not asked: another request for the room took too long")

FROM_LEDGER = "ledger"
FROM_FALLBACK = "fallback_grant"


@dataclass(frozen=True, slots=True)
class RoomRequest:
    """A POST on its way: who asks for which room of which backend, and in what time."""

    request: CreateRequest
    dialect: Dialect
    incident_id: str
    backend: str
    budget: Budget

    @property
    def room_key(self) -> RoomKey:
        """The key of the room's lock."""
        return self.backend, self.request.room.raw


@dataclass(frozen=True, slots=True)
class Handled(Generic[ReplyT_co]):
    """A reply, with what the log wants to know of it.

    `backend` is "" where none is responsible, `code` where no call was made. `source` is who
    answered in the backend's place: `FROM_LEDGER` or `FROM_FALLBACK`, else "".
    """

    reply: ReplyT_co
    backend: str = ""
    code: str = ""
    source: str = ""


def state_fault(error: StateError) -> Fault:
    """Return the fault of a ledger that cannot be used."""
    return Fault(FaultKind.STATE, "", str(error))
