"""How each client is answered: byte for byte, and whatever a backend comes up with."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jicofo_reservation_proxy import clients
from jicofo_reservation_proxy.clients import HANDBOOK, JICOFO, PROSODY, Answer, Dialect
from jicofo_reservation_proxy.forms import FIRST_SECOND, LAST_SECOND, parse_owner, parse_room
from jicofo_reservation_proxy.model import (
    BadInput,
    ClientKind,
    Conference,
    CreateReply,
    CreateRequest,
    Deleted,
    Denied,
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
    """Return a request of a room."""
    return CreateRequest(
        request_id="32b70e57-b26c-8a6c-8f6b-535dfdbc43bc",
        room=parse_room(name),
        mail_owner=owner,
        owner=parse_owner(owner) if owner else None,
        start_time_ms=START_MS,
        duration_seconds=None,
    )


def conference(**fields: object) -> Conference:
    """Return a conference of a backend that has names of its own."""
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
    return clients.render_create(dialect, asked, reply, INCIDENT)


def found(dialect: Dialect, reply: GetReply) -> Answer:
    """Return the answer to a GET."""
    return clients.render_get(dialect, reply, INCIDENT)


# -- byte for byte -----------------------------------------------------------------------------

DETAILS = b'"start_time": "2048-04-20T17:55:12.345Z", "duration": 3600'
ALL_DETAILS = (
    DETAILS + b', "max_occupants": 12, "lobby": true, "password": "caf\\u00e9", "pin": "1234",'
    b' "url": "https://example.com/7", "sip_id": 0'
)


@pytest.mark.parametrize("dialect", [JICOFO, PROSODY, HANDBOOK])
def test_post_repeats_the_request_s_own_words(dialect: Dialect) -> None:
    """Name and owner are those of the request, whatever the backend calls them."""
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
    """An owner that was not sent is left out, but for Prosody, which requires one."""
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
    """A GET has the backend's name, which Jicofo cannot bear, and the backend's owner."""
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
    """A conference without an owner has none in the answer, but for Prosody."""
    answer = found(dialect, Reservation(7, conference(owner="")))
    assert answer.body == expected + DETAILS + b"}"


@pytest.mark.parametrize("owner", [" ", "\0", "\n\x85"])
@pytest.mark.parametrize("dialect", [JICOFO, PROSODY, HANDBOOK])
def test_get_of_an_owner_that_is_not_shown(dialect: Dialect, owner: str) -> None:
    """An owner of which nothing can be shown is none: Jicofo refuses an empty one."""
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
def test_what_is_not_there_is_left_out(fields: dict[str, object], expected: bytes) -> None:
    """No null, zero or empty string stands for what a backend did not say."""
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
    """No limit is a large number, and so is anything longer."""
    fields = json.loads(found(JICOFO, Reservation(7, conference(duration_seconds=seconds))).body)
    assert fields["duration"] == told


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
        (START_MS, "2048-04-20T17:55:12.345Z"),
        (LEAST_MS, "0001-01-01T00:00:00.000Z"),
        (MOST_MS, "9999-12-31T23:59:59.999Z"),
    ],
)
def test_times_have_three_digits(ms: int, text: str) -> None:
    """Every time has exactly three digits behind the second, and a Z."""
    assert clients.format_time(ms) == text


@pytest.mark.parametrize("dialect", [JICOFO, PROSODY, HANDBOOK])
def test_refusals(dialect: Dialect) -> None:
    """A refusal is 403 with the backend's sentence, or with one of the proxy's own."""
    assert created(dialect, Denied("Not before 9.", "too_early"), request()) == Answer(
        403, b'{"message": "Not before 9."}'
    )
    for empty in ("", " \n ", "\0\x9f\uffff"):
        assert created(dialect, Denied(empty, "unspecified"), request()) == Answer(
            403, b'{"message": "This room is not available."}'
        )


@pytest.mark.parametrize("dialect", [JICOFO, PROSODY, HANDBOOK])
def test_taken(dialect: Dialect) -> None:
    """The handbook's 409 names the conference to ask for."""
    assert created(dialect, Taken(7), request()) == Answer(409, b'{"conflict_id": 7}')
    assert created(dialect, Taken("a.b"), request()) == Answer(409, b'{"conflict_id": "a.b"}')


