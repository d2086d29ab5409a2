"""The readers that replace the real clients must refuse what the real clients cannot handle."""

import json

import pytest

from .readers import (
    Approved,
    Held,
    Refused,
    UnreadableError,
    read_as_jicofo,
    read_as_prosody,
    read_delete,
)

POST: dict[str, str | int] = {
    "id": 7,
    "name": "board",
    "mail_owner": "juliet@example.com",
    "start_time": "2048-04-20T17:55:12.000Z",
    "duration": 3600,
}
GET = {key: POST[key] for key in ("id", "mail_owner", "start_time", "duration")}


def body(fields: object) -> bytes:
    """Return the JSON of a body."""
    return json.dumps(fields).encode()


def without(*keys: str) -> bytes:
    """Return the good answer without some fields."""
    return body({key: value for key, value in POST.items() if key not in keys})


def test_good_answers_are_read() -> None:
    """Each reader understands the answers that its client accepts."""
    sent = ("board", "juliet@example.com")
    assert read_as_jicofo(200, body(POST), *sent) == Approved(POST)
    assert read_as_prosody(201, body(POST), *sent) == Approved(POST)
    assert read_as_jicofo(200, without("name"), None, None) == Approved(GET)
    assert read_as_prosody(200, body(POST), None, None) == Approved(POST)
    assert read_as_prosody(200, body(POST | {"id": "a.b"}), None, None) == Approved(
        POST | {"id": "a.b"}
    )
    assert read_as_jicofo(409, b'{"conflict_id": 7}', *sent) == Held(7)
    assert read_as_prosody(409, b'{"conflict_id": "a.b"}', *sent) == Held("a.b")
    assert read_as_prosody(409, b'{"conflict_id": 7}', *sent) == Held(7)
    assert read_as_jicofo(403, b'{"message": "No."}', *sent) == Refused(403, "No.")
    assert read_as_prosody(503, b'{"message": "No.", "error": "x"}', *sent) == Refused(503, "No.")
    read_delete(200, b"{}")


BAD_FIELDS: list[dict[str, object]] = [
    {"x": []},
    {"x": {}},
    {"x": None},
    {"x": 1.0},
    {"x": float("nan")},
    {"x": 1},
    {"id": None},
    {"id": 0},
    {"id": -1},
    {"id": 10**14},
    {"id": True},
    {"id": 7.5},
    {"id": "a/b"},
    {"id": ""},
    {"id": "7"},
    {"name": "hall"},
    {"name": 7},
    {"mail_owner": 7},
    {"mail_owner": ""},
    {"start_time": 2471018112000},
    {"start_time": "2048-04-20T17:55:12Z"},
    {"start_time": "2048-04-20T17:55:12.000000Z"},
    {"start_time": "2048-04-20T17:55:12.000+00:00"},
    {"start_time": "2048-04-20 17:55:12.000Z"},
    {"start_time": "2048-04-31T17:55:12.000Z"},
    {"start_time": "0000-04-30T17:55:12.000Z"},
    {"duration": 0},
    {"duration": -1},
    {"duration": 1.5},
    {"duration": "60"},
    {"duration": True},
    {"duration": 10**15},
    {"max_occupants": 0},
    {"max_occupants": "2"},
    {"password": ""},
    {"password": 7},
    {"password": "a\nb"},
    {"password": "\ud800"},
    {"lobby": False},
    {"lobby": 1},
    {"lobby": "true"},
    {"pin": ""},
    {"url": ""},
    {"sip_id": -1},
    {"sip_id": 10**14},
]
BAD_FOR_BOTH = [
    b"",
    b"null",
    b"7",
    b'"x"',
    b"[]",
    b"{",
    b"\xef\xbb\xbf{}",
    body(POST).replace(b"board", b"caf\xc3\xa9"),
    body(POST)[:-1] + b', "id": 7}',
    *(body({**POST, **bad}) for bad in BAD_FIELDS),
    *(without(key) for key in POST),
]


@pytest.mark.parametrize("answer", BAD_FOR_BOTH)
def test_both_readers_refuse_bad_approvals(answer: bytes) -> None:
    """Neither reader accepts an approval that a client would refuse, misread or get stuck on."""
    for read in (read_as_jicofo, read_as_prosody):
        with pytest.raises(UnreadableError):
            read(200, answer, "board", "juliet@example.com")


def test_each_reader_refuses_answers_for_the_other_client() -> None:
    """Jicofo requires a number, and no name in a GET; Prosody requires a name and an owner."""
    with pytest.raises(UnreadableError):
        read_as_jicofo(200, body(POST | {"id": "a.b"}), "board", "juliet@example.com")
    with pytest.raises(UnreadableError):
        read_as_jicofo(409, b'{"conflict_id": "a.b"}', "board", None)
    with pytest.raises(UnreadableError):
        read_as_jicofo(200, body(POST), None, None)
    with pytest.raises(UnreadableError):
        read_as_jicofo(200, body(POST), "board", None)
    with pytest.raises(UnreadableError):
        read_as_jicofo(200, body(POST), "BOARD", "juliet@example.com")
    with pytest.raises(UnreadableError):
        read_as_jicofo(200, body(GET | {"mail_owner": ""}), None, None)
    with pytest.raises(UnreadableError):
        read_as_prosody(200, without("name"), None, None)
    with pytest.raises(UnreadableError):
        read_as_prosody(200, without("mail_owner"), "board", None)
    assert read_as_prosody(200, body(POST), "BOARD", "juliet@example.com") == Approved(POST)
    without_owner = {key: POST[key] for key in POST if key != "mail_owner"}
    assert read_as_jicofo(200, body(without_owner), "board", None) == Approved(without_owner)


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (403, b"{}"),
        (403, b'{"message": ""}'),
        (403, b'{"message": " "}'),
        (403, b'{"message": 7}'),
        (403, b'{"message": null}'),
        (403, b'{"message": ["x"]}'),
        (403, b'{"message": "a\\nb"}'),
        (403, b'{"message": "a\\u2028b"}'),
        (403, b'{"message": "a\\u0000b"}'),
        (403, b'{"message": "a\\uffffb"}'),
        (403, b'{"message": "\\ud800"}'),
        (403, b'{"message": "x", "error": 1}'),
        (403, b'[{"message": "x"}]'),
        (100, b'{"message": "x"}'),
        (202, body(POST)),
        (204, b"{}"),
        (302, b'{"message": "x"}'),
        (409, b'{"message": "x"}'),
        (409, b'{"conflict_id": 0}'),
        (409, b'{"conflict_id": null}'),
    ],
)
def test_both_readers_refuse_bad_refusals(status: int, answer: bytes) -> None:
    """Neither reader accepts a wrong status, or a refusal whose message is not one line of text."""
    for read in (read_as_jicofo, read_as_prosody):
        with pytest.raises(UnreadableError):
            read(status, answer, "board", "juliet@example.com")


@pytest.mark.parametrize(
    ("status", "answer"), [(204, b"{}"), (404, b"{}"), (200, b""), (200, b"[]")]
)
def test_deletes_are_exactly_200_with_an_object(status: int, answer: bytes) -> None:
    """The reader accepts only 200 with an object; after another status Jicofo keeps the room."""
    with pytest.raises(UnreadableError):
        read_delete(status, answer)
