"""A backend's answers → outcomes → the answers to both clients, without a network."""

import itertools
import json
import math
import re
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jicofo_reservation_proxy.backends import retries
from jicofo_reservation_proxy.backends.http.connections import HttpConnections
from jicofo_reservation_proxy.backends.http.exchange import Answer, Request
from jicofo_reservation_proxy.backends.http.http_backend import HttpBackend
from jicofo_reservation_proxy.http.answers import render_delete
from jicofo_reservation_proxy.http.dialects import JICOFO, PROSODY
from jicofo_reservation_proxy.http.renderers import RENDERERS
from jicofo_reservation_proxy.ids import encode
from jicofo_reservation_proxy.model import (
    NO_HOLD,
    ClientKind,
    Conference,
    ConferenceRef,
    Conflict,
    CreateOutcome,
    Deleted,
    DeleteReason,
    Deletion,
    Denied,
    Dialect,
    Fault,
    FaultKind,
    Found,
    GetOutcome,
    Granted,
    NotFound,
    Reservation,
    UnnamedConflict,
)
from jicofo_reservation_proxy.observability.metrics import Metrics

from tests.fuzz.backend_answers import FIELDS, MISSING, json_values
from tests.unit.http.readers import Approved, Refused, read_as_jicofo, read_as_prosody

from .requests import START, asking, backend

INCIDENT = "0123456789ab"
ROOM, OWNER = "board", "juliet@example.com"
RIGHT: dict[str, Any] = {
    "id": 7,
    "name": ROOM,
    "mail_owner": OWNER,
    "start_time": START,
    "duration": 3600,
}
_TAG = re.compile("<[A-Za-z!/?]")


