"""The backends have the habits that they are made for: this looks at the bytes of their answers."""

import gzip
import http.client
import json
import re
from codecs import BOM_UTF8
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from .habits import (
    ALL,
    AspNet,
    Cgi,
    Django,
    Express,
    FastApi,
    Flask,
    Go,
    Lambda,
    Laravel,
    Lua,
    NodeMysql,
    PlainPhp,
    Rails,
    Rooms,
    Spring,
)
from .handbook import BROKEN, DENIED, SECRET_PAGE, SENTENCE, Handbook
from .server import serving

START = "2048-04-20T17:55:12.345Z"
HEADERS = {
    "Accept": "application/json",
    "Accept-Encoding": "identity",
    "User-Agent": "jicofo-reservation-proxy/1",
    "X-Incident-Id": "1",
    "Idempotency-Key": "1",
    "X-Api-Key": Spring.api_key,
    "X-Tenant": "acme",
}


@dataclass(frozen=True)
class Seen:
    """An answer; its body is not compressed any more."""

    version: int
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:  # noqa: ANN401 - JSON
        """The body as JSON, also with a byte order mark."""
        return json.loads(self.body)


class Caller:
    """Sends the requests of the proxy to one backend."""

    def __init__(self, backend: Handbook, port: int) -> None:
        self._backend = backend
        self._port = port
        self.prefix = backend.prefix

    def create(self, room: str = "board") -> Seen:
        """Ask for a room."""
        fields = {"mail_owner": "juliet@example.com", "start_time": START}
        match self._backend:
            case Rooms():
                own = {"organizer": fields["mail_owner"], "begins": START}
                body = json.dumps(own | {"source": "jitsi", "priority": "3"})
                return self.send("POST", f"/rooms/{quote(room)}/open?by=jitsi", body)
            case FastApi():
                body = json.dumps({**fields, "name": room, "duration": -1})
            case _:
                body = urlencode({**fields, "name": room, "duration": -1})
        is_file = isinstance(self._backend, PlainPhp)
        return self.send("POST", "/conference.php" if is_file else "/conference", body)

    def get(self, conference_id: object) -> Seen:
        """Read a conference."""
        collection = "/bookings" if isinstance(self._backend, Rooms) else "/conference"
        return self.send("GET", f"{collection}/{conference_id}")

    def delete(self, conference_id: object) -> Seen:
        """Delete a conference."""
        match self._backend:
            case Rooms():
                return self.send("PUT", f"/bookings/{conference_id}/close")
            case PlainPhp():
                return self.send("DELETE", f"/conference.php?room={conference_id}")
            case _:
                return self.send("DELETE", f"/conference/{conference_id}")

    def send(self, method: str, path: str, body: str | None = None) -> Seen:
        """Send a request; return the answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        is_json = body is not None and body.startswith("{")
        kind = "application/json" if is_json else "application/x-www-form-urlencoded"
        headers = HEADERS | ({"Content-Type": kind} if body else {})
        try:
            connection.request(method, self.prefix + path, body, headers)
            answer = connection.getresponse()
            names = {name.lower(): value for name, value in answer.getheaders()}
            body_bytes = answer.read()
            if names.get("content-encoding") == "gzip":
                body_bytes = gzip.decompress(body_bytes)
            return Seen(answer.version, answer.status, names, body_bytes)
        finally:
            connection.close()


@contextmanager
def calling(kind: type[Handbook]) -> Iterator[tuple[Handbook, Caller]]:
    """Serve a backend; yield it and its caller. No request may be wrong."""
    backend = kind()
    with serving(backend) as port:
        yield backend, Caller(backend, port)
    assert backend.complaints == []


def id_in(answer: Seen) -> object:
    """Return the id in an answer to a create; a float becomes an integer, as in the proxy."""
    fields = json.loads(answer.body, parse_float=lambda text: int(float(text)))
    if "data" in fields:
        return fields["data"]["booking"]["id"]
    return fields.get("id", fields.get("name"))


def granted(caller: Caller) -> Seen:
    """Return the answer for a free room."""
    return caller.create()


def held(caller: Caller) -> Seen:
    """Return the answer for a room that is open."""
    caller.create()
    return caller.create()


def refused(caller: Caller) -> Seen:
    """Return the answer for a room that nobody may open."""
    return caller.create(DENIED)


def failed(caller: Caller) -> Seen:
    """Return the answer of a backend that fails."""
    return caller.create(BROKEN)


def ended(caller: Caller) -> Seen:
    """Return the answer to a DELETE of an open room."""
    return caller.delete(id_in(caller.create()))


def _field(name: str, pattern: str) -> Callable[[Seen], bool]:
    """Return whether the value of a field, as its bytes in JSON, has a pattern."""
    field = re.compile(rf'"{name}": (?:{pattern})[,}}]')
    return lambda answer: bool(field.search(answer.body.decode()))


def _without(name: str) -> Callable[[Seen], bool]:
    return lambda answer: "id" in answer.json and name not in answer.json


def _status(status: int) -> Callable[[Seen], bool]:
    return lambda answer: answer.status == status


def _says(status: int, content_type: str, body: str) -> Callable[[Seen], bool]:
    """Return whether a refusal has a status, a content type and a body."""
    return lambda answer: (
        (answer.status, answer.headers.get("content-type", "")) == (status, content_type)
        and re.fullmatch(body, json.dumps(answer.json) if "json" in content_type else _text(answer))
        is not None
    )


def _text(answer: Seen) -> str:
    return answer.body.decode()


JSON, PROBLEM = "application/json", "application/problem+json"
QUOTED = re.escape(json.dumps(SENTENCE))
TIME = "2048-04-20T17:55:12"

HABITS: dict[str, tuple[type[Handbook], Callable[[Caller], Seen], Callable[[Seen], bool]]] = {
    "an integer as the id": (Laravel, granted, _field("id", "1")),
    "a string as the id": (Express, granted, _field("id", '"conf-0{23}1"')),
    "a float as the id": (Lua, granted, _field("id", r"1\.0")),
    "a UUID as the id": (Flask, granted, _field("id", '"[0-9a-f-]{36}"')),
    "a time with +00:00": (FastApi, granted, _field("start_time", rf'"{TIME}\.345\+00:00"')),
    "a time with +0000": (Spring, granted, _field("start_time", rf'"{TIME}\.345\+0000"')),
    "a time with microseconds": (Laravel, granted, _field("start_time", rf'"{TIME}\.345000Z"')),
    "a time without milliseconds": (Go, granted, _field("start_time", f'"{TIME}Z"')),
    "a time without a zone": (AspNet, granted, _field("start_time", rf'"{TIME}\.3450000"')),
    "a time with a space": (Cgi, granted, _field("start_time", '"2048-04-20 17:55:12"')),
    "seconds of the epoch": (Lambda, granted, _field("start_time", "2471018112")),
    "milliseconds of the epoch": (NodeMysql, granted, _field("start_time", "2471018112345")),
    "a string as the duration": (Rails, granted, _field("duration", '"3600"')),
    "a float as the duration": (AspNet, granted, _field("duration", r"3600\.0")),
    "0 as no limit": (NodeMysql, granted, _field("duration", "0")),
    "-1 as no limit": (Lua, granted, _field("duration", "-1")),
    "minutes": (Django, granted, _field("duration", "60")),
    "no id": (PlainPhp, granted, lambda answer: "id" not in answer.json),
    "no name": (Rails, granted, _without("name")),
    "no owner": (Flask, granted, _without("mail_owner")),
    "null fields": (AspNet, granted, _field("password", "null")),
    "201": (Laravel, granted, _status(201)),
    "409 with an id": (Express, held, _says(409, JSON, r'\{"conflict_id": "conf-0*1"\}')),
    "409 with the conference": (Laravel, held, _says(409, JSON, r'\{"id": 1, "name": .*\}')),
    "409 with nothing": (Flask, held, _says(409, "", "")),
    "409 with a problem": (Spring, held, _says(409, PROBLEM, r'\{"type".*"conflict_id": 1\}')),
    "200 for an open room": (Django, held, _field("id", "1")),
    "a refusal with message": (Laravel, refused, _says(422, JSON, rf'\{{"message": {QUOTED}.*')),
    "a refusal with error": (Flask, refused, _says(403, JSON, rf'\{{"error": {QUOTED}\}}')),
    "a refusal with detail": (FastApi, refused, _says(403, JSON, rf'\{{"detail": {QUOTED}\}}')),
    "a problem": (Spring, refused, _says(403, PROBLEM, rf'.*"detail": {QUOTED}.*')),
    "a problem with a title": (AspNet, refused, _says(400, PROBLEM, rf'\{{"title": {QUOTED}.*')),
    "a plain text": (Go, refused, _says(403, "text/plain; charset=utf-8", f"{SENTENCE}\n")),
    "a text as HTML": (Express, refused, _says(403, "text/html; charset=utf-8", SENTENCE)),
    "a refusal with nothing": (NodeMysql, refused, _says(403, "", "")),
    "JSON as HTML": (PlainPhp, granted, lambda answer: "html" in answer.headers["content-type"]),
    "a byte order mark": (PlainPhp, granted, lambda answer: answer.body[:3] == BOM_UTF8),
    "an HTML page": (Rails, failed, lambda answer: SECRET_PAGE in _text(answer)),
    "DELETE: 200": (Rails, ended, _status(200)),
    "DELETE: 202": (Spring, ended, _status(202)),
    "DELETE: 204": (Laravel, ended, _status(204)),
    "DELETE: 404": (NodeMysql, ended, _says(404, JSON, r'\{"message": "Not found"\}')),
    "DELETE: 410": (Lambda, ended, _status(410)),
    "DELETE: null": (Express, ended, _says(200, JSON, "null")),
    "DELETE: 405": (Lua, ended, _says(405, JSON, r"\{.*\}")),
    "DELETE: 501": (Cgi, ended, _says(501, JSON, r"\{.*\}")),
    "HTTP/1.0": (Cgi, granted, lambda answer: answer.version == 10),
    "no length": (Cgi, granted, lambda answer: "content-length" not in answer.headers),
    "chunks": (Go, granted, lambda answer: answer.headers["transfer-encoding"] == "chunked"),
    "gzip": (Lambda, granted, lambda answer: answer.headers["content-encoding"] == "gzip"),
    "nested fields": (Rooms, granted, lambda answer: id_in(answer) == 1),
}
"""The habits of point 3 that an answer can show: whose it is, the request, and the proof."""


@pytest.mark.parametrize("habit", HABITS)
def test_a_backend_has_the_habit(habit: str) -> None:
    """The answer of the backend shows the habit in its bytes."""
    kind, ask, shows = HABITS[habit]
    with calling(kind) as (_, caller):
        answer = ask(caller)
    assert shows(answer), answer


def test_every_backend_has_a_habit_of_its_own() -> None:
    """No backend is like another."""
    assert {kind for kind, *_ in HABITS.values()} == set(ALL)
    assert len(ALL) >= 12


@pytest.mark.parametrize("kind", ALL)
def test_a_booking_is_read_until_it_is_ended(kind: type[Handbook]) -> None:
    """A GET shows the booking of the create; after a DELETE it shows nothing."""
    with calling(kind) as (backend, caller):
        created = caller.create()
        assert not kind.has_get or caller.get(id_in(created)).json == created.json
        caller.delete(id_in(created))
        assert bool(backend.bookings.open) is not kind.has_delete
        status = 404 if kind.has_delete else 200
        assert not kind.has_get or caller.get(id_in(created)).status == status


@pytest.mark.parametrize("kind", ALL)
def test_no_booking_is_made_for_a_refused_room(kind: type[Handbook]) -> None:
    """A refusal and a fault of the backend leave its table empty."""
    with calling(kind) as (backend, caller):
        assert 400 <= refused(caller).status < 500
        assert failed(caller).status == 500
    assert backend.bookings.made == []


@pytest.mark.parametrize("kind", ALL)
def test_a_room_that_is_open_is_not_booked_twice(kind: type[Handbook]) -> None:
    """The second create is a conflict; Django's answers the same booking."""
    with calling(kind) as (backend, caller):
        assert held(caller).status == (200 if kind is Django else 409)
    assert backend.bookings.made == ["board"]


