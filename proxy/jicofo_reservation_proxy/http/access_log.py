"""The access log: one line, and its metrics, for each request of the reservation API."""

import logging
import time

from jicofo_reservation_proxy.ids import new_incident_id
from jicofo_reservation_proxy.model import BadInput, Denied, Dialect, Fault
from jicofo_reservation_proxy.observability import logs
from jicofo_reservation_proxy.observability.metrics import Metrics
from jicofo_reservation_proxy.reservations.context import Handled
from jicofo_reservation_proxy.text_rules import one_line

from .answers import Answer

logger = logging.getLogger(__name__)


class AccessLogEntry:
    """One request and its answer. `record` is called when the answer is on its way.

    `subject` is the room or the id that the request is about.
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

    def end(self, handled: Handled[object], answer: Answer) -> "AccessLogEntry":
        """Take the answer down, and the time that it took."""
        self._seconds = time.perf_counter() - self._started
        self._handled = handled
        self.answer = answer
        return self

    def record(self) -> None:
        """Log and count the request: one line, and no client waits for it."""
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
            return {"fault": kind.value, "detail": one_line(detail)}
        case Denied(_, reason):
            return {"reason": reason}
        case BadInput(_, message):
            return {"detail": message}
        case _:
            return {}
