"""Backends that fail the cases of delete.toml: deletions of conferences."""

import re
import time
from collections.abc import Callable
from itertools import chain
from zlib import crc32

import grpc
from jicofo_reservation_proxy.gen.jicofo.reservation.v1 import reservation_pb2 as pb
from jicofo_reservation_stub.store import NO_HOLDER, Booking, Conference, Ending, Hold

from .backend import Backend, Context, LooseStore, fails


class _Noting(Backend):
    """Keeps a copy of every granted conference, by its id."""

    def __init__(self) -> None:
        super().__init__()
        self.granted: dict[str, pb.Conference] = {}

    def send(
        self, _request: pb.CreateConferenceRequest, response: pb.CreateConferenceResponse
    ) -> None:
        """Record a granted conference."""
        if response.HasField("conference"):
            self.granted[response.conference.id] = response.conference


@fails(
    {
        "delete": "step 3, create: wanted conference, got conflict",
        "repeat-after-conflict": "step 4, create: wanted conference, got conflict",
    }
)
class KeepsForTheOwner(Backend):
    """After a deletion, the backend keeps the room for its last owner."""

    def __init__(self) -> None:
        super().__init__()
        self._kept: dict[str, Conference] = {}

    def CreateConference(  # noqa: N802 - gRPC's name
        self, request: pb.CreateConferenceRequest, context: Context
    ) -> pb.CreateConferenceResponse:
        """Answer other owners with a conflict."""
        last = self._kept.get(request.room.raw)
        if last is None or self.may_have(request, last.booking.owner):
            return super().CreateConference(request, context)
        conference = pb.Conference(id=last.id, room=request.room.raw, owner=last.booking.owner)
        conference.start_time.FromDatetime(last.booking.start)
        return pb.CreateConferenceResponse(conflict=pb.Conflict(conference=conference))

    def DeleteConference(  # noqa: N802 - gRPC's name
        self, request: pb.DeleteConferenceRequest, context: Context
    ) -> pb.DeleteConferenceResponse:
        """Record the last owner of the room."""
        conference = self._store.get(request.conference_id)
        if conference is not None:
            self._kept[conference.booking.room] = conference
        return super().DeleteConference(request, context)

    def may_have(self, request: pb.CreateConferenceRequest, last_owner: str) -> bool:
        """Return whether this request may have the kept room."""
        return request.owner.raw == last_owner


@fails({"delete": "step 3, create: wanted conference, got conflict"})
class KeepsForThoseWhoAsked(KeepsForTheOwner):
    """The same bug, but the backend also keeps the room for all who asked for it earlier."""

    def __init__(self) -> None:
        super().__init__()
        self._wanted: set[tuple[str, str]] = set()

    def send(
        self, request: pb.CreateConferenceRequest, response: pb.CreateConferenceResponse
    ) -> None:
        """Record the requester of a held room."""
        if response.HasField("conflict"):
            self._wanted.add((request.room.raw, request.owner.raw))

    def may_have(self, request: pb.CreateConferenceRequest, last_owner: str) -> bool:
        """Return whether this request may have the kept room."""
        has_asked = (request.room.raw, request.owner.raw) in self._wanted
        return has_asked or super().may_have(request, last_owner)


@fails(
    {
        "delete-expired": "step 2, delete: wanted OK, "
        "got INVALID_ARGUMENT ('reason: wanted ENDED, got another')"
    }
)
class KnowsOneReason(Backend):
    """The backend accepts only deletions with the reason ENDED."""

    def DeleteConference(  # noqa: N802 - gRPC's name
        self, request: pb.DeleteConferenceRequest, context: Context
    ) -> pb.DeleteConferenceResponse:
        """Refuse the deletion of an expired conference."""
        if request.reason == pb.DELETE_REASON_EXPIRED:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "reason: wanted ENDED, got another")
        return super().DeleteConference(request, context)


@fails({"delete-expired": "step 3, create: wanted conference, got conflict"})
class TrustsItsOwnClock(Backend):
    """The backend answers OK to EXPIRED, but removes such conferences only once a day."""

    def DeleteConference(  # noqa: N802 - gRPC's name
        self, request: pb.DeleteConferenceRequest, context: Context
    ) -> pb.DeleteConferenceResponse:
        """Do not delete an expired conference."""
        if request.reason == pb.DELETE_REASON_EXPIRED:
            return pb.DeleteConferenceResponse()
        return super().DeleteConference(request, context)


