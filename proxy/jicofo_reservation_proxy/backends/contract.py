"""Convert between the messages of the contract and the proxy's values.

The functions also check each response of a backend. They round or leave out unusual values that are
harmless. They refuse a response as a breach of the contract if a client cannot handle the response,
or if a corrected value could open a room that should stay closed. For example, they do not ignore
a password that people cannot type.
"""

import logging
from collections.abc import Iterable

from google.protobuf.message import DecodeError

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
from jicofo_reservation_proxy.text_rules import has_control_characters

INCIDENT_KEY = "x-incident-id"
"""The metadata key that carries the incident id of each call. The proxy logs the incident
id, and the backend should log it too."""

DETAILS_KEY = "grpc-status-details-bin"
"""The metadata key under which gRPC carries a serialized `google.rpc.Status`."""

MAX_ID_BYTES = 255
MAX_JID_BYTES = 3071
"""The length of the longest JID (RFC 7622). A room or an owner is never longer."""
MAX_SECRET_BYTES = 255
MAX_URL_BYTES = 2048

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


class ContractBreach(Exception):  # noqa: N818 - the contract's own word
    """A backend returned a response that the contract forbids; the text is for the log.

    `granted_id` is the id of the conference if the response granted one, otherwise "". `has_row`
    as in `Granted`.
    """

    granted_id = ""
    has_row = False


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
    except ContractBreach as breach:
        breach.granted_id = _usable_id(response.conference)
        breach.has_row = response.hold > 0
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
        raise _breach(f"the conference {conference_id!r}", repr(found.id[:100]))
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


def _usable_id(message: pb.Conference) -> str:
    return message.id if len(message.id.encode()) <= MAX_ID_BYTES else ""


def _conference(message: pb.Conference, default_start_ms: int | None = None) -> Conference:
    conference_id, url = message.id, message.url
    if not 1 <= _size(conference_id) <= MAX_ID_BYTES:
        raise _breach(f"an id of 1 to {MAX_ID_BYTES} bytes", f"{_size(conference_id)} bytes")
    return Conference(
        id=conference_id,
        room=_name("room", message.room),
        owner=_name("owner", message.owner),
        start_time_ms=_start_time_ms(message, default_start_ms),
        duration_seconds=_duration_seconds(message),
        max_occupants=message.max_occupants if message.HasField("max_occupants") else None,
        lobby=message.lobby if message.HasField("lobby") else None,
        password=_typed("password", message.password),
        pin=_typed("pin", message.pin),
        url=url if url and _is_typeable(url, MAX_URL_BYTES) else None,
        sip_id=message.sip_id if message.HasField("sip_id") else None,
    )


def _name(field: str, text: str) -> str:
    if _size(text) > MAX_JID_BYTES:
        raise _breach(f"a {field} of at most {MAX_JID_BYTES} bytes", f"{_size(text)} bytes")
    return text


def _start_time_ms(message: pb.Conference, default_ms: int | None) -> int:
    if not message.HasField("start_time"):
        if default_ms is None:
            raise ContractBreach("wanted a start_time, got none")
        return default_ms
    start = message.start_time
    seconds, nanos = start.seconds, start.nanos
    if not (FIRST_SECOND <= seconds <= LAST_SECOND and 0 <= nanos < 1_000_000_000):
        raise _breach("a start_time in the years 1 to 9999", f"{seconds}s {nanos}ns")
    return seconds * 1000 + nanos // 1_000_000


def _duration_seconds(message: pb.Conference) -> int | None:
    if not message.HasField("duration"):
        return None
    seconds, nanos = message.duration.seconds, message.duration.nanos
    if not ((seconds, nanos) > (0, 0) and 0 <= nanos < 1_000_000_000):
        raise _breach("a positive duration, or none for no limit", f"{seconds}s {nanos}ns")
    return None if seconds > NO_LIMIT_SECONDS else max(1, seconds)


def _typed(name: str, text: str) -> str | None:
    """Return a password or PIN, or `None` when it is empty.

    Raises `ContractBreach` when people cannot type the text. If the proxy ignored the text, the
    room would open without a password or PIN.
    """
    if not text:
        return None
    if not _is_typeable(text, MAX_SECRET_BYTES):
        size = _size(text)
        raise _breach(
            f"a {name} of at most {MAX_SECRET_BYTES} bytes without control characters",
            f"{size} bytes" if size > MAX_SECRET_BYTES else "a control character",
        )
    return text


def _is_typeable(text: str, max_bytes: int) -> bool:
    return _size(text) <= max_bytes and not has_control_characters(text)


def _size(text: str) -> int:
    """Return the number of bytes of a text in UTF-8."""
    return len(text) if text.isascii() else len(text.encode())


def _breach(wanted: str, got: str) -> ContractBreach:
    return ContractBreach(f"wanted {wanted}, got {got}")
