"""How each client wants its answers: outcome → (status, flat JSON). clients.md is the law here.

Every answer is one flat JSON object, ASCII, without arrays, nulls or nested objects: an array
makes Jicofo take a refusal for an approval, and a bare value leaves a Prosody room stuck for good.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from .model import (
    BadInput,
    ClientKind,
    Conference,
    CreateReply,
    CreateRequest,
    DeleteReply,
    Denied,
    Fault,
    FaultKind,
    GetReply,
    NotFound,
    Reservation,
    Taken,
)

NO_LIMIT_SECONDS = 3_155_760_000
"""What "no limit" is told as, and the longest duration told: 100 years. Both clients close a room
at start_time + duration, so it must also cover a start that is long past; and it must stay far
below 10^15 (clients.md "duration")."""

MAX_MESSAGE_CHARACTERS = 500
"""Where a sentence for people is cut; Jitsi shows it in a small dialog."""

MAX_NAME_CHARACTERS = 2047
"""Room for the longest bare JID (RFC 7622)."""

MAX_SIP_ID = 99_999_999_999_999
"""The largest number that every JSON reader in use here keeps as it is (clients.md "id")."""

Value = str | int | bool

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - in UTC, as all times here


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer: a status of RFC 9110 and a body of flat JSON."""

    status: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Dialect:
    """What one kind of client can bear, and what its words mean."""

    kind: ClientKind
    numeric_ids: bool
    """Jicofo takes nothing but a number as an id."""
    name_in_get: bool
    """Prosody requires the name in a GET's answer, Jicofo throws if it is there."""
    owner_always: bool
    """Prosody requires an owner, at least an empty one; Jicofo refuses one that it did not send."""
    owner_is_a_person: bool
    """Prosody's anonymous users are new owners at every login, so they can repeat no request."""


JICOFO = Dialect(
    ClientKind.JICOFO,
    numeric_ids=True,
    name_in_get=False,
    owner_always=False,
    owner_is_a_person=True,
)
PROSODY = Dialect(
    ClientKind.PROSODY,
    numeric_ids=False,
    name_in_get=True,
    owner_always=True,
    owner_is_a_person=False,
)
HANDBOOK = Dialect(
    ClientKind.UNKNOWN,
    numeric_ids=True,
    name_in_get=True,
    owner_always=False,
    owner_is_a_person=True,
)
DIALECTS: Mapping[ClientKind, Dialect] = {
    dialect.kind: dialect for dialect in (JICOFO, PROSODY, HANDBOOK)
}


def dialect_of(user_agent: str) -> Dialect:
    """Return the dialect of the client that calls itself so (clients.md "User-Agent")."""
    if user_agent.startswith("Apache-HttpClient/"):
        return JICOFO
    if user_agent.startswith("Prosody"):
        return PROSODY
    return HANDBOOK


def may_repeat(dialect: Dialect, request: CreateRequest, existing: Conference) -> bool:
    """Tell whether the client may have the conference that holds the room already.

    It may where ownership says nothing, where no owner was sent, and where the owner is the one
    on record (clients.md "409 and GET"). JIDs do not tell upper from lower case.
    """
    if not dialect.owner_is_a_person or request.owner is None:
        return True
    return request.owner.raw.lower() == existing.owner.lower()


def render_create(
    dialect: Dialect, request: CreateRequest, reply: CreateReply, incident_id: str
) -> Answer:
    """Answer `POST /conference`."""
    match reply:
        case Reservation():
            return _json(200, _created(dialect, request, reply))
        case Taken(public_id):
            return _json(409, {"conflict_id": public_id})
        case Denied(message):
            return _refusal(403, one_line(message) or DENIED)
        case Fault():
            return render_fault(reply, incident_id)


def render_get(dialect: Dialect, reply: GetReply, incident_id: str) -> Answer:
    """Answer `GET /conference/{id}`."""
    match reply:
        case Reservation():
            return _json(200, _found(dialect, reply))
        case NotFound():
            return _refusal(404, NOT_FOUND)
        case Fault():
            return render_fault(reply, incident_id)


def render_delete(reply: DeleteReply, incident_id: str) -> Answer:
    """Answer `DELETE /conference/{id}`: 200, whatever the id, as soon as the end is kept.

    Jicofo keeps a room whose DELETE was not exactly 200 (clients.md "status"), so it is a fault
    only where the end of the conference would be lost.
    """
    return render_fault(reply, incident_id) if isinstance(reply, Fault) else _json(200, {})


def render_bad_input(wrong: BadInput) -> Answer:
    """Answer a client's mistake."""
    return _refusal(wrong.status, one_line(wrong.message))