@fails(
    {
        "delete-unspecified": "step 2, delete: wanted OK, "
        "got INVALID_ARGUMENT ('reason: wanted one, got none')"
    }
)
class WantsAReason(Backend):
    """The backend treats the zero value of the reason as a missing field."""

    def DeleteConference(  # noqa: N802 - gRPC's name
        self, request: pb.DeleteConferenceRequest, context: Context
    ) -> pb.DeleteConferenceResponse:
        """Refuse a deletion without a reason."""
        if request.reason == pb.DELETE_REASON_UNSPECIFIED:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "reason: wanted one, got none")
        return super().DeleteConference(request, context)


@fails(
    {
        "delete-twice": "step 3, delete: wanted OK or NOT_FOUND, "
        "got FAILED_PRECONDITION ('deleted already')"
    }
)
class DeletesOnce(_Noting):
    """The backend refuses to delete a conference that is already deleted."""

    def DeleteConference(  # noqa: N802 - gRPC's name
        self, request: pb.DeleteConferenceRequest, context: Context
    ) -> pb.DeleteConferenceResponse:
        """Refuse the second deletion of a conference."""
        id_ = request.conference_id
        if id_ in self.granted and self._store.get(id_) is None:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, "deleted already")
        return super().DeleteConference(request, context)


@fails(
    {
        "delete-unknown": "step 1, delete: wanted OK or NOT_FOUND, "
        "got INTERNAL ('no such conference')"
    }
)
class ExpectsToKnowIt(_Noting):
    """The backend reads the conference first, and fails if it does not find one."""

    def DeleteConference(  # noqa: N802 - gRPC's name
        self, request: pb.DeleteConferenceRequest, context: Context
    ) -> pb.DeleteConferenceResponse:
        """Fail if the id is unknown."""
        if request.conference_id and request.conference_id not in self.granted:
            context.abort(grpc.StatusCode.INTERNAL, "no such conference")
        return super().DeleteConference(request, context)


@fails({"delete-later-one": "step 5, create: wanted conflict, got conference"})
class DeletesByRoom(_Noting):
    """The backend deletes the conference that now holds the room of the id."""

    def DeleteConference(  # noqa: N802 - gRPC's name
        self, request: pb.DeleteConferenceRequest, context: Context
    ) -> pb.DeleteConferenceResponse:
        """Delete the conference that holds the room now."""
        conference = self.granted.get(request.conference_id)
        there = self._store._by_room.get(conference.room) if conference else None
        if there is not None:
            request.conference_id = there.id
        return super().DeleteConference(request, context)


@fails({"delete-other-room": "step 4, create: wanted conflict, got conference"})
class EndsBreakoutRooms(Backend):
    """The backend treats rooms whose names differ only in their last word as one meeting."""

    def DeleteConference(  # noqa: N802 - gRPC's name
        self, request: pb.DeleteConferenceRequest, context: Context
    ) -> pb.DeleteConferenceResponse:
        """Delete the conferences of the other rooms too."""
        conference = self._store.get(request.conference_id)
        if conference is not None:
            for room in self._rooms_of_the_same_meeting(conference.booking.room):
                self._store.delete(self._store._by_room[room].id)
        return super().DeleteConference(request, context)

    def _rooms_of_the_same_meeting(self, ended: str) -> list[str]:
        meeting = re.sub("-[a-z]+$", "", ended)
        rooms = tuple(self._store._by_room)
        return [room for room in rooms if room != ended and re.sub("-[a-z]+$", "", room) == meeting]


@fails(
    {
        "delete-days-later": "step 2, delete: wanted OK, "
        "got INVALID_ARGUMENT ('delete_time: more than a day ago')"
    }
)
class RefusesOldNews(Backend):
    """The backend refuses a deletion whose delete_time is days ago, and holds the room for ever."""

    def DeleteConference(  # noqa: N802 - gRPC's name
        self, request: pb.DeleteConferenceRequest, context: Context
    ) -> pb.DeleteConferenceResponse:
        """Refuse an early delete_time."""
        if request.delete_time.seconds < time.time() - 86400:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "delete_time: more than a day ago")
        return super().DeleteConference(request, context)


_USED_AGAIN = "create: id: wanted a new id, got the id of the earlier conference, '…'"


class _NamesIdsByRoom(LooseStore):
    def _add(self, booking: Booking) -> Conference:
        self._ids = iter([str(crc32(booking.room.encode()))])
        return super()._add(booking)


@fails(
    {
        "delete-later-one": "step 5, create: wanted conflict, got conference",
        "id-never-again": f"step 3, {_USED_AGAIN}",
        "over": f"step 3, {_USED_AGAIN}",
    }
)
class NamesIdsByRoom(Backend):
    """The backend computes the id from the room, so later conferences get the same id."""

    def __init__(self) -> None:
        super().__init__(_NamesIdsByRoom())


