"""The second mapping: a reply → an answer, which is an HTTP status and flat JSON.

The first mapping is in backends/grpc/grpc_statuses.py and backends/http/http_statuses.py. This
module contains the rules for all clients. renderers.py contains the rules for each client.
clients.md explains both.

Every answer is one flat JSON object in ASCII, without arrays, nulls or nested objects. An array can
make Jicofo treat a refusal as an approval. A body that is not an object blocks a Prosody room until
Prosody restarts.
"""

import http
import json
from collections.abc import Mapping
from typing import NamedTuple

from jicofo_reservation_proxy.model import (
    NO_ROUTE,
    OTHER_OWNER,
    OVER,
    SWITCHED_OFF,
    UNSAFE_NAME,
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
MEETING_OVER = "The time of this meeting is over."
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
"""The HTTP status of every fault, and the sentence that a user reads."""

DENIAL_SENTENCES: Mapping[str, str] = {
    NO_ROUTE: NO_BACKEND,
    OTHER_OWNER: TAKEN,
    OVER: MEETING_OVER,
    SWITCHED_OFF: NO_BACKEND,
    UNSAFE_NAME: NO_BACKEND,
}
"""The reason of a denial by the proxy itself → the sentence that a user reads."""

STATUS_LINES = {status.value: f"{status.value} {status.phrase}" for status in http.HTTPStatus}
"""An HTTP status → the status line of the answer, without the version of HTTP."""

Value = str | int | bool


class Answer(NamedTuple):
    """An HTTP answer: a status of RFC 9110 and a body of flat JSON."""

    status: int
    body: bytes


def answer(reply: Reservation | Taken, fields: Mapping[str, Value]) -> Answer:
    """Answer with the status of the reply and with these fields."""
    return _json(REPLY_STATUSES[type(reply)], fields)


def render_denied(denied: Denied) -> Answer:
    """Answer a denial with the backend's message; if that is empty, with the proxy's sentence."""
    sentence = one_line(denied.message) or DENIAL_SENTENCES.get(denied.reason, DENIED)
    return _refusal(REPLY_STATUSES[Denied], sentence)


def render_not_found() -> Answer:
    """Answer a GET for a conference that does not exist."""
    return _refusal(REPLY_STATUSES[NotFound], NOT_FOUND)


def render_delete(reply: DeleteReply, incident_id: str) -> Answer:
    """Answer `DELETE /conference/{id}`: 200 for every id, or a fault.

    Jicofo keeps a room if the answer to its DELETE is not 200 (clients.md "status"). So the proxy
    answers with a fault only if the deletion could be lost otherwise.
    """
    if isinstance(reply, Fault):
        return render_fault(reply, incident_id)
    return _json(REPLY_STATUSES[Deleted], {})


def render_bad_input(wrong: BadInput) -> Answer:
    """Answer a mistake in a client's request."""
    return _refusal(wrong.status, one_line(wrong.message))


def render_fault(fault: Fault, incident_id: str) -> Answer:
    """Answer a fault with a fixed sentence. Only the log contains the backend's text."""
    status, sentence = FAULT_ANSWERS[fault.kind]
    return _refusal(status, f"{sentence} (incident {incident_id})")


def _refusal(status: int, message: str) -> Answer:
    return _json(status, {"message": message})


def _json(status: int, fields: Mapping[str, Value]) -> Answer:
    return Answer(status, json.dumps(fields).encode("ascii"))
