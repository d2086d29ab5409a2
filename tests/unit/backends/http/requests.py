"""The request for a room that the tests of HTTP backends send, and its settings."""

from jicofo_reservation_proxy.backends.http.conference_reader import ConferenceReader
from jicofo_reservation_proxy.backends.http.targets import Targets
from jicofo_reservation_proxy.http.forms import parse_room
from jicofo_reservation_proxy.http.owners import guest_test, parse_owner
from jicofo_reservation_proxy.model import CreateRequest
from jicofo_reservation_proxy.settings.schema import Backend, BackendName, Http
from jicofo_reservation_proxy.settings.validation import validate

START_MS = 2_471_018_112_345
START = "2048-04-20T17:55:12.345Z"


def asking(
    room: str = "[acme]caf%c3%a9", owner: str | None = "juliet@example.com"
) -> CreateRequest:
    """Return a request for a room."""
    return CreateRequest(
        request_id="32b70e57-b26c-8a6c-8f6b-535dfdbc43bc",
        room=parse_room(room),
        mail_owner=owner,
        owner=parse_owner(owner, guest_test(())) if owner else None,
        start_time_ms=START_MS,
        duration_seconds=3600,
    )


def backend(target: str = "http://127.0.0.1:8080/api", **http: object) -> Backend:
    """Return the settings of an HTTP backend with this table `http`."""
    tree = {"backends": {"default": {"target": target, "http": http}}}
    return validate(tree).backends[BackendName("default")]


def reader(**http: object) -> ConferenceReader:
    """Return the reader of a backend with this table `http`."""
    found = backend("http://127.0.0.1:8080/api", **http)
    return ConferenceReader("default", found.http or Http(), Targets(found))
