"""How Prosody reads each kind of answer: the rows of clients.md, one by one."""

import json
from typing import Any

import pytest
from jicofo_reservation_proxy.simulation.outcomes import (
    OVER,
    Failed,
    Held,
    Opened,
    Reading,
    Refused,
    Remark,
    Sent,
    Stuck,
)
from jicofo_reservation_proxy.simulation.prosody_answers import (
    FIXED_TEXT,
    path_id,
    read_delete,
    read_get,
    read_post,
)
from jicofo_reservation_proxy.simulation.wire import Answer

START = "2048-04-22T22:15:12.000Z"
START_MS = 2_471_206_512_000
NOW_MS = START_MS + 500
SENT = Sent("board", "juliet@example.com", START_MS)
GOOD: dict[str, Any] = {
    "id": "default.x",
    "name": "board",
    "mail_owner": "juliet@example.com",
    "start_time": START,
    "duration": 3600,
}
ABSENT = object()
OPENED = Opened("default.x", START_MS + 3_600_000)


def answer(fields: object, status: int = 200) -> Answer:
    """Return an answer whose body is these fields as JSON, or these bytes."""
    body = fields if isinstance(fields, bytes) else json.dumps(fields).encode()
    return Answer(status, {}, body)


def changed(**changes: object) -> dict[str, Any]:
    """Return the fields of a good answer with some fields changed or removed."""
    return {key: value for key, value in (GOOD | changes).items() if value is not ABSENT}


def post(fields: object, status: int = 200) -> Reading:
    """Read an answer to a POST."""
    return read_post(answer(fields, status), SENT, NOW_MS)


def get(fields: object, status: int = 200) -> Reading:
    """Read the answer to a GET."""
    return read_get(answer(fields, status), NOW_MS)


def remarks(reading: Reading) -> str:
    """Return all remarks of a reading as one text."""
    return "\n".join(f"{remark.text} [{remark.got}]" for remark in reading.remarks)


def test_a_good_answer_opens_the_room() -> None:
    """A POST needs 200 or 201, a GET 200. The end is `start_time + duration` of the answer."""
    assert post(GOOD, 200) == post(GOOD, 201) == get(GOOD) == OPENED
    assert not isinstance(get(GOOD, 201), Opened)


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "BOARD"},
        {"mail_owner": ""},
        {"mail_owner": "romeo@example.com"},
        {"start_time": "2048-04-22T22:15:12.999Z"},
        {"duration": 3600.0},
        {"max_occupants": 1, "password": "x", "lobby": True},
        {"id": "a b/c%#é"},
    ],
)
def test_a_field_that_prosody_accepts_opens_the_room(changes: dict[str, object]) -> None:
    """Prosody compares names without case, ignores owners, and reads whole seconds."""
    reading = post(changed(**changes))
    assert isinstance(reading, Opened)
    assert (reading.ends_at_ms, reading.remarks) == (OPENED.ends_at_ms, ())


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"id": ABSENT}, "id must be a number or a string"),
        ({"id": None}, "id must be a number or a string"),
        ({"id": True}, "id must be a number or a string"),
        ({"name": ABSENT}, "name is missing"),
        ({"name": "other"}, "name must be the name of the room ['other']"),
        ({"mail_owner": ABSENT}, "mail_owner must be a string"),
        ({"mail_owner": 5}, "mail_owner must be a string [5]"),
        ({"start_time": ABSENT}, "start_time must be"),
        ({"start_time": "2048-04-22 22:15:12.000Z"}, "start_time must be"),
        ({"start_time": "2048-04-22T22:15Z"}, "start_time must be"),
        ({"start_time": "2048-13-22T22:15:12.000Z"}, "an existing date and time"),
        ({"duration": ABSENT}, "duration must be a number"),
        ({"duration": "3600"}, "duration must be a number ['3600']"),
        ({"duration": True}, "duration must be a number"),
        ({"max_occupants": 0}, "max_occupants must be a number of at least 1 [0]"),
        ({"max_occupants": None}, "max_occupants must be"),
        ({"max_occupants": "5"}, "max_occupants must be"),
        ({"max_occupants": True}, "max_occupants must be"),
        ({"password": ""}, "password must be a string that is not empty ['str']"),
        ({"password": None}, "password must be"),
        ({"password": 1234}, "password must be a string that is not empty ['int']"),
    ],
)
def test_a_wrong_field_opens_no_room(changes: dict[str, object], wanted: str) -> None:
    """Prosody refuses the whole answer; the user sees a fixed text."""
    reading = post(changed(**changes))
    assert isinstance(reading, Failed)
    assert reading.seen == FIXED_TEXT
    assert wanted in remarks(reading)


