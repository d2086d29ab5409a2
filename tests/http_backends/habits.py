"""The backends: one class for each kind of public backend, with the habits that were found there.

Together they have every habit that docs/http-backends.md promises to accept. `test_backends.py`
names the backend of each habit, and looks at the bytes.
"""

import uuid
from codecs import BOM_UTF8
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import ClassVar
from urllib.parse import parse_qsl, unquote

from .bookings import SECONDS, Booking, Bookings
from .handbook import HTML, JSON, NO_LIMIT, SENTENCE, Handbook, start_time
from .server import (
    Answer,
    Chunked,
    ClosesEachConnection,
    Framing,
    Gzipped,
    Request,
    json_answer,
)

PROBLEM = "application/problem+json"


class Laravel(Handbook):
    """PHP with Laravel, below `/api/v1`.

    201 for a grant, times with microseconds, the whole conference in a 409, 204 for a DELETE, and
    refusals with `message` beside an object of arrays.
    """

    prefix = "/api/v1"

    def time_of(self, booking: Booking) -> object:
        """Return the time as Carbon formats it."""
        return f"{booking.start:%Y-%m-%dT%H:%M:%S.%f}Z"

    def granted(self, booking: Booking) -> Answer:
        """Answer 201."""
        return json_answer(201, self.shown(booking))

    def held(self, booking: Booking) -> Answer:
        """Answer with the conference that holds the room."""
        return json_answer(409, self.shown(booking))

    def refused(self) -> Answer:
        """Answer as a failed validation."""
        return json_answer(422, {"message": SENTENCE, "errors": {"name": [SENTENCE]}})

    def ended(self, booking: Booking) -> Answer:
        """Answer without a body."""
        del booking
        return Answer(204)


class Express(Handbook):
    """Node with Express: ids are strings, refusals are plain texts that claim to be HTML.

    `res.json(undefined)` after a DELETE sends `null`.
    """

    def id_of(self, booking: Booking) -> object:
        """Return the id of a document."""
        return f"conf-{booking.number:024x}"

    def refused(self) -> Answer:
        """Answer as `res.send` of a string does."""
        return Answer(403, SENTENCE.encode(), HTML)

    def ended(self, booking: Booking) -> Answer:
        """Answer `null`."""
        del booking
        return json_answer(200, None)


class Flask(Handbook):
    """Python with Flask: ids are UUIDs, answers have no owner, and a 409 has no body."""

    names_conflicts = False
    names_owners = False

    def id_of(self, booking: Booking) -> object:
        """Return a UUID."""
        return str(uuid.uuid5(uuid.NAMESPACE_URL, str(booking.number)))

    def shown(self, booking: Booking) -> dict[str, object]:
        """Leave out the owner."""
        return {key: value for key, value in super().shown(booking).items() if key != "mail_owner"}

    def held(self, booking: Booking) -> Answer:
        """Answer without a body."""
        del booking
        return Answer(409)

    def refused(self) -> Answer:
        """Answer with the field `error`."""
        return json_answer(403, {"error": SENTENCE})


class FastApi(Handbook):
    """Python with FastAPI: reads only JSON, answers times with `+00:00`, refuses in `detail`."""

    settings: ClassVar[Mapping[str, object]] = {"http": {"body": "json"}}
    create_type = JSON

    def read(self, request: Request) -> tuple[str, str, datetime]:
        """Read JSON, whose duration is a number."""
        fields = request.json()
        if type(fields["duration"]) is not int:
            raise ValueError(f"wanted a whole number, got {fields['duration']!r}")
        return str(fields["name"]), str(fields["mail_owner"]), start_time(fields["start_time"])

    def time_of(self, booking: Booking) -> object:
        """Return the time as `datetime.isoformat` does."""
        return booking.start.isoformat(timespec="milliseconds")

    def refused(self) -> Answer:
        """Answer as an `HTTPException`."""
        return json_answer(403, {"detail": SENTENCE})

    def failed(self) -> Answer:
        """Answer as Starlette does."""
        return Answer(500, b"Internal Server Error", "text/plain; charset=utf-8")


