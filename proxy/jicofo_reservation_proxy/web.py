"""The HTTP side: parse → service → render, and one line in the log for each request.

Whatever is asked, the answer is one flat JSON object; no HTML, no stack trace, no redirect
(clients.md "body", "framing").
"""

import logging
import re
import time
from collections.abc import Iterable
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


def make_flask(service: ReservationProxy, forced: Dialect | None, metrics: Metrics) -> Flask:
    """Return the Flask application. `forced` is the dialect of all clients, or `None`: by name."""
    app = Flask("jicofo_reservation_proxy", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = forms.MAX_BODY_BYTES
    app.url_map.merge_slashes = False
    app.register_blueprint(_Conferences(service, forced, metrics).blueprint())
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _unexpected)
    app.wsgi_app = _collapse_slashes(app.wsgi_app)  # type: ignore[method-assign,assignment]
    return app


class _Conferences:
    """The three requests of the reservation API."""

    def __init__(self, service: ReservationProxy, forced: Dialect | None, metrics: Metrics) -> None:
        self._service = service
        self._forced = forced
        self._metrics = metrics

    def blueprint(self) -> Blueprint:
        blueprint = Blueprint("conferences", __name__)
        for rule, method, view in (
            ("/conference", "POST", self.create),
            ("/conference/<path:public_id>", "GET", self.get),
            ("/conference/<path:public_id>", "DELETE", self.delete),
            ("/conference", "DELETE", self.delete),
        ):
            blueprint.add_url_rule(
                rule, view_func=view, methods=[method], provide_automatic_options=False
            )
        return blueprint

    def create(self) -> Response:
        exchange = self._begin("create")
        form = forms.parse_create(request.content_type, request.get_data(cache=False))
        if isinstance(form, BadInput):
            return exchange.end(Handled(form), clients.render_bad_input(form))
        handled = self._service.create(form, exchange.dialect, exchange.incident_id)
        answer = clients.render_create(exchange.dialect, form, handled.reply, exchange.incident_id)
        return exchange.end(handled, answer, room=form.room.raw)

    def get(self, public_id: str) -> Response:
        exchange = self._begin("get")
        handled = self._service.get(public_id, exchange.dialect, exchange.incident_id)
        answer = clients.render_get(exchange.dialect, handled.reply, exchange.incident_id)
        return exchange.end(handled, answer, id=public_id)

    def delete(self, public_id: str = "") -> Response:
        exchange = self._begin("delete")
        handled = self._service.delete(public_id, exchange.incident_id)
        return exchange.end(handled, clients.render_delete(), id=public_id)

    def _begin(self, operation: str) -> "_Exchange":
        dialect = self._forced or clients.dialect_of(request.headers.get("User-Agent", ""))
        return _Exchange(operation, dialect, self._metrics)


class _Exchange:
    """One request and its answer, for the log and the metrics."""

    def __init__(self, operation: str, dialect: Dialect, metrics: Metrics) -> None:
        self._started = time.perf_counter()
        self._operation = operation
        self._metrics = metrics
        self.dialect = dialect
        self.incident_id = new_incident_id()

    def end(self, handled: Handled[object], answer: Answer, **subject: str) -> Response:
        """Log and count the exchange; `subject` is the room or the id that it was about."""
        seconds = time.perf_counter() - self._started
        outcome = type(handled.reply).__name__.lower()
        client = self.dialect.kind.value
        self._metrics.requests.labels(self._operation, client, outcome, answer.status).inc()
        self._metrics.request_seconds.labels(self._operation).observe(seconds)
        fields: dict[str, str | int | float] = {
            "client": client,
            **subject,
            "outcome": outcome,
            "status": answer.status,
            "backend": handled.backend,
            "code": handled.code,
            "ms": round(seconds * 1000, 1),
            "incident": self.incident_id,
            **_details(handled.reply),
        }
        level = logging.ERROR if isinstance(handled.reply, Fault) else logging.INFO
        logs.event(logger, level, self._operation, fields)
        return _response(answer)


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


def _response(answer: Answer) -> Response:
    return Response(answer.body, answer.status, content_type="application/json")


def _http_error(error: HTTPException) -> Response:
    """Answer what Flask refuses: an unknown path or method, or a body that is too large."""
    status = error.code or 500
    message = USAGE
    if status == 413:
        message = f"The body is too large; wanted at most {forms.MAX_BODY_BYTES} bytes."
    answer = clients.render_bad_input(BadInput(status, message))
    fields: dict[str, str | int] = {
        "method": request.method,
        "path": request.path[:200],
        "status": status,
    }
    logs.event(logger, logging.WARNING, "refused", fields)
    response = _response(answer)
    response.headers.extend((name, value) for name, value in error.get_headers() if name == "Allow")
    return response


def _unexpected(error: Exception) -> Response:
    """Answer a fault of the proxy's own; the trace goes to the log."""
    incident_id = new_incident_id()
    logger.error("a fault of the proxy, incident %s", incident_id, exc_info=error)
    fault = Fault(FaultKind.INTERNAL, "", repr(error))
    return _response(clients.render_fault(fault, incident_id))


_SLASHES = re.compile(r"/{2,}")


def _collapse_slashes(app: "WSGIApplication") -> "WSGIApplication":
    """Take `//conference` and `/conference/` for `/conference`, as Prosody may send them."""

    def collapsed(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if "//" in path or path.endswith("/"):
            environ["PATH_INFO"] = _SLASHES.sub("/", path).rstrip("/") or "/"
        return app(environ, start_response)

    return collapsed
