"""The access log: the proxy logs one line and updates the metrics for each reservation request."""

import logging
import time
from collections.abc import Collection
from functools import cache
from typing import Self

from jicofo_reservation_proxy.ids import new_incident_id
from jicofo_reservation_proxy.model import BadInput, Denied, Dialect, Fault
from jicofo_reservation_proxy.observability import logs
from jicofo_reservation_proxy.observability.metrics import Metrics
from jicofo_reservation_proxy.observability.traces import Answered
from jicofo_reservation_proxy.reservations.context import Handled
from jicofo_reservation_proxy.text_rules import one_line

from .answers import Answer
from .recent_requests import RecentRequests, SeenRequest

OTHER_TENANTS = "other"
"""The label of all tenants that `metrics_tenants` does not name."""

logger = logging.getLogger(__name__)


class AccessLog:
    """The log and the metrics of all requests of the reservation API, and the last requests.

    `tenants` are those that the metrics count separately; a reload changes them.
    """

    def __init__(
        self, metrics: Metrics, recent: RecentRequests, tenants: Collection[str] = ()
    ) -> None:
        self.recent = recent
        self.tenants = tenants
        self._tenant_creates = cache(metrics.tenant_creates.labels)
        # The metrics have few label values, and `labels` looks each of them up under a lock.
        self.requests = cache(metrics.requests.labels)
        self.request_seconds = cache(metrics.request_seconds.labels)
        self.without_backend = cache(metrics.without_backend.labels)

    def count_tenant(self, tenant: str, outcome: str) -> None:
        """Count a create, if the setting `metrics_tenants` names tenants."""
        if self.tenants:
            is_known = not tenant or tenant in self.tenants
            self._tenant_creates(tenant if is_known else OTHER_TENANTS, outcome).inc()

    def begin(self, operation: str, dialect: Dialect) -> "AccessLogEntry":
        """Return the entry of a request that begins now."""
        return AccessLogEntry(operation, dialect, self)


class AccessLogEntry:
    """One request and its answer. The server calls `record` after it has sent the answer.

    `subject` is the room or the id in the request, as a field of the log line. `tenant` is that of
    the room of a create. In its `with` block the request is in flight.
    """

    answer: Answer
    _handled: Handled[object]
    _seconds: float
    _is_answered = False
    _has_ended = False

    def __init__(self, operation: str, dialect: Dialect, log: AccessLog) -> None:
        self._started = time.perf_counter()
        self._operation = operation
        self._log = log
        self.dialect = dialect
        self.incident_id = new_incident_id()
        self.subject: dict[str, str] = {}
        self.tenant: str | None = None

    def __enter__(self) -> Self:
        self._log.recent.began(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._has_ended = True
        self._log.recent.ended(self)

    def seen(self, now: float) -> SeenRequest:
        """Return what is known of the request; `now` is a time of `time.perf_counter`."""
        is_answered = self._is_answered
        return SeenRequest(
            self._operation,
            self.dialect.kind.value,
            self.subject,
            now - self._started,
            self._seconds if is_answered else None,
            self._handled if is_answered else None,
            self.answer.status if is_answered else 500 if self._has_ended else 0,
            self.incident_id,
        )

    def end(self, handled: Handled[object], answer: Answer) -> "AccessLogEntry":
        """Store the answer, and the time from the start of the request until now."""
        self._seconds = time.perf_counter() - self._started
        self._handled = handled
        self.answer = answer
        self._is_answered = True
        return self

    def record(self) -> None:
        """Write the log line and update the metrics, after the client has got its answer."""
        reply, status = self._handled.reply, self.answer.status
        outcome, client = type(reply).__name__.lower(), self.dialect.kind.value
        self._log.requests(self._operation, client, outcome, status).inc()
        self._log.request_seconds(self._operation).observe(self._seconds)
        if self.tenant is not None:
            self._log.count_tenant(self.tenant, outcome)
        source = self._handled.source
        if source:
            self._log.without_backend(self._handled.backend, source).inc()
        fields: dict[str, str | int | float] = {
            "client": client,
            **self.subject,
            "outcome": outcome,
            "status": status,
            "backend": self._handled.backend,
            "code": self._handled.code,
            "ms": round(self._seconds * 1000, 1),
            "incident": self.incident_id,
        }
        if source:
            fields["source"] = source
        fields |= _details(reply)
        logs.event(logger, self._level, self._operation, fields)

    @property
    def answered(self) -> Answered:
        """What a span says about the answer."""
        reply = self._handled.reply
        return Answered(
            self.answer.status,
            self.incident_id,
            type(reply).__name__.lower(),
            self.dialect.kind.value,
            self._handled.backend,
            self._handled.source,
            reply.kind.value if isinstance(reply, Fault) else "",
        )

    @property
    def _level(self) -> int:
        if isinstance(self._handled.reply, Fault):
            return logging.ERROR
        return logging.WARNING if self._handled.source else logging.INFO


def _details(reply: object) -> dict[str, str]:
    """Return the fields that a reply adds to the log line."""
    match reply:
        case Fault(kind, _, detail):
            return {"fault": kind.value, "detail": one_line(detail)}
        case Denied(_, reason):
            return {"reason": reason}
        case BadInput(_, message):
            return {"detail": message}
        case _:
            return {}