class Spring(Handbook):
    """Java with Spring: a secret header, times with `+0000`, problem+json, and 202 for a DELETE."""

    api_key = "correct-horse-battery-staple"

    def route(self, request: Request) -> Answer:
        """Answer 401 without the secret."""
        if request.headers.get("x-api-key") != self.api_key:
            self.complaints.append("x-api-key")
            return json_answer(401, {"title": "Unauthorized"}, PROBLEM)
        return super().route(request)

    def time_of(self, booking: Booking) -> object:
        """Return the time as Jackson did for years."""
        moment = booking.start
        return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03}+0000"

    def held(self, booking: Booking) -> Answer:
        """Answer with a problem that names the other conference."""
        problem = {"type": "about:blank", "title": "Conflict", "status": 409}
        return json_answer(409, problem | {"conflict_id": self.id_of(booking)}, PROBLEM)

    def refused(self) -> Answer:
        """Answer with a problem."""
        problem = {"type": "about:blank", "title": "Forbidden", "status": 403}
        return json_answer(403, problem | {"detail": SENTENCE, "instance": "/conference"}, PROBLEM)

    def ended(self, booking: Booking) -> Answer:
        """Answer that the work is accepted."""
        del booking
        return Answer(202)


class Go(Handbook):
    """Go's net/http: chunked answers, times without milliseconds, refusals of `http.Error`.

    It shows nobody who the owner is, also not to somebody who finds the room held.
    """

    framing = Chunked()
    names_owners = False

    def shown(self, booking: Booking) -> dict[str, object]:
        """Leave out the owner, as a field of a struct that is not exported."""
        return {key: value for key, value in super().shown(booking).items() if key != "mail_owner"}

    def time_of(self, booking: Booking) -> object:
        """Return the time as `time.RFC3339` formats it."""
        return f"{booking.start:%Y-%m-%dT%H:%M:%SZ}"

    def refused(self) -> Answer:
        """Answer with a line of text."""
        return Answer(403, f"{SENTENCE}\n".encode(), "text/plain; charset=utf-8")


class Lambda(Handbook):
    """A function behind a gateway: gzip unasked, times in seconds, and 410 after each DELETE."""

    framing: Framing = Gzipped()
    prefix = "/prod"

    def time_of(self, booking: Booking) -> object:
        """Return the seconds of the epoch."""
        return int(booking.start.timestamp())

    def ended(self, booking: Booking) -> Answer:
        """Answer with the state after the DELETE."""
        return json_answer(410, {"id": self.id_of(booking), "state": "gone"})


class Cgi(Handbook):
    """A CGI script: HTTP/1.0, one request for each connection, times with a space and no zone.

    It has no DELETE, and says so with 501. So a room stays open, and a 409 names its conference.
    """

    framing = ClosesEachConnection()
    has_delete = False

    def time_of(self, booking: Booking) -> object:
        """Return the time as SQLite's `datetime()` does."""
        return f"{booking.start:%Y-%m-%d %H:%M:%S}"

    def delete(self, conference_id: str) -> Answer:
        """Answer that there is no DELETE."""
        del conference_id
        return json_answer(501, {"error": "Not implemented"})


class Django(Handbook):
    """Django REST: bookings are made long before, so a room has the same row and id each time.

    A repeated request for an open room gets the same booking with 200. Durations are in minutes.
    """

    settings: ClassVar[Mapping[str, object]] = {"http": {"duration_unit": "minutes"}}

    def make_bookings(self) -> Bookings:
        """Keep the rows."""
        return Bookings(keeps_rows=True)

    def held(self, booking: Booking) -> Answer:
        """Answer with the booking."""
        return json_answer(200, self.shown(booking))

    def duration_of(self, booking: Booking) -> object:
        """Return minutes."""
        del booking
        return SECONDS // 60

    def refused(self) -> Answer:
        """Answer as a `PermissionDenied`."""
        return json_answer(403, {"detail": SENTENCE})

    def ended(self, booking: Booking) -> Answer:
        """Answer without a body."""
        del booking
        return Answer(204)


