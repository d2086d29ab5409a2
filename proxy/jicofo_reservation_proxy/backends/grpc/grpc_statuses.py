"""The first mapping: a gRPC status → an outcome.

A fault keeps the code and the text of the backend in addition to the kind that the proxy infers.
The second mapping, from a reply to an HTTP answer, is in http/answers.py.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import cast

import grpc

from jicofo_reservation_proxy.backends.backend_status import IDLE, Failure
from jicofo_reservation_proxy.backends.conference_rules import ContractBreach
from jicofo_reservation_proxy.backends.watched_calls import Code
from jicofo_reservation_proxy.model import (
    Deleted,
    Denied,
    Fault,
    FaultKind,
    NotFound,
    Result,
)

from .contract import localized_message
from .misdirected_calls import is_from_http

GET_OUTCOMES: Mapping[grpc.StatusCode, NotFound] = {grpc.StatusCode.NOT_FOUND: NotFound()}
"""The error statuses of GetConference that are an answer: the conference does not exist."""

DELETE_OUTCOMES: Mapping[grpc.StatusCode, Deleted] = {grpc.StatusCode.NOT_FOUND: Deleted()}
"""The error statuses of DeleteConference that are an answer: the conference is gone already.
missing_delete.py decides what UNIMPLEMENTED means."""

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
"""Every other status is a fault and never a decision (protos/README.md). The only exception is a
denial that the backend sends as an error status (`denied`)."""


_ANSWERS: Mapping[str, Container[grpc.StatusCode]] = {
    "get": GET_OUTCOMES,
    "probe": GET_OUTCOMES,
    IDLE: GET_OUTCOMES,
    "delete": DELETE_OUTCOMES,
}
"""The operation → the error statuses that are an answer to it."""

_OK = Code("OK", 0)

_TOO_LARGE = ("message larger than max", "metadata size exceeds")
"""gRPC uses these words if an answer is larger than a limit of the channel (channel.py)."""


def code_of(error: grpc.RpcError) -> grpc.StatusCode:
    """Return the status of an error from an RPC. Such an error is also a `grpc.Call`."""
    code: grpc.StatusCode = cast("grpc.Call", error).code()
    return code


def failed(error: grpc.RpcError) -> Result[Fault]:
    """Return the fault for an error status."""
    code = code_of(error)
    detail = cast("grpc.Call", error).details() or ""
    # gRPC reports an answer that is too large with the status of an overloaded backend.
    is_too_large = any(words in detail for words in _TOO_LARGE)
    kind = FaultKind.BROKEN if is_too_large else STATUS_FAULTS[code]
    return Result(Fault(kind, code.name, detail), code.name)


def denied(error: grpc.RpcError) -> Result[Denied] | None:
    """Return the denial if the details of the status carry a `google.rpc.LocalizedMessage`."""
    message = localized_message(cast("grpc.Call", error).trailing_metadata() or ())
    code = code_of(error).name
    return Result(Denied(message, f"status_{code.lower()}"), code) if message else None


class GrpcStatuses:
    """What the statuses of gRPC mean for the calls to a backend (`watched_calls.Statuses`)."""

    errors: type[Exception] = grpc.RpcError

    def of_response(self, _: object) -> Code:
        """Return the code of a call that succeeded."""
        return _OK

    def of_error(self, error: Exception) -> Code:
        """Return the status of a call that failed."""
        code = code_of(cast("grpc.RpcError", error))
        return Code(code.name, code.value[0])

    def is_too_slow(self, error: BaseException) -> bool:
        """Return whether the deadline of a call has passed."""
        return _has_status(error, grpc.StatusCode.DEADLINE_EXCEEDED)

    def is_retryable(self, error: Exception) -> bool:
        """Return whether an attempt failed with UNAVAILABLE."""
        return _has_status(error, grpc.StatusCode.UNAVAILABLE)

    def failure(self, operation: str, error: Exception) -> Failure | None:
        """Return what an error says about the backend; `None` if it is an answer."""
        status = cast("grpc.RpcError", error)
        is_answer = code_of(status) in _ANSWERS.get(operation, ())
        if is_answer or (operation == "create" and denied(status)):
            return None
        fault = failed(status).outcome
        return Failure(
            fault,
            is_elsewhere=is_from_http(fault),
            is_missing=fault.code == "UNIMPLEMENTED",
            is_own=fault.code == "CANCELLED",
        )


def broken(breach: ContractBreach) -> Result[Fault]:
    """Return the fault for a response that breaks the contract."""
    detail = f"breach of the contract: {breach}"
    return Result(Fault(FaultKind.BROKEN, "OK", detail, breach.granted_id, breach.has_row), "OK")


def _has_status(error: BaseException, code: grpc.StatusCode) -> bool:
    return isinstance(error, grpc.RpcError) and code_of(error) is code
