"""A room that is taken at an HTTP backend: 409 with an id, with the whole conference, or empty."""

import time
from pathlib import Path

import pytest

from .http_support import (
    RESET,
    Answer,
    HttpScript,
    Received,
    answered,
    conference_of,
    running_http,
)
from .support import JICOFO, PROSODY, START, Client

OWNER, OTHER = "juliet@example.com", "romeo@example.com"
TAKEN: dict[str, object] = {
    "id": 41,
    "name": "testroom",
    "mail_owner": OWNER,
    "start_time": START,
    "duration": 3600,
}
LATEST_SECONDS = 10.0

WITH_ID: dict[str, dict[str, object]] = {
    "conflict_id": {"conflict_id": 41},
    "conflict_id as a text": {"conflict_id": "41", "message": "taken"},
}
WHOLE: dict[str, dict[str, object]] = {
    "the conference": TAKEN,
    "the conference with conflict_id": TAKEN | {"conflict_id": 41},
}


def taken(content: object) -> HttpScript:
    """Return a backend that answers 409 to each create, and has the conference 41."""
    script = HttpScript(lambda _: answered(409, content))
    script.book["41"] = dict(TAKEN)
    return script


@pytest.mark.parametrize("content", (WITH_ID | WHOLE).values(), ids=WITH_ID | WHOLE)
@pytest.mark.parametrize(
    ("user_agent", "owner", "status"),
    [
        (JICOFO, OWNER, 200),
        (JICOFO, OWNER.upper(), 200),
        (JICOFO, OTHER, 403),
        (JICOFO, None, 200),
        (PROSODY, OTHER, 200),
    ],
)
def test_who_may_join_a_taken_room(
    tmp_path: Path, content: dict[str, object], user_agent: str, owner: str | None, status: int
) -> None:
    """The rules are those of gRPC backends. A GET is sent only if the 409 has an id alone."""
    script = taken(content)
    with running_http(tmp_path, script) as running:
        reply = Client(running.client.port, user_agent).create(mail_owner=owner)
        assert reply.status == status, reply.body
        if status == 200:
            assert (reply.json["start_time"], reply.json["duration"]) == (START, 3600)
    is_alone = content in WITH_ID.values()
    assert [request.target for request in script.of("GET")] == ["/conference/41"] * is_alone
    if is_alone:
        post, get = script.requests
        assert get.headers["x-incident-id"] == post.headers["x-incident-id"]


def test_a_taken_room_can_be_reported(tmp_path: Path) -> None:
    """With `conflicts = "report"` the client gets 409 with an id, and reads it by GET."""
    script = taken({"conflict_id": 41})
    with running_http(tmp_path, script, of_proxy={"conflicts": "report"}) as running:
        reply = running.client.create(mail_owner=OTHER)
        assert (reply.status, reply.json["conflict_id"]) == (409, 41)
        assert running.client.get(41).json["mail_owner"] == OWNER


EMPTY = {"nothing": b"", "{}": {}, "a sentence": {"message": "The room is booked."}, "text": b"no"}


@pytest.mark.parametrize("content", EMPTY.values(), ids=EMPTY)
@pytest.mark.parametrize(
    ("user_agent", "owner", "status"),
    [(JICOFO, OWNER, 200), (JICOFO, OTHER, 403), (PROSODY, OTHER, 200)],
)
def test_a_409_without_an_id_means_the_open_conference_of_the_ledger(
    tmp_path: Path, content: object, user_agent: str, owner: str, status: int
) -> None:
    """If a client has the room open, its conference is the one that holds the room."""
    script = HttpScript()
    with running_http(tmp_path, script) as running:
        client = Client(running.client.port, user_agent)
        first = client.create(mail_owner=OWNER)
        script.create = lambda _: answered(409, content)
        again = client.create(mail_owner=owner)
        assert again.status == status
        if user_agent == JICOFO and status == 200:
            assert again.json["id"] == first.json["id"]
    assert not script.of("GET")