def test_the_row_of_a_booking_is_used_again() -> None:
    """A room has the same id in each of its meetings, and another room has another id."""
    with calling(Django) as (backend, caller):
        first = id_in(caller.create())
        caller.delete(first)
        assert id_in(caller.create()) == first
        assert id_in(caller.create("den")) != first
        assert backend.bookings.made == ["board", "board", "den"]


@pytest.mark.parametrize("header", ["Accept", "Accept-Encoding", "User-Agent", "X-Incident-Id"])
def test_a_request_without_a_header_of_the_proxy_is_a_complaint(
    monkeypatch: pytest.MonkeyPatch, header: str
) -> None:
    """So the tests with a proxy see it if the proxy leaves one out."""
    monkeypatch.setitem(HEADERS, header, "")
    assert _complaint(Laravel, lambda caller: caller.create()).startswith(header.lower())


def test_a_secret_that_is_missing_is_a_complaint(monkeypatch: pytest.MonkeyPatch) -> None:
    """So is a constant header of the settings."""
    monkeypatch.setitem(HEADERS, "X-Api-Key", "guess")
    assert _complaint(Spring, lambda caller: caller.create()) == "x-api-key"
    monkeypatch.setitem(HEADERS, "X-Tenant", "")
    assert _complaint(Rooms, lambda caller: caller.create()) == "x-tenant"


