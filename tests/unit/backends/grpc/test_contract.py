"""The messages of the contract: requests to a backend, and how its responses are read."""

from collections.abc import Callable

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jicofo_reservation_proxy.backends.conference_rules import ContractBreach
from jicofo_reservation_proxy.backends.grpc.contract import (
    create_message,
    delete_message,
    denial_reason,
    get_message,
    read_create,
    read_get,
)
from jicofo_reservation_proxy.gen.jicofo.reservation.v1 import reservation_pb2 as pb
from jicofo_reservation_proxy.http.dialects import JICOFO, PROSODY
from jicofo_reservation_proxy.http.renderers import RENDERERS
from jicofo_reservation_proxy.model import (
    FIRST_SECOND,
    LAST_SECOND,
    NO_HOLD,
    ClientKind,
    Conference,
    Conflict,
    CreateRequest,
    DeleteReason,
    Deletion,
    Denied,
    Found,
    Granted,
    Hold,
    Owner,
    Reservation,
    Room,
)

from tests.unit.http.readers import Approved, Refused, read_as_jicofo, read_as_prosody

START_MS = 2_471_018_112_345
REQUEST = CreateRequest(
    request_id="32b70e57-b26c-8a6c-8f6b-535dfdbc43bc",
    room=Room(raw="[acme]caf%c3%a9", tenant="acme", name="caf\u00e9"),
    mail_owner="juliet@example.com",
    owner=Owner(raw="juliet@example.com", user="juliet", domain="example.com", is_guest=True),
    start_time_ms=START_MS,
    duration_seconds=60,
    extra_fields={"x": "1", "y": "\u00e9"},
)
BARE_REQUEST = CreateRequest(
    request_id="32b70e57-b26c-8a6c-8f6b-535dfdbc43bc",
    room=Room(raw="board", tenant="", name="board"),
    mail_owner="",
    owner=None,
    start_time_ms=-1,
    duration_seconds=None,
)
BARE = Conference(id="7", room="", owner="", start_time_ms=START_MS, duration_seconds=None)


def granting(conference: pb.Conference) -> pb.CreateConferenceResponse:
    """Return the response that grants a conference."""
    return pb.CreateConferenceResponse(conference=conference)


def granted(**fields: object) -> Conference:
    """Return the conference that is read from a granting response with these fields."""
    outcome = read_create(granting(pb.Conference(id="7", **fields)), REQUEST)  # type: ignore[arg-type]
    assert isinstance(outcome, Granted)
    return outcome.conference


# -- requests to a backend ---------------------------------------------------------------------


def test_create_message() -> None:
    """The message has every field of the request."""
    message = create_message(REQUEST, ClientKind.JICOFO)
    assert message == pb.CreateConferenceRequest(
        request_id="32b70e57-b26c-8a6c-8f6b-535dfdbc43bc",
        room=pb.Room(raw="[acme]caf%c3%a9", tenant="acme", name="caf\u00e9"),
        owner=pb.Owner(raw="juliet@example.com", user="juliet", domain="example.com", guest=True),
        start_time=Timestamp(seconds=2_471_018_112, nanos=345_000_000),
        duration=Duration(seconds=60),
        client=pb.CLIENT_JICOFO,
        extra_fields={"x": "1", "y": "\u00e9"},
    )


def test_create_message_without_optional_fields() -> None:
    """Without owner and duration, the message has neither. A time before 1970 is valid."""
    message = create_message(BARE_REQUEST, ClientKind.PROSODY)
    assert message == pb.CreateConferenceRequest(
        request_id="32b70e57-b26c-8a6c-8f6b-535dfdbc43bc",
        room=pb.Room(raw="board", name="board"),
        start_time=Timestamp(seconds=-1, nanos=999_000_000),
        client=pb.CLIENT_PROSODY,
    )
    assert not message.HasField("owner")
    assert not message.HasField("duration")


