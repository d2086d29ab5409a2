"""The answers to each client: byte for byte, and for any data of a backend."""

import json
from datetime import UTC, datetime, timedelta
from typing import get_args

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jicofo_reservation_proxy.http.answers import (
    FAULT_ANSWERS,
    REPLY_STATUSES,
    Answer,
    render_bad_input,
    render_delete,
    render_fault,
)
from jicofo_reservation_proxy.http.dialects import HANDBOOK, JICOFO, PROSODY
from jicofo_reservation_proxy.http.forms import parse_room
from jicofo_reservation_proxy.http.owners import guest_test, parse_owner
from jicofo_reservation_proxy.http.renderers import RENDERERS
from jicofo_reservation_proxy.model import (
    FIRST_SECOND,
    LAST_SECOND,
    BadInput,
    ClientKind,
    Conference,
    CreateReply,
    CreateRequest,
    Deleted,
    DeleteReply,
    Denied,
    Dialect,
    Fault,
    FaultKind,
    GetReply,
    NotFound,
    PublicId,
    Reservation,
    Taken,
)

from .readers import (
    Approved,
    Held,
    Refused,
    Understood,
    read_as_jicofo,
    read_as_prosody,
    read_delete,
)

START_MS = 2_471_018_112_345
LEAST_MS, MOST_MS = FIRST_SECOND * 1000, LAST_SECOND * 1000 + 999
INCIDENT = "0123456789ab"


def request(name: str = "board", owner: str | None = "juliet@example.com") -> CreateRequest:
    """Return a request for a room."""
    return CreateRequest(
        request_id="32b70e57-b26c-8a6c-8f6b-535dfdbc43bc",
        room=parse_room(name),
        mail_owner=owner,
        owner=parse_owner(owner, guest_test(())) if owner else None,
        start_time_ms=START_MS,
        duration_seconds=None,
    )


def conference(**fields: object) -> Conference:
    """Return a conference whose room and owner differ from those of the request."""
    usual: dict[str, object] = {
        "id": "order/7",
        "room": "Board",
        "owner": "Juliet@example.com",
        "start_time_ms": START_MS,
        "duration_seconds": 3600,
    }
    return Conference(**(usual | fields))  # type: ignore[arg-type]


WHOLE = conference(
    max_occupants=12,
    lobby=True,
    password="caf\u00e9",
    pin="1234",
    url="https://example.com/7",
    sip_id=0,
)


def created(dialect: Dialect, reply: CreateReply, asked: CreateRequest) -> Answer:
    """Return the answer to a POST."""
    return RENDERERS[dialect.kind].create(asked, reply, INCIDENT)


def found(dialect: Dialect, reply: GetReply) -> Answer:
    """Return the answer to a GET."""
    return RENDERERS[dialect.kind].get(reply, INCIDENT)


# -- byte for byte -----------------------------------------------------------------------------

DETAILS = b'"start_time": "2048-04-20T17:55:12.345Z", "duration": 3600'
ALL_DETAILS = (
    DETAILS + b', "max_occupants": 12, "lobby": true, "password": "caf\\u00e9", "pin": "1234",'
    b' "url": "https://example.com/7", "sip_id": 0'
)


@pytest.mark.parametrize("dialect", [JICOFO, PROSODY, HANDBOOK])
def test_post_repeats_the_name_and_owner_of_the_request(dialect: Dialect) -> None:
    """The answer to a POST has the name and owner of the request, not those of the backend."""
    answer = created(dialect, Reservation(7, WHOLE), request("[a]caf%c3%a9"))
    assert answer == Answer(
        200,
        b'{"id": 7, "name": "[a]caf%c3%a9", "mail_owner": "juliet@example.com", '
        + ALL_DETAILS
        + b"}",
    )


@pytest.mark.parametrize(
    ("dialect", "owner", "expected"),
    [
        (JICOFO, None, b""),
        (HANDBOOK, None, b""),
        (PROSODY, None, b'"mail_owner": "", '),
        (JICOFO, "", b'"mail_owner": "", '),
        (HANDBOOK, "", b'"mail_owner": "", '),
        (PROSODY, "", b'"mail_owner": "", '),
        (JICOFO, "\u00e9@example.com", b'"mail_owner": "\\u00e9@example.com", '),
    ],
)
def test_post_owner(dialect: Dialect, owner: str | None, expected: bytes) -> None:
    """If the request has no owner, the answer has none. Prosody gets an empty owner."""
    answer = created(dialect, Reservation("default.7", conference()), request(owner=owner))
    assert answer.body == b'{"id": "default.7", "name": "board", ' + expected + DETAILS + b"}"


