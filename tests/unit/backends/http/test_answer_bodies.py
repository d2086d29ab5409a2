"""The body of an answer: its kind, and the sentence in it."""

import gzip
import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jicofo_reservation_proxy.backends.http.answer_bodies import (
    MAX_SENTENCE_CHARACTERS,
    BodyKind,
    at_path,
    read_body,
)

OBJECT, OTHER_JSON, TEXT = BodyKind.OBJECT, BodyKind.OTHER_JSON, BodyKind.TEXT
EMPTY, HTML, UNREADABLE = BodyKind.EMPTY, BodyKind.HTML, BodyKind.UNREADABLE


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b'{"id": 7}', OBJECT),
        (b"{}", OBJECT),
        (b' \r\n{"id": 7}\n', OBJECT),
        (b'\xef\xbb\xbf{"id": 7}', OBJECT),
        (b'{"page": "<html>"}', OBJECT),
        (b"[]", OTHER_JSON),
        (b'[{"id": 7}]', OTHER_JSON),
        (b"null", OTHER_JSON),
        (b"true", OTHER_JSON),
        (b"7", OTHER_JSON),
        (b'""', OTHER_JSON),
        (b'" "', OTHER_JSON),
        (b'"The room is closed."', TEXT),
        (b"The room is closed.", TEXT),
        ("Le caf\u00e9 est ferm\u00e9.".encode(), TEXT),
        (b"NaN", TEXT),
        (b"1 < 2", TEXT),
        (b"a<=b", TEXT),
        (b"", EMPTY),
        (b" \r\n\t", EMPTY),
        (b"\xef\xbb\xbf", UNREADABLE),
        (b"<!DOCTYPE html><html></html>", HTML),
        (b"<html>", HTML),
        (b"\n\n<HTML>", HTML),
        (b"<?xml version='1.0'?><error/>", HTML),
        (b"Bad gateway<br>nginx", HTML),
        (b'"<p>Not found</p>"', HTML),
        (b"{<b>", HTML),
        (b'{"id": 7', UNREADABLE),
        (b'{"id": NaN}', UNREADABLE),
        (b'{"id": Infinity}', UNREADABLE),
        (b"[1,", UNREADABLE),
        (b"{'id': 7}", UNREADABLE),
        ("caf\u00e9".encode("latin-1"), UNREADABLE),
        ("<!DOCTYPE html><title>caf\u00e9</title>".encode("latin-1"), HTML),
        ("<!DOCTYPE html><title>caf\u00e9</title>".encode("utf-16"), HTML),
        (gzip.compress(b'{"id": 7}', mtime=0), UNREADABLE),
        (b"[" * 60_000, UNREADABLE),
        (b'{"id": ' + b"1" * 5000 + b"}", UNREADABLE),
    ],
)
def test_the_kind_of_a_body(data: bytes, kind: BodyKind) -> None:
    """Only the bytes tell what a body is; a text with a tag is a page."""
    body = read_body(data)
    assert body.kind is kind
    assert (body.kind is OBJECT) >= bool(body.fields)
    assert (body.kind is TEXT) is bool(body.text)


