"""The HTTP side: parse → service → render, and one line in the log for each request.

Whatever is asked, the answer is one flat JSON object; no HTML, no stack trace, no redirect
(clients.md "body", "framing").

`Conferences` answers the three requests and knows no framework. Flask routes to it; for the one
request that people wait for, `POST /conference`, there is a short cut past Flask.
"""

import http
import logging
import re
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from flask import Blueprint, Flask, Response, request
from werkzeug.exceptions import HTTPException

from . import clients, forms, logs
from .clients import Answer, Dialect
from .ids import new_incident_id
from .metrics import Metrics
from .model import BadInput, Denied, Fault, FaultKind
from .service import Handled, ReservationProxy

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

USAGE = "Wanted POST /conference, or GET or DELETE /conference/{id}."

logger = logging.getLogger(__name__)


class Conferences:
    """The three requests of the reservation API: what a client sent → an answered exchange.

    `forced` is the dialect of all clients, or `None` to go by the `User-Agent`.
    """

    def __init__(self, service: ReservationProxy, forced: Dialect | None, metrics: Metrics) -> None:
        self._service = service
        self._forced = forced
        self._metrics = metrics

    def create(self, user_agent: str, content_type: str, body: bytes) -> "Exchange":
        """Answer `POST /conference`."""
        exchange = self._begin("create", user_agent)
        form = forms.parse_create(content_type, body)
        if isinstance(form, BadInput):
            return exchange.end(Handled(form), clients.render_bad_input(form))
        exchange.subject = {"room": form.room.raw}
        handled = self._service.create(form, exchange.dialect, exchange.incident_id)
        answer = clients.render_create(exchange.dialect, form, handled.reply, exchange.incident_id)
        return exchange.end(handled, answer)

    def get(self, user_agent: str, public_id: str) -> "Exchange":
        """Answer `GET /conference/{id}`."""
        exchange = self._begin("get", user_agent)
        exchange.subject = {"id": public_id}
        handled = self._service.get(public_id, exchange.dialect, exchange.incident_id)
        answer = clients.render_get(exchange.dialect, handled.reply, exchange.incident_id)
        return exchange.end(handled, answer)

    def delete(self, user_agent: str, public_id: str) -> "Exchange":
        """Answer `DELETE /conference/{id}`."""
        exchange = self._begin("delete", user_agent)
        exchange.subject = {"id": public_id}
        handled = self._service.delete(public_id, exchange.incident_id)
        return exchange.end(handled, clients.render_delete())

    def _begin(self, operation: str, user_agent: str) -> "Exchange":
        return Exchange(operation, self._forced or clients.dialect_of(user_agent), self._metrics)


class Exchange:
    """One request and its answer. `record` is called when the answer is on its way.

    `subject` is the room or the id that it is about, for the log.
    """

    answer: Answer
    _handled: Handled[object]
    _seconds: float

    def __init__(self, operation: str, dialect: Dialect, metrics: Metrics) -> None:
        self._started = time.perf_counter()
        self._operation = operation
        self._metrics = metrics
        self.dialect = dialect
        self.incident_id = new_incident_id()
        self.subject: dict[str, str] = {}

    def end(self, handled: Handled[object], answer: Answer) -> "Exchange":
        """Take the answer down, and the time that it took."""
        self._seconds = time.perf_counter() - self._started
        self._handled = handled
        self.answer = answer
        return self

    def record(self) -> None:
        """Log and count the exchange: one line, and no client waits for it."""
        reply, status = self._handled.reply, self.answer.status
        outcome, client = type(reply).__name__.lower(), self.dialect.kind.value
        self._metrics.requests.labels(self._operation, client, outcome, status).inc()
        self._metrics.request_seconds.labels(self._operation).observe(self._seconds)
        fields: dict[str, str | int | float] = {
            "client": client,
            **self.subject,
            "outcome": outcome,
            "status": status,
            "backend": self._handled.backend,
            "code": self._handled.code,
            "ms": round(self._seconds * 1000, 1),
            "incident": self.incident_id,
            **_details(reply),
        }
        level = logging.ERROR if isinstance(reply, Fault) else logging.INFO
        logs.event(logger, level, self._operation, fields)


def _details(reply: object) -> dict[str, str]:
    """Return what the log, and nobody else, is told of a reply."""
    match reply:
        case Fault(kind, _, detail):
            return {"fault": kind.value, "detail": clients.one_line(detail)}
        case Denied(_, reason):
            return {"reason": reason}
        case BadInput(_, message):
            return {"detail": message}
        case _:
            return {}


def make_flask(conferences: Conferences) -> Flask:
    """Return the Flask application around the three requests."""
    app = Flask("jicofo_reservation_proxy", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = forms.MAX_BODY_BYTES
    app.url_map.merge_slashes = False
    app.register_blueprint(_blueprint(conferences))
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _unexpected)
    app.wsgi_app = _Entrance(conferences, app.wsgi_app)  # type: ignore[method-assign]
    return app