@pytest.mark.parametrize("kind", [Laravel, Lambda, PlainPhp, Rooms])
def test_a_path_of_another_api_is_a_complaint(kind: type[Handbook]) -> None:
    """The prefix, the mapped endpoints and their methods are checked."""

    def ask(caller: Caller) -> Seen:
        caller.prefix = "/v0"
        return caller.send("POST", "/conference", "a=b")

    assert "POST /v0/conference" in _complaint(kind, ask)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (Laravel, "name=board&start_time=2048-04-20T17:55:12.345Z"),
        (Laravel, "name=board&duration=-1&start_time=2048-04-20T17:55:12Z"),
        (Laravel, "duration=-1&start_time=2048-04-20T17:55:12.345Z"),
        (Laravel, '{"name": "board"}'),
        (
            FastApi,
            f'{{"name": "board", "mail_owner": "", "duration": "1", "start_time": "{START}"}}',
        ),
        (FastApi, "name=board"),
    ],
)
def test_a_body_that_the_handbook_does_not_allow_is_a_complaint(
    kind: type[Handbook], body: str
) -> None:
    """Fields are missing or have another format, or the content type is another."""
    assert _complaint(kind, lambda caller: caller.send("POST", "/conference", body))


def _complaint(kind: type[Handbook], ask: Callable[[Caller], Seen]) -> str:
    backend = kind()
    with serving(backend) as port:
        assert ask(Caller(backend, port)).status >= 400
    (complaint,) = backend.complaints
    return complaint
