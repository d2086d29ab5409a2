"""Backends that fail the cases of time.toml: the begin and the end of a conference."""

import time
from datetime import datetime

import grpc
from jicofo_reservation_proxy.gen.jicofo.reservation.v1 import reservation_pb2 as pb
from jicofo_reservation_stub.store import Conference, Store

from .backend import Backend, Context, fails, told


def _refuse(context: Context, what: str) -> None:
    context.abort(grpc.StatusCode.INVALID_ARGUMENT, what)


def _seconds_to_start(request: pb.CreateConferenceRequest) -> float:
    return request.start_time.seconds + request.start_time.nanos / 1e9 - time.time()


def _seconds_to_end(request: pb.CreateConferenceRequest) -> float:
    limit = request.duration.seconds if request.HasField("duration") else float("inf")
    return _seconds_to_start(request) + limit


@fails({"unlimited": "step 1, create: duration: wanted a positive duration or none, got 0 s 0 ns"})
class SaysZeroForUnlimited(Backend):
    """The backend sets every field, so a conference without a limit has a duration of zero."""

    def GetConference(  # noqa: N802 - gRPC's name
        self, request: pb.GetConferenceRequest, context: Context
    ) -> pb.GetConferenceResponse:
        """Set a missing duration to zero."""
        response = super().GetConference(request, context)
        response.conference.duration.SetInParent()
        return response

    def send(
        self, _request: pb.CreateConferenceRequest, response: pb.CreateConferenceResponse
    ) -> None:
        """Set a missing duration to zero."""
        if not response.HasField("denial"):
            told(response).duration.SetInParent()


@fails(
    {
        "duration": "step 1, create: wanted conference, "
        "got INVALID_ARGUMENT ('duration: more than an hour')"
    }
)
class KnowsHoursOnly(Backend):
    """The backend answers a duration of more than an hour with an error status."""

    def receive(self, request: pb.CreateConferenceRequest, context: Context) -> None:
        """Refuse a long duration."""
        if request.duration.seconds > 3600:
            _refuse(context, "duration: more than an hour")


@fails(
    {"duration": "step 2, create: wanted conference, got INVALID_ARGUMENT ('duration: too long')"}
)
class KnowsDaysOnly(Backend):
    """The backend answers a duration of more than a day with an error status."""

    def receive(self, request: pb.CreateConferenceRequest, context: Context) -> None:
        """Refuse a very long duration."""
        if request.duration.seconds > 86400:
            _refuse(context, "duration: too long")


@fails(
    {"duration": "step 1, create: duration: wanted a positive duration or none, got -5400 s 0 ns"}
)
class SubtractsTheWrongWay(Backend):
    """The backend computes the duration as start minus end, so it is negative."""

    def send(
        self, _request: pb.CreateConferenceRequest, response: pb.CreateConferenceResponse
    ) -> None:
        """Make the duration negative."""
        if told(response).HasField("duration"):
            told(response).duration.seconds *= -1


@fails(
    {
        "past-start": "step 1, create: wanted conference or denial, "
        "got INVALID_ARGUMENT ('start_time: in the past')"
    }
)
class RefusesPastStarts(Backend):
    """The backend answers a start in the past with an error status."""

    def receive(self, request: pb.CreateConferenceRequest, context: Context) -> None:
        """Refuse a start in the past, unless the end is in the past too: this gets a denial."""
        if _seconds_to_start(request) < -600 and _seconds_to_end(request) > 0:
            _refuse(context, "start_time: in the past")


@fails(
    {
        "future-start": "step 1, create: wanted conference or denial, "
        "got INVALID_ARGUMENT ('start_time: in the future')"
    }
)
class RefusesFutureStarts(Backend):
    """The backend answers a start in the future with an error status."""

    def receive(self, request: pb.CreateConferenceRequest, context: Context) -> None:
        """Refuse a start in the future."""
        if _seconds_to_start(request) > 600:
            _refuse(context, "start_time: in the future")


@fails(
    {
        "future-start": "step 2, create: wanted conference or denial, "
        "got INVALID_ARGUMENT ('start_time: after 2038')"
    }
)
class CountsIn32Bits(Backend):
    """The backend stores times as signed numbers of 32 bits."""

    def receive(self, request: pb.CreateConferenceRequest, context: Context) -> None:
        """Refuse a start that does not fit into 32 bits."""
        if request.start_time.seconds >= 2**31:
            _refuse(context, "start_time: after 2038")


@fails(
    {
        "past-end": "step 1, create: wanted conference or denial, "
        "got INVALID_ARGUMENT ('duration: ends in the past')"
    }
)
class RefusesPastEnds(Backend):
    """The backend answers an end in the past with an error status."""

    def receive(self, request: pb.CreateConferenceRequest, context: Context) -> None:
        """Refuse an end in the past."""
        if _seconds_to_end(request) < -600:
            _refuse(context, "duration: ends in the past")


_CLOCK = "; check the clock of the backend: it may differ from the kit's clock by at most 2 s"


class _KeepsForEver(Store):
    def _existing(self, conference: Conference | None, now: datetime) -> Conference | None:
        if conference is not None and any(self._holds.get(conference.id, {})):
            return super()._existing(conference, now)
        return conference


@fails({"over": f"step 2, create: wanted conference, got conflict{_CLOCK}"})
class NeverEnds(Backend):
    """The backend keeps a conference after its end, unless a proxy with a holder has it."""

    def __init__(self) -> None:
        super().__init__(_KeepsForEver())