@pytest.mark.parametrize("content", EMPTY.values(), ids=EMPTY)
@pytest.mark.parametrize("user_agent", [JICOFO, PROSODY])
def test_a_409_about_an_unknown_conference_is_a_denial(
    tmp_path: Path, content: object, user_agent: str
) -> None:
    """The client gets 403, with the sentence of the backend if there is one."""
    script = HttpScript(lambda _: answered(409, content))
    with running_http(tmp_path, script) as running:
        reply = Client(running.client.port, user_agent).create()
        assert reply.status == 403
        if content == EMPTY["a sentence"]:
            assert reply.json["message"] == "The room is booked."
    assert len(script.requests) == 1


def test_a_conference_that_is_over_holds_no_room(tmp_path: Path) -> None:
    """A client that has ended the conference of a 409 without an id does not get it back."""
    script = HttpScript()
    with running_http(tmp_path, script) as running:
        public_id = running.client.create().json["id"]
        script.create = lambda _: answered(409)
        script.delete = lambda _: answered(500)
        assert running.client.delete(public_id).status == 200
        script.wait("DELETE")
        assert running.client.create().status == 403


GETS = {
    "404": (lambda _: answered(404, {"message": "gone"}), 502),
    "404 HTML": (lambda _: answered(404, b"<html>"), 403),
    "500": (lambda _: answered(500, {}), 403),
    "401": (lambda _: answered(401, {}), 403),
    "another conference": (lambda _: answered(200, TAKEN | {"id": 42}), 403),
    "503": (lambda _: answered(503), 503),
    "a reset": (lambda _: RESET, 503),
}


@pytest.mark.parametrize(("get", "status"), GETS.values(), ids=GETS)
@pytest.mark.parametrize("user_agent", [JICOFO, PROSODY])
def test_a_conflict_whose_get_fails(
    tmp_path: Path, get: object, status: int, user_agent: str
) -> None:
    """Without the conference the room is denied; an unreachable backend is a fault."""
    script = taken({"conflict_id": 41})
    script.get = get  # type: ignore[assignment]
    with running_http(tmp_path, script) as running:
        reply = Client(running.client.port, user_agent).create()
        assert reply.status == status, reply.body


def test_a_conflict_is_denied_where_conferences_cannot_be_read(tmp_path: Path) -> None:
    """With `get = ""` no GET is sent."""
    script = taken({"conflict_id": 41})
    with running_http(tmp_path, script, http={"get": ""}) as running:
        assert running.client.create().status == 403
    assert not script.of("GET")


def test_the_get_of_a_conflict_is_within_the_time_of_the_request(tmp_path: Path) -> None:
    """POST and GET together take no longer than one call may."""
    script = taken({"conflict_id": 41})
    script.get = script.hang
    with running_http(tmp_path, script, answer_within="500ms") as running:
        started = time.monotonic()
        assert running.client.create().status == 504
        assert time.monotonic() - started < LATEST_SECONDS
    assert len(script.of("POST")) == 1


def test_the_first_of_two_clients_keeps_its_room(tmp_path: Path) -> None:
    """A backend with a book: the second owner is denied until the first has left."""
    script = HttpScript()
    with running_http(tmp_path, script) as running:
        public_id = running.client.create(mail_owner=OWNER).json["id"]
        assert running.client.create(mail_owner=OTHER).status == 403
        assert running.client.create(mail_owner=OWNER).json["id"] == public_id
        assert running.client.delete(public_id).status == 200
        assert running.client.create(mail_owner=OTHER).status == 200


def test_nothing_in_an_id_leads_elsewhere(tmp_path: Path) -> None:
    """An id in a 409 that would lead to another path is not read."""

    def create(request: Received) -> Answer:
        return answered(409, conference_of(request, "../admin") | {"conflict_id": "../admin"})

    script = HttpScript(create)
    with running_http(tmp_path, script) as running:
        assert running.client.create().status == 403
    assert len(script.requests) == 1
