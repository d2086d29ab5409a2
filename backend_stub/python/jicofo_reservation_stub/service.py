"""The service of the contract: it turns a request into a decision of `Policy` and `Store`."""

import logging
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from typing import Never, assert_never

import grpc
from google.protobuf.duration_pb2 import Duration

# The stub uses the proxy's copy of the generated code: two copies in one process fail with a
# duplicate symbol.
from jicofo_reservation_proxy.gen.jicofo.reservation.v1 import reservation_pb2 as pb
from jicofo_reservation_proxy.gen.jicofo.reservation.v1 import reservation_pb2_grpc as pb_grpc

from jicofo_reservation_stub.store import (
    Booking,
    Conference,
    GivenUpError,
    Granted,
    Held,
    Hold,
    Outcome,
    Store,
    StoreFullError,
    TooLate,
)

# The maximum of google.protobuf.Duration, about 10,000 years.
_DURATION_MAX = timedelta(seconds=315_576_000_000)
_ROOM_BYTES_MAX = 1023

_logger = logging.getLogger(__name__)


class InvalidRequestError(ValueError):
    """A request breaks the contract; the text names the field."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The rules of this backend, the same for all owners. Put your own rules here.

    `deny` holds shell patterns for the names of rooms; upper and lower case are the same.
    `duration` is the maximum duration of every conference; None means no maximum. Every conference
    gets the other values unchanged.
    """

    deny: tuple[str, ...] = ()
    duration: timedelta | None = None
    max_occupants: int | None = None
    lobby: bool | None = None
    password: str | None = field(default=None, repr=False)

    def denial(self, room: pb.Room) -> pb.Denial | None:
        """Return a denial when a rule denies this room to everybody, otherwise None."""
        # The proxy always sets `name`. Another caller may set only `raw`, and the rules must apply
        # to that caller too.
        name = (room.name or room.raw).casefold()
        if not any(fnmatchcase(name, pattern.casefold()) for pattern in self.deny):
            return None
        return pb.Denial(
            message="Rooms of this name are not available.",
            reason=pb.DENIAL_REASON_INVALID_ROOM,
        )

    def booking(self, request: pb.CreateConferenceRequest) -> Booking:
        """Return the booking to request from the store.

        Raises InvalidRequestError when the request breaks the contract.
        """
        wanted = _duration(request)
        limits = [limit for limit in (wanted, self.duration) if limit is not None]
        return Booking(
            request_id=_required("request_id", request.request_id),
            room=_room(request.room),
            owner=_required("owner.raw", request.owner.raw) if request.HasField("owner") else "",
            start=_start(request),
            duration=min(limits, default=None),
            max_occupants=self.max_occupants,
            lobby=self.lobby,
            password=self.password,
        )


class ReservationService(pb_grpc.ReservationServiceServicer):
    """The reservation service: it applies a policy to a request and asks a store.

    The service logs one line for each call, with the incident id that the proxy logs too. When the
    deadline of a call passes while the call waits for a thread, grpc.server drops the call, and no
    method runs. A method that takes long should check `context.is_active()` from time to time.
    """

    def __init__(self, store: Store | None = None, policy: Policy | None = None) -> None:
        self._store = Store() if store is None else store
        self._policy = Policy() if policy is None else policy

    # The contract sets the names of the methods.
    def CreateConference(  # noqa: N802
        self, request: pb.CreateConferenceRequest, context: grpc.ServicerContext
    ) -> pb.CreateConferenceResponse:
        """Return the granted conference, a conflict with the holder of the room, or a denial."""
        call = _Call(context, f"create room={request.room.raw!r}{_shown(request)}")
        try:
            booking, hold = self._policy.booking(request), _grant_hold(request)
            call.log(f"client={request.client} wants {booking}", logging.DEBUG)
            if (denial := self._policy.denial(request.room)) is not None:
                response = pb.CreateConferenceResponse(denial=denial)
            else:
                response = _decision(self._store.create(booking, hold))
        except InvalidRequestError as error:
            call.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except StoreFullError as error:
            # A fault, not a denial: no rule denies this room.
            call.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, str(error))
        call.log(_summary(response))
        return response

    def GetConference(  # noqa: N802
        self, request: pb.GetConferenceRequest, context: grpc.ServicerContext
    ) -> pb.GetConferenceResponse:
        """Return the conference; answer NOT_FOUND when it is unknown, deleted or over."""
        call = _Call(context, f"get id={request.conference_id!r}")
        conference = self._store.get(call.conference_id(request))
        if conference is None:
            call.abort(grpc.StatusCode.NOT_FOUND, "no such conference")
        call.log("found")
        return pb.GetConferenceResponse(conference=_message(conference))

    def DeleteConference(  # noqa: N802
        self, request: pb.DeleteConferenceRequest, context: grpc.ServicerContext
    ) -> pb.DeleteConferenceResponse:
        """Delete the conference for one holder; answer OK also when nothing is to be deleted."""
        is_withdrawal = request.room and not request.conference_id
        target = f"room={request.room!r}" if is_withdrawal else f"id={request.conference_id!r}"
        call = _Call(context, f"delete {target} reason={request.reason}{_shown(request)}")
        hold = _hold(request)
        try:
            if is_withdrawal:
                ending = self._store.withdraw(request.room, hold, context.is_active)
            else:
                ending = self._store.delete(call.conference_id(request), hold, context.is_active)
        except GivenUpError:
            call.abort(grpc.StatusCode.CANCELLED, "the caller no longer waits; nothing was deleted")
        call.log(ending.value)
        return pb.DeleteConferenceResponse()


