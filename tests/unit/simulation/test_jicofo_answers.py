"""How Jicofo reads each kind of answer: the rows of clients.md, one by one."""

import json
from typing import Any

import pytest
from jicofo_reservation_proxy.simulation.jicofo_answers import (
    OWN_ERROR,
    read_delete,
    read_get,
    read_post,
)
from jicofo_reservation_proxy.simulation.outcomes import (
    OVER,
    Failed,
    Held,
    Opened,
    Reading,
    Refused,
    Remark,
    Sent,
)
from jicofo_reservation_proxy.simulation.wire import Answer

NOW_MS = 2_471_206_512_500
START = "2048-04-22T22:15:12.000Z"
START_MS = 2_471_206_512_000
SENT = Sent("board", "juliet@example.com", START_MS)
NOBODY = Sent("board", None, START_MS)
POST: dict[str, Any] = {
    "id": 7,
    "name": "board",
    "mail_owner": "juliet@example.com",
    "start_time": START,
    "duration": 3600,
}
GET = {key: value for key, value in POST.items() if key != "name"}
ABSENT = object()
GOOD = Opened("7", START_MS + 3_600_000)


def answer(fields: object, status: int = 200) -> Answer:
    """Return an answer whose body is these fields as JSON, or these bytes."""
    body = fields if isinstance(fields, bytes) else json.dumps(fields).encode()
    return Answer(status, {}, body)


def changed(fields: dict[str, Any], **changes: object) -> dict[str, Any]:
    """Return the fields of a good answer with some fields changed or removed."""
    return {key: value for key, value in (fields | changes).items() if value is not ABSENT}


def post(fields: object, status: int = 200, sent: Sent = SENT) -> Reading:
    """Read an answer to a POST."""
    return read_post(answer(fields, status), sent, NOW_MS)


def remarks(reading: Reading) -> str:
    """Return all remarks of a reading as one text."""
    return "\n".join(f"{remark.text} [{remark.got}]" for remark in reading.remarks)


@pytest.mark.parametrize("status", [200, 201])
def test_a_good_answer_opens_the_room(status: int) -> None:
    """The status is 200 or 201. The end is `start_time + duration` of the answer."""
    assert post(POST, status) == GOOD
    assert post(changed(POST, mail_owner=ABSENT), status, NOBODY) == GOOD


@pytest.mark.parametrize("status", [202, 206, 302, 500, 503])
def test_another_status_is_no_approval(status: int) -> None:
    """Another status opens no room, even with a complete reservation. A 403 is a refusal."""
    assert isinstance(post(POST, status), Failed)
    assert isinstance(post(POST, 403), Refused)


def test_204_throws() -> None:
    """A 204 has no body, so Jicofo throws an exception."""
    reading = post(b"", 204)
    assert isinstance(reading, Failed)
    assert "throws an exception" in remarks(reading)


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"id": "7"}, "refuses the answer: id must be an integer ['7']"),
        ({"id": 7.0}, "refuses the answer: id must be an integer [7.0]"),
        ({"id": True}, "refuses the answer: id must be an integer"),
        ({"id": 2**63}, "throws an exception: id is greater than 2^63-1 [9223372036854775808]"),
        (
            {"name": "Board"},
            "refuses the answer: name must have the same bytes as name in the request ['Board']",
        ),
        ({"name": "other"}, "refuses the answer: name must have the same bytes"),
        ({"name": None}, "refuses the answer: name must have the same bytes"),
        ({"name": 5}, "throws an exception: name is not a string [5]"),
        ({"mail_owner": "romeo@example.com"}, "refuses the answer: mail_owner must have the same"),
        ({"mail_owner": "Juliet@example.com"}, "refuses the answer: mail_owner must have the same"),
        ({"mail_owner": None}, "refuses the answer: mail_owner must have the same"),
        ({"mail_owner": ""}, "refuses the answer: mail_owner must have the same"),
        ({"mail_owner": 5}, "throws an exception: mail_owner is a number [5]"),
        ({"start_time": "2048-04-22T22:15:12Z"}, "refuses the answer: start_time must be"),
        ({"start_time": "2048-04-22T22:15:12.000"}, "refuses the answer: start_time must be"),
        ({"start_time": "2048-13-22T22:15:12.000Z"}, "an existing date and time"),
        ({"start_time": 5}, "throws an exception: start_time is not a string"),
        ({"duration": 3600.0}, "throws an exception: duration is not an integer [3600.0]"),
        ({"duration": "3600"}, "refuses the answer: duration must be an integer ['3600']"),
        ({"duration": 2**63}, "throws an exception: duration is greater than 2^63-1"),
    ],
)
def test_a_wrong_field_opens_no_room(changes: dict[str, object], wanted: str) -> None:
    """Jicofo throws or refuses the answer; the user sees Jicofo's own error."""
    reading = post(changed(POST, **changes))
    assert isinstance(reading, Failed)
    assert reading.seen == OWN_ERROR
    assert wanted in remarks(reading)


