"""The faults that the kit finds in answers, and the messages for them."""

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from grpc_health.v1 import health_pb2
from jicofo_reservation_proxy.conformance.answer import Answer, Response, from_response, from_status
from jicofo_reservation_proxy.conformance.case import Expectation, Step, tally
from jicofo_reservation_proxy.conformance.checks import complaint, complaint_of_all
from jicofo_reservation_proxy.gen.jicofo.reservation.v1 import reservation_pb2 as pb


def conference(**fields: object) -> pb.Conference:
    """Return a valid conference with these fields changed."""
    values: dict[str, object] = {
        "id": "1",
        "room": "board",
        "owner": "juliet@example.com",
        "start_time": Timestamp(seconds=2_000_000_000, nanos=5_000_000),
    }
    return pb.Conference(**(values | fields))  # type: ignore[arg-type]


def granted(**fields: object) -> Answer:
    """Return a grant of a conference with these fields changed."""
    return Answer("conference", conference(**fields))


def wanting(**words: object) -> Step:
    """Return a step with these keys."""
    return Step(call="create", **words)  # type: ignore[arg-type]


def told(step: Step, *answers: Answer, first: Answer | None = None) -> str | None:
    """Return what is wrong with the answers of a step that follows a step named "first"."""
    return complaint(step, answers, {"first": [first or granted()]})


def valid(name: str, **fields: object) -> str | None:
    """Return what is wrong with one field of a conference."""
    return told(wanting(valid=(name,)), granted(**fields))


@pytest.mark.parametrize(
    ("response", "kind"),
    [
        (pb.CreateConferenceResponse(conference=conference()), "conference"),
        (pb.CreateConferenceResponse(conflict=pb.Conflict()), "conflict"),
        (pb.CreateConferenceResponse(denial=pb.Denial()), "denial"),
        (pb.CreateConferenceResponse(), "no outcome"),
        (pb.GetConferenceResponse(), "conference"),
        (pb.DeleteConferenceResponse(), "OK"),
        (health_pb2.HealthCheckResponse(status=1), "SERVING"),
        (health_pb2.HealthCheckResponse(status=2), "NOT_SERVING"),
    ],
)
def test_every_kind_of_answer_is_recognized(response: Response, kind: str) -> None:
    """`from_response` finds the kind of each outcome and of each other response."""
    assert from_response(response).kind == kind


def test_the_kind_of_a_status_is_its_name() -> None:
    """A status without a text has an empty detail."""
    assert from_status(grpc.StatusCode.NOT_FOUND, None, ()) == Answer("NOT_FOUND")


def test_an_answer_has_the_values_that_later_steps_need() -> None:
    """Later steps can read the conference, the sentence of a denial, and the text of a status."""
    held = pb.CreateConferenceResponse(conflict=pb.Conflict(conference=conference(id="7")))
    assert from_response(held).conference_id == "7"
    denied = pb.CreateConferenceResponse(denial=pb.Denial(message="No."))
    assert (from_response(denied).message, from_response(denied).conference_id) == ("No.", "")
    assert from_status(grpc.StatusCode.INTERNAL, "no such row", ()).detail == "no such row"


@pytest.mark.parametrize(
    ("counts", "text"),
    [
        ({"conflict": 1}, "conflict"),
        ({"conflict": 4, "conference": 1}, "1 conference + 4 conflict"),
        ({"conference": 5}, "5 conference"),
    ],
)
def test_a_tally_as_text(counts: dict[str, int], text: str) -> None:
    """The text for one answer is its kind; the text for several has the number of each kind."""
    assert tally(counts) == text


@pytest.mark.parametrize(
    ("expect", "kinds", "said"),
    [
        (Expectation(), ["denial"], None),
        (Expectation(("OK",)), ["OK"], None),
        (Expectation(("OK", "NOT_FOUND")), ["NOT_FOUND"], None),
        (Expectation(("OK", "NOT_FOUND")), ["OK", "NOT_FOUND"], None),
        (Expectation(("OK", "NOT_FOUND")), ["INTERNAL"], "wanted OK or NOT_FOUND, got INTERNAL"),
        (Expectation(("OK",)), ["OK", "denial"], "wanted OK, got 1 OK + 1 denial"),
        (Expectation(("OK", "denial"), {"OK": 1, "denial": 1}), ["denial", "OK"], None),
        (
            Expectation(("OK", "denial"), {"OK": 1, "denial": 1}),
            ["OK", "OK"],
            "wanted 1 OK + 1 denial, got 2 OK",
        ),
    ],
)
def test_the_kinds_of_answers_are_checked_or_counted(
    expect: Expectation, kinds: list[str], said: str | None
) -> None:
    """Without counts, each answer has a wanted kind. With counts, each count is as wanted."""
    assert told(wanting(expect=expect), *map(Answer, kinds)) == said