@pytest.mark.parametrize(
    ("dialect", "expected"),
    [
        (JICOFO, b'{"id": 7, "mail_owner": "Juliet@example.com", '),
        (HANDBOOK, b'{"id": 7, "name": "Board", "mail_owner": "Juliet@example.com", '),
        (PROSODY, b'{"id": 7, "name": "Board", "mail_owner": "Juliet@example.com", '),
    ],
)
def test_get(dialect: Dialect, expected: bytes) -> None:
    """The answer to a GET has the backend's owner and, except for Jicofo, the backend's name."""
    assert found(dialect, Reservation(7, conference())) == Answer(200, expected + DETAILS + b"}")


@pytest.mark.parametrize(
    ("dialect", "expected"),
    [
        (JICOFO, b'{"id": 7, '),
        (HANDBOOK, b'{"id": 7, "name": "Board", '),
        (PROSODY, b'{"id": 7, "name": "Board", "mail_owner": "", '),
    ],
)
def test_get_without_an_owner(dialect: Dialect, expected: bytes) -> None:
    """If a conference has no owner, the answer has none. Prosody gets an empty owner."""
    answer = found(dialect, Reservation(7, conference(owner="")))
    assert answer.body == expected + DETAILS + b"}"


@pytest.mark.parametrize("owner", [" ", "\0", "\n\x85"])
@pytest.mark.parametrize("dialect", [JICOFO, PROSODY, HANDBOOK])
def test_get_of_an_owner_without_printable_characters(dialect: Dialect, owner: str) -> None:
    """An owner without printable characters counts as no owner."""
    answer = found(dialect, Reservation(7, conference(owner=owner)))
    assert answer == found(dialect, Reservation(7, conference(owner="")))


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"max_occupants": 0}, b""),
        ({"max_occupants": -1}, b""),
        ({"max_occupants": 1}, b', "max_occupants": 1'),
        ({"lobby": False}, b""),
        ({"lobby": True}, b', "lobby": true'),
        ({"password": ""}, b""),
        ({"password": "0"}, b', "password": "0"'),
        ({"pin": ""}, b""),
        ({"pin": "0"}, b', "pin": "0"'),
        ({"url": ""}, b""),
        ({"url": "x"}, b', "url": "x"'),
        ({"sip_id": -1}, b""),
        ({"sip_id": 0}, b', "sip_id": 0'),
        ({"sip_id": 99_999_999_999_999}, b', "sip_id": 99999999999999'),
        ({"sip_id": 100_000_000_000_000}, b""),
    ],
)
def test_fields_without_a_value_are_left_out(fields: dict[str, object], expected: bytes) -> None:
    """The answer has no null, zero or empty string for a field that the backend did not set."""
    answer = created(JICOFO, Reservation(7, conference(**fields)), request(owner=None))
    assert answer.body == b'{"id": 7, "name": "board", ' + DETAILS + expected + b"}"


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (None, 3_155_760_000),
        (1, 1),
        (3_155_760_000, 3_155_760_000),
        (3_155_760_001, 3_155_760_000),
        (10**18, 3_155_760_000),
    ],
)
def test_no_limit_is_a_hundred_years(seconds: int | None, told: int) -> None:
    """The answer gives 100 years for "no limit" and for every longer duration."""
    fields = json.loads(found(JICOFO, Reservation(7, conference(duration_seconds=seconds))).body)
    assert fields["duration"] == told


@pytest.mark.parametrize("dialect", [JICOFO, PROSODY, HANDBOOK])
def test_denials(dialect: Dialect) -> None:
    """A denial is 403 with the backend's sentence or, without one, with the proxy's sentence."""
    assert created(dialect, Denied("Not before 9.", "too_early"), request()) == Answer(
        403, b'{"message": "Not before 9."}'
    )
    for empty in ("", " \n ", "\0\x9f\uffff"):
        assert created(dialect, Denied(empty, "unspecified"), request()) == Answer(
            403, b'{"message": "This room is not available."}'
        )


@pytest.mark.parametrize("dialect", [JICOFO, PROSODY, HANDBOOK])
def test_taken(dialect: Dialect) -> None:
    """For a taken room, the answer is 409 with the id of the conference, as in the handbook.

    Jicofo shows the message if its GET after the 409 fails.
    """
    taken = b'"message": "This room is in use by someone else."'
    assert created(dialect, Taken(7), request()) == Answer(409, b'{"conflict_id": 7, %s}' % taken)
    answer = created(dialect, Taken("a.b"), request())
    assert answer == Answer(409, b'{"conflict_id": "a.b", %s}' % taken)


