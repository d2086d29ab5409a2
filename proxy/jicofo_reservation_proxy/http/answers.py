"""The second mapping: what a client is told (a reply) → an HTTP status and flat JSON.

The first one, gRPC status → outcome, is in backends/grpc_statuses.py. Here is what is the same for
all clients; what differs between them is in renderers.py. clients.md is the law for both.

Every answer is one flat JSON object, ASCII, without arrays, nulls or nested objects: an array
makes Jicofo take a refusal for an approval, and a bare value leaves a Prosody room stuck for good.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from jicofo_reservation_proxy.model import (
    NO_ROUTE,
    OTHER_OWNER,
    BadInput,
    Deleted,
    DeleteReply,
    Denied,
    Fault,
    FaultKind,
    NotFound,
    Reservation,
    Taken,
)
from jicofo_reservation_proxy.text_rules import one_line

DENIED = "This room is not available."
NOT_FOUND = "There is no such conference."
TAKEN = "This room is in use by someone else."
NO_BACKEND = "Rooms of this name are not available here."

_LATER = "The reservation system is not available right now. Please try again in a moment."
_BROKEN = "The reservation system has a problem. Please tell your administrator."

REPLY_STATUSES: Mapping[type[Reservation | Deleted | Taken | Denied | NotFound], int] = {
    Reservation: 200,
    Deleted: 200,
    Denied: 403,
    NotFound: 404,
    Taken: 409,
}
"""Every reply but a fault → its status."""

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
"""Every fault → its status, and all that a user is told of it."""

DENIAL_SENTENCES: Mapping[str, str] = {NO_ROUTE: NO_BACKEND, OTHER_OWNER: TAKEN}
"""What a user reads when the proxy itself denies a room, by the reason."""

Value = str | int | bool


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer: a status of RFC 9110 and a body of flat JSON."""

    status: int
    body: bytes


def answer(reply: Reservation | Taken, fields: Mapping[str, Value]) -> Answer:
    """Answer with what a client asked for."""
    return _json(REPLY_STATUSES[type(reply)], fields)


def render_denied(denied: Denied) -> Answer:
    """Refuse a room, in the words of whoever denied it."""
    sentence = one_line(denied.message) or DENIAL_SENTENCES.get(denied.reason, DENIED)
    return _refusal(REPLY_STATUSES[Denied], sentence)


def render_not_found() -> Answer:
    """Answer a GET for a conference that does not exist."""
    return _refusal(REPLY_STATUSES[NotFound], NOT_FOUND)


def render_delete(reply: DeleteReply, incident_id: str) -> Answer:
    """Answer `DELETE /conference/{id}`: 200, whatever the id, as soon as the end is kept.

    Jicofo keeps a room whose DELETE was not exactly 200 (clients.md "status"), so it is a fault
    only where the end of the conference would be lost.
    """
    if isinstance(reply, Fault):
        return render_fault(reply, incident_id)
    return _json(REPLY_STATUSES[Deleted], {})


def render_bad_input(wrong: BadInput) -> Answer:
    """Answer a client's mistake."""
    return _refusal(wrong.status, one_line(wrong.message))


def render_fault(fault: Fault, incident_id: str) -> Answer:
    """Answer a fault with a fixed sentence; what the backend said stays in the log."""
    status, sentence = FAULT_ANSWERS[fault.kind]
    return _refusal(status, f"{sentence} (incident {incident_id})")


def _refusal(status: int, message: str) -> Answer:
    return _json(status, {"message": message})


def _json(status: int, fields: Mapping[str, Value]) -> Answer:
    return Answer(status, json.dumps(fields).encode("ascii"))
