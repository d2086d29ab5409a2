"""Both clients with generated answers."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jicofo_reservation_proxy.simulation import jicofo_answers, prosody_answers
from jicofo_reservation_proxy.simulation.outcomes import (
    Failed,
    Held,
    Opened,
    Refused,
    Sent,
    Stuck,
)
from jicofo_reservation_proxy.simulation.wire import Answer

from tests.unit.http.readers import Approved, UnreadableError, read_as_jicofo, read_as_prosody

START_MS = 2_471_206_512_000
SENT = Sent("board", "juliet@example.com", START_MS)
KEYS = [
    "id",
    "name",
    "mail_owner",
    "start_time",
    "duration",
    "max_occupants",
    "password",
    "lobby",
    "pin",
    "url",
    "sip_id",
    "message",
    "error",
    "conflict_id",
]
TEXTS = ["board", "juliet@example.com", "2048-04-22T22:15:12.000Z", "9999-12-31T23:59:59.999-23"]
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.sampled_from([*TEXTS, 1, 3600, 2**63, 10**15]),
)
NESTED = st.recursive(
    VALUES,
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=3)
    ),
    max_leaves=5,
)
VERDICTS = (Opened, Refused, Failed, Stuck, Held)
STATUSES = st.sampled_from([100, 200, 201, 202, 204, 302, 400, 403, 404, 409, 500, 503])


@given(STATUSES, st.one_of(NESTED, st.dictionaries(st.sampled_from(KEYS), NESTED)))
def test_every_json_has_a_verdict(status: int, document: object) -> None:
    """Both clients read every JSON document without an exception."""
    _read_all(status, json.dumps(document).encode())


@given(STATUSES, st.binary())
def test_every_body_has_a_verdict(status: int, body: bytes) -> None:
    """Both clients read every sequence of bytes without an exception."""
    _read_all(status, body)


@pytest.mark.parametrize("depth", [100, 450, 600, 900, 100_000])
@pytest.mark.parametrize(("begins", "ends"), [(b'{"a":', b"}"), (b"[", b"]")])
@pytest.mark.parametrize("key", [b"", b"name", b"mail_owner", b"id", b"message", b"conflict_id"])
def test_a_deeply_nested_body_has_a_verdict(
    depth: int, begins: bytes, ends: bytes, key: bytes
) -> None:
    """Both clients read it without an exception, even if the parser rejects it."""
    nested = depth * begins + b"1" + depth * ends
    for status in (200, 403, 409):
        _read_all(status, b'{"name":"board","%s":%s}' % (key, nested) if key else nested)


def _read_all(status: int, body: bytes) -> None:
    answer = Answer(status, {}, body)
    for sent in (SENT, Sent("board", None, START_MS)):
        assert isinstance(jicofo_answers.read_post(answer, sent, START_MS), VERDICTS)
        assert isinstance(jicofo_answers.read_get(answer, sent, START_MS), VERDICTS)
    assert isinstance(prosody_answers.read_post(answer, SENT, START_MS), VERDICTS)
    assert isinstance(prosody_answers.read_get(answer, START_MS), VERDICTS)


GOOD = {
    "id": st.integers(1, 99_999_999_999_999),
    "name": st.just("board"),
    "mail_owner": st.just("juliet@example.com"),
    "start_time": st.sampled_from(["2048-04-22T22:15:12.000Z", "2048-04-22T22:15:11.999Z"]),
    "duration": st.integers(60, 3_155_760_000),
}
OPTIONS = {
    "max_occupants": st.integers(0, 5),
    "password": st.text(max_size=3),
    "lobby": st.booleans(),
    "pin": st.text(max_size=3),
    "sip_id": st.integers(-1, 5),
}


@given(st.fixed_dictionaries(GOOD, optional=OPTIONS))
def test_an_answer_that_the_strict_readers_approve_opens_without_a_remark(
    fields: dict[str, object],
) -> None:
    """If a strict reader approves an answer, the simulated client opens the room."""
    body = json.dumps(fields).encode()
    answer = Answer(200, {}, body)
    if _is_approved(read_as_jicofo, body):
        assert _is_clean(jicofo_answers.read_post(answer, SENT, START_MS))
    if _is_approved(read_as_prosody, body):
        assert _is_clean(prosody_answers.read_post(answer, SENT, START_MS))


def _is_approved(read: object, body: bytes) -> bool:
    assert callable(read)
    try:
        return isinstance(read(200, body, SENT.name, SENT.owner), Approved)
    except UnreadableError:
        return False


def _is_clean(reading: object) -> bool:
    return isinstance(reading, Opened) and not reading.remarks