@pytest.mark.parametrize("dialect", [JICOFO, PROSODY, HANDBOOK])
def test_not_found(dialect: Dialect) -> None:
    """A conference that does not exist is 404 with a sentence."""
    assert found(dialect, NotFound()) == Answer(404, b'{"message": "There is no such conference."}')


LATER = "The reservation system is not available right now. Please try again in two minutes."
SLOW = "The reservation system took too long. Please try again in two minutes."
BROKEN = "The reservation system has a problem. Please tell your administrator."


@pytest.mark.parametrize(
    ("kind", "status", "sentence"),
    [
        (FaultKind.UNREACHABLE, 503, LATER),
        (FaultKind.OVERLOADED, 503, LATER),
        (FaultKind.SATURATED, 503, LATER),
        (FaultKind.SLOW, 504, SLOW),
        (FaultKind.UNAUTHORIZED, 502, BROKEN),
        (FaultKind.BROKEN, 502, BROKEN),
        (FaultKind.STATE, 503, BROKEN),
        (FaultKind.INTERNAL, 500, BROKEN),
    ],
)
def test_faults(kind: FaultKind, status: int, sentence: str) -> None:
    """A fault is a fixed sentence with the incident id, without the text of the backend."""
    fault = Fault(kind, "UNKNOWN", "secret words of the backend")
    expected = Answer(status, f'{{"message": "{sentence} (incident {INCIDENT})"}}'.encode())
    assert render_fault(fault, INCIDENT) == expected
    assert created(JICOFO, fault, request()) == expected
    assert found(PROSODY, fault) == expected


def test_every_fault_has_an_answer() -> None:
    """Every kind of fault has a status and a sentence."""
    assert set(FAULT_ANSWERS) == set(FaultKind)


def test_every_reply_has_a_status() -> None:
    """Every kind of reply except a fault has one status. The kind of a fault decides its status."""
    replies = {*get_args(CreateReply), *get_args(GetReply), *get_args(DeleteReply)}
    assert set(REPLY_STATUSES) == replies - {Fault}


def test_delete() -> None:
    """The answer to a DELETE is 200 with an empty object."""
    answer = render_delete(Deleted(), INCIDENT)
    assert answer == Answer(200, b"{}")
    read_delete(answer.status, answer.body)


@pytest.mark.parametrize("kind", FaultKind)
def test_a_delete_that_is_lost(kind: FaultKind) -> None:
    """If a deletion would be lost, the answer is a 5xx, so that Prosody sends the DELETE again."""
    fault = Fault(kind, "X", "for the log")
    answer = render_delete(fault, INCIDENT)
    assert answer == render_fault(fault, INCIDENT)
    assert 500 <= answer.status <= 599
    assert INCIDENT.encode() in answer.body
    assert b"for the log" not in answer.body


def test_bad_input() -> None:
    """The answer to a wrong request has the status of the mistake, and its message on one line."""
    wrong = BadInput(415, "Content-Type: wanted\nsomething else, caf\u00e9.")
    assert render_bad_input(wrong) == Answer(
        415, b'{"message": "Content-Type: wanted something else, caf\\u00e9."}'
    )


def test_every_client_has_a_renderer() -> None:
    """Every kind of client has a renderer."""
    assert set(RENDERERS) == set(ClientKind)


# -- any data of a backend ---------------------------------------------------------------------

unicode_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
"""What a protobuf string can hold."""
typeable = st.text(
    st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"], exclude_characters="\ufffe\uffff"),
    max_size=60,
)
"""Texts that people type. The contract and the forms allow no other characters in them."""
conferences = st.builds(
    Conference,
    id=unicode_text,
    room=unicode_text,
    owner=unicode_text,
    start_time_ms=st.integers(LEAST_MS, MOST_MS),
    duration_seconds=st.none() | st.integers(1, 10**12),
    max_occupants=st.none() | st.integers(-(2**31), 2**31 - 1),
    lobby=st.none() | st.booleans(),
    password=st.none() | typeable,
    pin=st.none() | typeable,
    url=st.none() | typeable,
    sip_id=st.none() | st.integers(-(2**63), 2**63 - 1),
)
numbers = st.integers(1, 99_999_999_999_999)
string_ids = st.from_regex(r"[a-z]{1,9}\.[A-Za-z0-9_~-]{0,40}", fullmatch=True)
requests = st.builds(request, name=typeable.filter(bool), owner=st.none() | typeable.filter(bool))
faults = st.builds(Fault, kind=st.sampled_from(FaultKind), code=unicode_text, detail=unicode_text)


def read_post(dialect: Dialect, answer: Answer, asked: CreateRequest) -> Understood:
    """Read the answer to a POST as the dialect's client does."""
    read = read_as_prosody if dialect is PROSODY else read_as_jicofo
    return read(answer.status, answer.body, asked.room.raw, asked.mail_owner)


