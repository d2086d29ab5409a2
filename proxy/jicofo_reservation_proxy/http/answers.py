"""The second mapping: a reply → an answer, which is an HTTP status and flat JSON.

The first mapping, gRPC status → outcome, is in backends/grpc_statuses.py. This module has what is
the same for all clients. renderers.py has what differs between the clients. Both follow clients.md.

Every answer is one flat JSON object in ASCII, without arrays, nulls or nested objects. An array
makes Jicofo treat a refusal as an approval. A body that is not an object leaves a Prosody room
stuck until Prosody restarts.
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

# Prosody repeats a refusal for 30 to 90 s without a new request (clients.md).
_LATER = "The reservation system is not available right now. Please try again in two minutes."
_BROKEN = "The reservation system has a problem. Please tell your administrator."

REPLY_STATUSES: Mapping[type[Reservation | Deleted | Taken | Denied | NotFound], int] = {
    Reservation: 200,
    Deleted: 200,
    Denied: 403,
    NotFound: 404,
    Taken: 409,
}
"""The HTTP status of every reply except a fault."""

FAULT_ANSWERS: Mapping[FaultKind, tuple[int, str]] = {
    FaultKind.UNREACHABLE: (503, _LATER),
    FaultKind.OVERLOADED: (503, _LATER),
    FaultKind.SATURATED: (503, _LATER),
    FaultKind.SLOW: (504, "The reservation system took too long. Please try again in two minutes."),
    FaultKind.UNAUTHORIZED: (502, _BROKEN),
    FaultKind.BROKEN: (502, _BROKEN),
    FaultKind.STATE: (503, _BROKEN),
    FaultKind.INTERNAL: (500, _BROKEN),
}
"""The HTTP status of every fault, and the only sentence that a user reads about it."""

DENIAL_SENTENCES: Mapping[str, str] = {NO_ROUTE: NO_BACKEND, OTHER_OWNER: TAKEN}
"""The sentence that a user reads when the proxy itself denies a room, by the reason."""

Value = str | int | bool


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer: a status of RFC 9110 and a body of flat JSON."""

    status: int
    body: bytes


def answer(reply: Reservation | Taken, fields: Mapping[str, Value]) -> Answer:
    """Answer with the status of the reply and with these fields."""
    return _json(REPLY_STATUSES[type(reply)], fields)


def render_denied(denied: Denied) -> Answer:
    """Deny a room with the backend's sentence or, if it has none, with the proxy's own."""
    sentence = one_line(denied.message) or DENIAL_SENTENCES.get(denied.reason, DENIED)
    return _refusal(REPLY_STATUSES[Denied], sentence)


def render_not_found() -> Answer:
    """Answer a GET for a conference that does not exist."""
    return _refusal(REPLY_STATUSES[NotFound], NOT_FOUND)


def render_delete(reply: DeleteReply, incident_id: str) -> Answer:
    """Answer `DELETE /conference/{id}`: 200 for every id, or a fault.

    Jicofo keeps a room unless the answer to its DELETE is exactly 200 (clients.md "status"). So the
    answer is a fault only if the deletion would be lost.
    """
    if isinstance(reply, Fault):
        return render_fault(reply, incident_id)
    return _json(REPLY_STATUSES[Deleted], {})


def render_bad_input(wrong: BadInput) -> Answer:
    """Answer a mistake in a client's request."""
    return _refusal(wrong.status, one_line(wrong.message))


def render_fault(fault: Fault, incident_id: str) -> Answer:
    """Answer a fault with a fixed sentence. Only the log has the backend's own text."""
    status, sentence = FAULT_ANSWERS[fault.kind]
    return _refusal(status, f"{sentence} (incident {incident_id})")


def _refusal(status: int, message: str) -> Answer:
    return _json(status, {"message": message})


def _json(status: int, fields: Mapping[str, Value]) -> Answer:
    return Answer(status, json.dumps(fields).encode("ascii"))
