"""Convert between the messages of the contract and the proxy's values.

The functions also check each response of a backend (conference_rules.py).
"""

import logging
from collections.abc import Iterable

from google.protobuf.message import DecodeError

from jicofo_reservation_proxy.backends.conference_rules import (
    ContractBreach,
    breach,
    checked_id,
    checked_name,
    checked_secret,
    usable_id,
    usable_url,
)
from jicofo_reservation_proxy.gen.jicofo.reservation.v1 import reservation_pb2 as pb
from jicofo_reservation_proxy.model import (
    FIRST_SECOND,
    LAST_SECOND,
    NO_HOLD,
    NO_LIMIT_SECONDS,
    ClientKind,
    Conference,
    Conflict,
    CreateOutcome,
    CreateRequest,
    DeleteReason,
    Deletion,
    Denied,
    Found,
    Granted,
    Hold,
)

INCIDENT_KEY = "x-incident-id"
"""The metadata key that carries the incident id of each call. The proxy logs the incident
id, and the backend should log it too."""

DETAILS_KEY = "grpc-status-details-bin"
"""The metadata key under which gRPC carries a serialized `google.rpc.Status`."""

_CLIENTS = {
    ClientKind.UNKNOWN: pb.CLIENT_UNSPECIFIED,
    ClientKind.JICOFO: pb.CLIENT_JICOFO,
    ClientKind.PROSODY: pb.CLIENT_PROSODY,
}
_REASONS = {
    DeleteReason.ENDED: pb.DELETE_REASON_ENDED,
    DeleteReason.EXPIRED: pb.DELETE_REASON_EXPIRED,
}
logger = logging.getLogger(__name__)


def create_message(
    request: CreateRequest, client: ClientKind, hold: Hold = NO_HOLD
) -> pb.CreateConferenceRequest:
    """Return the message that asks for a conference in a room."""
    room, owner = request.room, request.owner
    message = pb.CreateConferenceRequest(request_id=request.request_id, client=_CLIENTS[client])
    if request.extra_fields:
        message.extra_fields.update(request.extra_fields)
    # To set the fields of a sub-message takes half the time of making one and copying it.
    own = message.room
    own.raw, own.tenant, own.name = room.raw, room.tenant, room.name
    start = message.start_time
    start.seconds, milliseconds = divmod(request.start_time_ms, 1000)
    start.nanos = milliseconds * 1_000_000
    if owner is not None:
        person = message.owner
        person.raw, person.user = owner.raw, owner.user
        person.domain, person.guest = owner.domain, owner.is_guest
    if request.duration_seconds is not None:
        message.duration.seconds = request.duration_seconds
    if hold.holder:
        message.holder, message.hold = hold
    return message


def get_message(conference_id: str) -> pb.GetConferenceRequest:
    """Return the message that reads a conference."""
    return pb.GetConferenceRequest(conference_id=conference_id)


def delete_message(deletion: Deletion, hold: Hold) -> pb.DeleteConferenceRequest:
    """Return the message that says that a conference is over for the holder of a hold."""
    message = pb.DeleteConferenceRequest(
        conference_id=deletion.conference_id,
        reason=_REASONS[deletion.reason],
        room=deletion.room,
    )
    if hold.holder:
        message.holder, message.hold = hold
    message.delete_time.FromMilliseconds(deletion.over_at_ms)
    return message


def read_create(response: pb.CreateConferenceResponse, request: CreateRequest) -> CreateOutcome:
    """Return the decision of the backend about a room. Raises `ContractBreach`."""
    try:
        return _decision(response, request)
    except ContractBreach as found:
        found.granted_id = usable_id(response.conference.id)
        found.has_row = response.hold > 0
        raise


def _decision(response: pb.CreateConferenceResponse, request: CreateRequest) -> CreateOutcome:
    has_row = response.hold > 0
    match response.WhichOneof("outcome"):
        case "conference":
            return Granted(_conference(response.conference, request.start_time_ms), has_row)
        case "conflict":
            return Conflict(_conference(response.conflict.conference), has_row)
        case "denial":
            denial = response.denial
            return Denied(denial.message, denial_reason(denial.reason))
        case _:
            raise ContractBreach("wanted an outcome in CreateConferenceResponse, got none")


def read_get(response: pb.GetConferenceResponse, conference_id: str) -> Found:
    """Return the requested conference. Raises `ContractBreach`."""
    found = _conference(response.conference)
    if found.id != conference_id:
        raise breach(f"the conference {conference_id!r}", repr(found.id[:100]))
    return Found(found)


def localized_message(trailing_metadata: Iterable[tuple[str, str | bytes]]) -> str:
    """Return the sentence of a denial that a backend sent as a gRPC error status, or "".

    The details of such a status carry a `google.rpc.LocalizedMessage` (reservation.proto). The
    function imports the message types of the details only when they are needed, because few
    backends send details.
    """
    details = next((value for key, value in trailing_metadata if key == DETAILS_KEY), None)
    if not isinstance(details, bytes):
        return ""
    from google.rpc import error_details_pb2, status_pb2  # noqa: PLC0415 - see the docstring

    localized = error_details_pb2.LocalizedMessage()
    try:
        for detail in status_pb2.Status.FromString(details).details:
            if detail.Unpack(localized):
                return str(localized.message)
    except DecodeError:
        logger.warning("cannot parse %s of a backend; the proxy ignores it", DETAILS_KEY)
    return ""


def denial_reason(number: int) -> str:
    """Return the reason of a denial as the log shows it, such as `not_allowed`.

    If this version of the contract does not know the reason, return its number.
    """
    try:
        name = pb.DenialReason.Name(number)  # type: ignore[arg-type]
    except ValueError:
        return str(number)
    return name.removeprefix("DENIAL_REASON_").lower()


def _conference(message: pb.Conference, default_start_ms: int | None = None) -> Conference:
    return Conference(
        id=checked_id(message.id),
        room=checked_name("room", message.room),
        owner=checked_name("owner", message.owner),
        start_time_ms=_start_time_ms(message, default_start_ms),
        duration_seconds=_duration_seconds(message),
        max_occupants=message.max_occupants if message.HasField("max_occupants") else None,
        lobby=message.lobby if message.HasField("lobby") else None,
        password=checked_secret("password", message.password),
        pin=checked_secret("pin", message.pin),
        url=usable_url(message.url),
        sip_id=message.sip_id if message.HasField("sip_id") else None,
    )


def _start_time_ms(message: pb.Conference, default_ms: int | None) -> int:
    if not message.HasField("start_time"):
        if default_ms is None:
            raise ContractBreach("wanted a start_time, got none")
        return default_ms
    start = message.start_time
    seconds, nanos = start.seconds, start.nanos
    if not (FIRST_SECOND <= seconds <= LAST_SECOND and 0 <= nanos < 1_000_000_000):
        raise breach("a start_time in the years 1 to 9999", f"{seconds}s {nanos}ns")
    return seconds * 1000 + nanos // 1_000_000


def _duration_seconds(message: pb.Conference) -> int | None:
    if not message.HasField("duration"):
        return None
    seconds, nanos = message.duration.seconds, message.duration.nanos
    if not ((seconds, nanos) > (0, 0) and 0 <= nanos < 1_000_000_000):
        raise breach("a positive duration, or none for no limit", f"{seconds}s {nanos}ns")
    return None if seconds > NO_LIMIT_SECONDS else max(1, seconds)