def read_get(dialect: Dialect, answer: Answer) -> Understood:
    """Read the answer to a GET as the dialect's client does."""
    read = read_as_prosody if dialect is PROSODY else read_as_jicofo
    return read(answer.status, answer.body, None, None)


def ids_of(dialect: Dialect) -> st.SearchStrategy[PublicId]:
    """Return the ids that the proxy gives to the dialect's client."""
    return numbers if dialect.numeric_ids else numbers | string_ids


def is_about(understood: Understood, held: Conference) -> bool:
    """Return whether the client understood the answer as this conference."""
    assert isinstance(understood, Approved)
    fields = understood.fields
    start = datetime.fromisoformat(str(fields["start_time"]))
    since = start - datetime(1970, 1, 1, tzinfo=UTC)
    limit = 3_155_760_000
    return (
        since // timedelta(milliseconds=1) == held.start_time_ms
        and fields["duration"] == min(held.duration_seconds or limit, limit)
        and fields.get("max_occupants", 0) == max(0, held.max_occupants or 0)
        and fields.get("lobby", False) == bool(held.lobby)
        and fields.get("password", "") == (held.password or "")
        and fields.get("pin", "") == (held.pin or "")
        and fields.get("url", "") == (held.url or "")
    )


@pytest.mark.parametrize("dialect", [JICOFO, PROSODY])
@given(data=st.data(), held=conferences, asked=requests)
@settings(max_examples=120)
def test_clients_understand_any_conference(
    dialect: Dialect, data: st.DataObject, held: Conference, asked: CreateRequest
) -> None:
    """The client reads the right conference from the answers to POST and GET, for any data."""
    reservation = Reservation(data.draw(ids_of(dialect)), held)
    post = read_post(dialect, created(dialect, reservation, asked), asked)
    get = read_get(dialect, found(dialect, reservation))
    assert is_about(post, held)
    assert is_about(get, held)
    assert isinstance(post, Approved)
    assert isinstance(get, Approved)
    assert post.fields["id"] == get.fields["id"] == reservation.public_id


@pytest.mark.parametrize("dialect", [JICOFO, PROSODY])
@given(data=st.data(), asked=requests, message=unicode_text, reason=unicode_text)
@example(data=None, asked=request(), message="x\n" * 1_000_000, reason="")
@settings(max_examples=60)
def test_clients_understand_any_denial(
    dialect: Dialect,
    data: st.DataObject | None,
    asked: CreateRequest,
    message: str,
    reason: str,
) -> None:
    """For any sentence of a backend, the client shows one line of at most 500 characters."""
    answer = created(dialect, Denied(message, reason), asked)
    understood = read_post(dialect, answer, asked)
    assert isinstance(understood, Refused)
    assert understood.status == 403
    assert len(understood.message) <= 500
    if data is not None:
        public_id = data.draw(ids_of(dialect))
        taken = read_post(dialect, created(dialect, Taken(public_id), asked), asked)
        assert taken == Held(public_id)


@pytest.mark.parametrize("dialect", [JICOFO, PROSODY])
@given(fault=faults, asked=requests)
@settings(max_examples=30)
def test_clients_understand_any_fault(dialect: Dialect, fault: Fault, asked: CreateRequest) -> None:
    """For any fault, the answers to POST and GET have the same message and a 5xx status."""
    post = read_post(dialect, created(dialect, fault, asked), asked)
    get = read_get(dialect, found(dialect, fault))
    assert isinstance(post, Refused)
    assert post == get
    assert 500 <= post.status <= 504
    assert f"(incident {INCIDENT})" in post.message


@given(
    status=st.sampled_from([400, 404, 405, 413, 415]),
    message=unicode_text.map(lambda text: f"name: {text}"),
)
@settings(max_examples=50)
def test_both_clients_understand_any_bad_input(status: int, message: str) -> None:
    """Both clients understand the refusal of a wrong request, for any mistake in it."""
    answer = render_bad_input(BadInput(status, message))
    for dialect in (JICOFO, PROSODY):
        for understood in (read_post(dialect, answer, request()), read_get(dialect, answer)):
            assert isinstance(understood, Refused)
            assert understood.status == status


def test_both_clients_understand_long_texts() -> None:
    """A name or an owner of megabytes is cut to 2047 characters."""
    held = conference(room="r" * 2_000_000, owner="\U0001f389" * 2_000_000)
    fields = json.loads(found(PROSODY, Reservation(7, held)).body)
    assert len(fields["name"]) == len(fields["mail_owner"]) == 2047
    read_get(JICOFO, found(JICOFO, Reservation(7, held)))