def test_create_message_with_a_hold() -> None:
    """The message has the holder and the hold; a hold without a holder is not sent."""
    message = create_message(BARE_REQUEST, ClientKind.PROSODY, Hold("h", 2**62))
    assert (message.holder, message.hold) == ("h", 2**62)
    message = create_message(BARE_REQUEST, ClientKind.PROSODY, Hold("", 2**62))
    assert (message.holder, message.hold) == ("", 0)


@pytest.mark.parametrize(
    ("kind", "client"),
    [
        (ClientKind.UNKNOWN, pb.CLIENT_UNSPECIFIED),
        (ClientKind.JICOFO, pb.CLIENT_JICOFO),
        (ClientKind.PROSODY, pb.CLIENT_PROSODY),
    ],
)
def test_the_create_message_names_the_client(kind: ClientKind, client: pb.Client.ValueType) -> None:
    """The message names the client, for every kind of client."""
    assert create_message(REQUEST, kind).client == client


@given(ms=st.integers(FIRST_SECOND * 1000, LAST_SECOND * 1000 + 999))
@example(FIRST_SECOND * 1000)
@example(LAST_SECOND * 1000 + 999)
@settings(max_examples=50)
def test_any_time_fits_the_messages(ms: int) -> None:
    """A message carries every millisecond of the years 1 to 9999 exactly."""
    message = delete_message(Deletion("7", ms, DeleteReason.ENDED), NO_HOLD)
    assert message.delete_time.ToMilliseconds() == ms
    assert 0 <= message.delete_time.nanos < 1_000_000_000


def test_get_message() -> None:
    """The message for a GET has only the backend's own id."""
    assert get_message("order/7") == pb.GetConferenceRequest(conference_id="order/7")


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        (DeleteReason.ENDED, pb.DELETE_REASON_ENDED),
        (DeleteReason.EXPIRED, pb.DELETE_REASON_EXPIRED),
    ],
)
def test_delete_message(reason: DeleteReason, told: pb.DeleteReason.ValueType) -> None:
    """The message for a DELETE has the id, the reason and the time of the deletion."""
    assert delete_message(
        Deletion("order/7", START_MS, reason), NO_HOLD
    ) == pb.DeleteConferenceRequest(
        conference_id="order/7",
        reason=told,
        delete_time=Timestamp(seconds=2_471_018_112, nanos=345_000_000),
    )


def test_delete_message_with_a_hold() -> None:
    """The message has the holder and the hold; a withdrawal has a room in place of an id."""
    deletion = Deletion("", START_MS, DeleteReason.ENDED, room="board")
    assert delete_message(deletion, Hold("h", 2**62)) == pb.DeleteConferenceRequest(
        reason=pb.DELETE_REASON_ENDED,
        delete_time=Timestamp(seconds=2_471_018_112, nanos=345_000_000),
        holder="h",
        hold=2**62,
        room="board",
    )
    assert delete_message(deletion, Hold("", 5)).hold == 0


def test_every_reason_has_its_name_in_the_contract() -> None:
    """Each reason has its own value in the contract."""
    told = {delete_message(Deletion("7", 0, reason), NO_HOLD).reason for reason in DeleteReason}
    assert len(told) == len(DeleteReason)
    assert pb.DELETE_REASON_UNSPECIFIED not in told


# -- responses of a backend --------------------------------------------------------------------

WHOLE = pb.Conference(
    id="order/7",
    room="[acme]caf%c3%a9",
    owner="juliet@example.com",
    start_time=Timestamp(seconds=2_471_018_112, nanos=345_000_000),
    duration=Duration(seconds=3600),
    max_occupants=12,
    lobby=True,
    password="caf\u00e9",
    pin="1234",
    url="https://example.com/7",
    sip_id=0,
)
READ = Conference(
    id="order/7",
    room="[acme]caf%c3%a9",
    owner="juliet@example.com",
    start_time_ms=START_MS,
    duration_seconds=3600,
    max_occupants=12,
    lobby=True,
    password="caf\u00e9",
    pin="1234",
    url="https://example.com/7",
    sip_id=0,
)


