"""Backends that fail the cases of get.toml: reading a conference by its id."""

from typing import Never

import grpc
from jicofo_reservation_proxy.gen.jicofo.reservation.v1 import reservation_pb2 as pb

from .backend import Backend, Context, fails


def _fail(context: Context, what: str) -> Never:
    context.abort(grpc.StatusCode.INTERNAL, what)


@fails({"get": "step 2, get: start_time: wanted the same value as before, … s … ns, got none"})
class ReadsNoStart(Backend):
    """The backend leaves out the start_time in GetConference, which is allowed only in a grant."""

    def GetConference(  # noqa: N802 - gRPC's name
        self, request: pb.GetConferenceRequest, context: Context
    ) -> pb.GetConferenceResponse:
        """Leave out the start_time."""
        response = super().GetConference(request, context)
        response.conference.ClearField("start_time")
        return response


@fails(
    {"get": "step 2, get: owner: wanted the same value as before, 'juliet@example.com', got none"}
)
class ReadsNoOwner(Backend):
    """The query of GetConference does not join the table of owners."""

    def GetConference(  # noqa: N802 - gRPC's name
        self, request: pb.GetConferenceRequest, context: Context
    ) -> pb.GetConferenceResponse:
        """Leave out the owner."""
        response = super().GetConference(request, context)
        response.conference.ClearField("owner")
        return response


@fails(
    {
        "get-unknown": "step 1, get: wanted NOT_FOUND, got INTERNAL ('no such row')",
        "get-deleted": "step 3, get: wanted NOT_FOUND, got INTERNAL ('no such row')",
    }
)
class ExpectsARow(Backend):
    """The backend does not catch the exception of a query that finds no row."""

    def GetConference(  # noqa: N802 - gRPC's name
        self, request: pb.GetConferenceRequest, context: Context
    ) -> pb.GetConferenceResponse:
        """Fail if the conference does not exist."""
        if self._store.get(request.conference_id) is None:
            _fail(context, "no such row")
        return super().GetConference(request, context)


@fails({"get-unknown": "step 1, get: wanted NOT_FOUND, got INTERNAL ('not a number')"})
class ExpectsNumbers(Backend):
    """The ids are numbers, and the backend converts every id to a number."""

    def GetConference(  # noqa: N802 - gRPC's name
        self, request: pb.GetConferenceRequest, context: Context
    ) -> pb.GetConferenceResponse:
        """Fail if the id is not a number."""
        if not request.conference_id.isdecimal():
            _fail(context, "not a number")
        return super().GetConference(request, context)


@fails({"get-unknown": "step 2, get: wanted NOT_FOUND, got INTERNAL ('out of range')"})
class ExpectsSmallNumbers(Backend):
    """The backend fails on numbers that do not fit into the id column of its database."""

    def GetConference(  # noqa: N802 - gRPC's name
        self, request: pb.GetConferenceRequest, context: Context
    ) -> pb.GetConferenceResponse:
        """Fail if the id is an unknown number that is too large for the database."""
        id_ = request.conference_id
        if id_.isdecimal() and self._store.get(id_) is None and int(id_) > 9 * 10**13:
            _fail(context, "out of range")
        return super().GetConference(request, context)


@fails({"get-deleted": "step 3, get: wanted NOT_FOUND, got conference"})
class DeletesSoftly(Backend):
    """The backend keeps deleted conferences for its statistics, and still returns them."""

    def __init__(self) -> None:
        super().__init__()
        self._deleted: dict[str, pb.GetConferenceResponse] = {}

    def GetConference(  # noqa: N802 - gRPC's name
        self, request: pb.GetConferenceRequest, context: Context
    ) -> pb.GetConferenceResponse:
        """Return the conference, even if it is deleted."""
        return self._deleted.get(request.conference_id) or super().GetConference(request, context)

    def DeleteConference(  # noqa: N802 - gRPC's name
        self, request: pb.DeleteConferenceRequest, context: Context
    ) -> pb.DeleteConferenceResponse:
        """Keep a copy of the deleted conference."""
        if self._store.get(request.conference_id) is not None:
            wanted = pb.GetConferenceRequest(conference_id=request.conference_id)
            self._deleted[request.conference_id] = super().GetConference(wanted, context)
        return super().DeleteConference(request, context)


_LEFT_OUT = (
    "got UNIMPLEMENTED ('left out'); "
    "if the backend does not implement this method, use --without get"
)


@fails(
    {
        "get": f"step 2, get: wanted conference, {_LEFT_OUT}",
        "get-unknown": f"step 1, get: wanted NOT_FOUND, {_LEFT_OUT}",
        "get-deleted": f"step 3, get: wanted NOT_FOUND, {_LEFT_OUT}",
    }
)
class LeavesGetOut(Backend):
    """The backend has no GetConference. This is allowed, but the kit was not told so."""

    def GetConference(  # noqa: N802 - gRPC's name
        self, _request: pb.GetConferenceRequest, context: Context
    ) -> pb.GetConferenceResponse:
        """Answer that there is no such method."""
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "left out")
