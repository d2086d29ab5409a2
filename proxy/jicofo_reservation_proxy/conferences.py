"""The three requests of the reservation API: parse → service → render, and a line in the log.

Nothing here knows a web framework; web.py brings what came in and sends what goes out.
"""

import logging
import time

from . import clients, forms, logs
from .clients import Answer, Dialect
from .ids import new_incident_id
from .metrics import Metrics
from .model import BadInput, Denied, Fault
from .service import Handled, ReservationProxy

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
        return exchange.end(handled, clients.render_delete(handled.reply, exchange.incident_id))

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
        source = self._handled.source
        if source:
            self._metrics.without_backend.labels(self._handled.backend, source).inc()
        fields: dict[str, str | int | float] = {
            "client": client,
            **self.subject,
            "outcome": outcome,
            "status": status,
            "backend": self._handled.backend,
            "code": self._handled.code,
            "ms": round(self._seconds * 1000, 1),
            "incident": self.incident_id,
            **({"source": source} if source else {}),
            **_details(reply),
        }
        logs.event(logger, self._level, self._operation, fields)

    @property
    def _level(self) -> int:
        if isinstance(self._handled.reply, Fault):
            return logging.ERROR
        return logging.WARNING if self._handled.source else logging.INFO


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