def test_an_object_is_read_whole() -> None:
    """All fields are there; of a field that comes twice, the last."""
    assert read_body(b'{"id": 7, "data": {"id": [1]}, "id": 8}').fields == {
        "id": 8,
        "data": {"id": [1]},
    }


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b'{"message": "Closed."}', "Closed."),
        (b'{"error": "Closed."}', "Closed."),
        (b'{"detail": "Closed."}', "Closed."),
        (b'{"title": "Forbidden", "detail": "Closed.", "status": 403}', "Closed."),
        (b'{"type": "about:blank", "title": "Closed."}', "Closed."),
        (b'{"error": {"code": 7, "message": "Closed."}}', "Closed."),
        (b'{"message": " ", "error": "Closed."}', "Closed."),
        (b'{"message": null, "error": false, "detail": ["x"], "title": " Closed. "}', "Closed."),
        (b'{"message": "<b>no</b>", "detail": "Closed."}', "Closed."),
        (b'{"message": "a < b"}', "a < b"),
        (b"Closed.\n", "Closed."),
        (b'"Closed."', "Closed."),
        (b"x" * MAX_SENTENCE_CHARACTERS, "x" * MAX_SENTENCE_CHARACTERS),
        (b"x" * (MAX_SENTENCE_CHARACTERS + 1), ""),
        (b"Traceback:\n  File x", ""),
        (b"Traceback:\r  File x", ""),
        ("Traceback:\u2028File x".encode(), ""),
        (b'{"message": "Traceback:\\n  File x"}', ""),
        (b'{"message": "Traceback:\\n  File x", "detail": "Closed."}', "Closed."),
        (b'{"reason": "Closed."}', ""),
        (b'{"message": 7}', ""),
        (b'{"message": true}', ""),
        (b'{"message": ["Closed."]}', ""),
        (b'{"message": {"text": "Closed."}}', ""),
        (b'{"message": {"message": {"message": "Closed."}}}', ""),
        (b'{"": "Closed."}', ""),
        (b'[{"message": "Closed."}]', ""),
        (b"<p>Closed.</p>", ""),
        (b"", ""),
        (b"null", ""),
        (b'{"message": "Closed."', ""),
    ],
)
def test_the_sentence_of_a_refusal(data: bytes, sentence: str) -> None:
    """A sentence is in one of four fields, or it is the whole text; no page is a sentence."""
    assert read_body(data).sentence("message") == sentence


def test_another_place_of_the_sentence() -> None:
    """With another setting, only that place is read. A plain text needs no place."""
    body = read_body(b'{"message": "No.", "data": {"why": "Closed."}, "": "x"}')
    assert body.sentence("data.why") == "Closed."
    assert body.sentence("data") == ""
    assert body.sentence("") == ""
    assert read_body(b"Closed.").sentence("data.why") == "Closed."


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("id", 7),
        ("data.id", 8),
        ("data.bookings.0.id", 9),
        ("data.bookings.1", {"id": 10}),
        ("data.bookings.2", None),
        ("data.bookings.-1", None),
        ("data.bookings.id", None),
        ("data.bookings.", None),
        ("data.0", 11),
        ("nope", None),
        ("id.nope", None),
        ("text.0", None),
        ("data..id", None),
        ("null.id", None),
    ],
)
def test_places_in_an_answer(path: str, value: object) -> None:
    """A place has names and positions, and there may be nothing at it."""
    fields = {
        "id": 7,
        "data": {"id": 8, "bookings": [{"id": 9}, {"id": 10}], "0": 11},
        "text": "abc",
        "null": None,
    }
    assert at_path(fields, path) == value


@pytest.mark.parametrize(
    ("data", "described"),
    [
        (b'{"id": 7, "pin": "1234"}', "a JSON object"),
        (b'{"error": "no\\n  such room"}', "a JSON object (no such room)"),
        (b"no\nsuch room", "plain text (no such room)"),
        (b"<h1>502</h1>", "an HTML page"),
        (b"", "nothing"),
    ],
)
def test_what_the_log_says_of_a_body(data: bytes, described: str) -> None:
    """The log has a sentence in one line, and no other field: it may be a password."""
    assert read_body(data).described == described


@given(data=st.binary(max_size=200) | st.text(max_size=50).map(str.encode))
@example(b'"\\ud800"')
@example(b"\x00")
@settings(max_examples=200)
def test_any_bytes_have_a_kind(data: bytes) -> None:
    """Whatever the bytes are, the body has a kind, a sentence and a description in one line."""
    body = read_body(data)
    assert isinstance(body.sentence("message"), str)
    assert body.described.isprintable() or "\n" not in body.described
    if data.strip() and body.kind is EMPTY:
        raise AssertionError(data)
    if body.kind is OBJECT:
        assert isinstance(json.loads(data.strip()), dict)