class Rails(Handbook):
    """Ruby on Rails: durations are strings, answers have no name, a DELETE answers the record."""

    def shown(self, booking: Booking) -> dict[str, object]:
        """Leave out the name."""
        return {key: value for key, value in super().shown(booking).items() if key != "name"}

    def duration_of(self, booking: Booking) -> object:
        """Return the decimal as Rails writes it into JSON."""
        del booking
        return str(SECONDS)

    def refused(self) -> Answer:
        """Answer as `render json:, status: :unprocessable_entity` does."""
        return json_answer(422, {"error": SENTENCE, "status": 422})

    def ended(self, booking: Booking) -> Answer:
        """Answer with the record."""
        return json_answer(200, self.shown(booking))


class AspNet(Handbook):
    """ASP.NET: times without a zone, durations as floats, `null` fields, titles as refusals."""

    def time_of(self, booking: Booking) -> object:
        """Return the time of an unspecified kind, in ticks of 100 ns."""
        return f"{booking.start:%Y-%m-%dT%H:%M:%S.%f}0"

    def duration_of(self, booking: Booking) -> object:
        """Return `TimeSpan.TotalSeconds`."""
        del booking
        return float(SECONDS)

    def shown(self, booking: Booking) -> dict[str, object]:
        """Add the properties without a value."""
        return super().shown(booking) | dict.fromkeys(("password", "pin", "max_occupants", "lobby"))

    def refused(self) -> Answer:
        """Answer with a problem that has only a title."""
        return json_answer(400, {"title": SENTENCE, "status": 400, "traceId": "00-4bf9"}, PROBLEM)

    def ended(self, booking: Booking) -> Answer:
        """Answer without a body."""
        del booking
        return Answer(204)


class NodeMysql(Handbook):
    """Node with MySQL: times in milliseconds, no limit is 0, and a refusal has no body.

    A DELETE looks for the row after it has removed it, and answers 404.
    """

    is_told = False
    seconds = NO_LIMIT

    def time_of(self, booking: Booking) -> object:
        """Return the milliseconds of the epoch."""
        return round(booking.start.timestamp() * 1000)

    def duration_of(self, booking: Booking) -> object:
        """Return that there is no limit."""
        del booking
        return 0

    def refused(self) -> Answer:
        """Answer without a body."""
        return Answer(403)

    def ended(self, booking: Booking) -> Answer:
        """Answer that the row is not there."""
        del booking
        return self.missing()


class Lua(Handbook):
    """OpenResty with lua-cjson: ids are floats, no limit is -1, and a DELETE is not allowed (405).

    So a room stays open; a 409 has the whole conference.
    """

    has_delete = False
    seconds = NO_LIMIT

    def id_of(self, booking: Booking) -> object:
        """Return a float."""
        return float(booking.number)

    def is_id_of(self, conference_id: str, booking: Booking) -> bool:
        """Know only whole numbers, as a route with `(%d+)` does."""
        return conference_id == str(booking.number)

    def duration_of(self, booking: Booking) -> object:
        """Return that there is no limit."""
        del booking
        return -1

    def held(self, booking: Booking) -> Answer:
        """Answer with the conference that holds the room."""
        return json_answer(409, self.shown(booking))

    def delete(self, conference_id: str) -> Answer:
        """Answer that there is no DELETE."""
        del conference_id
        return json_answer(405, {"error": "Method not allowed"}, Allow="GET")


