"""Reasons: why a request ended as it did, in one sentence for the operator, with what to do."""

from collections.abc import Mapping

from jicofo_reservation_proxy.backends.grpc.misdirected_calls import is_from_http
from jicofo_reservation_proxy.http.recent_requests import SeenRequest
from jicofo_reservation_proxy.model import (
    NO_ROUTE,
    OTHER_OWNER,
    OVER,
    SWITCHED_OFF,
    UNSAFE_NAME,
    BadInput,
    Deleted,
    Denied,
    Fault,
    FaultKind,
    NotFound,
    Reservation,
    Taken,
)
from jicofo_reservation_proxy.reservations.context import FROM_FALLBACK, FROM_LEDGER
from jicofo_reservation_proxy.text_rules import one_line

FAULT_REASONS: Mapping[FaultKind, str] = {
    FaultKind.UNREACHABLE: "The backend cannot be reached: check that it runs, and the target.",
    FaultKind.OVERLOADED: "The backend is overloaded, or the in-flight limit of the proxy is "
    "reached: check the load of the backend, and in_flight.",
    FaultKind.SLOW: "The backend did not answer within the deadline: check its load, and "
    "answer_within.",
    FaultKind.SATURATED: "The proxy did not call the backend, because its last calls took too "
    "long: check the load of the backend. The proxy tries again by itself.",
    FaultKind.UNAUTHORIZED: "The backend does not accept the credentials of the proxy: check its "
    "key or its certificate, and what the backend expects.",
    FaultKind.BROKEN: "The backend failed, or its answer cannot be used: see its log under the "
    "same incident.",
    FaultKind.STATE: "The ledger cannot be read or written: check the disk of state_dir (space, "
    "rights, faults).",
    FaultKind.INTERNAL: "A bug in the proxy: its log has the details under this incident; please "
    "report them.",
}
"""The kind of a fault → the reason of a request that ended in it."""

FROM_HTTP = (
    "An HTTP server answered {status} in place of the gRPC backend: check the target, and the "
    "routes of the ingress before it."
)

DETAIL_REASONS: Mapping[str, str] = {
    "WRONG_VERSION_NUMBER": "The backend does not speak TLS on this port: remove tls, or correct "
    "the target (http:// in place of https://, or the port).",
    "CERTIFICATE_VERIFY_FAILED": "The certificate of the backend is not accepted: check "
    "tls.ca_file and tls.server_name.",
    "andshake failed": "The TLS handshake with the backend failed: check whether it speaks TLS, "
    "and the settings in tls.",
    "Failed parsing HTTP/2": "The target does not speak gRPC: an HTTP/1 server answers there. "
    "Check the port in the target. If it is an HTTP backend, begin the target with http://.",
    "Socket closed": "The backend closed the connection at once: check that it is a gRPC server. "
    "If it wants TLS, set tls.",
}
"""Words in the text about a connection that failed → the reason, more exact than that of
`UNREACHABLE`."""

UNIMPLEMENTED = (
    "The backend does not implement this method. If it has no DeleteConference, set methods.delete "
    '= ""; otherwise check the target, and methods.'
)

REDIRECT = (
    "The backend answers with a redirect, which the proxy does not follow: put the URL that it "
    "leads to into the target."
)

_NO_ENDPOINT = (
    "The backend has no such endpoint: check the path in the target, and the paths in http. If it "
    "answers so for a conference that does not exist, set http.gone_statuses."
)

HTTP_REASONS: Mapping[str, str] = {
    **dict.fromkeys(("301", "302", "303", "307", "308"), REDIRECT),
    **dict.fromkeys(("404", "405"), _NO_ENDPOINT),
}
"""The status of an HTTP backend → the reason, more exact than that of `BROKEN`."""

SOURCE_REASONS: Mapping[str, str] = {
    FROM_LEDGER: "The backend gave no answer, so the proxy answered from its ledger.",
    FROM_FALLBACK: "The backend gave no answer, so the proxy granted the room itself "
    "(when_unreachable).",
}
"""The source of an answer without the backend → the reason."""

DENIAL_REASONS: Mapping[str, str] = {
    NO_ROUTE: "No backend is responsible for this room: check the routes.",
    OTHER_OWNER: "A conference of another owner holds the room.",
    OVER: "The backend named a conference whose end has passed.",
    SWITCHED_OFF: "This backend opens no rooms: check http.create, and the routes.",
    UNSAFE_NAME: "The name of the room cannot be part of the URL in http.create.",
}
"""The reason of a denial by the proxy itself → the sentence."""

REPLY_REASONS: Mapping[tuple[str, type[object]], str] = {
    ("create", Reservation): "The backend granted the room, or the client may join its conference.",
    ("get", Reservation): "The conference exists.",
    ("create", Taken): "Another conference holds the room; the client was told its id.",
    ("get", NotFound): "There is no such conference, or it is over.",
    ("delete", Deleted): "The conference is over.",
}
"""The operation and the reply → the reason."""

NO_ANSWER_YET = "The request is in flight."


def reason_of(seen: SeenRequest, *, shows_texts: bool = True) -> str:
    """Return why a request ended as it did. Without `shows_texts`, leave out the texts of others.

    Such a text is of the backend or of the client, and may contain the name of a room.
    """
    handled = seen.handled
    if handled is None:
        return FAULT_REASONS[FaultKind.INTERNAL] if seen.status else NO_ANSWER_YET
    if handled.source:
        return SOURCE_REASONS[handled.source]
    return _reason_of_reply(seen.operation, handled.reply, shows_texts=shows_texts)


def _reason_of_reply(operation: str, reply: object, *, shows_texts: bool) -> str:
    match reply:
        case Fault() as fault:
            return reason_of_fault(fault, shows_texts=shows_texts)
        case Denied(_, reason) if reason in DENIAL_REASONS:
            return DENIAL_REASONS[reason]
        case Denied(message, reason):
            return f"The backend denied the room{_said(message or reason, shows_texts)}."
        case BadInput(_, message):
            return f"The client sent a wrong request{_said(message, shows_texts)}."
        case _:
            return REPLY_REASONS[operation, type(reply)]


def reason_of_fault(fault: Fault, *, shows_texts: bool = True) -> str:
    """Return the sentence about a fault."""
    if is_from_http(fault):
        return FROM_HTTP.format(status=fault.detail.rpartition(" ")[2])
    sentence = _sentence(fault)
    if not shows_texts or not fault.detail:
        return sentence
    code = f"{fault.code}: " if fault.code else ""
    return f"{sentence} ({code}{one_line(fault.detail, 200)})"


def _sentence(fault: Fault) -> str:
    if fault.code == "UNIMPLEMENTED":
        return UNIMPLEMENTED
    if fault.kind is FaultKind.UNREACHABLE:
        for words, sentence in DETAIL_REASONS.items():
            if words in fault.detail:
                return sentence
    return HTTP_REASONS.get(fault.code, FAULT_REASONS[fault.kind])


def _said(text: str, shows_texts: bool) -> str:  # noqa: FBT001 - private
    return f": {one_line(text, 200).rstrip('.')}" if text and shows_texts else ""