def test_an_owner_that_was_not_sent_is_refused() -> None:
    """Without authentication, Jicofo refuses an answer with an owner."""
    assert isinstance(post(POST, sent=NOBODY), Failed)


@pytest.mark.parametrize(
    ("start_time", "milliseconds", "remark"),
    [
        ("2048-04-22T22:15:12.001Z", 1, ""),
        ("2048-04-22T16:15:12.000-06", 0, ""),
        ("2048-04-22T22:15:12.123456Z", 123_456, "reads the digits as milliseconds"),
        ("2048-04-22T22:15:12.5Z", 5, "reads the digits as milliseconds"),
        ("2048-04-23T03:45:12.000+05:30", 30 * 60 * 1000, "a time zone with minutes"),
    ],
)
def test_start_time_is_read_as_java_reads_it(
    start_time: str, milliseconds: int, remark: str
) -> None:
    """Jicofo reads the fraction `.123456` as 123456 ms, and the zone `+05:30` as `+05`."""
    reading = post(changed(POST, start_time=start_time))
    assert isinstance(reading, Opened)
    assert reading.ends_at_ms == START_MS + milliseconds + 3_600_000
    assert remark in remarks(reading)
    assert bool(reading.remarks) is bool(remark)


@pytest.mark.parametrize("duration", [ABSENT, None, 0, -1])
def test_a_room_without_duration_is_ended_at_once(duration: object) -> None:
    """Jicofo closes a room at once if the duration is missing, null, 0 or -1."""
    reading = post(changed(POST, duration=duration))
    assert isinstance(reading, Opened)
    assert reading.ends_at_ms == NOW_MS
    assert "ends the room within 5 s" in remarks(reading)


def test_a_room_past_its_end_is_419() -> None:
    """Jicofo refuses a room whose end is in the past, or overflows the Java type long."""
    past = changed(POST, start_time="2048-04-20T17:55:12.000Z")
    assert post(past) == Refused(OVER)
    assert post(changed(POST, duration=2**63 - 1)) == Refused(OVER)
    late = START_MS + 3_600_000
    assert read_post(answer(POST), SENT, late) == Refused(OVER)
    assert read_post(answer(POST), SENT, late - 1) == GOOD


def test_a_missing_id_is_deleted_as_null() -> None:
    """The room opens, but its DELETE has the id `null`."""
    reading = post(changed(POST, id=ABSENT))
    assert isinstance(reading, Opened)
    assert reading.reservation_id == "null"
    assert "DELETE /conference/null" in remarks(reading)


@pytest.mark.parametrize("missing", ["mail_owner", "start_time"])
def test_a_missing_owner_or_start_time_is_remarked_on(missing: str) -> None:
    """The room opens with the value in the request."""
    reading = post(changed(POST, **{missing: ABSENT}))
    assert isinstance(reading, Opened)
    assert f"{missing} " in remarks(reading)


