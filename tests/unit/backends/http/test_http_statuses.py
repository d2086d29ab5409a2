"""What an answer means: every status, with every kind of body."""

import itertools

import pytest
from jicofo_reservation_proxy.backends.http.answer_bodies import Body, BodyKind, read_body
from jicofo_reservation_proxy.backends.http.http_statuses import (
    FAULT_KINDS,
    GIVEN_UP,
    Meaning,
    fault_of,
    is_elsewhere,
    of_create,
    of_delete,
    of_get,
)
from jicofo_reservation_proxy.model import Fault, FaultKind

STATUSES = range(100, 600)
OBJECT, HTML = BodyKind.OBJECT, BodyKind.HTML


# The oracle is written from the rules for owners of backends (docs/http-backends.md), one rule
# after the other; the first that fits decides. It shares nothing with the table of the code.


def wanted_of_create(
    status: int, kind: BodyKind, *, has_sentence: bool, has_credentials: bool
) -> str:
    """Return what an answer to a create means."""
    rules = [
        (kind is HTML, "fault"),  # it is never from the backend itself
        (status < 200, "fault"),
        (status < 300 and kind is OBJECT, "granted"),
        (status < 300, "fault"),  # nobody knows which conference was granted
        (status < 400, "fault"),  # redirects are not followed
        (status == 409 and kind is BodyKind.UNREADABLE, "fault"),
        (status == 409, "conflict"),
        (status in {401, 404, 405, 406, 407, 408, 415, 429}, "fault"),
        (status < 500 and has_sentence, "denied"),
        (status == 403 and not has_credentials, "denied"),
    ]
    return next((meaning for fits, meaning in rules if fits), "fault")


def wanted_of_get(status: int, kind: BodyKind, *, is_gone: bool) -> str:
    """Return what an answer to a GET means; `is_gone`: `gone_statuses` has the status."""
    if is_gone:
        return "gone"
    if kind is not OBJECT:
        return "fault"
    return {2: "found"}.get(status // 100, "gone" if status in {404, 410} else "fault")


def wanted_of_delete(status: int, kind: BodyKind, *, is_gone: bool) -> str:
    """Return what an answer to a DELETE means."""
    if is_gone:
        return "gone"
    if status // 100 == 2:
        return "fault" if kind is HTML else "deleted"
    if kind is not OBJECT:
        return "fault"
    return {404: "gone", 410: "gone", 405: "no delete", 501: "no delete"}.get(status, "fault")


def test_every_answer_to_a_create() -> None:
    """Every status, kind of body, with and without a sentence, with and without credentials."""
    flags = [False, True]
    for status, kind, has_sentence, has_credentials in itertools.product(
        STATUSES, BodyKind, flags, flags
    ):
        found = of_create(
            status,
            Body(kind, {}),
            sentence="Closed." if has_sentence else "",
            has_credentials=has_credentials,
        )
        wanted = wanted_of_create(
            status, kind, has_sentence=has_sentence, has_credentials=has_credentials
        )
        assert found is Meaning(wanted), (status, kind, has_sentence, has_credentials)


@pytest.mark.parametrize("gone_statuses", [(), (404, 410), (400, 405, 500, 599), (404,)])
def test_every_answer_to_a_get_and_a_delete(gone_statuses: tuple[int, ...]) -> None:
    """Every status and kind of body; `gone_statuses` decides whatever the body is."""
    for status, kind in itertools.product(STATUSES, BodyKind):
        is_gone = status in gone_statuses
        body = Body(kind, {})
        found = of_get(status, body, gone_statuses)
        assert found is Meaning(wanted_of_get(status, kind, is_gone=is_gone)), (status, kind)
        found = of_delete(status, body, gone_statuses)
        assert found is Meaning(wanted_of_delete(status, kind, is_gone=is_gone)), (status, kind)


KINDS = {
    401: FaultKind.UNAUTHORIZED,
    403: FaultKind.UNAUTHORIZED,
    407: FaultKind.UNAUTHORIZED,
    408: FaultKind.SLOW,
    429: FaultKind.OVERLOADED,
    502: FaultKind.UNREACHABLE,
    503: FaultKind.UNREACHABLE,
    504: FaultKind.SLOW,
}


def test_every_fault() -> None:
    """A fault has the status as its code, its kind, and the text of the backend for the log."""
    body = read_body(b'{"error": "no\\ntable"}')
    for status in STATUSES:
        fault = fault_of(status, body, "why")
        assert fault == Fault(
            KINDS.get(status, FaultKind.BROKEN),
            str(status),
            "the answer has a JSON object (no table): why",
            may_happen_later=status in {408, 502, 503, 504},
            is_elsewhere=300 <= status < 400,
        )
    assert fault_of(500, read_body(b"")).detail == "the answer has nothing"
    assert fault_of(200, read_body(b"<html>")).is_elsewhere
    assert not fault_of(404, read_body(b"<html>")).is_elsewhere


def test_no_status_outside_of_http_has_a_meaning() -> None:
    """The tables have statuses of HTTP errors only; 600 and above are faults."""
    assert set(FAULT_KINDS) | GIVEN_UP <= set(range(400, 600))
    for status, kind in itertools.product((600, 999), BodyKind):
        body = Body(kind, {})
        assert of_create(status, body, sentence="x", has_credentials=False) is Meaning.FAULT
        assert of_get(status, body, ()) is of_delete(status, body, ()) is Meaning.FAULT


@pytest.mark.parametrize(
    ("status", "data", "elsewhere"),
    [
        (302, b"", True),
        (307, b"{}", True),
        (200, b"<html>", True),
        (200, b"{}", False),
        (200, b"", False),
        (404, b"<html>", False),
        (502, b"<html>", False),
    ],
)
def test_answers_of_another_server(status: int, data: bytes, elsewhere: bool) -> None:
    """A redirect and a page with a good status come from another server, such as a log-in page."""
    assert is_elsewhere(status, read_body(data)) is elsewhere
