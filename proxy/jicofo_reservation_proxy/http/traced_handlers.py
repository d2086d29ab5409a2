"""The handlers of a proxy with a tracer: each request has a span."""

from collections.abc import Callable
from functools import partial

from jicofo_reservation_proxy.ids import new_incident_id
from jicofo_reservation_proxy.model import FaultKind
from jicofo_reservation_proxy.observability.traces import NO_PARENT, Answered, Parent, Tracer
from jicofo_reservation_proxy.reservations.use_cases import UseCases

from .access_log import AccessLog, AccessLogEntry
from .dialects import DialectOf
from .handlers import Handlers, TracedError
from .owners import IsGuest

_ALL = "/conference"
_ONE = "/conference/{id}"


class TracedHandlers(Handlers):
    """The handlers, with a span around each. A proxy without a tracer has `Handlers` instead."""

    def __init__(
        self,
        use_cases: UseCases,
        dialect_of: DialectOf,
        is_guest: IsGuest,
        log: AccessLog,
        tracer: Tracer,
    ) -> None:
        super().__init__(use_cases, dialect_of, is_guest, log)
        self._tracer = tracer

    def create(
        self, user_agent: str, content_type: str, body: bytes, parent: Parent = NO_PARENT
    ) -> AccessLogEntry:
        """Answer `POST /conference`. Raises `TracedError` if the proxy has a bug."""
        handle = partial(super().create, user_agent, content_type, body)
        return self._traced("POST", _ALL, parent, handle)

    def get(self, user_agent: str, public_id: str, parent: Parent = NO_PARENT) -> AccessLogEntry:
        """Answer `GET /conference/{id}`. Raises `TracedError` if the proxy has a bug."""
        return self._traced("GET", _ONE, parent, partial(super().get, user_agent, public_id))

    def delete(self, user_agent: str, public_id: str, parent: Parent = NO_PARENT) -> AccessLogEntry:
        """Answer `DELETE /conference/{id}`. Raises `TracedError` if the proxy has a bug."""
        return self._traced("DELETE", _ONE, parent, partial(super().delete, user_agent, public_id))

    def _traced(
        self, method: str, route: str, parent: Parent, handle: Callable[[], AccessLogEntry]
    ) -> AccessLogEntry:
        with self._tracer.request(method, route, parent) as span:
            try:
                entry = handle()
            except Exception as error:
                incident_id, fault = new_incident_id(), FaultKind.INTERNAL.value
                span.answer(Answered(500, incident_id, "fault", fault=fault))
                raise TracedError(incident_id) from error
            span.answer(entry.answered)
            return entry