@pytest.mark.parametrize(
    "body",
    [
        b"null",
        b"true",
        b"5",
        b'"x"',
        changed(name=None),
        changed(name=5),
        changed(name={}),
        changed(start_time=None),
        changed(start_time=2_471_206_512),
    ],
)
def test_a_value_of_a_wrong_type_leaves_the_room_stuck(body: object) -> None:
    """No user of this room gets an answer until Prosody restarts."""
    for reading in (post(body), get(body)):
        assert isinstance(reading, Stuck)
        assert reading.is_for_good
        assert "stuck until Prosody restarts" in remarks(reading)


def test_null_in_a_refusal_leaves_the_room_stuck_too() -> None:
    """A body of null leaves the room stuck with every status."""
    assert isinstance(post(b"null", 403), Stuck)


@pytest.mark.parametrize(
    ("body", "status"), [(b"", 200), (b"OK", 201), (b"[]", 200), (b"\xef\xbb\xbf{}", 200)]
)
def test_a_body_that_is_not_a_json_object_is_refused(body: bytes, status: int) -> None:
    """An array has no fields, and a body with a byte order mark is not JSON."""
    reading = post(body, status)
    assert isinstance(reading, Failed)
    assert reading.remarks


@pytest.mark.parametrize("status", [202, 204, 206, 302])
def test_another_status_is_no_approval(status: int) -> None:
    """Another status does not open the room, even with a whole reservation."""
    reading = post(GOOD, status)
    assert isinstance(reading, Failed)
    assert reading.seen == f"{status}, {FIXED_TEXT}"


@pytest.mark.parametrize("status", [100, 103])
def test_an_interim_answer_is_taken_for_the_final_one(status: int) -> None:
    """Prosody does not read the answer after a 1xx."""
    reading = post(b"", status)
    assert isinstance(reading, Failed)
    assert f"an interim {status} came first" in remarks(reading)


@pytest.mark.parametrize(
    ("start_time", "seconds"),
    [
        ("2048-04-22T22:15:12Z", 0),
        ("2048-04-22T22:15:12.123456Z", 0),
        ("2048-04-23T03:45:12.000+05:30", 0),
        ("2048-04-22T21:15:12.000-01:00", 0),
        ("2048-04-22T22:16:12.000", 60),
    ],
)
def test_a_start_time_that_only_prosody_accepts_is_remarked_on(
    start_time: str, seconds: int
) -> None:
    """The room opens with the right end."""
    reading = post(changed(start_time=start_time))
    assert isinstance(reading, Opened)
    assert reading.ends_at_ms == OPENED.ends_at_ms + 1000 * seconds
    assert "the form that both clients accept" in remarks(reading)


def test_a_room_past_its_end_is_419() -> None:
    """A duration of 0 or less gives 419, too."""
    for seconds in (0, -1, -3600):
        assert post(changed(duration=seconds)) == Refused(OVER)
    late = START_MS + 3_600_000
    assert read_post(answer(GOOD), SENT, late) == Refused(OVER)
    assert read_post(answer(GOOD), SENT, late - 1) == OPENED


@pytest.mark.parametrize("duration", ["1000000000000000", "1e999", "-1e999", "1" * 400])
def test_a_duration_that_overflows_is_419(duration: str) -> None:
    """The user sees 419 at once, and there is a remark."""
    body = json.dumps(changed(duration=ABSENT))[:-1] + f', "duration": {duration}}}'
    reading = post(body.encode())
    assert isinstance(reading, Failed)
    assert (reading.seen, reading.remarks[0].text) == (OVER, "duration overflows")


