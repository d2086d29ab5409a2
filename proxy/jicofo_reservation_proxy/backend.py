"""One backend: a value goes out as an RPC, and an outcome comes back, within the deadline.

Here stands the first of the two mappings, gRPC status → outcome; the second, outcome → what a
client can bear, is in clients.py.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar, cast

import grpc

from . import circuit, contract
from .budget import Budget
from .channels import BackendChannel
from .circuit import Circuit, CircuitOpenError
from .credentials import Metadata
from .metrics import Metrics
from .model import (
    ClientKind,
    CreateOutcome,
    CreateRequest,
    Deleted,
    DeleteOutcome,
    DeleteReason,
    Denied,
    Fault,
    FaultKind,
    GetOutcome,
    NotFound,
    Result,
)

FAIR_SECONDS = 2.0
"""A call that was given less time, because its request had no more, says nothing of the backend."""


_NOT_REACHED = {FaultKind.UNREACHABLE, FaultKind.SLOW, FaultKind.SATURATED}

STATUS_FAULTS: Mapping[grpc.StatusCode, FaultKind] = {
    grpc.StatusCode.OK: FaultKind.BROKEN,
    grpc.StatusCode.CANCELLED: FaultKind.BROKEN,
    grpc.StatusCode.UNKNOWN: FaultKind.BROKEN,
    grpc.StatusCode.INVALID_ARGUMENT: FaultKind.BROKEN,
    grpc.StatusCode.DEADLINE_EXCEEDED: FaultKind.SLOW,
    grpc.StatusCode.NOT_FOUND: FaultKind.BROKEN,
    grpc.StatusCode.ALREADY_EXISTS: FaultKind.BROKEN,
    grpc.StatusCode.PERMISSION_DENIED: FaultKind.UNAUTHORIZED,
    grpc.StatusCode.UNAUTHENTICATED: FaultKind.UNAUTHORIZED,
    grpc.StatusCode.RESOURCE_EXHAUSTED: FaultKind.OVERLOADED,
    grpc.StatusCode.FAILED_PRECONDITION: FaultKind.BROKEN,
    grpc.StatusCode.ABORTED: FaultKind.BROKEN,
    grpc.StatusCode.OUT_OF_RANGE: FaultKind.BROKEN,
    grpc.StatusCode.UNIMPLEMENTED: FaultKind.BROKEN,
    grpc.StatusCode.INTERNAL: FaultKind.BROKEN,
    grpc.StatusCode.UNAVAILABLE: FaultKind.UNREACHABLE,
    grpc.StatusCode.DATA_LOSS: FaultKind.BROKEN,
}
"""Every status as a fault. A status is never a decision (protos/README.md), but for the words of
denial below, a NOT_FOUND where one was asked for, and an UNIMPLEMENTED DeleteConference."""

RequestT = TypeVar("RequestT")
ResponseT = TypeVar("ResponseT")

logger = logging.getLogger(__name__)


class Backend:
    """A `ReservationService` behind a channel.

    Every method returns within `answer_within_seconds`, and within the time that it is given,
    whatever the backend does, and raises nothing for what a backend does. After calls that took
    too long, the next ones are not made at all (`Circuit`).
    """

    def __init__(
        self,
        name: str,
        channel: BackendChannel,
        answer_within_seconds: float,
        is_guest: contract.IsGuest,
        metrics: Metrics,
    ) -> None:
        self.name = name
        self._channel = channel
        self._answer_within_seconds = answer_within_seconds
        self._is_guest = is_guest
        self._metrics = metrics
        self._circuit = Circuit(
            name, _is_too_slow, failures=circuit.FAILURES, open_seconds=circuit.OPEN_SECONDS
        )
        metrics.circuit_open.labels(name).set_function(lambda: self._circuit.is_open)

    def create(
        self, request: CreateRequest, client: ClientKind, incident_id: str, within_seconds: float
    ) -> Result[CreateOutcome]:
        """Ask for a room."""
        message = contract.create_message(request, client, self._is_guest)
        try:
            calls = self._channel.calls
            call = _Call("create", message, calls.metadata, incident_id, within_seconds)
            response = self._call(calls.create, call)
            return Result(contract.read_create(response, request), "OK")
        except _NotAskedError as error:
            return Result(error.fault, "")
        except grpc.RpcError as error:
            return _denied(error) or _failed(error)
        except contract.ContractBreach as breach:
            return _broken(breach)

    def _probe(self, incident_id: str, within_seconds: float) -> Fault | None:
        """Ask something harmless; return the fault that shows that the backend is not there."""
        outcome = self._get("probe", contract.PROBE_ID, incident_id, within_seconds).outcome
        if isinstance(outcome, Fault) and (
            outcome.kind in _NOT_REACHED or outcome.code == "CANCELLED"
        ):
            return outcome
        return None

    def get(
        self, conference_id: str, incident_id: str, within_seconds: float
    ) -> Result[GetOutcome]:
        """Ask for a conference."""
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
            if _code(error) is grpc.StatusCode.NOT_FOUND:
                return Result(NotFound(), "NOT_FOUND")
            return _failed(error)
        except contract.ContractBreach as breach:
            return _broken(breach)

    def delete(
        self,
        conference_id: str,
        delete_time_ms: int,
        reason: DeleteReason,
        incident_id: str,
        within_seconds: float,
    ) -> Result[DeleteOutcome]:
        """Say that a conference is over. Unknown there, or no such method: it is gone as well.

        A harmless question goes first. Where the backend cannot be reached, nothing was sent then,
        and the result has no code: gRPC alone does not tell whether a call that failed was sent.
        """
        budget = Budget(min(self._answer_within_seconds, within_seconds))
        if not_reached := self._probe(incident_id, budget.left_seconds):
            return Result(not_reached, "")
        message = contract.delete_message(conference_id, delete_time_ms, reason)
        try:
            calls = self._channel.calls
            call = _Call("delete", message, calls.metadata, incident_id, budget.left_seconds)
            self._call(calls.delete, call)
        except _NotAskedError as error:
            return Result(error.fault, "")
        except grpc.RpcError as error:
            code = _code(error)
            if code in {grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNIMPLEMENTED}:
                return Result(Deleted(), code.name)
            return _failed(error)
        return Result(Deleted(), "OK")

    def _call(
        self, method: grpc.UnaryUnaryMultiCallable[RequestT, ResponseT], call: _Call[RequestT]
    ) -> ResponseT:
        """Make one call.

        Raises `grpc.RpcError` for every status but OK, and `_NotAskedError` where it is not made.
        """
        timeout_seconds = min(self._answer_within_seconds, call.within_seconds)
        is_fair = timeout_seconds >= min(self._answer_within_seconds, FAIR_SECONDS)
        try:
            return self._timed(method, call, timeout_seconds, counts=is_fair)
        except CircuitOpenError as error:
            raise _NotAskedError(
                FaultKind.SATURATED, "not asked: the last calls took too long"
            ) from error
        except ValueError as error:
            # What gRPC raises where the channel was closed: the proxy is about to end.
            raise _NotAskedError(FaultKind.UNREACHABLE, f"not asked: {error}") from error

    def _timed(
        self,
        method: grpc.UnaryUnaryMultiCallable[RequestT, ResponseT],
        call: _Call[RequestT],
        timeout_seconds: float,
        *,
        counts: bool,
    ) -> ResponseT:
        with self._circuit.call(counts=counts):
            code = grpc.StatusCode.OK
            started = time.perf_counter()
            try:
                return method(
                    call.message,
                    timeout=timeout_seconds,
                    metadata=((contract.INCIDENT_KEY, call.incident_id), *call.metadata),
                )
            except grpc.RpcError as error:
                code = _code(error)
                raise
            finally:
                elapsed = time.perf_counter() - started
                self._metrics.calls.labels(self.name, call.operation, code.name).inc()
                self._metrics.call_seconds.labels(self.name, call.operation).observe(elapsed)


@dataclass(frozen=True, slots=True)
class _Call(Generic[RequestT]):
    """What goes out in one call, and in which time the answer must be here."""

    operation: str
    message: RequestT
    metadata: Metadata
    incident_id: str
    within_seconds: float


def _code(error: grpc.RpcError) -> grpc.StatusCode:
    """Return the status of what a multi-callable raises, which is a `grpc.Call` as well."""
    code: grpc.StatusCode = cast("grpc.Call", error).code()
    return code


def _is_too_slow(error: BaseException) -> bool:
    if not isinstance(error, grpc.RpcError):
        return False
    return _code(error) is grpc.StatusCode.DEADLINE_EXCEEDED


class _NotAskedError(Exception):
    """The call was not made."""

    def __init__(self, kind: FaultKind, detail: str) -> None:
        super().__init__(detail)
        self.fault = Fault(kind, "", detail)


def _failed(error: grpc.RpcError) -> Result[Fault]:
    code = _code(error)
    detail = cast("grpc.Call", error).details() or ""
    return Result(Fault(STATUS_FAULTS[code], code.name, detail), code.name)


def _broken(breach: contract.ContractBreach) -> Result[Fault]:
    return Result(Fault(FaultKind.BROKEN, "OK", f"breach of the contract: {breach}"), "OK")


def _denied(error: grpc.RpcError) -> Result[Denied] | None:
    """Return the denial in a status whose details carry a `google.rpc.LocalizedMessage`."""
    message = contract.localized_message(cast("grpc.Call", error).trailing_metadata() or ())
    code = _code(error).name
    return Result(Denied(message, f"status_{code.lower()}"), code) if message else None