@pytest.mark.parametrize("dialect", [JICOFO, PROSODY, HANDBOOK])
def test_not_found(dialect: Dialect) -> None:
    """A conference that nobody knows is 404 with a sentence."""
    assert found(dialect, NotFound()) == Answer(404, b'{"message": "There is no such conference."}')


LATER = "The reservation system is not available right now. Please try again in a moment."
SLOW = "The reservation system took too long. Please try again in a moment."
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
    """A fault is a fixed sentence and the incident's id; what the backend said is not shown."""
    fault = Fault(kind, "UNKNOWN", "secret words of the backend")
    expected = Answer(status, f'{{"message": "{sentence} (incident {INCIDENT})"}}'.encode())
    assert clients.render_fault(fault, INCIDENT) == expected
    assert created(JICOFO, fault, request()) == expected
    assert found(PROSODY, fault) == expected


def test_every_fault_has_an_answer() -> None:
    """No kind of fault is left without a status and a sentence."""
    assert set(clients.FAULT_ANSWERS) == set(FaultKind)


def test_delete() -> None:
    """A DELETE is answered 200 with an empty object."""
    answer = clients.render_delete(Deleted(), INCIDENT)
    assert answer == Answer(200, b"{}")
    read_delete(answer.status, answer.body)


@pytest.mark.parametrize("kind", FaultKind)
def test_a_delete_that_is_lost(kind: FaultKind) -> None:
    """Where the end of a meeting would be lost it is a 5xx, which Prosody tries again."""
    fault = Fault(kind, "X", "for the log")
    answer = clients.render_delete(fault, INCIDENT)
    assert answer == clients.render_fault(fault, INCIDENT)
    assert 500 <= answer.status <= 599
    assert INCIDENT.encode() in answer.body
    assert b"for the log" not in answer.body


def test_bad_input() -> None:
    """A client's mistake is its status and its sentence, in one line."""
    wrong = BadInput(415, "Content-Type: wanted\nsomething else, caf\u00e9.")
    assert clients.render_bad_input(wrong) == Answer(
        415, b'{"message": "Content-Type: wanted something else, caf\\u00e9."}'
    )


# -- who is asking -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("user_agent", "dialect"),
    [
        ("Apache-HttpClient/4.5.13 (Java/17)", JICOFO),
        ("Apache-HttpClient/4.4.1 (Java/1.8.0_151)", JICOFO),
        ("Prosody (0.12.3; posix)", PROSODY),
        ("Prosody 13.0", PROSODY),
        ("Prosody", PROSODY),
        ("", HANDBOOK),
        ("curl/8.5.0", HANDBOOK),
        ("prosody", HANDBOOK),
        ("Pros", HANDBOOK),
        ("apache-httpclient/4.5", HANDBOOK),
        ("Apache-HttpClient", HANDBOOK),
        ("Mozilla/5.0 Prosody", HANDBOOK),
    ],
)
def test_dialects_go_by_the_user_agent(user_agent: str, dialect: Dialect) -> None:
    """Jicofo's HTTP client and Prosody name themselves; anyone else gets the handbook's."""
    assert clients.dialect_of(user_agent) is dialect


def test_dialects_by_kind() -> None:
    """Every kind of client has its dialect."""
    assert {kind: clients.DIALECTS[kind] for kind in ClientKind} == {
        ClientKind.JICOFO: JICOFO,
        ClientKind.PROSODY: PROSODY,
        ClientKind.UNKNOWN: HANDBOOK,
    }
    assert [dialect.numeric_ids for dialect in (JICOFO, PROSODY, HANDBOOK)] == [True, False, True]


@pytest.mark.parametrize(
    ("dialect", "sent", "on_record", "may"),
    [
        (JICOFO, "juliet@example.com", "juliet@example.com", True),
        (JICOFO, "juliet@example.com", "Juliet@Example.COM", True),
        (JICOFO, "\u00c9ve@example.com", "\u00e9ve@example.com", True),
        (JICOFO, "juliet@example.com", "romeo@example.com", False),
        (JICOFO, "juliet@example.com", "juliet@example.org", False),
        (JICOFO, "juliet@example.com", "", False),
        (JICOFO, None, "juliet@example.com", True),
        (JICOFO, None, "", True),
        (JICOFO, "", "juliet@example.com", True),
        (HANDBOOK, "juliet@example.com", "JULIET@example.com", True),
        (HANDBOOK, "juliet@example.com", "romeo@example.com", False),
        (HANDBOOK, None, "romeo@example.com", True),
        (PROSODY, "juliet@example.com", "juliet@example.com", True),
        (PROSODY, "x7@guest.example.com", "y8@guest.example.com", True),
        (PROSODY, None, "y8@guest.example.com", True),
        (PROSODY, "", "", True),
    ],
)
def test_who_may_have_a_room_that_is_held(
    dialect: Dialect, sent: str | None, on_record: str, may: bool
) -> None:
    """With owners that are people it is the one on record; else anyone."""
    existing = conference(owner=on_record)
    assert clients.may_repeat(dialect, request(owner=sent), existing) is may