@pytest.fixture(autouse=True)
def _repeat_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Repeat requests without a back-off."""
    monkeypatch.setattr(retries, "INITIAL_BACKOFF_SECONDS", 0.0)


@dataclass
class Connections:
    """Connections whose answers are prepared, by the method of the request."""

    answers: dict[str, Answer] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)

    def exchange(self, request: Request, _within_seconds: float) -> Answer:
        """Return the prepared answer."""
        self.requests.append(request)
        return self.answers[request.method]


@dataclass
class Scene:
    """A backend with such connections."""

    connections: Connections
    backend: HttpBackend

    def answer(self, method: str, status: int, content: object) -> None:
        """Prepare an answer; `content` is bytes, or a value that becomes JSON."""
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.connections.answers[method] = Answer(status, body)

    def create(self) -> CreateOutcome:
        """Ask for the room."""
        return self.backend.create(
            asking(ROOM, OWNER), ClientKind.JICOFO, NO_HOLD, INCIDENT, 5.0
        ).outcome

    def get(self) -> GetOutcome:
        """Read the conference 7."""
        return self.backend.get("7", INCIDENT, 5.0).outcome


def scene(**http: object) -> Scene:
    """Return a backend whose GET and DELETE answer 404 with an object."""
    connections = Connections()
    found = HttpBackend(
        "default",
        backend("http://127.0.0.1:8080/api", **http),
        cast("HttpConnections", connections),
        Metrics(),
    )
    missing = Answer(404, b"{}")
    connections.answers |= dict.fromkeys(("POST", "GET", "DELETE"), missing)
    return Scene(connections, found)


# -- whatever the answer is, both clients can read it ---------------------------------------------


def check_create(outcome: CreateOutcome) -> None:
    """Check what each client gets if this is the outcome of a create."""
    for dialect, read in ((JICOFO, read_as_jicofo), (PROSODY, read_as_prosody)):
        match outcome:
            case Granted(conference) | Conflict(conference):
                answer = _rendered(dialect, conference)
                assert isinstance(read(*answer, ROOM, OWNER), Approved)
            case UnnamedConflict(_, message):
                _check_refusal(dialect, Denied(message, "taken"))
            case Denied() | Fault():
                _check_refusal(dialect, outcome)


def _rendered(dialect: Dialect, conference: Conference) -> tuple[int, bytes]:
    public_id = 7 if dialect.numeric_ids else encode(ConferenceRef("default", conference.id))
    reply = Reservation(public_id, conference)
    return RENDERERS[dialect.kind].create(asking(ROOM, OWNER), reply, INCIDENT)


def _check_refusal(dialect: Dialect, outcome: Denied | Fault) -> None:
    answer = RENDERERS[dialect.kind].create(asking(ROOM, OWNER), outcome, INCIDENT)
    refused = read_as_prosody(*answer, ROOM, OWNER)
    assert isinstance(refused, Refused)
    assert not _TAG.search(refused.message)
    if isinstance(outcome, Fault):
        assert outcome.kind is not FaultKind.INTERNAL
        assert len(outcome.detail) < 1000


def check_get(outcome: GetOutcome) -> None:
    """Check what each client gets if this is the outcome of a GET."""
    for dialect, read in ((JICOFO, read_as_jicofo), (PROSODY, read_as_prosody)):
        reply = outcome
        if isinstance(outcome, Found):
            public_id = 7 if dialect.numeric_ids else "default.7"
            reply = Reservation(public_id, outcome.conference)  # type: ignore[assignment]
        answer = RENDERERS[dialect.kind].get(reply, INCIDENT)  # type: ignore[arg-type]
        read(*answer, None, None)


STATUSES = (200, 201, 409, 403, 400)
VALUES: list[Any] = [
    *(None, True, False, 0, -1, 1, 7, 0.5, -0.0, 7.0, 1e22, 1e308, 2**31, 2**63, 10**15, 10**400),
    *(-(10**400), math.inf, "", " ", "7", "007", "-1", "1e999", "9" * 25, "x" * 300, "x" * 4000),
    *("a\nb", "\x00", "\x07bell", "\ufffe", "\ud800", "\u2028", "<html>", "a <b>c</b>", "..", "."),
    *("a/../b", "%2e%2e", "caf\u00e9", "\U0001f600", OWNER, START, "2048-04-20 17:55:12", "true"),
    *("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "9999-12-31T23:59:59Z"),
    *("0001-01-01T00:00:00Z", -(10**12), 10**14, "2048-02-30T00:00:00Z", "https://example.com/7"),
    *([], [7], [[]], {}, {"id": 7}, {"message": "No."}, {"message": {"message": "No."}}, MISSING),
]


def test_every_field_with_every_strange_value() -> None:
    """One field of a right answer is strange: both clients can read what becomes of it."""
    tested = scene()
    for status, name, value in itertools.product(STATUSES, FIELDS, VALUES):
        fields = RIGHT | {name: value}
        if value is MISSING:
            del fields[name]
        tested.answer("POST", status, fields)
        tested.answer("GET", status, fields)
        try:
            check_create(tested.create())
            check_get(tested.get())
        except Exception as error:
            raise AssertionError(f"{status} with {name} = {value!r:.100}") from error


@given(
    created=json_values,
    found=json_values,
    changes=st.dictionaries(st.sampled_from(FIELDS), json_values, max_size=3),
    statuses=st.tuples(*[st.sampled_from(STATUSES) | st.integers(100, 599)] * 3),
)
@settings(max_examples=200)
def test_any_json_with_any_status(
    created: object, found: object, changes: dict[str, Any], statuses: tuple[int, int, int]
) -> None:
    """Whole documents of any kind, and right answers with up to three changes."""
    tested = scene()
    for post, get in ((created, found), (RIGHT | changes, RIGHT | changes)):
        tested.answer("POST", statuses[0], post)
        tested.answer("GET", statuses[1], get)
        tested.answer("DELETE", statuses[2], found)
        check_create(tested.create())
        check_get(tested.get())
        deletion = Deletion("7", 0, DeleteReason.ENDED)
        deleted = tested.backend.delete(deletion, INCIDENT, 5.0).outcome
        read = render_delete(deleted, INCIDENT)
        assert isinstance(deleted, Deleted) == (read.status == 200)


# -- outcomes ------------------------------------------------------------------------------------


def test_a_conflict_that_is_read_by_a_get() -> None:
    """A 409 with an id, and the answer of the GET to it."""
    tested = scene()
    tested.answer("POST", 409, {"conflict_id": 7, "message": "Taken."})
    tested.answer("GET", 200, RIGHT)
    conflict = tested.create()
    assert isinstance(conflict, Conflict)
    assert conflict.conference.id == "7"
    assert [request.target for request in tested.connections.requests] == [
        "/api/conference",
        "/api/conference/7",
    ]
    for status, content, outcome in [
        (500, {}, UnnamedConflict("7", "Taken.")),
        (200, RIGHT | {"id": 8}, UnnamedConflict("7", "Taken.")),
        (404, b"<html>", UnnamedConflict("7", "Taken.")),
    ]:
        tested.answer("GET", status, content)
        assert tested.create() == outcome
    tested.answer("GET", 404, {})
    fault = tested.create()
    assert isinstance(fault, Fault)
    assert fault.kind is FaultKind.BROKEN
    tested.answer("GET", 504, b"")
    fault = tested.create()
    assert isinstance(fault, Fault)
    assert fault.kind is FaultKind.SLOW


@pytest.mark.parametrize(
    ("content", "conflict"),
    [
        (b"", UnnamedConflict()),
        (b"null", UnnamedConflict()),
        ({"message": "Taken."}, UnnamedConflict("", "Taken.")),
        (b"Taken.", UnnamedConflict("", "Taken.")),
        ({"conflict_id": 7}, UnnamedConflict("7")),
        ({"id": 7}, UnnamedConflict("7")),
    ],
)
def test_a_conflict_without_a_get(content: object, conflict: UnnamedConflict) -> None:
    """If GET is switched off, or the 409 has no id, the conference is not described."""
    for tested in [scene(get="")] if conflict.conference_id else [scene(get=""), scene()]:
        tested.answer("POST", 409, content)
        assert tested.create() == conflict
        assert len(tested.connections.requests) == 1


def test_a_conflict_with_the_whole_conference() -> None:
    """No GET is needed."""
    tested = scene()
    for content in (RIGHT, RIGHT | {"conflict_id": 7}):
        tested.answer("POST", 409, content)
        conflict = tested.create()
        assert isinstance(conflict, Conflict)
        assert (conflict.conference.id, conflict.conference.owner) == ("7", OWNER)
    assert {request.method for request in tested.connections.requests} == {"POST"}


def test_endpoints_that_are_switched_off() -> None:
    """Nothing is sent: no room opens, nothing can be read, and no deletion is needed."""
    tested = scene(create="", get="", delete="")
    denied, found = tested.create(), tested.get()
    assert isinstance(denied, Denied)
    assert isinstance(found, Fault)
    deletion = Deletion("7", 0, DeleteReason.ENDED)
    deleted = tested.backend.delete(deletion, INCIDENT, 5.0)
    assert deleted == (Deleted(is_unsupported=True), "")
    tested.backend.probe_if_idle()
    assert tested.connections.requests == []


def test_a_room_or_an_id_that_cannot_be_in_a_path() -> None:
    """Nothing is sent: the room is denied, no conference has such an id; no deletion is lost."""
    tested = scene(create="POST /rooms/{room}")
    denied = tested.backend.create(asking("a/b"), ClientKind.JICOFO, NO_HOLD, INCIDENT, 5.0).outcome
    assert isinstance(denied, Denied)
    assert tested.backend.get("..", INCIDENT, 5.0) == (NotFound(), "")
    deletion = Deletion("..", 0, DeleteReason.ENDED)
    kept = tested.backend.delete(deletion, INCIDENT, 5.0)
    assert isinstance(kept.outcome, Fault)
    assert (kept.outcome.kind, kept.code) == (FaultKind.BROKEN, "")
    assert tested.connections.requests == []


def test_what_is_sent() -> None:
    """The requests of a create, a GET and a DELETE."""
    tested = scene()
    tested.answer("POST", 201, RIGHT)
    assert isinstance(tested.create(), Granted)
    tested.get()
    tested.backend.delete(Deletion("a/b", 0, DeleteReason.ENDED), INCIDENT, 5.0)
    post, get, delete = tested.connections.requests
    assert (post.method, post.target) == ("POST", "/api/conference")
    assert post.headers == {
        "Content-Type": "application/x-www-form-urlencoded; charset=UTF-8",
        "Idempotency-Key": asking().request_id,
        "X-Incident-Id": INCIDENT,
    }
    assert (get.method, get.target, get.body) == ("GET", "/api/conference/7", None)
    assert (delete.method, delete.target, delete.body) == ("DELETE", "/api/conference/a%2Fb", None)
    assert get.headers == delete.headers == {"X-Incident-Id": INCIDENT}


def test_a_create_by_get_has_no_body() -> None:
    """A create may be a GET, whose values are in its URL."""
    tested = scene(create="GET /open?room={room}", get="", delete="")
    tested.answer("GET", 200, RIGHT)
    assert isinstance(tested.create(), Granted)
    (request,) = tested.connections.requests
    assert (request.target, request.body) == ("/api/open?room=board", None)
    assert "Content-Type" not in request.headers


def test_a_repeated_deletion_looks_first() -> None:
    """An uncertain deletion of a conference that is gone is not sent again.

    That holds only after a GET has found a conference: a backend without GET answers 404 to each.
    """
    tested = scene()
    tested.answer("DELETE", 500, {})
    deletion = Deletion("7", 0, DeleteReason.ENDED, is_uncertain=True)
    assert isinstance(tested.backend.delete(deletion, INCIDENT, 5.0).outcome, Fault)
    assert [request.method for request in tested.connections.requests] == ["DELETE"]
    tested.answer("GET", 200, RIGHT)
    assert isinstance(tested.get(), Found)
    tested.connections.requests.clear()
    assert isinstance(tested.backend.delete(deletion, INCIDENT, 5.0).outcome, Fault)
    assert [request.method for request in tested.connections.requests] == ["GET", "DELETE"]
    tested.answer("GET", 404, {})
    assert tested.backend.delete(deletion, INCIDENT, 5.0).outcome == Deleted()
    first = Deletion("7", 0, DeleteReason.ENDED)
    assert isinstance(tested.backend.delete(first, INCIDENT, 5.0).outcome, Fault)
