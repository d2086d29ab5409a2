"""The first mapping: a gRPC status → an outcome. What the backend said stays beside what it means.

The second one, what a client is told → an HTTP answer, is in http/answers.py.
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

from .contract import localized_message

GET_OUTCOMES: Mapping[grpc.StatusCode, NotFound] = {grpc.StatusCode.NOT_FOUND: NotFound()}
"""The statuses of GetConference that are an answer: what was asked for is not there."""

DELETE_OUTCOMES: Mapping[grpc.StatusCode, Deleted] = {
    grpc.StatusCode.NOT_FOUND: Deleted(),
    grpc.StatusCode.UNIMPLEMENTED: Deleted(is_unsupported=True),
}
"""The statuses of DeleteConference that are an answer: it is gone already, or needs no deletion."""

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
"""Every other status is a fault, and never a decision (protos/README.md), but for a denial in
gRPC's own words (`denied`)."""


def code_of(error: grpc.RpcError) -> grpc.StatusCode:
    """Return the status of what a multi-callable raises, which is a `grpc.Call` as well."""
    code: grpc.StatusCode = cast("grpc.Call", error).code()
    return code


def failed(error: grpc.RpcError) -> Result[Fault]:
    """Return the fault that a status is."""
    code = code_of(error)
    detail = cast("grpc.Call", error).details() or ""
    return Result(Fault(STATUS_FAULTS[code], code.name, detail), code.name)


def denied(error: grpc.RpcError) -> Result[Denied] | None:
    """Return the denial in a status whose details carry a `google.rpc.LocalizedMessage`."""
    message = localized_message(cast("grpc.Call", error).trailing_metadata() or ())
    code = code_of(error).name
    return Result(Denied(message, f"status_{code.lower()}"), code) if message else None


def broken(breach: Exception) -> Result[Fault]:
    """Return the fault of an answer that the contract rules out."""
    return Result(Fault(FaultKind.BROKEN, "OK", f"breach of the contract: {breach}"), "OK")