def test_granted() -> None:
    """A conference in the response is a grant, with all its fields."""
    assert read_create(granting(WHOLE), REQUEST) == Granted(READ)


def test_conflict() -> None:
    """A conflict contains the conference that holds the room."""
    response = pb.CreateConferenceResponse(conflict=pb.Conflict(conference=WHOLE))
    assert read_create(response, REQUEST) == Conflict(READ)


def test_found() -> None:
    """The response to a GET is read with all its fields."""
    assert read_get(pb.GetConferenceResponse(conference=WHOLE), WHOLE.id) == Found(READ)


def test_a_response_with_another_conference_is_a_breach() -> None:
    """A backend that returns another conference than the requested one breaks the contract."""
    with pytest.raises(ContractBreach, match=r"^wanted the conference 'other', got 'order/7'$"):
        read_get(pb.GetConferenceResponse(conference=WHOLE), "other")


def test_secrets_stay_out_of_representations() -> None:
    """The representation of a conference, which a log could show, has no password and no PIN."""
    text = repr(granted(password="hunter2", pin="40961"))
    assert "id='7'" in text
    assert "hunter2" not in text
    assert "40961" not in text


def test_granted_with_only_an_id() -> None:
    """Absent fields stay absent, and an absent start is the start of the request."""
    assert granted() == BARE


@pytest.mark.parametrize(
    ("denial", "denied"),
    [
        (pb.Denial(), Denied("", "unspecified")),
        (
            pb.Denial(message="Not before 9.", reason=pb.DENIAL_REASON_TOO_EARLY),
            Denied("Not before 9.", "too_early"),
        ),
        (pb.Denial(message="a\nb", reason=99), Denied("a\nb", "99")),  # type: ignore[arg-type]
    ],
)
def test_denied(denial: pb.Denial, denied: Denied) -> None:
    """A denial is read with its unchanged sentence and its reason for the log."""
    assert read_create(pb.CreateConferenceResponse(denial=denial), REQUEST) == denied


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (0, "unspecified"),
        (1, "not_allowed"),
        (2, "not_booked"),
        (3, "too_early"),
        (4, "too_late"),
        (5, "quota_exceeded"),
        (6, "invalid_room"),
        (7, "7"),
        (-1, "-1"),
        (2**31 - 1, "2147483647"),
    ],
)
def test_denial_reasons(number: int, reason: str) -> None:
    """A reason is logged by its name in the contract, or by its number if it is unknown."""
    assert denial_reason(number) == reason


def test_every_denial_reason_has_a_name() -> None:
    """Every reason of the contract is logged by name."""
    assert all(not denial_reason(number).isdigit() for number in pb.DenialReason.values())


@pytest.mark.parametrize(
    ("seconds", "nanos", "ms"),
    [
        (1, 0, 1000),
        (1, 999_999, 1000),
        (1, 1_000_000, 1001),
        (1, 999_999_999, 1999),
        (-1, 999_999_999, -1),
        (-1, 0, -1000),
        (0, 0, 0),
        (FIRST_SECOND, 0, FIRST_SECOND * 1000),
        (LAST_SECOND, 999_999_999, LAST_SECOND * 1000 + 999),
    ],
)
def test_starts_round_down(seconds: int, nanos: int, ms: int) -> None:
    """A start is rounded down to whole milliseconds. The epoch is a valid start."""
    assert granted(start_time=Timestamp(seconds=seconds, nanos=nanos)).start_time_ms == ms