def _blueprint(conferences: Conferences) -> Blueprint:
    blueprint = Blueprint("conferences", __name__)

    @blueprint.post("/conference", provide_automatic_options=False)
    def create() -> Response:
        body = request.get_data(cache=False)
        return _recorded(conferences.create(_user_agent(), request.content_type or "", body))

    @blueprint.get("/conference/<path:public_id>", provide_automatic_options=False)
    def get(public_id: str) -> Response:
        return _recorded(conferences.get(_user_agent(), public_id))

    @blueprint.delete("/conference", provide_automatic_options=False, defaults={"public_id": ""})
    @blueprint.delete("/conference/<path:public_id>", provide_automatic_options=False)
    def delete(public_id: str) -> Response:
        return _recorded(conferences.delete(_user_agent(), public_id))

    return blueprint


def _user_agent() -> str:
    return request.headers.get("User-Agent", "")


def _recorded(exchange: Exchange) -> Response:
    response = _response(exchange.answer)
    response.call_on_close(exchange.record)
    return response


def _response(answer: Answer) -> Response:
    return Response(answer.body, answer.status, content_type=JSON)


def _http_error(error: HTTPException) -> Response:
    """Answer what Flask refuses: an unknown path or method, or a body that is too large."""
    status = error.code or 500
    message = USAGE
    if status == 413:
        message = f"The body is too large; wanted at most {forms.MAX_BODY_BYTES} bytes."
    fields: dict[str, str | int] = {
        "method": request.method,
        "path": request.path[:200],
        "status": status,
    }
    logs.event(logger, logging.WARNING, "refused", fields)
    response = _response(clients.render_bad_input(BadInput(status, message)))
    response.headers.extend((name, value) for name, value in error.get_headers() if name == "Allow")
    return response


def _unexpected(error: Exception) -> Response:
    """Answer a mistake in the proxy; the trace goes to the log. A DELETE is 200 even then."""
    answer = _internal_fault(error)
    return _response(clients.render_delete() if request.method == "DELETE" else answer)


def _internal_fault(error: Exception) -> Answer:
    incident_id = new_incident_id()
    logger.error("a fault of the proxy, incident %s", incident_id, exc_info=error)
    return clients.render_fault(Fault(FaultKind.INTERNAL, "", repr(error)), incident_id)


JSON = "application/json"
_SLASHES = re.compile(r"/{2,}")
_STATUS_LINES = {status.value: f"{status.value} {status.phrase}" for status in http.HTTPStatus}


class _Entrance:
    """The WSGI application in front of Flask's.

    It takes `//conference` and `/conference/` for `/conference`, as Prosody may send them, and
    answers a plain `POST /conference` at once. Flask's contexts, routing and responses cost
    0.3 ms of the 1 ms that a bridge adds to a gRPC call (benchmarks/README.md), and Jicofo holds
    every other room until it has its answer.
    """

    def __init__(self, conferences: Conferences, flask_app: "WSGIApplication") -> None:
        self._conferences = conferences
        self._flask_app = flask_app

    def __call__(
        self, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if "//" in path or path.endswith("/"):
            path = environ["PATH_INFO"] = _SLASHES.sub("/", path).rstrip("/") or "/"
        if path == "/conference" and environ["REQUEST_METHOD"] == "POST":
            length = environ.get("CONTENT_LENGTH", "")
            if length.isdecimal() and int(length) <= forms.MAX_BODY_BYTES:
                return self._create(environ, int(length), start_response)
        return self._flask_app(environ, start_response)

    def _create(
        self, environ: "WSGIEnvironment", length: int, start_response: "StartResponse"
    ) -> Iterable[bytes]:
        body = environ["wsgi.input"].read(length)
        if len(body) < length:
            answer = clients.render_bad_input(BadInput(400, "The body ended early."))
            return _start(answer, start_response)
        try:
            exchange = self._conferences.create(
                environ.get("HTTP_USER_AGENT", ""), environ.get("CONTENT_TYPE", ""), body
            )
        except Exception as error:  # noqa: BLE001 - as Flask does: log it, and answer
            return _start(_internal_fault(error), start_response)
        return _RecordedBody(exchange, _start(exchange.answer, start_response))


def _start(answer: Answer, start_response: "StartResponse") -> list[bytes]:
    headers = [("Content-Type", JSON), ("Content-Length", str(len(answer.body)))]
    start_response(_STATUS_LINES[answer.status], headers)
    return [answer.body]


class _RecordedBody:
    """A body that records its exchange when the server has sent it (PEP 3333, `close`)."""

    def __init__(self, exchange: Exchange, body: list[bytes]) -> None:
        self._body = body
        self.close = exchange.record

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._body)