class _Call:
    """One call: its subject and its incident id for the log, and its error answers."""

    def __init__(self, context: grpc.ServicerContext, subject: str) -> None:
        self._context = context
        # The caller chose both texts. The log shows them as Python literals (repr), so that a line
        # break in them cannot start a new log line.
        self._incident = dict(context.invocation_metadata()).get("x-incident-id", "")
        self._subject = subject

    def log(self, result: str, level: int = logging.INFO) -> None:
        _logger.log(level, "incident=%r %s: %s", self._incident, self._subject, result)

    def abort(self, code: grpc.StatusCode, details: str) -> Never:
        self.log(f"{code.name}: {details}")
        self._context.abort(code, details)

    def conference_id(self, request: pb.GetConferenceRequest | pb.DeleteConferenceRequest) -> str:
        is_deletion = isinstance(request, pb.DeleteConferenceRequest)
        try:
            return _required(
                "conference_id or room" if is_deletion else "conference_id", request.conference_id
            )
        except InvalidRequestError as error:
            self.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))


def _hold(request: pb.CreateConferenceRequest | pb.DeleteConferenceRequest) -> Hold:
    return Hold(request.holder, request.hold)


def _grant_hold(request: pb.CreateConferenceRequest) -> Hold:
    """Return the hold of a create; it is positive with a holder, and 0 without one."""
    if request.holder and request.hold <= 0:
        raise InvalidRequestError(
            f"hold: wanted a positive number, because holder is set, got {request.hold}"
        )
    if not request.holder and request.hold:
        raise InvalidRequestError(f"hold: wanted 0, because holder is empty, got {request.hold}")
    return _hold(request)


def _shown(request: pb.CreateConferenceRequest | pb.DeleteConferenceRequest) -> str:
    """Return the holder and the hold for the log; "" if the caller has no holder."""
    return f" holder={request.holder!r} hold={request.hold}" if request.holder else ""


def _required(field_name: str, value: str) -> str:
    if not value:
        raise InvalidRequestError(f"{field_name}: wanted a value, got none")
    return value


def _room(room: pb.Room) -> str:
    size = len(_required("room.raw", room.raw).encode())
    if size > _ROOM_BYTES_MAX:
        raise InvalidRequestError(f"room.raw: wanted at most {_ROOM_BYTES_MAX} bytes, got {size}")
    return room.raw


def _start(request: pb.CreateConferenceRequest) -> datetime:
    if not request.HasField("start_time"):
        raise InvalidRequestError("start_time: wanted a time, got none")
    try:
        return request.start_time.ToDatetime(tzinfo=UTC)
    except ValueError as error:
        raise InvalidRequestError(
            "start_time: wanted a valid time in the years 1 to 9999, "
            f"got {request.start_time.seconds} s and {request.start_time.nanos} ns"
        ) from error


def _duration(request: pb.CreateConferenceRequest) -> timedelta | None:
    if not request.HasField("duration"):
        return None
    try:
        duration = request.duration.ToTimedelta()
    except (OverflowError, ValueError) as error:
        raise InvalidRequestError(_wrong_duration(request.duration)) from error
    if not duration and request.duration.nanos > 0:
        # A timedelta counts microseconds. A duration of a few nanoseconds is positive too, so the
        # code rounds it up.
        duration = timedelta.resolution
    if not timedelta() < duration <= _DURATION_MAX:
        raise InvalidRequestError(_wrong_duration(request.duration))
    return duration


def _wrong_duration(got: Duration) -> str:
    return (
        "duration: wanted a positive duration of at most 10,000 years, or none, "
        f"got {got.seconds} s and {got.nanos} ns"
    )


def _decision(outcome: Outcome) -> pb.CreateConferenceResponse:
    match outcome:
        case Granted(conference, hold):
            return pb.CreateConferenceResponse(conference=_message(conference), hold=hold)
        case Held(conference, hold):
            conflict = pb.Conflict(conference=_message(conference))
            return pb.CreateConferenceResponse(conflict=conflict, hold=hold)
        case TooLate():
            # After a grant, Jitsi would close the room at once, without a message to the user.
            denial = pb.Denial(
                message="The time of this meeting is over already.",
                reason=pb.DENIAL_REASON_TOO_LATE,
            )
            return pb.CreateConferenceResponse(denial=denial)
        case _:
            assert_never(outcome)


def _summary(response: pb.CreateConferenceResponse) -> str:
    if response.HasField("conference"):
        return f"granted id={response.conference.id}"
    if response.HasField("conflict"):
        return f"conflict with id={response.conflict.conference.id}"
    return f"denied: {response.denial.message}"


def _message(conference: Conference) -> pb.Conference:
    booking = conference.booking
    message = pb.Conference(
        id=conference.id,
        room=booking.room,
        owner=booking.owner,
        max_occupants=booking.max_occupants,
        lobby=booking.lobby,
        password=booking.password,
    )
    message.start_time.FromDatetime(booking.start)
    if booking.duration is not None:
        message.duration.FromTimedelta(booking.duration)
    return message
