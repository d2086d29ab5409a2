"""An HTTP backend: send a request, and return an outcome within the deadline.

http_statuses.py maps an answer to its meaning. These are the rules for repeated requests:

- A GET and a DELETE may be repeated (RFC 9110, section 9.2.2). A POST is repeated only if certainly
  no byte of it was sent, or if the operator says that the backend recognizes the repetition by the
  header `Idempotency-Key` (`idempotent = true`).
- A DELETE whose answer was lost may be carried out later. The fault says so (`may_happen_later`).
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeVar, cast

from jicofo_reservation_proxy.backends.backend import PROBE_ID
from jicofo_reservation_proxy.backends.backend_status import (
    IDLE,
    PROBE_SECONDS,
    BackendState,
)
from jicofo_reservation_proxy.backends.conference_rules import ContractBreach
from jicofo_reservation_proxy.backends.watched_calls import (
    BeginSpan,
    Metadata,
    NotAskedError,
    WatchedCalls,
)
from jicofo_reservation_proxy.clock import Budget
from jicofo_reservation_proxy.ids import new_incident_id
from jicofo_reservation_proxy.model import (
    SWITCHED_OFF,
    UNSAFE_NAME,
    ClientKind,
    Conflict,
    CreateOutcome,
    CreateRequest,
    Deleted,
    DeleteOutcome,
    Deletion,
    Denied,
    Fault,
    FaultKind,
    Found,
    GetOutcome,
    Granted,
    Hold,
    NotFound,
    Result,
    UnnamedConflict,
)
from jicofo_reservation_proxy.observability.health import Health
from jicofo_reservation_proxy.observability.metrics import Metrics
from jicofo_reservation_proxy.observability.traces import Tracer
from jicofo_reservation_proxy.settings.schema import Backend, Http

from . import http_statuses
from .answer_bodies import Body, read_body
from .call_errors import CallError, HttpErrors
from .conference_reader import ConferenceReader
from .connections import INCIDENT_HEADER, HttpConnections
from .create_bodies import create_body
from .endpoints import UnsafeValueError
from .exchange import Answer, NoAnswerError, Request
from .http_statuses import Meaning, fault_of
from .targets import Targets

_IDEMPOTENT_OPERATIONS = frozenset({"get", "conflict", IDLE, "delete"})

OutcomeT = TypeVar("OutcomeT", CreateOutcome, GetOutcome, DeleteOutcome)


class HttpBackend:
    """A `Backend` that sends HTTP requests (watched_calls.py)."""

    drops_old_deletions = False

    def __init__(
        self,
        name: str,
        settings: Backend,
        connections: HttpConnections,
        metrics: Metrics,
        tracer: Tracer | None = None,
        health: Health | None = None,
    ) -> None:
        self.name = name
        self._http = settings.http or Http()
        self._has_credentials = settings.has_credentials
        self._tracer = tracer
        self._connections = connections
        self._targets = Targets(settings)
        self._reader = ConferenceReader(name, self._http, self._targets)
        self._calls = WatchedCalls(
            name, settings, HttpErrors(), metrics, health, _spans(name, self._targets, tracer)
        )
        self._get_works = False

    @property
    def state(self) -> BackendState:
        """The status of the backend now."""
        return self._calls.state

    def probe_if_idle(self) -> None:
        """Make a harmless call if there was none for some time."""
        if self._calls.is_probe_due and self._targets.get:
            self._get(IDLE, PROBE_ID, new_incident_id(), PROBE_SECONDS)

    def create(
        self,
        request: CreateRequest,
        _client: ClientKind,
        _hold: Hold,
        incident_id: str,
        within_seconds: float,
    ) -> Result[CreateOutcome]:
        """Ask the backend to create a conference for a room."""
        budget = Budget(min(self._calls.answer_within_seconds, within_seconds))
        if self._targets.create is None:
            return Result(Denied("", SWITCHED_OFF), "")
        try:
            target = self._targets.create.for_room(request)
        except UnsafeValueError:
            return Result(Denied("", UNSAFE_NAME), "")
        method, body, headers = self._targets.create.method, None, {}
        headers["Idempotency-Key"] = _idempotency_key(request)
        if method != "GET":
            headers["Content-Type"], body = create_body(self._http, request)
        asked = Request(method, target, headers, body)
        result = self._send(
            "create",
            asked,
            incident_id,
            within_seconds,
            lambda answer: self._created(answer, request),
        )
        match result.outcome:
            case UnnamedConflict(conference_id) if conference_id and self._targets.get:
                return self._resolved(result, conference_id, incident_id, budget)
            case _:
                return result

    def _created(self, answer: Answer, request: CreateRequest) -> CreateOutcome:
        status, body = answer.status, read_body(answer.body)
        sentence = body.sentence(self._http.answer_fields.message)
        meaning = http_statuses.of_create(
            status, body, sentence=sentence, has_credentials=self._has_credentials
        )
        match meaning:
            case Meaning.GRANTED:
                try:
                    return Granted(self._reader.granted(body.fields, request))
                except ContractBreach as breach:
                    return _broken(status, body, breach)
            case Meaning.CONFLICT:
                return self._conflict(body, request, sentence)
            case Meaning.DENIED:
                return Denied(sentence, f"status_{status}")
            case _:
                return fault_of(status, body)

    def _conflict(
        self, body: Body, request: CreateRequest, sentence: str
    ) -> Conflict | UnnamedConflict:
        """Return the conflict of a 409, which may describe the conference that holds the room."""
        conference_id = self._reader.conflict_id(body.fields, request)
        if conference_id:
            try:
                return Conflict(self._reader.existing(body.fields, conference_id))
            except ContractBreach:
                pass
        return UnnamedConflict(conference_id, sentence)

    def _resolved(
        self,
        conflict: Result[CreateOutcome],
        conference_id: str,
        incident_id: str,
        budget: Budget,
    ) -> Result[CreateOutcome]:
        """Read the conference that a 409 names."""
        found = self._get("conflict", conference_id, incident_id, budget.left_seconds)
        match found.outcome:
            case Found(conference):
                return Result(Conflict(conference), conflict.code)
            case NotFound():
                detail = "the backend answers 409 with the id of a conference that its GET denies"
                return Result(Fault(FaultKind.BROKEN, conflict.code, detail), conflict.code)
            case Fault(kind) if kind in {FaultKind.UNREACHABLE, FaultKind.SLOW}:
                return Result(found.outcome, conflict.code)
            case _:
                return conflict

    def get(
        self, conference_id: str, incident_id: str, within_seconds: float
    ) -> Result[GetOutcome]:
        """Read a conference from the backend."""
        return self._get("get", conference_id, incident_id, within_seconds)

    def _get(
        self, operation: str, conference_id: str, incident_id: str, within_seconds: float
    ) -> Result[GetOutcome]:
        endpoint = self._targets.get
        if endpoint is None:
            return Result(Fault(FaultKind.BROKEN, "", "http.get is switched off"), "")
        try:
            request = Request(endpoint.method, endpoint.for_conference(conference_id))
        except UnsafeValueError:
            return Result(NotFound(), "")
        return self._send(
            operation,
            request,
            incident_id,
            within_seconds,
            lambda answer: self._read(answer, conference_id),
        )

    def _read(self, answer: Answer, conference_id: str) -> GetOutcome:
        status, body = answer.status, read_body(answer.body)
        match http_statuses.of_get(status, body, self._http.gone_statuses):
            case Meaning.FOUND:
                self._get_works = True
                try:
                    return Found(self._reader.existing(body.fields, conference_id))
                except ContractBreach as breach:
                    return _broken(status, body, breach)
            case Meaning.GONE:
                return NotFound()
            case _:
                return fault_of(status, body)

    def delete(
        self, deletion: Deletion, incident_id: str, within_seconds: float
    ) -> Result[DeleteOutcome]:
        """Deliver a deletion to the backend.

        If an earlier attempt may have reached the backend, a GET first looks whether the conference
        is gone already: some backends answer 500 to a second DELETE. A GET counts only after it has
        found a conference once, because a backend without a GET may answer 404 to each.
        """
        endpoint = self._targets.delete
        if endpoint is None:
            return Result(Deleted(is_unsupported=True), "")
        try:
            request = Request(endpoint.method, endpoint.for_conference(deletion.conference_id))
        except UnsafeValueError as error:  # perhaps an older template of `delete` allowed it
            return Result(Fault(FaultKind.BROKEN, "", f"not sent, because of {error}"), "")
        if self._tracer is None:
            return self._deliver(deletion, request, incident_id, within_seconds)
        with self._tracer.deletion(self.name, incident_id):
            return self._deliver(deletion, request, incident_id, within_seconds)

    def _deliver(
        self, deletion: Deletion, request: Request, incident_id: str, within_seconds: float
    ) -> Result[DeleteOutcome]:
        if deletion.is_uncertain and self._get_works:
            budget = Budget(min(self._calls.answer_within_seconds, within_seconds))
            # Half of the time: the deletion must be sent also if the GET takes too long.
            looked = self._get("get", deletion.conference_id, incident_id, budget.left_seconds / 2)
            if isinstance(looked.outcome, NotFound):
                return Result(Deleted(), looked.code)
            within_seconds = budget.left_seconds
        return self._send("delete", request, incident_id, within_seconds, self._deleted)

    def _deleted(self, answer: Answer) -> DeleteOutcome:
        status, body = answer.status, read_body(answer.body)
        match http_statuses.of_delete(status, body, self._http.gone_statuses):
            case Meaning.DELETED | Meaning.GONE:
                return Deleted()
            case Meaning.NO_DELETE:
                return Deleted(is_unsupported=True)
            case _:
                return fault_of(status, body)

    def _send(
        self,
        operation: str,
        request: Request,
        incident_id: str,
        within_seconds: float,
        read: Callable[[Answer], OutcomeT],
    ) -> Result[OutcomeT]:
        """Send a request, with its repetitions, and read the answer."""
        may_repeat = operation in _IDEMPOTENT_OPERATIONS or self._http.idempotent
        own = {INCIDENT_HEADER: incident_id, **request.headers}
        was_sent = may_happen_later = False

        def attempt(left_seconds: float, trace: Metadata) -> Result[OutcomeT]:
            nonlocal was_sent, may_happen_later
            headers = {**own, **dict(trace)}
            sent = Request(request.method, request.target, headers, request.body)
            try:
                answer = self._connections.exchange(sent, left_seconds)
            except NoAnswerError as error:
                was_sent |= error.was_sent
                may_happen_later |= error.is_lost
                raise CallError.of(error, may_repeat=may_repeat) from error
            was_sent = True
            outcome = read(answer)
            if isinstance(outcome, Fault):
                may_happen_later |= outcome.may_happen_later
                raise CallError.answered(operation, answer, outcome, may_repeat=may_repeat)
            return Result(outcome, str(answer.status))

        try:
            return self._calls.make(operation, incident_id, within_seconds, attempt)
        except NotAskedError as error:
            return Result(cast("OutcomeT", error.fault), "")
        except CallError as error:
            fault = error.fault
            # Only a backend that has handled the last attempt shows that it handles no earlier one.
            is_handled = fault.kind is FaultKind.BROKEN and not fault.is_elsewhere
            if may_happen_later and not is_handled:
                fault = replace(fault, may_happen_later=True)
            return Result(cast("OutcomeT", fault), fault.code if was_sent else "")


def _idempotency_key(request: CreateRequest) -> str:
    """Return the same key for each repetition of a request.

    If the proxy asks again because a conference is over, the key is another one: a backend that
    remembers its answers by key would name the same conference again.
    """
    if not request.after:
        return request.request_id
    return str(uuid.uuid5(uuid.UUID(request.request_id), request.after))


def _broken(status: int, body: Body, breach: ContractBreach) -> Fault:
    fault = fault_of(status, body, str(breach))
    return Fault(FaultKind.BROKEN, fault.code, fault.detail, breach.granted_id)


def _spans(name: str, targets: Targets, tracer: Tracer | None) -> BeginSpan | None:
    """Return what begins the spans of requests; `None` without traces."""
    if tracer is None:
        return None
    endpoints: Mapping[str, str] = {
        operation: f"{each.method} {each.template}"
        for operation, each in (("create", targets.create), ("delete", targets.delete))
        if each
    }
    get = f"{targets.get.method} {targets.get.template}" if targets.get else ""
    return lambda operation, incident_id: tracer.http_call(
        name, endpoints.get(operation, get), incident_id
    )
