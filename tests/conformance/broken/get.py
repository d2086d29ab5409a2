"""Backends that fail the cases of get.toml: reading a conference back."""

from typing import Never

import grpc
from jicofo_reservation_proxy.gen.jicofo.reservation.v1 import reservation_pb2 as pb

from .backend import Backend, Context, fails


def _fail(context: Context, what: str) -> Never:
    context.abort(grpc.StatusCode.INTERNAL, what)


@fails({"get": "step 2, get: start_time: wanted … s … ns as before, got none"})
class ReadsNoStart(Backend):
    """It reads a conference as it tells a grant, where the start_time may be left out."""

    def GetConference(  # noqa: N802 - gRPC's name
        self, request: pb.GetConferenceRequest, context: Context
    ) -> pb.GetConferenceResponse:
        """Leave the start_time out."""
        response = super().GetConference(request, context)
        response.conference.ClearField("start_time")
        return response


@fails({"get": "step 2, get: owner: wanted 'juliet@example.com' as before, got none"})
class ReadsNoOwner(Backend):
    """Its query does not join the table of owners."""

    def GetConference(  # noqa: N802 - gRPC's name
        self, request: pb.GetConferenceRequest, context: Context
    ) -> pb.GetConferenceResponse:
        """Leave the owner out."""
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
    """It lets the exception of a query for one row that finds none through."""

    def GetConference(  # noqa: N802 - gRPC's name
        self, request: pb.GetConferenceRequest, context: Context
    ) -> pb.GetConferenceResponse:
        """Fail where there is no such conference."""
        if self._store.get(request.conference_id) is None:
            _fail(context, "no such row")
        return super().GetConference(request, context)


@fails({"get-unknown": "step 1, get: wanted NOT_FOUND, got INTERNAL ('not a number')"})
class ExpectsNumbers(Backend):
    """Its ids are numbers, so it reads every id as one."""

    def GetConference(  # noqa: N802 - gRPC's name
        self, request: pb.GetConferenceRequest, context: Context
    ) -> pb.GetConferenceResponse:
        """Fail where the id is no number."""
        if not request.conference_id.isdecimal():
            _fail(context, "not a number")
        return super().GetConference(request, context)


@fails({"get-unknown": "step 2, get: wanted NOT_FOUND, got INTERNAL ('out of range')"})
class ExpectsSmallNumbers(Backend):
    """Its numbers have 32 bits, unlike those of somebody who mistyped one."""

    def GetConference(  # noqa: N802 - gRPC's name
        self, request: pb.GetConferenceRequest, context: Context
    ) -> pb.GetConferenceResponse:
        """Fail where the id is a number that its database does not take."""
        id_ = request.conference_id
        if id_.isdecimal() and self._store.get(id_) is None and int(id_) > 9 * 10**13:
            _fail(context, "out of range")
        return super().GetConference(request, context)


@fails({"get-deleted": "step 3, get: wanted NOT_FOUND, got conference"})
class DeletesSoftly(Backend):
    """It keeps what is deleted for its statistics, and finds it there."""

    def __init__(self) -> None:
        super().__init__()
        self._deleted: dict[str, pb.GetConferenceResponse] = {}

    def GetConference(  # noqa: N802 - gRPC's name
        self, request: pb.GetConferenceRequest, context: Context
    ) -> pb.GetConferenceResponse:
        """Find what is deleted as well."""
        return self._deleted.get(request.conference_id) or super().GetConference(request, context)

    def DeleteConference(  # noqa: N802 - gRPC's name
        self, request: pb.DeleteConferenceRequest, context: Context
    ) -> pb.DeleteConferenceResponse:
        """Keep a copy."""
        if self._store.get(request.conference_id) is not None:
            wanted = pb.GetConferenceRequest(conference_id=request.conference_id)
            self._deleted[request.conference_id] = super().GetConference(wanted, context)
        return super().DeleteConference(request, context)


_LEFT_OUT = (
    "got UNIMPLEMENTED ('left out'); a backend that leaves this out is checked with --without get"
)


@fails(
    {
        "get": f"step 2, get: wanted conference, {_LEFT_OUT}",
        "get-unknown": f"step 1, get: wanted NOT_FOUND, {_LEFT_OUT}",
        "get-deleted": f"step 3, get: wanted NOT_FOUND, {_LEFT_OUT}",
    }
)
class LeavesGetOut(Backend):
    """It has no GetConference, which is allowed, and the kit was not told so."""

    def GetConference(  # noqa: N802 - gRPC's name
        self, _request: pb.GetConferenceRequest, context: Context
    ) -> pb.GetConferenceResponse:
        """Say that there is no such method."""
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "left out")