# -- one line ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", ""),
        ("Not today.", "Not today."),
        (" a \r\n\t b ", "a b"),
        ("a\u2028b\u2029c\x85d\x1ee", "a b c d e"),
        ("a\u00a0\u3000b", "a b"),
        ("a\0b\x07c\x7fd\x9fe", "abcde"),
        ("a\ud800b\udfffc", "abc"),
        ("a\ufdd0b\ufdefc\ufffed\uffffe\U0001fffef\U0010ffffg", "abcdefg"),
        ("\0 a", "a"),
        ("a\ufffdb\ufeff\U0001f389", "a\ufffdb\ufeff\U0001f389"),
        ("x" * 500, "x" * 500),
        ("x" * 501, "x" * 499 + "\u2026"),
        ("x" * 498 + " yz", "x" * 498 + "\u2026"),
        ("x" + " " * 600 + "y", "x y"),
        ("\U0001f389" * 501, "\U0001f389" * 499 + "\u2026"),
    ],
)
def test_one_line(text: str, line: str) -> None:
    """A text becomes one printable line of at most 500 characters."""
    assert clients.one_line(text) == line


def test_one_line_of_another_length() -> None:
    """The limit can be another one."""
    assert clients.one_line("abcdef", 6) == "abcdef"
    assert clients.one_line("abcdefg", 6) == "abcde\u2026"


# -- whatever a backend comes up with ----------------------------------------------------------

unicode_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
"""What a protobuf string can hold."""
typeable = st.text(
    st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"], exclude_characters="\ufffe\uffff"),
    max_size=60,
)
"""What the contract lets people be asked to type; forms hold nothing else either."""
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
    """Return the ids that the dialect's client is given."""
    return numbers if dialect.numeric_ids else numbers | string_ids


def is_about(understood: Understood, held: Conference) -> bool:
    """Tell whether what was understood is this conference."""
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
@settings(deadline=None, max_examples=120)
def test_any_conference_serves_its_client(
    dialect: Dialect, data: st.DataObject, held: Conference, asked: CreateRequest
) -> None:
    """Whatever a backend's conference holds, POST and GET are understood as that conference."""
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
@settings(deadline=None, max_examples=60)
def test_any_refusal_serves_its_client(
    dialect: Dialect,
    data: st.DataObject | None,
    asked: CreateRequest,
    message: str,
    reason: str,
) -> None:
    """Whatever a backend's sentence is, its client shows one line of at most 500 characters."""
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
@settings(deadline=None, max_examples=30)
def test_any_fault_serves_its_client(dialect: Dialect, fault: Fault, asked: CreateRequest) -> None:
    """Whatever went wrong, POST and GET are refused with the same line, and 5xx."""
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
@settings(deadline=None, max_examples=50)
def test_any_mistake_serves_both_clients(status: int, message: str) -> None:
    """Whatever is wrong with a request, either client understands the refusal."""
    answer = clients.render_bad_input(BadInput(status, message))
    for dialect in (JICOFO, PROSODY):
        for understood in (read_post(dialect, answer, request()), read_get(dialect, answer)):
            assert isinstance(understood, Refused)
            assert understood.status == status


def test_long_texts_serve_both_clients() -> None:
    """Texts of megabytes are cut where a client shows or compares them."""
    held = conference(room="r" * 2_000_000, owner="\U0001f389" * 2_000_000)
    fields = json.loads(found(PROSODY, Reservation(7, held)).body)
    assert len(fields["name"]) == len(fields["mail_owner"]) == 2047
    read_get(JICOFO, found(JICOFO, Reservation(7, held)))