def render_fault(fault: Fault, incident_id: str) -> Answer:
    """Answer a fault with a fixed sentence; what the backend said stays in the log."""
    status, sentence = FAULT_ANSWERS[fault.kind]
    return _refusal(status, f"{sentence} (incident {incident_id})")


DENIED = "This room is not available."
NOT_FOUND = "There is no such conference."
TAKEN = "This room is in use by someone else."
NO_BACKEND = "Rooms of this name are not available here."

_LATER = "The reservation system is not available right now. Please try again in a moment."
_BROKEN = "The reservation system has a problem. Please tell your administrator."

FAULT_ANSWERS: Mapping[FaultKind, tuple[int, str]] = {
    FaultKind.UNREACHABLE: (503, _LATER),
    FaultKind.OVERLOADED: (503, _LATER),
    FaultKind.SATURATED: (503, _LATER),
    FaultKind.SLOW: (504, "The reservation system took too long. Please try again in a moment."),
    FaultKind.UNAUTHORIZED: (502, _BROKEN),
    FaultKind.BROKEN: (502, _BROKEN),
    FaultKind.STATE: (503, _BROKEN),
    FaultKind.INTERNAL: (500, _BROKEN),
}
"""The second mapping: what went wrong → what a client may see of it."""


def _created(
    dialect: Dialect, request: CreateRequest, reservation: Reservation
) -> dict[str, Value]:
    """Repeat the request's own name and owner, whatever the backend calls them."""
    fields: dict[str, Value] = {"id": reservation.public_id, "name": request.room.raw}
    if request.mail_owner is not None or dialect.owner_always:
        fields["mail_owner"] = request.mail_owner or ""
    return fields | _details(reservation.conference)


def _found(dialect: Dialect, reservation: Reservation) -> dict[str, Value]:
    conference = reservation.conference
    fields: dict[str, Value] = {"id": reservation.public_id}
    if dialect.name_in_get:
        fields["name"] = one_line(conference.room, MAX_NAME_CHARACTERS)
    owner = one_line(conference.owner, MAX_NAME_CHARACTERS)
    if owner or dialect.owner_always:
        fields["mail_owner"] = owner
    return fields | _details(conference)


def _details(conference: Conference) -> dict[str, Value]:
    """Return the rest of a conference, with what is not there left out.

    Prosody refuses a whole answer over a null, a zero or an empty string here, even with the
    feature switched off (clients.md "optional").
    """
    seconds = conference.duration_seconds
    fields: dict[str, Value] = {
        "start_time": format_time(conference.start_time_ms),
        "duration": NO_LIMIT_SECONDS if seconds is None else min(seconds, NO_LIMIT_SECONDS),
    }
    if conference.max_occupants and conference.max_occupants > 0:
        fields["max_occupants"] = conference.max_occupants
    if conference.lobby:
        fields["lobby"] = True
    if conference.password:
        fields["password"] = conference.password
    if conference.pin:
        fields["pin"] = conference.pin
    if conference.url:
        fields["url"] = conference.url
    if conference.sip_id is not None and 0 <= conference.sip_id <= MAX_SIP_ID:
        fields["sip_id"] = conference.sip_id
    return fields


def format_time(epoch_ms: int) -> str:
    """Return `YYYY-MM-DDTHH:MM:SS.mmmZ`, exactly three digits (clients.md "start_time")."""
    moment = _EPOCH + timedelta(milliseconds=epoch_ms)
    return moment.isoformat(timespec="milliseconds") + "Z"


_SPACE = re.compile(r"\s+")
_UNBEARABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef"
    + "".join(
        f"{chr(plane + 0xFFFE)}{chr(plane + 0xFFFF)}" for plane in range(0, 0x110000, 0x10000)
    )
    + "]"
)
"""XML, in which both clients pass a text on, holds neither controls nor non-characters."""


def one_line(text: str, max_characters: int = MAX_MESSAGE_CHARACTERS) -> str:
    """Return a text that both clients can show: one line, printable, not too long."""
    text = _SPACE.sub(" ", text[: 2 * max_characters])
    text = _UNBEARABLE.sub("", text).strip()
    if len(text) <= max_characters:
        return text
    return text[: max_characters - 1].rstrip() + "\N{HORIZONTAL ELLIPSIS}"


def _refusal(status: int, message: str) -> Answer:
    return _json(status, {"message": message})


def _json(status: int, fields: Mapping[str, Value]) -> Answer:
    return Answer(status, json.dumps(fields).encode("ascii"))