@pytest.mark.parametrize(
    ("seconds", "nanos", "whole"),
    [
        (1, 0, 1),
        (1, 999_999_999, 1),
        (2, 0, 2),
        (0, 1, 1),
        (0, 999_999_999, 1),
        (3_155_760_000, 0, 3_155_760_000),
        (3_155_760_001, 0, None),
        (315_576_000_000, 0, None),
        (2**63 - 1, 999_999_999, None),
    ],
)
def test_durations_round_down_to_one(seconds: int, nanos: int, whole: int | None) -> None:
    """A duration is rounded down to whole seconds, at least 1. Over 100 years mean no limit."""
    assert granted(duration=Duration(seconds=seconds, nanos=nanos)).duration_seconds == whole


@pytest.mark.parametrize(
    ("fields", "key", "value"),
    [
        ({"max_occupants": 0}, "max_occupants", 0),
        ({"max_occupants": -5}, "max_occupants", -5),
        ({"lobby": False}, "lobby", False),
        ({"sip_id": -1}, "sip_id", -1),
        ({"password": ""}, "password", None),
        ({"pin": ""}, "pin", None),
        ({"password": "x" * 255}, "password", "x" * 255),
        ({"pin": "\u00e9" * 127}, "pin", "\u00e9" * 127),
        ({"url": "x" * 2048}, "url", "x" * 2048),
        ({"url": "x" * 2049}, "url", None),
        ({"url": "\u00e9" * 1025}, "url", None),
        ({"url": "https://example.com/\n"}, "url", None),
    ],
)
def test_optional_fields(fields: dict[str, object], key: str, value: object) -> None:
    """Optional fields are kept, except empty secrets and a URL that clients cannot handle."""
    assert getattr(granted(**fields), key) == value


def test_ids_up_to_255_bytes() -> None:
    """The limit for the length of an id is 255 bytes of UTF-8."""
    longest = "\u00e9" * 127 + "x"
    outcome = read_create(granting(pb.Conference(id=longest)), REQUEST)
    assert isinstance(outcome, Granted)
    assert outcome.conference.id == longest


START = Timestamp(seconds=1)
BREACHES = [
    (pb.Conference(), "wanted an id of 1 to 255 bytes, got 0 bytes"),
    (pb.Conference(id="x" * 256), "wanted an id of 1 to 255 bytes, got 256 bytes"),
    (pb.Conference(id="\u00e9" * 128), "wanted an id of 1 to 255 bytes, got 256 bytes"),
    *(
        (
            pb.Conference(id="7", start_time=Timestamp(seconds=seconds, nanos=nanos)),
            f"wanted a start_time in the years 1 to 9999, got {seconds}s {nanos}ns",
        )
        for seconds, nanos in [
            (FIRST_SECOND - 1, 0),
            (LAST_SECOND + 1, 0),
            (-(2**63), 0),
            (2**63 - 1, 0),
            (1, -1),
            (1, 1_000_000_000),
        ]
    ),
    *(
        (
            pb.Conference(
                id="7", start_time=START, duration=Duration(seconds=seconds, nanos=nanos)
            ),
            f"wanted a positive duration, or none for no limit, got {seconds}s {nanos}ns",
        )
        for seconds, nanos in [(0, 0), (-1, 0), (0, -1), (5, -1), (-1, 5), (5, 1_000_000_000)]
    ),
    *(
        (
            pb.Conference(id="7", start_time=START, **{key: text}),  # type: ignore[arg-type]
            f"wanted a {key} of at most 255 bytes without control characters, got {got}",
        )
        for key in ("password", "pin")
        for text, got in [
            ("x" * 256, "256 bytes"),
            ("\u00e9" * 128, "256 bytes"),
            ("a\nb", "a control character"),
            ("\0", "a control character"),
            ("\x7f", "a control character"),
            ("\x85", "a control character"),
            ("\u2028", "a control character"),
            ("\u2029", "a control character"),
            ("\ufffe", "a control character"),
            ("\uffff", "a control character"),
        ]
    ),
]


