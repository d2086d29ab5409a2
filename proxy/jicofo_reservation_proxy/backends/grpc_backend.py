"""A gRPC backend: send a request as an RPC, and return an outcome within the deadline.

contract.py converts the messages. grpc_statuses.py maps a gRPC status to an outcome.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from functools import cache
from typing import Generic, TypeVar

import grpc

from jicofo_reservation_proxy.clock import Budget
from jicofo_reservation_proxy.gen.jicofo.reservation.v1 import reservation_pb2 as pb
from jicofo_reservation_proxy.ids import new_incident_id
from jicofo_reservation_proxy.model import (
    ClientKind,
    CreateOutcome,
    CreateRequest,
    Deleted,
    DeleteOutcome,
    Deletion,
    Fault,
    FaultKind,
    GetOutcome,
    Hold,
    Result,
)
from jicofo_reservation_proxy.observability.health import Health
from jicofo_reservation_proxy.observability.metrics import Metrics
from jicofo_reservation_proxy.observability.traces import CallSpan, Tracer
from jicofo_reservation_proxy.settings.schema import Backend

from . import backend_status, circuit_breaker, contract
from .backend import PROBE_ID
from .backend_status import PROBE_SECONDS, BackendState, BackendStatus
from .circuit_breaker import Circuit, CircuitOpenError
from .credential_rotation import BackendChannel
from .credentials import Metadata
from .grpc_statuses import (
    DELETE_OUTCOMES,
    GET_OUTCOMES,
    broken,
    code_of,
    denied,
    failed,
    is_from_http,
)
from .missing_delete import MissingDelete
from .retries import retried

FAIR_SECONDS = 2.0
"""The circuit breaker counts only calls with at least this time-out, or with the time-out
`answer_within` if that is shorter. A call gets a shorter time-out when its request has little time
left; the failure of such a call does not prove that the backend is slow."""

_UNIMPLEMENTED = grpc.StatusCode.UNIMPLEMENTED.name

_NOT_REACHED = {FaultKind.UNREACHABLE, FaultKind.SLOW, FaultKind.SATURATED}

logger = logging.getLogger(__name__)

RequestT = TypeVar("RequestT")
ResponseT = TypeVar("ResponseT")


class GrpcBackend:
    """A `Backend` that calls a `ReservationService` over a channel.

    Every call ends within the setting `answer_within`, even if `within_seconds` is longer. After
    several calls that took too long, the circuit breaker refuses the next calls
    (circuit_breaker.py).
    """

    def __init__(
        self,
        name: str,
        settings: Backend,
        channel: BackendChannel,
        metrics: Metrics,
        tracer: Tracer | None = None,
        health: Health | None = None,
    ) -> None:
        self.name = name
        health = health or Health()
        key = f"backends.{name}"
        self._status = BackendStatus(name, health.component(key, backend_status.words(key)))
        self._tracer = tracer
        methods = settings.methods
        self._paths = {
            "create": methods.create,
            "get": methods.get,
            "probe": methods.get,
            backend_status.IDLE: methods.get,
            "delete": methods.delete,
        }
        self._channel = channel
        self._answer_within_seconds = settings.answer_within.total_seconds()
        self._has_delete = settings.methods.delete != ""
        self._missing_delete = MissingDelete(is_default_path=settings.methods.has_default_delete)
        self._has_greater_hold = False
        # The metrics have few label values, and `labels` looks each of them up under a lock.
        self._count_retries = cache(metrics.retries.labels)
        self._count_calls = cache(metrics.calls.labels)
        self._call_seconds = cache(metrics.call_seconds.labels)
        self._circuit = Circuit(
            name,
            _is_too_slow,
            failures=circuit_breaker.FAILURES,
            open_seconds=circuit_breaker.OPEN_SECONDS,
            component=health.component(f"{key}.circuit", circuit_breaker.words(name)),
        )

    @property
    def state(self) -> BackendState:
        """The status of the backend now."""
        return self._status.state(is_circuit_open=self._circuit.is_open)

    def probe_if_idle(self) -> None:
        """Make a harmless call if there was none for some time."""
        if self._status.is_probe_due:
            self._get(backend_status.IDLE, PROBE_ID, new_incident_id(), PROBE_SECONDS)

    def create(
        self,
        request: CreateRequest,
        client: ClientKind,
        hold: Hold,
        incident_id: str,
        within_seconds: float,
    ) -> Result[CreateOutcome]:
        """Ask the backend to create a conference for a room."""
        message = contract.create_message(request, client, hold)
        try:
            calls = self._channel.calls
            call = _Call("create", message, calls.metadata, incident_id, within_seconds)
            response = self._call(calls.create, call)
            self._check_hold(response, hold)
            return Result(contract.read_create(response, request), "OK")
        except _NotAskedError as error:
            return Result(error.fault, "")
        except grpc.RpcError as error:
            return denied(error) or failed(error)
        except contract.ContractBreach as breach:
            return broken(breach)

    def _check_hold(self, response: pb.CreateConferenceResponse, hold: Hold) -> None:
        """Log once if the backend knows a greater hold of this proxy than any that it has sent."""
        if response.hold > hold.number and not self._has_greater_hold:
            self._has_greater_hold = True
            logger.error(
                "backends.%s answers a greater hold than that of the request: another proxy uses a"
                " copy of this ledger, or the backend is wrong; give each proxy a ledger of its"
                " own, otherwise its deletions change nothing",
                self.name,
            )

    def get(
        self, conference_id: str, incident_id: str, within_seconds: float
    ) -> Result[GetOutcome]:
        """Read a conference from the backend."""
        return self._get("get", conference_id, incident_id, within_seconds)

    def _get(
        self, operation: str, conference_id: str, incident_id: str, within_seconds: float
    ) -> Result[GetOutcome]:
        message = contract.get_message(conference_id)
        try:
            calls = self._channel.calls
            call = _Call(operation, message, calls.metadata, incident_id, within_seconds)
            response = self._call(calls.get, call)
            return Result(contract.read_get(response, conference_id), "OK")
        except _NotAskedError as error:
            return Result(error.fault, "")
        except grpc.RpcError as error:
            if outcome := GET_OUTCOMES.get(code_of(error)):
                return Result(outcome, code_of(error).name)
            return failed(error)
        except contract.ContractBreach as breach:
            return broken(breach)

    def delete(
        self, deletion: Deletion, incident_id: str, within_seconds: float
    ) -> Result[DeleteOutcome]:
        """Deliver a deletion to the backend.

        NOT_FOUND also means that the conference is gone. UNIMPLEMENTED means that nothing is left
        to do only if it is proven that the backend has no such method (missing_delete.py).

        The proxy first makes a probe: it reads the conference. If the probe cannot reach the
        backend, the proxy does not send the deletion, and the result has an empty `code`. The probe
        is needed because gRPC does not say whether a failed call was sent. The proxy makes no probe
        before a withdrawal, because every withdrawal counts as sent.

        If the deletion has several holds, the proxy sends one message for each, until one fails.
        """
        if not self._has_delete:
            return Result(Deleted(is_unsupported=True), "")
        if self._tracer is None:
            return self._deliver(deletion, incident_id, within_seconds)
        with self._tracer.deletion(self.name, incident_id):
            return self._deliver(deletion, incident_id, within_seconds)

    def _deliver(
        self, deletion: Deletion, incident_id: str, within_seconds: float
    ) -> Result[DeleteOutcome]:
        budget = Budget(min(self._answer_within_seconds, within_seconds))
        probed: GetOutcome | None = None
        if deletion.conference_id:
            conference_id = deletion.conference_id
            probed = self._get("probe", conference_id, incident_id, budget.left_seconds).outcome
        if isinstance(probed, Fault) and _has_not_reached(probed):
            return Result(probed, "")
        result: Result[DeleteOutcome] = Result(Deleted(), "")
        for hold in deletion.holds:
            message = contract.delete_message(deletion, hold)
            sent = result.code
            result = self._delete(message, probed, incident_id, budget.left_seconds)
            if isinstance(result.outcome, Fault):
                return Result(result.outcome, result.code or sent)
        return result

    def _delete(
        self,
        message: pb.DeleteConferenceRequest,
        probed: GetOutcome | None,
        incident_id: str,
        within_seconds: float,
    ) -> Result[DeleteOutcome]:
        try:
            calls = self._channel.calls
            call = _Call("delete", message, calls.metadata, incident_id, within_seconds)
            self._call(calls.delete, call)
        except _NotAskedError as error:
            return Result(error.fault, "")
        except grpc.RpcError as error:
            return self._not_ok(error, probed)
        self._missing_delete.note_acknowledged()
        return Result(Deleted(), "OK")

    def _not_ok(self, error: grpc.RpcError, probed: GetOutcome | None) -> Result[DeleteOutcome]:
        """Return the outcome of a deletion that was not answered OK."""
        failure = failed(error)
        if outcome := DELETE_OUTCOMES.get(code_of(error)):
            self._missing_delete.note_acknowledged()
            return Result(outcome, failure.code)
        if failure.code == _UNIMPLEMENTED:
            by_the_service = _is_of_the_service(probed) and not is_from_http(failure.outcome)
            if self._missing_delete.is_proven(by_the_service=by_the_service):
                return Result(Deleted(is_unsupported=True), failure.code)
        return Result(failure.outcome, failure.code)

    def _call(
        self, method: grpc.UnaryUnaryMultiCallable[RequestT, ResponseT], call: _Call[RequestT]
    ) -> ResponseT:
        """Make one call, with its retries.

        Raises `grpc.RpcError` for every status except OK, and `_NotAskedError` when the call is not
        made.
        """
        timeout_seconds = min(self._answer_within_seconds, call.within_seconds)
        is_fair = self._is_fair(timeout_seconds)
        try:
            return self._timed(method, call, timeout_seconds, counts=is_fair)
        except CircuitOpenError as error:
            raise _NotAskedError(
                FaultKind.SATURATED,
                "not called: the circuit is open, because the last calls took too long",
            ) from error
        except ValueError as error:
            # gRPC raises this error for a closed channel: the proxy is shutting down.
            raise _NotAskedError(FaultKind.UNREACHABLE, f"not called: {error}") from error

    def _timed(
        self,
        method: grpc.UnaryUnaryMultiCallable[RequestT, ResponseT],
        call: _Call[RequestT],
        timeout_seconds: float,
        *,
        counts: bool,
    ) -> ResponseT:
        with self._circuit.call(counts=counts):
            if self._tracer is None:
                return self._sent(method, call, timeout_seconds)
            path = self._paths[call.operation]
            with self._tracer.call(self.name, path, call.incident_id) as span:
                return self._sent(method, call, timeout_seconds, span)

    def _sent(
        self,
        method: grpc.UnaryUnaryMultiCallable[RequestT, ResponseT],
        call: _Call[RequestT],
        timeout_seconds: float,
        span: CallSpan | None = None,
    ) -> ResponseT:
        metadata = ((contract.INCIDENT_KEY, call.incident_id), *call.metadata)
        if span:
            metadata += tuple(span.metadata)

        def attempt(left_seconds: float) -> ResponseT:
            return method(call.message, timeout=left_seconds, metadata=metadata)

        def count_retry() -> None:
            self._count_retries(self.name, call.operation).inc()
            if span:
                span.retry()

        code: grpc.StatusCode = grpc.StatusCode.OK
        started = time.perf_counter()
        self._status.begin(call, started)
        try:
            response = retried(attempt, timeout_seconds, on_retry=count_retry)
        except grpc.RpcError as error:
            code = code_of(error)
            if span:
                span.end(code.name, code.value[0])
            is_fair = self._is_fair(timeout_seconds)
            self._status.failed(call.operation, error, started, is_fair=is_fair)
            raise
        else:
            if span:
                span.end(code.name, code.value[0])
            self._status.succeeded(call.operation, started)
            return response
        finally:
            self._status.end(call)
            elapsed = time.perf_counter() - started
            self._count_calls(self.name, call.operation, code.name).inc()
            self._call_seconds(self.name, call.operation).observe(elapsed)

    def _is_fair(self, timeout_seconds: float) -> bool:
        """Return whether a call has so much time that its failure says something."""
        return timeout_seconds >= min(self._answer_within_seconds, FAIR_SECONDS)


@dataclass(frozen=True, slots=True)
class _Call(Generic[RequestT]):
    """The message and the metadata of one call, and the time limit for its answer."""

    operation: str
    message: RequestT
    metadata: Metadata
    incident_id: str
    within_seconds: float


def _has_not_reached(probed: Fault) -> bool:
    """Return whether a probe shows that the backend is unreachable."""
    return probed.kind in _NOT_REACHED or probed.code == "CANCELLED" or is_from_http(probed)


def _is_of_the_service(probed: GetOutcome | None) -> bool:
    """Return whether the service itself answered a probe; `None` means that there was no probe.

    UNIMPLEMENTED does not show that: the service may not be registered on the server that answered.
    """
    if isinstance(probed, Fault):
        return probed.code not in {"", _UNIMPLEMENTED}
    return probed is not None


def _is_too_slow(error: BaseException) -> bool:
    if not isinstance(error, grpc.RpcError):
        return False
    return code_of(error) is grpc.StatusCode.DEADLINE_EXCEEDED


class _NotAskedError(Exception):
    """The proxy did not make the call; `fault` says why."""

    def __init__(self, kind: FaultKind, detail: str) -> None:
        super().__init__(detail)
        self.fault = Fault(kind, "", detail)