class PlainPhp(Handbook):
    """One file of PHP, which keeps a file for each room: no ids, no GET, the room in the query.

    Everything claims to be HTML, and a byte order mark stands before the JSON.
    """

    settings: ClassVar[Mapping[str, object]] = {
        "http": {
            "create": "POST /conference.php",
            "get": "",
            "delete": "DELETE /conference.php?room={id}",
            "answer_fields": {"id": ""},
        },
    }
    has_get = False

    def route(self, request: Request) -> Answer:
        """Return the answer of the method, as the page that PHP makes of it."""
        path, _, query = request.path.partition("?")
        match request.method, path:
            case "POST", "/conference.php":
                answer = self._create(request)
            case "DELETE", "/conference.php":
                answer = self.delete(dict(parse_qsl(query))["room"])
            case _:
                answer = self._complain(f"no route: {request.method} {request.path}")
        return replace(answer, body=BOM_UTF8 + answer.body, content_type=HTML)

    def id_of(self, booking: Booking) -> object:
        """Return the room."""
        return booking.room

    def shown(self, booking: Booking) -> dict[str, object]:
        """Leave out the id."""
        return {key: value for key, value in super().shown(booking).items() if key != "id"}

    def held(self, booking: Booking) -> Answer:
        """Answer with the conference that holds the room."""
        return json_answer(409, self.shown(booking))


class Rooms(Handbook):
    """A room system that never heard of Jitsi: own endpoints, own fields, and nested answers."""

    settings: ClassVar[Mapping[str, object]] = {
        "metadata": {"x-tenant": "acme"},
        "http": {
            "body": "json",
            "create": "POST /rooms/{room}/open?by=jitsi",
            "get": "GET /bookings/{id}",
            "delete": "PUT /bookings/{id}/close",
            "request_fields": {
                "name": "",
                "mail_owner": "organizer",
                "start_time": "begins",
                "duration": "",
            },
            "answer_fields": {
                "id": "data.booking.id",
                "name": "data.room",
                "mail_owner": "data.booking.people.0.mail",
                "start_time": "data.booking.begins",
                "duration": "data.booking.length",
                "conflict_id": "errors.0.booking",
                "message": "errors.0.text",
            },
            "extra_fields": {"source": "jitsi", "priority": "3"},
        },
    }
    create_type = JSON

    def route(self, request: Request) -> Answer:
        """Return the answer of the method and the path."""
        if request.headers.get("x-tenant") != "acme":
            return self._complain("x-tenant")
        match request.method, request.path.split("/")[1:]:
            case "POST", ["rooms", _, "open?by=jitsi"]:
                return self._create(request)
            case "GET", ["bookings", number]:
                return self.get(number)
            case "PUT", ["bookings", number, "close"]:
                return self.delete(number)
        return self._complain(f"no route: {request.method} {request.path}")

    def read(self, request: Request) -> tuple[str, str, datetime]:
        """Read the room in the path, and the fields in the body."""
        fields = request.json()
        if fields.keys() - {"organizer"} != {"begins", "source", "priority"}:
            raise ValueError(f"other fields than asked for: {fields.keys()}")
        room = unquote(request.path.split("/")[2], errors="strict")
        return room, str(fields.get("organizer", "")), start_time(fields["begins"])

    def shown(self, booking: Booking) -> dict[str, object]:
        """Return the nested fields."""
        people = [{"role": "organizer", "mail": booking.owner}]
        times = {"begins": self.time_of(booking), "length": SECONDS}
        return {
            "data": {
                "room": booking.room,
                "booking": {"id": self.id_of(booking), "people": people, **times},
            }
        }

    def held(self, booking: Booking) -> Answer:
        """Answer with a list of faults."""
        return json_answer(409, {"errors": [{"text": "Taken", "booking": self.id_of(booking)}]})

    def refused(self) -> Answer:
        """Answer with a list of faults."""
        return json_answer(403, {"errors": [{"text": SENTENCE}]})


ALL: tuple[type[Handbook], ...] = (
    Laravel,
    Express,
    Flask,
    FastApi,
    Spring,
    Go,
    Lambda,
    Cgi,
    Django,
    Rails,
    AspNet,
    NodeMysql,
    Lua,
    PlainPhp,
    Rooms,
)