@pytest.mark.parametrize(("conference", "text"), BREACHES)
def test_breaches(conference: pb.Conference, text: str) -> None:
    """An invalid id, start, duration, password or PIN is a breach in each kind of response."""
    readings: list[Callable[[], object]] = [
        lambda: read_create(granting(conference), REQUEST),
        lambda: read_create(
            pb.CreateConferenceResponse(conflict=pb.Conflict(conference=conference)), REQUEST
        ),
        lambda: read_get(pb.GetConferenceResponse(conference=conference), conference.id),
    ]
    for reading in readings:
        with pytest.raises(ContractBreach) as caught:
            reading()
        assert str(caught.value) == text


def test_a_breach_shows_no_secret() -> None:
    """The message about a password that cannot be typed does not show the password."""
    with pytest.raises(ContractBreach) as caught:
        granted(password="hunter2\n")
    assert "hunter2" not in str(caught.value)


def test_no_outcome() -> None:
    """A response without an outcome is a breach."""
    with pytest.raises(ContractBreach) as caught:
        read_create(pb.CreateConferenceResponse(), REQUEST)
    assert str(caught.value) == "wanted an outcome in CreateConferenceResponse, got none"


@pytest.mark.parametrize(
    ("conflict", "text"),
    [
        (pb.Conflict(), "wanted an id of 1 to 255 bytes, got 0 bytes"),
        (pb.Conflict(conference=pb.Conference(id="7")), "wanted a start_time, got none"),
    ],
)
def test_a_conflict_needs_a_complete_conference(conflict: pb.Conflict, text: str) -> None:
    """The conference in a conflict needs an id and its own start."""
    with pytest.raises(ContractBreach) as caught:
        read_create(pb.CreateConferenceResponse(conflict=conflict), REQUEST)
    assert str(caught.value) == text


@pytest.mark.parametrize(
    ("response", "text"),
    [
        (pb.GetConferenceResponse(), "wanted an id of 1 to 255 bytes, got 0 bytes"),
        (
            pb.GetConferenceResponse(conference=pb.Conference(id="7")),
            "wanted a start_time, got none",
        ),
    ],
)
def test_a_get_response_needs_an_id_and_a_start(
    response: pb.GetConferenceResponse, text: str
) -> None:
    """The response to a GET without an id or a start is a breach."""
    with pytest.raises(ContractBreach) as caught:
        read_get(response, response.conference.id)
    assert str(caught.value) == text


# -- arbitrary responses -----------------------------------------------------------------------

int32 = st.integers(-(2**31), 2**31 - 1)
int64 = st.integers(-(2**63), 2**63 - 1)
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=40) | st.sampled_from(
    ["", "x" * 300, "\0", "\u2028", "7"]
)
nanos = st.integers(0, 999_999_999) | int32
starts = st.builds(Timestamp, seconds=st.integers(FIRST_SECOND, LAST_SECOND) | int64, nanos=nanos)
durations = st.builds(Duration, seconds=st.integers(-1, 10**12) | int64, nanos=nanos)
wild_conferences = st.fixed_dictionaries(
    {"id": text},
    optional={
        "room": text,
        "owner": text,
        "start_time": starts,
        "duration": durations,
        "max_occupants": int32,
        "lobby": st.booleans(),
        "password": text,
        "pin": text,
        "url": text,
        "sip_id": int64,
    },
).map(lambda fields: pb.Conference(**fields))  # type: ignore[arg-type]
tame_conferences = st.fixed_dictionaries(
    {
        "id": st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40),
        "start_time": st.builds(
            Timestamp,
            seconds=st.integers(FIRST_SECOND, LAST_SECOND),
            nanos=st.integers(0, 999_999_999),
        ),
    },
    optional={
        "room": text,
        "owner": text,
        "duration": st.builds(Duration, seconds=st.integers(1, 2**63 - 1)),
        "max_occupants": int32,
        "lobby": st.booleans(),
        "password": st.text(st.characters(categories=["L", "N", "S"]), max_size=40),
        "url": text,
        "sip_id": int64,
    },
).map(lambda fields: pb.Conference(**fields))  # type: ignore[arg-type]


