"""The WSGI application: Flask routes requests to the handlers; Flask's refusals are in JSON too.

Every answer is one flat JSON object: no HTML, no stack trace, no redirect (clients.md "body",
"framing"). The usual requests do not go through Flask, because users wait for the answers.
"""

import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, cast

from flask import Blueprint, Flask, Response, request
from werkzeug.exceptions import HTTPException

from jicofo_reservation_proxy.ids import new_incident_id
from jicofo_reservation_proxy.model import BadInput, Fault, FaultKind
from jicofo_reservation_proxy.observability.traces import NO_PARENT, Parent
from jicofo_reservation_proxy.text_rules import one_line

from .access_control import Refused
from .access_log import AccessLogEntry
from .answers import STATUS_LINES, Answer, render_bad_input, render_fault
from .base_path import shown, without_double_slashes
from .fast_path import PLAIN_ID
from .forms import MAX_BODY_BYTES
from .front_door import FrontDoor, FrontDoorInUse
from .handlers import internal_fault
from .refusals import Refusal

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

JSON = "application/json"

_PLAIN_ID = re.compile(f"/conference/({PLAIN_ID})")
"""The path of an id that the proxy gives out. Flask gets all other paths."""

DOOR_KEY = "jicofo_reservation_proxy.front_door"
"""The key of the environment (PEP 3333) under which Flask's routes find the front door."""

FORKED = (
    "this process was forked after the proxy was created, so the threads of the proxy do not run "
    "in it; call create_app in the worker, after the fork (gunicorn: without --preload)"
)

logger = logging.getLogger(__name__)


def make_flask(in_use: FrontDoorInUse) -> Flask:
    """Return the Flask application that calls the handlers behind the front door in use."""
    app = Flask("jicofo_reservation_proxy", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    app.url_map.merge_slashes = False
    app.register_blueprint(_blueprint())
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _unexpected)
    app.wsgi_app = _Entrance(in_use, app.wsgi_app)  # type: ignore[method-assign]
    return app


def _blueprint() -> Blueprint:
    blueprint = Blueprint("conferences", __name__)

    @blueprint.post("/conference", provide_automatic_options=False)
    def create() -> Response:
        body = request.get_data(cache=False)
        handlers, content_type = _door().handlers, request.content_type or ""
        return _recorded(handlers.create(_user_agent(), content_type, body, _parent()))

    @blueprint.get("/conference/<path:public_id>", provide_automatic_options=False)
    def get(public_id: str) -> Response:
        return _recorded(_door().handlers.get(_user_agent(), public_id, _parent()))

    @blueprint.delete("/conference", provide_automatic_options=False, defaults={"public_id": ""})
    @blueprint.delete("/conference/<path:public_id>", provide_automatic_options=False)
    def delete(public_id: str) -> Response:
        return _recorded(_door().handlers.delete(_user_agent(), public_id, _parent()))

    return blueprint


def _door() -> FrontDoor:
    return cast("FrontDoor", request.environ[DOOR_KEY])


def _user_agent() -> str:
    return _user_agent_of(request.environ)


def _parent() -> Parent:
    return _parent_of(request.environ)


def _parent_of(environ: "WSGIEnvironment") -> Parent:
    """Return the span that sent a request, which a reverse proxy may name in its headers."""
    if "HTTP_TRACEPARENT" not in environ:
        return NO_PARENT
    return Parent(environ["HTTP_TRACEPARENT"], environ.get("HTTP_TRACESTATE", ""))


def _user_agent_of(environ: "WSGIEnvironment") -> str:
    return str(environ.get("HTTP_USER_AGENT", ""))


def _recorded(entry: AccessLogEntry) -> Response:
    response = _response(entry.answer)
    response.call_on_close(entry.record)
    return response


def _response(answer: Answer) -> Response:
    return Response(answer.body, answer.status, content_type=JSON)


def _http_error(error: HTTPException) -> Response:
    """Answer a request that Flask refuses: an unknown method, or a body that is too large."""
    door, status = _door(), error.code or 500
    message = door.base_path.usage
    if status == 413:
        message = f"The body is too large; wanted at most {MAX_BODY_BYTES} bytes."
    response = _response(_refuse(door, status, message, request.environ))
    response.headers.extend((name, value) for name, value in error.get_headers() if name == "Allow")
    return response


def _refuse(door: FrontDoor, status: int, message: str, environ: "WSGIEnvironment") -> Answer:
    """Answer a request that the reservation API does not have."""
    peer, method = environ.get("REMOTE_ADDR", ""), environ["REQUEST_METHOD"]
    detail = f"{status}, path {one_line(shown(environ['PATH_INFO']))}"
    door.refusals.note(Refusal.UNKNOWN, peer, method, detail)
    return render_bad_input(BadInput(status, message))


