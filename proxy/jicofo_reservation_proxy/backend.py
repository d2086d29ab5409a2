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
from google.protobuf.message import DecodeError

from . import contract
from .channels import BackendChannel
from .credentials import Metadata
from .metrics import Metrics
from .model import (
    ClientKind,
    CreateOutcome,
    CreateRequest,
    Deleted,
    DeleteOutcome,
    Denied,
    Fault,
    FaultKind,
    GetOutcome,
    NotFound,
)

DETAILS_KEY = "grpc-status-details-bin"

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

OutcomeT_co = TypeVar(
    "OutcomeT_co", bound=CreateOutcome | GetOutcome | DeleteOutcome, covariant=True
)
RequestT = TypeVar("RequestT")
ResponseT = TypeVar("ResponseT")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Result(Generic[OutcomeT_co]):
    """What came of a call: the outcome, and the name of the gRPC code that ended it."""

    outcome: OutcomeT_co
    code: str


class Backend:
    """A `ReservationService` behind a channel.

    Every method returns within `answer_within_seconds`, whatever the backend does, and raises
    nothing for what a backend does.
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

    def create(
        self, request: CreateRequest, client: ClientKind, incident_id: str
    ) -> Result[CreateOutcome]:
        """Ask for a room."""
        message = contract.create_message(request, client, self._is_guest)
        try:
            calls = self._channel.calls
            response = self._call("create", calls.create, message, calls.metadata, incident_id)
            return Result(contract.read_create(response, request), "OK")
        except grpc.RpcError as error:
            return _denied(error) or _failed(error)
        except contract.ContractBreach as breach:
            return _broken(breach)

    def get(self, conference_id: str, incident_id: str) -> Result[GetOutcome]:
        """Ask for a conference."""
        message = contract.get_message(conference_id)
        try:
            calls = self._channel.calls
            response = self._call("get", calls.get, message, calls.metadata, incident_id)
            return Result(contract.read_get(response, conference_id), "OK")
        except grpc.RpcError as error:
            if _code(error) is grpc.StatusCode.NOT_FOUND:
                return Result(NotFound(), "NOT_FOUND")
            return _failed(error)
        except contract.ContractBreach as breach:
            return _broken(breach)

    def delete(
        self, conference_id: str, delete_time_ms: int, incident_id: str
    ) -> Result[DeleteOutcome]:
        """Say that a conference is over. Unknown there, or no such method: it is gone as well."""
        message = contract.delete_message(conference_id, delete_time_ms)
        try:
            calls = self._channel.calls
            self._call("delete", calls.delete, message, calls.metadata, incident_id)
        except grpc.RpcError as error:
            code = _code(error)
            if code in {grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNIMPLEMENTED}:
                return Result(Deleted(), code.name)
            return _failed(error)
        return Result(Deleted(), "OK")

    def _call(
        self,
        operation: str,
        method: grpc.UnaryUnaryMultiCallable[RequestT, ResponseT],
        message: RequestT,
        metadata: Metadata,
        incident_id: str,
    ) -> ResponseT:
        """Make one call. Raises `grpc.RpcError` for every status but OK."""
        code = grpc.StatusCode.OK
        started = time.perf_counter()
        try:
            return method(
                message,
                timeout=self._answer_within_seconds,
                metadata=((contract.INCIDENT_KEY, incident_id), *metadata),
            )
        except grpc.RpcError as error:
            code = _code(error)
            raise
        finally:
            elapsed = time.perf_counter() - started
            self._metrics.calls.labels(self.name, operation, code.name).inc()
            self._metrics.call_seconds.labels(self.name, operation).observe(elapsed)


def _code(error: grpc.RpcError) -> grpc.StatusCode:
    """Return the status of what a multi-callable raises, which is a `grpc.Call` as well."""
    code: grpc.StatusCode = cast("grpc.Call", error).code()
    return code


def _failed(error: grpc.RpcError) -> Result[Fault]:
    code = _code(error)
    detail = cast("grpc.Call", error).details() or ""
    return Result(Fault(STATUS_FAULTS[code], code.name, detail), code.name)


def _broken(breach: contract.ContractBreach) -> Result[Fault]:
    return Result(Fault(FaultKind.BROKEN, "OK", f"breach of the contract: {breach}"), "OK")


def _denied(error: grpc.RpcError) -> Result[Denied] | None:
    """Return the denial in a status whose details carry a `google.rpc.LocalizedMessage`."""
    trailers = cast("grpc.Call", error).trailing_metadata() or ()
    details = next((value for key, value in trailers if key == DETAILS_KEY), None)
    if not isinstance(details, bytes):
        return None
    message = _localized_message(details)
    code = _code(error).name
    return Result(Denied(message, f"status_{code.lower()}"), code) if message else None


def _localized_message(details: bytes) -> str:
    """Return the sentence in a serialized `google.rpc.Status`, or "" where there is none.

    Imported when first needed: few backends send details, and all would pay at the start.
    """
    from google.rpc import error_details_pb2, status_pb2  # noqa: PLC0415

    localized = error_details_pb2.LocalizedMessage()
    try:
        for detail in status_pb2.Status.FromString(details).details:
            if detail.Unpack(localized):
                return str(localized.message)
    except DecodeError:
        logger.warning("the details of a status could not be read")
    return ""