def check_conference(conference: Conference) -> None:
    """Check that both clients accept the answers with this conference."""
    reservation = Reservation(7, conference)
    for asked in (REQUEST, BARE_REQUEST):
        sent = (asked.room.raw, asked.mail_owner)
        post = RENDERERS[JICOFO.kind].create(asked, reservation, "")
        assert isinstance(read_as_jicofo(post.status, post.body, *sent), Approved)
        post = RENDERERS[PROSODY.kind].create(asked, reservation, "")
        assert isinstance(read_as_prosody(post.status, post.body, *sent), Approved)
    get = RENDERERS[JICOFO.kind].get(reservation, "")
    assert isinstance(read_as_jicofo(get.status, get.body, None, None), Approved)
    get = RENDERERS[PROSODY.kind].get(reservation, "")
    assert isinstance(read_as_prosody(get.status, get.body, None, None), Approved)


@given(conference=wild_conferences)
@settings(max_examples=200)
def test_any_conference_is_a_breach_or_serves_both_clients(conference: pb.Conference) -> None:
    """Any conference in a response is a breach, or both clients accept the answer with it."""
    for response in (
        granting(conference),
        pb.CreateConferenceResponse(conflict=pb.Conflict(conference=conference)),
    ):
        try:
            outcome = read_create(response, REQUEST)
        except ContractBreach:
            continue
        assert isinstance(outcome, Granted | Conflict)
        check_conference(outcome.conference)


@given(conference=tame_conferences)
@settings(max_examples=120)
def test_every_conference_within_the_contract_serves_both_clients(
    conference: pb.Conference,
) -> None:
    """A conference that the contract allows is never a breach, and both clients accept it."""
    read = read_get(pb.GetConferenceResponse(conference=conference), conference.id).conference
    assert read.id == conference.id
    assert read.start_time_ms == conference.start_time.ToMilliseconds()
    check_conference(read)


@given(message=text, reason=st.integers(0, 2**31 - 1))
@settings(max_examples=50)
def test_any_denial_serves_both_clients(message: str, reason: int) -> None:
    """Any sentence of a denial becomes a refusal that both clients understand."""
    denial = pb.Denial(message=message, reason=reason)  # type: ignore[arg-type]
    outcome = read_create(pb.CreateConferenceResponse(denial=denial), REQUEST)
    assert isinstance(outcome, Denied)
    for dialect, read in ((JICOFO, read_as_jicofo), (PROSODY, read_as_prosody)):
        answer = RENDERERS[dialect.kind].create(REQUEST, outcome, "")
        understood = read(answer.status, answer.body, "board", None)
        assert isinstance(understood, Refused)
        assert understood.status == 403


@pytest.mark.parametrize("hold", [0, 7])
@pytest.mark.parametrize("is_conflict", [False, True])
def test_the_hold_of_an_answer(hold: int, *, is_conflict: bool) -> None:
    """An answer with a hold says that the backend keeps rows."""
    if is_conflict:
        conflict = pb.Conflict(conference=WHOLE)
        response = pb.CreateConferenceResponse(conflict=conflict, hold=hold)
    else:
        response = pb.CreateConferenceResponse(conference=WHOLE, hold=hold)
    outcome = read_create(response, REQUEST)
    assert isinstance(outcome, Granted | Conflict)
    assert outcome.has_row is (hold > 0)


@pytest.mark.parametrize("hold", [0, 7])
def test_the_hold_of_an_answer_that_breaks_the_contract(hold: int) -> None:
    """A breach says whether the backend keeps rows, and the id of the granted conference."""
    response = pb.CreateConferenceResponse(conference=pb.Conference(id="7", pin="\n"), hold=hold)
    with pytest.raises(ContractBreach) as breach:
        read_create(response, REQUEST)
    assert (breach.value.granted_id, breach.value.has_row) == ("7", hold > 0)