def test_the_text_of_a_status_is_quoted() -> None:
    """The complaint shows the first text of an unwanted answer, shortened and on one line."""
    step = wanting(expect=Expectation(("conference",)))
    answers = [Answer("OK", detail="not this"), Answer("INTERNAL", detail="no\n row " + "x" * 99)]
    quoted = "no row " + "x" * 70 + "..."
    said = told(step, granted(), *answers[1:])
    assert said == f"wanted conference, got 1 INTERNAL + 1 conference ('{quoted}')"


@pytest.mark.parametrize(
    ("field", "good", "bad", "said"),
    [
        ("id", "x" * 255, "x" * 256, "id: wanted 1 to 255 bytes, got 256"),
        ("id", "1", "", "id: wanted 1 to 255 bytes, got 0"),
        ("id", "ß" * 127, "ß" * 128, "id: wanted 1 to 255 bytes, got 256"),
        ("password", "ß" * 127, "ß" * 128, "password: wanted at most 255 bytes, got 256"),
        ("password", "", "a\n", "password: wanted no control characters, got one or more"),
        ("pin", "4711", "4\t7", "pin: wanted no control characters, got one or more"),
        ("pin", "0" * 255, "0" * 256, "pin: wanted at most 255 bytes, got 256"),
        ("url", "u" * 2048, "u" * 2049, "url: wanted at most 2048 bytes, got 2049"),
        (
            "url",
            "https://example.com/",
            "\x7f",
            "url: wanted no control characters, got one or more",
        ),
        ("sip_id", 10**14 - 1, 10**14, "sip_id: wanted at most 14 digits, got 100000000000000"),
        ("sip_id", -1, 10**15, "sip_id: wanted at most 14 digits, got 1000000000000000"),
    ],
)
def test_a_field_is_valid_or_not(field: str, good: object, bad: object, said: str) -> None:
    """The limits are exactly the limits of the contract."""
    assert valid(field, **{field: good}) is None
    assert valid(field, **{field: bad}) == said


@pytest.mark.parametrize("field", ["password", "pin", "url", "sip_id", "duration"])
def test_an_optional_field_may_be_absent(field: str) -> None:
    """A conference without its optional fields is valid."""
    assert valid(field) is None


@pytest.mark.parametrize(
    ("seconds", "nanos", "is_valid"),
    [
        (1, 0, True),
        (0, 1, True),
        (0, 0, False),
        (-5, 0, False),
        (0, -1, False),
        (1, -1, False),
        (1, 10**9, False),
    ],
)
def test_a_duration_is_positive(seconds: int, nanos: int, *, is_valid: bool) -> None:
    """A duration is not valid if it is zero or negative, or if its nanoseconds are out of range."""
    said = valid("duration", duration=Duration(seconds=seconds, nanos=nanos))
    wrong = f"duration: wanted a positive duration or none, got {seconds} s {nanos} ns"
    assert said == (None if is_valid else wrong)


@pytest.mark.parametrize(
    ("seconds", "nanos", "is_valid"),
    [
        (-62_135_596_800, 0, True),
        (253_402_300_799, 999_999_999, True),
        (-62_135_596_801, 0, False),
        (253_402_300_800, 0, False),
        (0, -1, False),
        (0, 10**9, False),
    ],
)
def test_a_start_time_is_in_the_years_1_to_9999(
    seconds: int, nanos: int, *, is_valid: bool
) -> None:
    """The range is that of google.protobuf.Timestamp."""
    said = valid("start_time", start_time=Timestamp(seconds=seconds, nanos=nanos))
    wrong = f"start_time: wanted a time in the years 1 to 9999, got {seconds} s {nanos} ns"
    assert said == (None if is_valid else wrong)


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("ß" * 500, None),
        ("ß" * 501, "message: wanted at most 500 characters, got 501"),
        ("", "message: wanted a sentence for the user, got none"),
        (" \n", "message: wanted a sentence for the user, got none"),
    ],
)
def test_a_denial_has_a_sentence(message: str, said: str | None) -> None:
    """A denial needs a sentence of at most 500 characters (not bytes)."""
    assert told(wanting(valid=("message",)), Answer("denial", message=message)) == said


def test_a_field_must_have_the_value_that_was_sent() -> None:
    """The complaint shows the wanted value and the actual value, even if one is empty."""
    step = wanting(fields={"room": "board", "owner": ""})
    assert told(step, granted(owner="")) is None
    assert told(step, granted(owner="romeo")) == "owner: wanted '', got 'romeo'"
    assert told(step, granted(room="Board", owner="")) == "room: wanted 'board', got 'Board'"