class _UsesIdsAgain(LooseStore):
    def __init__(self) -> None:
        super().__init__()
        self._free: dict[str, str] = {}

    def delete(
        self,
        conference_id: str,
        hold: Hold = NO_HOLDER,
        is_wanted: Callable[[], bool] = lambda: True,
    ) -> Ending:
        """Record that the id may be used again."""
        conference = self.get(conference_id)
        ending = super().delete(conference_id, hold, is_wanted)
        if ending is Ending.DELETED and conference is not None:
            self._free[conference.booking.room] = conference_id
        return ending

    def _add(self, booking: Booking) -> Conference:
        free = self._free.pop(booking.room, None)
        if free is not None:
            self._ids = chain([free], self._ids)
        return super()._add(booking)


@fails({"id-never-again": f"step 3, {_USED_AGAIN}"})
class UsesIdsAgain(Backend):
    """The backend uses the old id of a room again, and ignores a second deletion of an id."""

    def __init__(self) -> None:
        super().__init__(_UsesIdsAgain())
        self._deleted: set[tuple[str, str, str, int]] = set()

    def DeleteConference(  # noqa: N802 - gRPC's name
        self, request: pb.DeleteConferenceRequest, context: Context
    ) -> pb.DeleteConferenceResponse:
        """Delete the conference, unless its id was deleted before in the same way."""
        deleted = request.conference_id, request.room, request.holder, request.hold
        if deleted in self._deleted:
            return pb.DeleteConferenceResponse()
        response = super().DeleteConference(request, context)
        self._deleted.add(deleted)
        return response


_LEFT_OUT = (
    "got UNIMPLEMENTED ('left out'); "
    "if the backend does not implement this method, use --without delete"
)


@fails(
    {
        "repeat-after-delete": f"step 2, delete: wanted OK or NOT_FOUND, {_LEFT_OUT}",
        "repeat-after-conflict": f"step 3, delete: wanted OK or NOT_FOUND, {_LEFT_OUT}",
        "get-deleted": f"step 2, delete: wanted OK or NOT_FOUND, {_LEFT_OUT}",
        "delete": f"step 2, delete: wanted OK, {_LEFT_OUT}",
        "delete-expired": f"step 2, delete: wanted OK, {_LEFT_OUT}",
        "delete-unspecified": f"step 2, delete: wanted OK, {_LEFT_OUT}",
        "delete-twice": f"step 2, delete: wanted OK, {_LEFT_OUT}",
        "delete-unknown": f"step 1, delete: wanted OK or NOT_FOUND, {_LEFT_OUT}",
        "delete-later-one": f"step 2, delete: wanted OK or NOT_FOUND, {_LEFT_OUT}",
        "delete-other-room": f"step 3, delete: wanted OK or NOT_FOUND, {_LEFT_OUT}",
        "delete-days-later": f"step 2, delete: wanted OK, {_LEFT_OUT}",
        "id-never-again": f"step 2, delete: wanted OK or NOT_FOUND, {_LEFT_OUT}",
        "holder-conflict": f"step 3, delete: wanted OK or NOT_FOUND, {_LEFT_OUT}",
        "holder-repeat": f"step 3, delete: wanted OK or NOT_FOUND, {_LEFT_OUT}",
        "holder-raise": f"step 3, delete: wanted OK or NOT_FOUND, {_LEFT_OUT}",
        "holder-smaller": f"step 2, delete: wanted OK or NOT_FOUND, {_LEFT_OUT}",
        "holder-last": f"step 3, delete: wanted OK, {_LEFT_OUT}",
        "holder-unknown": f"step 2, delete: wanted OK or NOT_FOUND, {_LEFT_OUT}",
        "holder-empty": f"step 3, delete: wanted OK or NOT_FOUND, {_LEFT_OUT}",
        "holder-at-once": "step 3, delete: wanted OK or NOT_FOUND, "
        f"{_LEFT_OUT.replace('UNI', '2 UNI')}",
        "withdrawal": f"step 2, delete: wanted OK or NOT_FOUND, {_LEFT_OUT}",
        "withdrawal-free-room": f"step 2, delete: wanted OK or NOT_FOUND, {_LEFT_OUT}",
    }
)
class LeavesDeleteOut(Backend):
    """The backend has no DeleteConference. This is allowed, but the kit was not told so."""

    def DeleteConference(  # noqa: N802 - gRPC's name
        self, _request: pb.DeleteConferenceRequest, context: Context
    ) -> pb.DeleteConferenceResponse:
        """Answer that there is no such method."""
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "left out")