def test_the_message_of_a_refusal_is_shown() -> None:
    """The user sees the message, and there is no remark."""
    assert post({"message": "No."}, 403) == get({"message": "No."}, 403) == Refused('403, "No."')
    assert post({"message": "Later."}, 503) == Failed('503, "Later."')


@pytest.mark.parametrize("fields", [{}, {"error": "x"}, b"<html>no</html>", b""])
def test_a_refusal_without_message_shows_a_fixed_text(fields: object) -> None:
    """The user sees the status and Prosody's own fixed text."""
    reading = post(fields, 403)
    assert isinstance(reading, Refused)
    assert reading.seen == f"403, {FIXED_TEXT}"
    assert "has no message to show" in remarks(reading)


@pytest.mark.parametrize("message", [5, None, True, ["no"], {"en": "no"}])
def test_after_a_message_that_is_not_a_string_the_user_gets_no_answer(message: object) -> None:
    """The user waits for ever, but the next user of the room gets an answer."""
    reading = post({"message": message}, 403)
    assert isinstance(reading, Stuck)
    assert not reading.is_for_good


def test_an_empty_message_is_remarked_on() -> None:
    """The user sees only the status."""
    reading = post({"message": ""}, 403)
    assert isinstance(reading, Refused)
    assert reading.seen == '403, ""'
    assert "has no message to show" in remarks(reading)


def test_a_message_with_control_characters_is_remarked_on() -> None:
    """A message must be one line without control characters."""
    reading = post({"message": "a\nb"}, 403)
    assert isinstance(reading, Refused)
    assert "control characters" in remarks(reading)


@pytest.mark.parametrize(("conflict_id", "in_path"), [("x", "x"), (12, "12.0")])
def test_after_409_prosody_gets_the_conference(conflict_id: object, in_path: str) -> None:
    """`conflict_id` is a number or a string. A 409 without `conflict_id` is a refusal."""
    assert post({"conflict_id": conflict_id}, 409) == Held(in_path)
    assert post({"message": "taken"}, 409) == Refused('409, "taken"')
    assert isinstance(post({"conflict_id": None}, 409), Failed)


def test_anyone_gets_in_after_409_if_the_answer_has_a_name() -> None:
    """Prosody does not compare owners, but it requires the name."""
    assert get(changed(mail_owner="romeo@example.com")) == OPENED
    assert isinstance(get(changed(name=ABSENT)), Failed)


@pytest.mark.parametrize(
    ("value", "in_path"),
    [
        (364758328, "364758328.0"),
        (1, "1.0"),
        (-5, "-5.0"),
        (99_999_999_999_999, "99999999999999.0"),
        (10**14, "1e+14"),
        (123_456_789_012_345, "1.2345678901234e+14"),
        (1.5, "1.5"),
        (10**400, "inf"),
        ("a b/c%#", "a b/c%#"),
    ],
)
def test_ids_go_into_paths_as_lua_prints_them(value: str | float, in_path: str) -> None:
    """A path contains a number as Debian's lua-cjson prints it, and a string unchanged."""
    assert path_id(value) == in_path


def test_an_id_that_lua_prints_with_an_exponent_is_remarked_on() -> None:
    """From 10^14 on, the id in the DELETE names no conference."""
    assert post(changed(id=99_999_999_999_999)).remarks == ()
    for value in (10**14, 1e14, 1e15, -1e15):
        for reading in (post(changed(id=value)), post({"conflict_id": value}, 409)):
            assert "a number of 10^14 or more" in remarks(reading)


def test_null_and_nested_fields_are_remarked_on() -> None:
    """The room opens, but the answer should leave such fields out."""
    reading = post(changed(pin=None, tags=["a"]))
    assert isinstance(reading, Opened)
    assert "pin, tags" in remarks(reading)


def test_delete_must_be_200() -> None:
    """If a DELETE is not answered with 200, Prosody repeats it only after a 5xx."""
    assert read_delete(answer({})) is None
    assert read_delete(answer({}, 503)) == Remark(
        "a DELETE was answered with 503, wanted exactly 200"
    )
    assert read_delete(answer({}, 404)) == Remark(
        "a DELETE was answered with 404, wanted exactly 200; Prosody does not repeat it"
    )
