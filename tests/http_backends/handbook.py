"""A backend as Jitsi's handbook describes it. The backends with other habits derive from it."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import ClassVar

from .bookings import SECONDS, Booking, Bookings
from .server import Answer, Framing, Request, json_answer

DENIED, BROKEN, BLOCKED = "denied", "broken", "blocked"
"""A backend refuses rooms with the first word in their names, and fails for those with the second.
A server in front of it refuses the requests for those with the third."""

SENTENCE = "The café is closed on Sundays."
"""What a backend tells the user whom it refuses."""

SECRET_PAGE = "Stack trace of line 42"
"""A part of each HTML page, which no user may see."""

NO_LIMIT = 3_155_760_000
"""The duration that clients get for "no limit"."""

HEADERS: Mapping[str, str] = {
    "accept": r"application/json",
    "accept-encoding": r"identity",
    "user-agent": r"jicofo-reservation-proxy/\S+",
    "x-incident-id": r"\S+",
}
"""The headers of every request of the proxy."""

FORM = r"application/x-www-form-urlencoded(; charset=UTF-8)?"
JSON = r"application/json"
HTML = "text/html; charset=utf-8"

_START_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


class Handbook:
    """Speaks the API of the handbook. It keeps the faults of requests in `complaints`."""

    framing: Framing = Framing()
    prefix: ClassVar[str] = ""
    """The path of the backend's URL."""
    api_key: ClassVar[str] = ""
    """The secret that the backend wants in the header X-Api-Key, or "" for none."""
    settings: ClassVar[Mapping[str, object]] = {}
    """The other settings of this backend in the proxy."""
    create_type: ClassVar[str] = FORM
    """The content type of a create, as a regular expression."""
    is_told: ClassVar[bool] = True
    """Whether the backend tells a refused user `SENTENCE`."""
    names_conflicts: ClassVar[bool] = True
    """Whether the backend tells which conference holds a room."""
    names_owners: ClassVar[bool] = True
    """Whether the backend tells the owner of a conference."""
    seconds: ClassVar[int] = SECONDS
    """The duration that clients get."""
    has_get: ClassVar[bool] = True
    has_delete: ClassVar[bool] = True

    def __init__(self) -> None:
        self.bookings = self.make_bookings()
        self.complaints: list[str] = []
        self.keys: list[str] = []
        """The idempotency keys of the creates."""
        self.deletes = 0

    def make_bookings(self) -> Bookings:
        """Return an empty table."""
        return Bookings()

    def answer(self, request: Request) -> Answer:
        """Return the answer to a request, or 400 for one that the handbook does not allow."""
        for name, pattern in HEADERS.items():
            if not re.fullmatch(pattern, request.headers.get(name, "")):
                return self._complain(f"{name}: {request.headers.get(name)!r}")
        return self.route(request)

    def route(self, request: Request) -> Answer:
        """Return the answer of the method and the path."""
        collection = f"{self.prefix}/conference"
        path, _, conference_id = request.path.rpartition("/")
        match request.method:
            case "POST" if request.path == collection:
                return self._create(request)
            case "GET" if path == collection:
                return self.get(conference_id)
            case "DELETE" if path == collection:
                return self.delete(conference_id)
        self.complaints.append(f"no route: {request.method} {request.path}")
        return page(404)

    def _create(self, request: Request) -> Answer:
        content_type = request.headers.get("content-type", "")
        if not re.fullmatch(self.create_type, content_type):
            return self._complain(f"content-type: {content_type!r}")
        self.keys.append(request.headers.get("idempotency-key", ""))
        try:
            room, owner, start = self.read(request)
        except (ValueError, KeyError) as error:
            return self._complain(f"{error!r} in {request.body!r}")
        if DENIED in room:
            return self.refused()
        if BROKEN in room:
            return self.failed()
        if BLOCKED in room:
            return page(403)
        booking, is_new = self.bookings.book(room, owner, start)
        return self.granted(booking) if is_new else self.held(booking)

    def _complain(self, what: str) -> Answer:
        self.complaints.append(what)
        return json_answer(400, {"message": what})

    def read(self, request: Request) -> tuple[str, str, datetime]:
        """Return the room, the owner and the start time. Raises `ValueError` or `KeyError`."""
        fields = request.form()
        int(fields["duration"])
        return fields["name"], fields.get("mail_owner", ""), start_time(fields["start_time"])

    def granted(self, booking: Booking) -> Answer:
        """Return the answer to a create that made a booking."""
        return json_answer(200, self.shown(booking))

    def held(self, booking: Booking) -> Answer:
        """Return the answer to a create for a room that is open already."""
        return json_answer(409, {"conflict_id": self.id_of(booking)})

    def refused(self) -> Answer:
        """Return the answer to a create that is not allowed."""
        return json_answer(403, {"message": SENTENCE})

    def failed(self) -> Answer:
        """Return the answer of a backend that fails."""
        return page(500)

    def get(self, conference_id: str) -> Answer:
        """Return the answer to a GET."""
        booking = self.find(conference_id)
        return json_answer(200, self.shown(booking)) if booking else self.missing()

    def delete(self, conference_id: str) -> Answer:
        """End a booking; return the answer to the DELETE."""
        self.deletes += 1
        booking = self.find(conference_id)
        if booking and self.bookings.end(booking):
            return self.ended(booking)
        return self.missing()

    def ended(self, booking: Booking) -> Answer:
        """Return the answer to a DELETE that ended a booking."""
        del booking
        return json_answer(200, {})

    def missing(self) -> Answer:
        """Return the answer for an id that is not open."""
        return json_answer(404, {"message": "Not found"})

    def find(self, conference_id: str) -> Booking | None:
        """Return the open booking with an id, as it is in a path."""
        for booking in self.bookings.open:
            if self.is_id_of(conference_id, booking):
                return booking
        return None

    def is_id_of(self, conference_id: str, booking: Booking) -> bool:
        """Return whether an id in a path is the id of a booking."""
        return conference_id == str(self.id_of(booking))

    def shown(self, booking: Booking) -> dict[str, object]:
        """Return the fields of a booking in an answer."""
        return {
            "id": self.id_of(booking),
            "name": booking.room,
            "mail_owner": booking.owner,
            "start_time": self.time_of(booking),
            "duration": self.duration_of(booking),
        }

    def id_of(self, booking: Booking) -> object:
        """Return the id of a booking in an answer."""
        return booking.number

    def time_of(self, booking: Booking) -> object:
        """Return the start time of a booking in an answer."""
        return f"{booking.start:%Y-%m-%dT%H:%M:%S}.{booking.start.microsecond // 1000:03}Z"

    def duration_of(self, booking: Booking) -> object:
        """Return the duration of a booking in an answer."""
        del booking
        return SECONDS


def page(status: int) -> Answer:
    """Return the page of a framework, or of the server in front of it, for a fault."""
    html = f"<!DOCTYPE html>\n<html><body><h1>Oops</h1><pre>{SECRET_PAGE}</pre></body></html>"
    return Answer(status, html.encode(), HTML)


def start_time(text: object) -> datetime:
    """Return the time of a text in the format of the handbook. Raises `ValueError`."""
    if not isinstance(text, str) or not _START_TIME.fullmatch(text):
        raise ValueError(f"wanted a start_time such as 2048-04-20T17:55:12.000Z, got {text!r}")
    return datetime.fromisoformat(text).astimezone(UTC)