def test_the_id_is_compared_with_an_earlier_conference() -> None:
    """`id` wants the id of an earlier conference, `not_id` wants another id."""
    same, other = granted(), granted(id="2")
    assert told(wanting(id="first"), same) is None
    assert (
        told(wanting(id="first"), other)
        == "id: wanted the id of the earlier conference, '1', got '2'"
    )
    assert told(wanting(not_id="first"), other) is None
    assert (
        told(wanting(not_id="first"), same)
        == "id: wanted a new id, got the id of the earlier conference, '1'"
    )


def test_calls_at_the_same_time_must_name_one_conference() -> None:
    """`ids = "same"` wants the same id in all answers of a room, also in conflicts."""
    step = wanting(ids="same")
    assert told(step, granted(), Answer("conflict", conference())) is None
    assert (
        told(step, granted(id="2"), granted(), granted(id="3"), granted(id="4"))
        == "wanted the same id in all answers, got 4 ids: '1', '2', '3'"
    )


def test_rooms_must_have_different_conferences() -> None:
    """`ids = "distinct"` wants a different id in each room."""
    rooms = [[granted(id="1")], [granted(id="2")], [granted(id="1")]]
    step = wanting(ids="distinct")
    assert complaint_of_all(step, rooms[:2]) is None
    assert complaint_of_all(step, rooms) == "wanted 3 different ids, got 2: '1' is repeated"
    assert complaint_of_all(wanting(), rooms) is None


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (granted(), None),
        (
            Answer("conflict", conference()),
            "wanted the same answer as before, conference '1', got conflict '1'",
        ),
        (
            granted(id="2"),
            "wanted the same answer as before, conference '1', got conference '2'",
        ),
    ],
)
def test_an_answer_must_be_the_same_again(now: Answer, said: str | None) -> None:
    """`same` wants the kind and the conference id of an earlier answer."""
    assert told(wanting(same="first"), now) == said


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (
            {"room": "x" * 90},
            f"room: wanted the same value as before, 'board', got '{'x' * 77}...'",
        ),
        ({"owner": ""}, "owner: wanted the same value as before, 'juliet@example.com', got none"),
        (
            {"start_time": Timestamp(seconds=1)},
            "start_time: wanted the same value as before, 2000000000 s 5000000 ns, got 1 s 0 ns",
        ),
        (
            {"duration": Duration(seconds=60)},
            "duration: wanted the same value as before, none, got 60 s 0 ns",
        ),
        ({"duration": Duration()}, "duration: wanted the same value as before, none, got 0 s 0 ns"),
        ({"max_occupants": 5}, "max_occupants: wanted the same value as before, none, got '5'"),
        ({"lobby": True}, "lobby: wanted the same value as before, none, got 'True'"),
        ({"url": "https://x"}, "url: wanted the same value as before, none, got 'https://x'"),
        ({"sip_id": 7}, "sip_id: wanted the same value as before, none, got '7'"),
        (
            {"password": "sesame"},
            "password: wanted the same value as before, got another value (not shown)",
        ),
        (
            {"pin": "4711"},
            "pin: wanted the same value as before, got another value (not shown)",
        ),
    ],
)
def test_a_whole_conference_must_be_equal_in_every_field(
    fields: dict[str, object], said: str
) -> None:
    """The complaint shows the first field that differs, but never the value of a secret."""
    step = wanting(whole="first")
    assert told(step, granted(**fields)) == said
    assert told(step, granted(**fields), first=granted(**fields)) is None


@pytest.mark.parametrize(
    "fields",
    [
        {"start_time": Timestamp(seconds=2_000_000_000, nanos=5_999_999)},
        {"max_occupants": 0},
        {"max_occupants": -1},
        {"password": ""},
        {"pin": ""},
        {"url": ""},
        {"sip_id": -1},
    ],
)
def test_differences_without_a_meaning_are_ignored(fields: dict[str, object]) -> None:
    """The kit ignores differences below 1 ms, and options that the proxy treats as absent."""
    step = wanting(whole="first")
    assert told(step, granted(**fields)) is None
    assert told(step, granted(), first=granted(**fields)) is None


def test_the_kind_is_checked_before_the_fields() -> None:
    """If an answer has an unwanted kind, the kit does not check its fields."""
    step = wanting(expect=Expectation(("conflict",)), valid=("id",))
    assert told(step, granted(id="")) == "wanted conflict, got conference"
