"""The three requests of the reservation API: parse → use case → render.

This module imports no web framework: wsgi.py calls the handlers and sends the answers.
"""

import logging

from jicofo_reservation_proxy.ids import decode, new_incident_id
from jicofo_reservation_proxy.model import BadInput, Fault, FaultKind
from jicofo_reservation_proxy.observability.traces import NO_PARENT, Parent
from jicofo_reservation_proxy.reservations.context import Handled
from jicofo_reservation_proxy.reservations.use_cases import UseCases

from .access_log import AccessLog, AccessLogEntry
from .answers import Answer, render_bad_input, render_delete, render_fault
from .base_path import shown
from .dialects import DialectOf
from .forms import parse_create
from .owners import IsGuest
from .renderers import RENDERERS

logger = logging.getLogger(__name__)


class Handlers:
    """The handlers. Each one returns an entry of the access log, which contains the answer.

    `dialect_of` recognizes the client; `is_guest` recognizes owners who have not signed in. The
    span that sent a request, `parent`, matters only to traced_handlers.py.
    """

    def __init__(
        self, use_cases: UseCases, dialect_of: DialectOf, is_guest: IsGuest, log: AccessLog
    ) -> None:
        self._use_cases = use_cases
        self._dialect_of = dialect_of
        self._is_guest = is_guest
        self._log = log

    def create(
        self,
        user_agent: str,
        content_type: str,
        body: bytes,
        parent: Parent = NO_PARENT,  # noqa: ARG002 - of TracedHandlers
    ) -> AccessLogEntry:
        """Answer `POST /conference`."""
        with self._begin("create", user_agent) as entry:
            request = parse_create(content_type, body, self._is_guest)
            if isinstance(request, BadInput):
                return entry.end(Handled(request), render_bad_input(request))
            entry.subject = {"room": request.room.raw}
            entry.tenant = request.room.tenant
            handled = self._use_cases.create(request, entry.dialect, entry.incident_id)
            renderer = RENDERERS[entry.dialect.kind]
            return entry.end(handled, renderer.create(request, handled.reply, entry.incident_id))

    def get(
        self,
        user_agent: str,
        public_id: str,
        parent: Parent = NO_PARENT,  # noqa: ARG002 - of TracedHandlers
    ) -> AccessLogEntry:
        """Answer `GET /conference/{id}`."""
        with self._begin("get", user_agent) as entry:
            entry.subject = {"id": _shown(public_id)}
            handled = self._use_cases.get(public_id, entry.dialect, entry.incident_id)
            renderer = RENDERERS[entry.dialect.kind]
            return entry.end(handled, renderer.get(handled.reply, entry.incident_id))

    def delete(
        self,
        user_agent: str,
        public_id: str,
        parent: Parent = NO_PARENT,  # noqa: ARG002 - of TracedHandlers
    ) -> AccessLogEntry:
        """Answer `DELETE /conference/{id}`."""
        with self._begin("delete", user_agent) as entry:
            entry.subject = {"id": _shown(public_id)}
            handled = self._use_cases.delete(public_id, entry.incident_id)
            return entry.end(handled, render_delete(handled.reply, entry.incident_id))

    def _begin(self, operation: str, user_agent: str) -> AccessLogEntry:
        return self._log.begin(operation, self._dialect_of(user_agent))


def _shown(public_id: str) -> str:
    """Return an id for the log; a text that is no id could be a client token."""
    return public_id if decode(public_id) else shown(public_id)


class TracedError(Exception):
    """A request failed because of a bug in the proxy. The cause is in `__cause__`.

    `incident_id` is that of the span of the request.
    """

    def __init__(self, incident_id: str) -> None:
        super().__init__(incident_id)
        self.incident_id = incident_id


def internal_fault(error: BaseException) -> Answer:
    """Answer a request that failed because of a bug in the proxy; log the traceback."""
    incident_id = ""
    if isinstance(error, TracedError):
        incident_id, error = error.incident_id, error.__cause__ or error
    incident_id = incident_id or new_incident_id()
    logger.error("a fault of the proxy, incident %s", incident_id, exc_info=error)
    return render_fault(Fault(FaultKind.INTERNAL, "", repr(error)), incident_id)
