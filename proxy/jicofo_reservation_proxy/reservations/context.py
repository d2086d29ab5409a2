"""The values that the use cases pass to each other: a request in progress, and its result."""

from typing import Generic, NamedTuple, TypeVar

from jicofo_reservation_proxy.clock import Budget
from jicofo_reservation_proxy.errors import StateError
from jicofo_reservation_proxy.ledger.room_locks import RoomKey
from jicofo_reservation_proxy.model import NO_HOLD, CreateRequest, Dialect, Fault, FaultKind, Hold

ReplyT_co = TypeVar("ReplyT_co", covariant=True)

IN_FLIGHT_LIMIT_REACHED = Fault(
    FaultKind.OVERLOADED, "", "the backend was not called: the in-flight limit is reached"
)
ROOM_IS_BUSY = Fault(
    FaultKind.SLOW,
    "",
    "another request or a deletion held the lock of the room or of the conference too long",
)
ROOM_QUEUE_IS_FULL = Fault(
    FaultKind.OVERLOADED, "", "the backend was not called: too many requests wait for this room"
)

DELETION_MAY_HAPPEN_LATER = Fault(
    FaultKind.UNREACHABLE,
    "",
    "the backend has not answered a deletion of this room or conference, and may carry it out "
    "later",
)

SHARE = 0.4
"""The maximum share of its remaining time that a POST spends on each call for an earlier
conference. So after each such call, at least 60 % of the time before it remains."""

FROM_LEDGER = "ledger"
FROM_FALLBACK = "fallback_grant"


class RoomRequest(NamedTuple):
    """A POST in progress: its client, its room, the backend of the room, and its time budget.

    `hold` is the hold of the newest create that the proxy sends for it.
    """

    request: CreateRequest
    dialect: Dialect
    incident_id: str
    backend: str
    budget: Budget
    hold: Hold = NO_HOLD

    def with_hold(self, hold: Hold) -> "RoomRequest":
        """Return the request with another hold."""
        return self._replace(hold=hold)

    def after(self, conference_id: str) -> "RoomRequest":
        """Return the request to ask again, because this conference is over."""
        return self._replace(request=self.request._replace(after=conference_id))

    @property
    def room_key(self) -> RoomKey:
        """The key of the room's lock."""
        return self.backend, self.request.room.raw

    @property
    def share_seconds(self) -> float:
        """The time for one call for an earlier conference."""
        return SHARE * self.budget.left_seconds


class Handled(NamedTuple, Generic[ReplyT_co]):
    """A reply, with the values that the log line of the request needs.

    `backend` is "" if no backend is responsible. `code` is the gRPC or HTTP status, or "" if no
    call was made. `source` is `FROM_LEDGER` or `FROM_FALLBACK` if the proxy answered in place of
    the backend, otherwise "".
    """

    reply: ReplyT_co
    backend: str = ""
    code: str = ""
    source: str = ""


def state_fault(error: StateError) -> Fault:
    """Return the fault that says that the proxy cannot use its ledger."""
    return Fault(FaultKind.STATE, "", str(error))
