"""The first mapping: a gRPC status → an outcome.

A fault keeps the code and the text of the backend in addition to the kind that the proxy infers.
The second mapping, from a reply to an HTTP answer, is in http/answers.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import grpc

from jicofo_reservation_proxy.model import (
    Deleted,
    Denied,
    Fault,
    FaultKind,
    NotFound,
    Result,
)

from .contract import ContractBreach, localized_message

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


_HTTP_STATUS = "Received http2 header with status: "
"""gRPC begins the text of a status with these words if it made the status from an HTTP status."""

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


def fault_of(code: str, detail: str) -> Fault:
    """Return the fault for the name of an error status and its text."""
    return Fault(STATUS_FAULTS[grpc.StatusCode[code]], code, detail)


def is_from_http(fault: Fault) -> bool:
    """Return whether gRPC made the status from an HTTP status, so no gRPC server answered.

    For example, an ingress without a route answers 404, which gRPC reports as UNIMPLEMENTED.
    """
    return fault.detail.startswith(_HTTP_STATUS)


def denied(error: grpc.RpcError) -> Result[Denied] | None:
    """Return the denial if the details of the status carry a `google.rpc.LocalizedMessage`."""
    message = localized_message(cast("grpc.Call", error).trailing_metadata() or ())
    code = code_of(error).name
    return Result(Denied(message, f"status_{code.lower()}"), code) if message else None


def broken(breach: ContractBreach) -> Result[Fault]:
    """Return the fault for a response that breaks the contract."""
    detail = f"breach of the contract: {breach}"
    return Result(Fault(FaultKind.BROKEN, "OK", detail, breach.granted_id, breach.has_row), "OK")
