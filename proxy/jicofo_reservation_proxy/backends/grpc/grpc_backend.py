"""A gRPC backend: send a request as an RPC, and return an outcome within the deadline.

contract.py converts the messages. grpc_statuses.py maps a gRPC status to an outcome.
"""

from __future__ import annotations

import logging
from typing import TypeVar

import grpc

from jicofo_reservation_proxy.backends.backend import PROBE_ID
from jicofo_reservation_proxy.backends.backend_status import IDLE, PROBE_SECONDS, BackendState
from jicofo_reservation_proxy.backends.conference_rules import ContractBreach
from jicofo_reservation_proxy.backends.watched_calls import (
    BeginSpan,
    Metadata,
    NotAskedError,
    WatchedCalls,
)
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
from jicofo_reservation_proxy.observability.traces import Tracer
from jicofo_reservation_proxy.settings.schema import Backend

from . import contract
from .backend_channel import BackendChannel
from .grpc_statuses import (
    DELETE_OUTCOMES,
    GET_OUTCOMES,
    GrpcStatuses,
    broken,
    code_of,
    denied,
    failed,
)
from .misdirected_calls import is_from_http
from .missing_delete import MissingDelete

_UNIMPLEMENTED = grpc.StatusCode.UNIMPLEMENTED.name

_NOT_REACHED = {FaultKind.UNREACHABLE, FaultKind.SLOW, FaultKind.SATURATED}

logger = logging.getLogger(__name__)

RequestT = TypeVar("RequestT")
ResponseT = TypeVar("ResponseT")


class GrpcBackend:
    """A `Backend` that calls a `ReservationService` over a channel (watched_calls.py)."""

    drops_old_deletions = True

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
        self._tracer = tracer
        self._channel = channel
        self._calls = WatchedCalls(
            name, settings, GrpcStatuses(), metrics, health, _spans(name, settings, tracer)
        )
        self._has_delete = settings.methods.delete != ""
        self._missing_delete = MissingDelete(is_default_path=settings.methods.has_default_delete)
        self._has_greater_hold = False

    @property
    def state(self) -> BackendState:
        """The status of the backend now."""
        return self._calls.state

    def probe_if_idle(self) -> None:
        """Make a harmless call if there was none for some time."""
        if self._calls.is_probe_due:
            self._get(IDLE, PROBE_ID, new_incident_id(), PROBE_SECONDS)

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
            call = "create", incident_id, within_seconds
            response = self._call(calls.create, message, calls.metadata, *call)
            self._check_hold(response, hold)
            return Result(contract.read_create(response, request), "OK")
        except NotAskedError as error:
            return Result(error.fault, "")
        except grpc.RpcError as error:
            return denied(error) or failed(error)
        except ContractBreach as breach:
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
            call = operation, incident_id, within_seconds
            response = self._call(calls.get, message, calls.metadata, *call)
            return Result(contract.read_get(response, conference_id), "OK")
        except NotAskedError as error:
            return Result(error.fault, "")
        except grpc.RpcError as error:
            if outcome := GET_OUTCOMES.get(code_of(error)):
                return Result(outcome, code_of(error).name)
            return failed(error)
        except ContractBreach as breach:
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
        budget = Budget(min(self._calls.answer_within_seconds, within_seconds))
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
            call = "delete", incident_id, within_seconds
            self._call(calls.delete, message, calls.metadata, *call)
        except NotAskedError as error:
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
        self,
        method: grpc.UnaryUnaryMultiCallable[RequestT, ResponseT],
        message: RequestT,
        metadata: Metadata,
        operation: str,
        incident_id: str,
        within_seconds: float,
    ) -> ResponseT:
        """Make one call, with its retries.

        Raises `grpc.RpcError` for every status except OK, and `NotAskedError` when the call is not
        made.
        """
        own = ((contract.INCIDENT_KEY, incident_id), *metadata)

        def send(left_seconds: float, trace: Metadata) -> ResponseT:
            return method(message, timeout=left_seconds, metadata=(*own, *trace))

        try:
            return self._calls.make(operation, incident_id, within_seconds, send)
        except ValueError as error:
            # gRPC raises this error for a closed channel: the proxy is shutting down.
            raise NotAskedError(FaultKind.UNREACHABLE, f"not called: {error}") from error


def _spans(name: str, settings: Backend, tracer: Tracer | None) -> BeginSpan | None:
    """Return what begins the spans of calls; `None` without traces."""
    if tracer is None:
        return None
    methods = settings.methods
    paths = {"create": methods.create, "delete": methods.delete}
    return lambda operation, incident_id: tracer.call(
        name, paths.get(operation, methods.get), incident_id
    )


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