@pytest.mark.parametrize("status", [200, 403, 409, 500])
def test_an_array_is_an_approval_without_owner_and_an_error_with_one(status: int) -> None:
    """Jicofo stops parsing at an array. The room opens only if the request had no owner."""
    fields = {"message": "no", "details": {"rules": [1]}}
    reading = post(fields, status, NOBODY)
    assert isinstance(reading, Opened)
    assert "the answer contains an array" in remarks(reading)
    assert isinstance(post(fields, status), Failed)


def test_null_and_objects_are_remarked_on() -> None:
    """The room opens, but the answer should leave such fields out."""
    reading = post(changed(POST, pin=None, url={}))
    assert isinstance(reading, Opened)
    assert "contains null, an array or an object" in remarks(reading)
    assert "pin, url" in remarks(reading)


@pytest.mark.parametrize("body", [b"", b"OK", b"null", b'"x"', b"5", b"\xef\xbb\xbf{}", b"NaN"])
def test_a_body_that_is_not_an_object_throws(body: bytes) -> None:
    """An empty body, a single value and a byte order mark make Jicofo throw an exception."""
    reading = post(body)
    assert isinstance(reading, Failed)
    assert "not a JSON object" in remarks(reading)


def test_the_message_of_a_refusal_is_shown() -> None:
    """The user sees the message, and there is no remark."""
    assert post({"message": "No."}, 403) == Refused('403, "No."')
    assert post({"message": "Later."}, 503) == Failed('503, "Later."')


@pytest.mark.parametrize("fields", [{}, {"message": ""}, {"message": 5}, b"<html>no</html>"])
def test_a_refusal_without_a_message_shows_only_its_status(fields: object) -> None:
    """The user sees the status without a message, and there is a remark."""
    reading = post(fields, 403)
    assert isinstance(reading, Refused)
    assert reading.seen == "403, without a message"
    assert "has no message to show" in remarks(reading)


def test_after_409_jicofo_gets_the_conference() -> None:
    """`conflict_id` must be a number. A 409 without `conflict_id` is a refusal."""
    assert post({"conflict_id": 12}, 409) == Held("12")
    assert post({"message": "taken"}, 409) == Refused('409, "taken"')
    assert isinstance(post({"conflict_id": "12"}, 409), Failed)


def test_only_the_same_owner_gets_in_after_409() -> None:
    """Jicofo refuses the room if the conference has another owner or no owner."""
    assert read_get(answer(GET), SENT, NOW_MS) == GOOD
    other = changed(GET, mail_owner="romeo@example.com")
    assert isinstance(read_get(answer(other), SENT, NOW_MS), Refused)
    assert isinstance(read_get(answer(changed(GET, mail_owner=ABSENT)), SENT, NOW_MS), Refused)


def test_anyone_gets_in_after_409_without_authentication() -> None:
    """Without an owner in the request, Jicofo does not compare owners."""
    assert isinstance(read_get(answer(GET), NOBODY, NOW_MS), Opened)


def test_a_name_in_the_answer_to_a_get_throws() -> None:
    """Since 2017-10, Jicofo throws an exception if the answer to a GET has a name."""
    reading = read_get(answer(POST), SENT, NOW_MS)
    assert isinstance(reading, Failed)
    assert "NullPointerException" in remarks(reading)


@pytest.mark.parametrize("status", [201, 404])
def test_a_get_must_be_200(status: int) -> None:
    """Another status, or a body that is not an object, opens no room."""
    assert not isinstance(read_get(answer(GET, status), SENT, NOW_MS), Opened)
    assert isinstance(read_get(answer(b"[]"), SENT, NOW_MS), Failed)
    assert isinstance(read_get(answer(b"5"), SENT, NOW_MS), Failed)


def test_delete_must_be_200() -> None:
    """For any other status, Jicofo keeps the room. A 204 also stops its timer."""
    assert read_delete(answer({})) is None
    for status in (201, 202, 204, 404, 500):
        remark = read_delete(answer({}, status))
        assert isinstance(remark, Remark)
        assert f"with {status}, wanted exactly 200: Jicofo keeps the room" in remark.text
        assert ("until it restarts" in remark.text) is (status == 204)
