"""Backends that fail the cases of conflict.toml: a room that is held already."""

import threading

import grpc
from jicofo_reservation_proxy.gen.jicofo.reservation.v1 import reservation_pb2 as pb
from jicofo_reservation_stub.store import Booking, Granted, Held, Outcome

from .backend import Backend, Context, LooseStore, fails

ALONE_SECONDS = 0.02
"""How long a call waits for a second one."""

QUIET_SECONDS = 0.1
"""How long calls that are not alone wait for the next one."""


class Crowd:
    """Holds up calls until there are so many at once, or until no other one comes.

    This makes sure that a race is lost which otherwise is lost now and then.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._changed = threading.Condition()
        self._came = 0
        self._inside = 0

    def __enter__(self) -> int:
        """Wait for the others; return how many calls are inside with this one."""
        with self._changed:
            self._came += 1
            self._inside += 1
            self._changed.notify_all()
            number = self._inside
            self._wait()
        return number

    def __exit__(self, *_: object) -> None:
        """Leave."""
        with self._changed:
            self._inside -= 1

    def _wait(self) -> None:
        while self._inside < self._size and self._has_another_come():
            pass

    def _has_another_come(self) -> bool:
        came = self._came
        patience = QUIET_SECONDS if self._inside > 1 else ALONE_SECONDS
        return self._changed.wait_for(lambda: self._came != came, patience)


@fails({"conflict": "step 2, create: room: wanted 'conformance-…-conflict-0' as before, got none"})
class TellsTheIdOnly(Backend):
    """A conflict names the conference that holds the room, for the caller to read it."""

    def send(
        self, _request: pb.CreateConferenceRequest, response: pb.CreateConferenceResponse
    ) -> None:
        """Leave everything out but the id."""
        if response.HasField("conflict"):
            held = pb.Conference(id=response.conflict.conference.id)
            response.conflict.conference.CopyFrom(held)


@fails({"conflict": "step 2, create: start_time: wanted … s … ns as before, got none"})
class TellsNoStart(Backend):
    """A conflict is told like a grant, where the start_time may be left out."""

    def send(
        self, _request: pb.CreateConferenceRequest, response: pb.CreateConferenceResponse
    ) -> None:
        """Leave the start_time out."""
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
    """It lets people into their own rooms once more, which is for the proxy to decide."""

    def send(
        self, request: pb.CreateConferenceRequest, response: pb.CreateConferenceResponse
    ) -> None:
        """Grant what the owner holds already."""
        if response.conflict.conference.owner == request.owner.raw:
            _grant(response)


@fails({"conflict-same-owner": "step 2, create: wanted conflict, got conference"})
class LetsFirstOwnersIn(Backend):
    """The same from a cache that any deletion makes stale, and that is never made anew."""

    def __init__(self) -> None:
        super().__init__()
        self._first: dict[tuple[str, str], str] = {}
        self._let_in: set[str] = set()

    def send(
        self, request: pb.CreateConferenceRequest, response: pb.CreateConferenceResponse
    ) -> None:
        """Grant what the cache knows."""
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
        """Make all entries stale."""
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
    """What it reads back from its database are milliseconds, which it takes for seconds."""

    def send(
        self, _request: pb.CreateConferenceRequest, response: pb.CreateConferenceResponse
    ) -> None:
        """Break the start of a conference that is there already."""
        if response.HasField("conflict"):
            response.conflict.conference.start_time.seconds *= 1000

    def GetConference(  # noqa: N802 - gRPC's name
        self, request: pb.GetConferenceRequest, context: Context
    ) -> pb.GetConferenceResponse:
        """Break the start of a conference that is there already."""
        response = super().GetConference(request, context)
        response.conference.start_time.seconds *= 1000
        return response


class _LooksThenTakes(LooseStore):
    """Has a unique index on the request, and none on the room."""

    def __init__(self) -> None:
        super().__init__()
        self._looking: dict[str, Crowd] = {}

    def create(self, booking: Booking) -> Outcome:
        """Look whether the room is free, and take it then."""
        with self._lock:
            holder = self._existing(self._by_room.get(booking.room), self._clock())
            crowd = self._looking.setdefault(booking.room, Crowd(5))
        if holder and holder.booking.request_id != booking.request_id:
            return Held(holder)
        with crowd, self._lock:
            mine = self._existing(self._by_request.get(booking.request_id), self._clock())
            return Granted(mine or self._add(booking))


@fails({"one-winner": "step 1, create: wanted 1 conference + 4 conflict, got …"})
class LooksThenTakes(Backend):
    """Between the look whether a room is free and taking it, somebody else takes it."""

    def __init__(self) -> None:
        super().__init__(_LooksThenTakes())


@fails(
    {
        "rooms-in-parallel": "step 1, create: wanted conference, "
        "got RESOURCE_EXHAUSTED ('all 40 connections to the database are in use')"
    }
)
class HasFewConnections(Backend):
    """It turns a call away where 40 are under way, instead of letting it wait for its turn."""

    CONNECTIONS = 40

    def __init__(self) -> None:
        super().__init__()
        self._crowd = Crowd(self.CONNECTIONS + 1)

    def receive(self, _request: pb.CreateConferenceRequest, context: Context) -> None:
        """Take a connection, if there is one."""
        with self._crowd as under_way:
            if under_way > self.CONNECTIONS:
                context.abort(
                    grpc.StatusCode.RESOURCE_EXHAUSTED,
                    f"all {self.CONNECTIONS} connections to the database are in use",
                )


class _CountsUnlocked(LooseStore):
    """Reads the last id and writes the next one, in two steps."""

    def __init__(self) -> None:
        self._last = 0
        self._crowd = Crowd(2)
        super().__init__()

    def create(self, booking: Booking) -> Outcome:
        """Draw an id, whoever needs it, and then do what is done under the lock."""
        number = self._last + 1
        with self._crowd:
            self._last = number
        with self._lock:
            self._ids = iter([str(number)])
        return super().create(booking)


@fails({"rooms-in-parallel": "step 1, create: wanted 50 different ids, got …: '…' is repeated"})
class CountsUnlocked(Backend):
    """Its counter of ids loses updates when several are drawn at once."""

    def __init__(self) -> None:
        super().__init__(_CountsUnlocked())
