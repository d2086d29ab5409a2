"""Backends that fail the cases of conflict.toml: a room that another conference already holds."""

import threading

import grpc
from jicofo_reservation_proxy.gen.jicofo.reservation.v1 import reservation_pb2 as pb
from jicofo_reservation_stub.store import NO_HOLDER, Booking, Granted, Held, Hold, Outcome

from .backend import Backend, Context, LooseStore, fails

ALONE_SECONDS = 0.02
"""How long a single call waits for a second call."""

QUIET_SECONDS = 0.1
"""How long several calls wait for the next call."""


class Crowd:
    """Delays calls until `size` calls wait at the same time, or until no other call arrives.

    So a race condition fails every time, and not only sometimes.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._changed = threading.Condition()
        self._came = 0
        self._inside = 0

    def __enter__(self) -> int:
        """Wait for the other calls. Return the number of this call among the calls inside."""
        with self._changed:
            self._came += 1
            self._inside += 1
            self._changed.notify_all()
            number = self._inside
            self._wait()
        return number

    def __exit__(self, *_: object) -> None:
        """Leave the crowd."""
        with self._changed:
            self._inside -= 1

    def _wait(self) -> None:
        while self._inside < self._size and self._has_another_come():
            pass

    def _has_another_come(self) -> bool:
        came = self._came
        patience = QUIET_SECONDS if self._inside > 1 else ALONE_SECONDS
        return self._changed.wait_for(lambda: self._came != came, patience)


@fails(
    {
        "conflict": "step 2, create: room: wanted the same value as before, "
        "'conformance-…-conflict-0', got none"
    }
)
class TellsTheIdOnly(Backend):
    """The conference in a conflict has only its id. The caller would have to read the rest."""

    def send(
        self, _request: pb.CreateConferenceRequest, response: pb.CreateConferenceResponse
    ) -> None:
        """Leave out all fields except the id."""
        if response.HasField("conflict"):
            held = pb.Conference(id=response.conflict.conference.id)
            response.conflict.conference.CopyFrom(held)


@fails(
    {"conflict": "step 2, create: start_time: wanted the same value as before, … s … ns, got none"}
)
class TellsNoStart(Backend):
    """The backend leaves out the start_time of a conflict, which is allowed only in a grant."""

    def send(
        self, _request: pb.CreateConferenceRequest, response: pb.CreateConferenceResponse
    ) -> None:
        """Leave out the start_time."""
        if response.HasField("conflict"):
            response.conflict.conference.ClearField("start_time")


def _grant(response: pb.CreateConferenceResponse) -> None:
    conference = pb.Conference()
    conference.CopyFrom(response.conflict.conference)
    response.conference.CopyFrom(conference)


@fails(
    {
        "conflict-same-owner": "step 2, create: wanted conflict, got conference",
        "repeat-after-delete": "step 4, create: wanted conflict, got conference",
        "delete-later-one": "step 5, create: wanted conflict, got conference",
        "delete-other-room": "step 4, create: wanted conflict, got conference",
        "over": "step 3, create: wanted conflict or denial, got conference",
    }
)
class LetsOwnersIn(Backend):
    """The backend grants a held room to its owner again. Only the proxy may decide this."""

    def send(
        self, request: pb.CreateConferenceRequest, response: pb.CreateConferenceResponse
    ) -> None:
        """Grant the room if its owner asks again."""
        if response.conflict.conference.owner == request.owner.raw:
            _grant(response)


@fails({"conflict-same-owner": "step 2, create: wanted conflict, got conference"})
class LetsFirstOwnersIn(Backend):
    """The same bug with a cache. A deletion makes all entries stale for ever."""

    def __init__(self) -> None:
        super().__init__()
        self._first: dict[tuple[str, str], str] = {}
        self._let_in: set[str] = set()

    def send(
        self, request: pb.CreateConferenceRequest, response: pb.CreateConferenceResponse
    ) -> None:
        """Grant a room if the cache has its conference."""
        key = (request.room.raw, request.owner.raw)
        if response.HasField("conference"):
            self._first.setdefault(key, response.conference.id)
        elif response.conflict.conference.id == self._first.get(key):
            self._let_in.add(request.request_id)
        if response.HasField("conflict") and request.request_id in self._let_in:
            _grant(response)

    def DeleteConference(  # noqa: N802 - gRPC's name
        self, request: pb.DeleteConferenceRequest, context: Context
    ) -> pb.DeleteConferenceResponse:
        """Make all entries of the cache stale."""
        self._first = dict.fromkeys(tuple(self._first), "stale")
        return super().DeleteConference(request, context)


_NO_TIME = "start_time: wanted a time in the years 1 to 9999, got … s … ns"


@fails(
    {
        "conflict": f"step 2, create: {_NO_TIME}",
        "get": f"step 2, get: {_NO_TIME}",
    }
)
class ReadsMilliseconds(Backend):
    """The backend reads milliseconds from its database and treats them as seconds."""

    def send(
        self, _request: pb.CreateConferenceRequest, response: pb.CreateConferenceResponse
    ) -> None:
        """Multiply the start_time of an existing conference by 1000."""
        if response.HasField("conflict"):
            response.conflict.conference.start_time.seconds *= 1000

    def GetConference(  # noqa: N802 - gRPC's name
        self, request: pb.GetConferenceRequest, context: Context
    ) -> pb.GetConferenceResponse:
        """Multiply the start_time of an existing conference by 1000."""
        response = super().GetConference(request, context)
        response.conference.start_time.seconds *= 1000
        return response


class _LooksThenTakes(LooseStore):
    """Has a unique index on the request, but none on the room."""

    def __init__(self) -> None:
        super().__init__()
        self._looking: dict[str, Crowd] = {}

    def create(self, booking: Booking, hold: Hold = NO_HOLDER) -> Outcome:
        """Check whether the room is free, and then hold it, in two steps."""
        with self._lock:
            holder = self._existing(self._by_room.get(booking.room), self._clock())
            crowd = self._looking.setdefault(booking.room, Crowd(5))
            if holder and holder.booking.request_id != booking.request_id:
                return Held(holder, self._raise_row(holder, hold))
        with crowd, self._lock:
            mine = self._existing(self._by_request.get(booking.request_id), self._clock())
            granted = mine or self._add(booking)
            return Granted(granted, self._raise_row(granted, hold))


@fails({"one-winner": "step 1, create: wanted 1 conference + 4 conflict, got …"})
class LooksThenTakes(Backend):
    """Another call can take the room between the check that the room is free and the insertion."""

    def __init__(self) -> None:
        super().__init__(_LooksThenTakes())


@fails(
    {
        "rooms-in-parallel": "step 1, create: wanted conference, "
        "got RESOURCE_EXHAUSTED ('all 40 connections to the database are in use')"
    }
)
class HasFewConnections(Backend):
    """The backend refuses a call when 40 calls are in progress. It should let the call wait."""

    CONNECTIONS = 40

    def __init__(self) -> None:
        super().__init__()
        self._crowd = Crowd(self.CONNECTIONS + 1)

    def receive(self, _request: pb.CreateConferenceRequest, context: Context) -> None:
        """Take a connection, or refuse the call if all connections are in use."""
        with self._crowd as under_way:
            if under_way > self.CONNECTIONS:
                context.abort(
                    grpc.StatusCode.RESOURCE_EXHAUSTED,
                    f"all {self.CONNECTIONS} connections to the database are in use",
                )


class _CountsUnlocked(LooseStore):
    """Reads the last id and writes the next id, in two steps."""

    def __init__(self) -> None:
        self._last = 0
        self._crowd = Crowd(2)
        super().__init__()

    def create(self, booking: Booking, hold: Hold = NO_HOLDER) -> Outcome:
        """Draw an id without the lock, then create the conference with the lock."""
        number = self._last + 1
        with self._crowd:
            self._last = number
        with self._lock:
            self._ids = iter([str(number)])
        return super().create(booking, hold)


@fails({"rooms-in-parallel": "step 1, create: wanted 50 different ids, got …: '…' is repeated"})
class CountsUnlocked(Backend):
    """The counter of ids loses updates when several calls draw an id at the same time."""

    def __init__(self) -> None:
        super().__init__(_CountsUnlocked())