def _unexpected(error: Exception) -> Response:
    """Answer a request that failed because of a bug in the proxy; log the traceback."""
    return _response(internal_fault(error))


class _Entrance:
    """The WSGI application in front of Flask's.

    It refuses requests that may not ask, and removes what the path has in front of `/conference`.
    It passes a `POST /conference` with a Content-Length, and a GET or DELETE of a plain id, to the
    handlers without Flask. Flask takes 0.4 of the time that a naive bridge adds to a gRPC call
    (benchmarks/README.md). Jicofo delays every other room until it has the answer.

    After a fork it answers every request with 503: neither the threads of the proxy nor gRPC work
    in the new process, and two processes must not share a state directory.
    """

    def __init__(self, in_use: FrontDoorInUse, flask_app: "WSGIApplication") -> None:
        self._in_use = in_use
        self._flask_app = flask_app
        self._pid = os.getpid()
        self._has_complained = False

    def __call__(
        self, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        if os.getpid() != self._pid:
            return _start(self._forked(), start_response)
        environ[DOOR_KEY] = door = self._in_use.door
        asked = without_double_slashes(environ.get("PATH_INFO", ""))
        tokens = door.access.tokens
        admitted = door.access.admit(environ, asked)
        if isinstance(admitted, Refused):
            return _refused(door, admitted, environ, start_response)
        environ["PATH_INFO"] = admitted
        path = door.base_path.remove(admitted)
        if path is None:
            usage = door.base_path.usage
            return _start(_refuse(door, 404, usage, environ), start_response)
        environ["PATH_INFO"] = path
        method = environ["REQUEST_METHOD"]
        if path == "/conference" and method == "POST":
            length = environ.get("CONTENT_LENGTH", "")
            if length.isdecimal() and int(length) <= MAX_BODY_BYTES:
                door.fast_path.learn(environ, tokens)
                return self._create(door, environ, int(length), start_response)
        elif method in {"GET", "DELETE"} and (found := _PLAIN_ID.fullmatch(path)):
            door.fast_path.learn(environ, tokens, found[1])
            handler = door.handlers.get if method == "GET" else door.handlers.delete
            handle = partial(handler, _user_agent_of(environ), found[1], _parent_of(environ))
            return self._answer(handle, start_response)
        return self._flask_app(environ, start_response)

    def _forked(self) -> Answer:
        if not self._has_complained:
            self._has_complained = True
            logger.error(FORKED)
        return render_fault(Fault(FaultKind.STATE, "", FORKED), new_incident_id())

    def _create(
        self,
        door: FrontDoor,
        environ: "WSGIEnvironment",
        length: int,
        start_response: "StartResponse",
    ) -> Iterable[bytes]:
        body = environ["wsgi.input"].read(length)
        if len(body) < length:
            wrong = BadInput(400, "The body is shorter than its Content-Length.")
            return _start(render_bad_input(wrong), start_response)
        handle = partial(
            door.handlers.create,
            _user_agent_of(environ),
            environ.get("CONTENT_TYPE", ""),
            body,
            _parent_of(environ),
        )
        return self._answer(handle, start_response)

    def _answer(
        self, handle: Callable[[], AccessLogEntry], start_response: "StartResponse"
    ) -> Iterable[bytes]:
        """Answer with the result of a handler."""
        try:
            entry = handle()
        except Exception as error:  # noqa: BLE001 - like Flask: log the error, and answer
            return _start(internal_fault(error), start_response)
        return _RecordedBody(entry, _start(entry.answer, start_response))


def _refused(
    door: FrontDoor, refused: Refused, environ: "WSGIEnvironment", start_response: "StartResponse"
) -> Iterable[bytes]:
    """Answer a request that may not ask."""
    peer, method = environ.get("REMOTE_ADDR", ""), environ["REQUEST_METHOD"]
    door.refusals.note(refused.reason, peer, method)
    answer = render_bad_input(BadInput(refused.status, refused.message))
    headers = [("WWW-Authenticate", "Bearer")] if refused.status == 401 else []
    return _start(answer, start_response, headers)


def _start(
    answer: Answer, start_response: "StartResponse", more: Iterable[tuple[str, str]] = ()
) -> list[bytes]:
    headers = [("Content-Type", JSON), ("Content-Length", str(len(answer.body))), *more]
    start_response(STATUS_LINES[answer.status], headers)
    return [answer.body]


class _RecordedBody:
    """A body. After the server has sent the body, `close` records the log entry (PEP 3333)."""

    def __init__(self, entry: AccessLogEntry, body: list[bytes]) -> None:
        self._body = body
        self.close = entry.record

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._body)
