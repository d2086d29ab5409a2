"""The first mapping: the HTTP status and the body of an answer → what the answer means.

docs/http-backends.md has the same table. A fault keeps the status and the text of the backend in
addition to the kind that the proxy infers. The second mapping, from a reply to an HTTP answer, is
in http/answers.py.
"""

import enum
from collections.abc import Collection, Mapping

from jicofo_reservation_proxy.model import Fault, FaultKind

from .answer_bodies import Body, BodyKind

FAULT_KINDS: Mapping[int, FaultKind] = {
    401: FaultKind.UNAUTHORIZED,
    403: FaultKind.UNAUTHORIZED,
    407: FaultKind.UNAUTHORIZED,
    408: FaultKind.SLOW,
    429: FaultKind.OVERLOADED,
    502: FaultKind.UNREACHABLE,
    503: FaultKind.UNREACHABLE,
    504: FaultKind.SLOW,
}
"""The kind of the fault of a status; every other status is `BROKEN`."""

NO_DENIALS = frozenset({401, 404, 405, 406, 407, 408, 415, 429})
"""These statuses to a POST are about the request of the proxy, and never about the room."""

GIVEN_UP = frozenset({408, 502, 503, 504})
"""With these statuses a server in front of the backend has given up: the backend may still carry
out the request."""

RETRYABLE = frozenset({502, 503})
"""A server in front of the backend does not reach it, or the backend is just starting."""

NO_ROUTE = frozenset({404, 405})
"""These statuses to a create say that the backend has no such endpoint."""

GONE = frozenset({404, 410})
NO_DELETE = frozenset({405, 501})


class Meaning(enum.Enum):
    """What an answer means; which one is possible depends on the request."""

    GRANTED = "granted"
    CONFLICT = "conflict"
    DENIED = "denied"
    FOUND = "found"
    GONE = "gone"
    DELETED = "deleted"
    NO_DELETE = "no delete"
    FAULT = "fault"


def of_create(status: int, body: Body, *, sentence: str, has_credentials: bool) -> Meaning:
    """Return what an answer to a create means.

    `sentence` is the sentence for the user in the body, or "". `has_credentials` says whether the
    proxy sends credentials, so that a 403 may be about them.
    """
    if body.kind is BodyKind.HTML:
        return Meaning.FAULT
    if 200 <= status < 300:
        return Meaning.GRANTED if body.kind is BodyKind.OBJECT else Meaning.FAULT
    if status == 409:
        return Meaning.FAULT if body.kind is BodyKind.UNREADABLE else Meaning.CONFLICT
    if status in NO_DENIALS or not 400 <= status < 500:
        return Meaning.FAULT
    is_plain_403 = status == 403 and not has_credentials
    return Meaning.DENIED if sentence or is_plain_403 else Meaning.FAULT


def of_get(status: int, body: Body, gone_statuses: Collection[int]) -> Meaning:
    """Return what an answer to a GET means.

    Only a JSON object shows that the backend itself says that a conference does not exist: a route
    that is missing during a roll-out answers 404 too.
    """
    is_object = body.kind is BodyKind.OBJECT
    if status in gone_statuses or (status in GONE and is_object):
        return Meaning.GONE
    return Meaning.FOUND if 200 <= status < 300 and is_object else Meaning.FAULT


def of_delete(status: int, body: Body, gone_statuses: Collection[int]) -> Meaning:
    """Return what an answer to a DELETE means; the rule for a 404 is that of `of_get`."""
    if status in gone_statuses:
        return Meaning.GONE
    if 200 <= status < 300:
        return Meaning.FAULT if body.kind is BodyKind.HTML else Meaning.DELETED
    if body.kind is not BodyKind.OBJECT:
        return Meaning.FAULT
    if status in GONE:
        return Meaning.GONE
    return Meaning.NO_DELETE if status in NO_DELETE else Meaning.FAULT


def fault_of(status: int, body: Body, why: str = "") -> Fault:
    """Return the fault for an answer; `why` says what is wrong with an answer without an error."""
    kind = FAULT_KINDS.get(status, FaultKind.BROKEN)
    detail = f"the answer has {body.described}" + (f": {why}" if why else "")
    return Fault(
        kind,
        str(status),
        detail,
        may_happen_later=status in GIVEN_UP,
        is_elsewhere=is_elsewhere(status, body),
    )


def is_elsewhere(status: int, body: Body) -> bool:
    """Return whether another server than the backend answered, as far as one can tell."""
    return 300 <= status < 400 or (status < 300 and body.kind is BodyKind.HTML)
