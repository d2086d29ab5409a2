"""The status of a backend: whether it answers, since when, and how its last calls went.

A backend is *lost* if a call does not reach its service: it is unreachable or too slow, an HTTP
server answers in its place, or it refuses the credentials or the method of a create or a delete.
Every other answer of the service shows that it is there, also an error.

One call that fails among many that succeed shows nothing, for example while one of several replicas
restarts. So a failure counts only if the service answered no other call after this one had begun.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from typing import Literal

import grpc

from jicofo_reservation_proxy.clock import now_ms
from jicofo_reservation_proxy.model import Fault, FaultKind
from jicofo_reservation_proxy.observability.health import Component, Words
from jicofo_reservation_proxy.text_rules import one_line

from .grpc_statuses import DELETE_OUTCOMES, GET_OUTCOMES, code_of, denied, failed, is_from_http

IDLE_SECONDS = 60.0
"""After this time without a call, the proxy makes a harmless one, so that its state is known."""

LOST_SECONDS = 10.0
"""The same of a lost backend, whose return is interesting."""

PROBE_SECONDS = 3.0
"""The deadline of such a call."""

IDLE = "idle"
"""The operation of such a call, in metrics."""

NOT_CALLED = "not called yet"

_WRITES = {"create", "delete"}

_ANSWERS: Mapping[str, Container[grpc.StatusCode]] = {
    "get": GET_OUTCOMES,
    "probe": GET_OUTCOMES,
    IDLE: GET_OUTCOMES,
    "delete": DELETE_OUTCOMES,
}
"""The operation → the error statuses that are an answer to it."""


def words(name: str) -> Words:
    """Return the words of the component of a backend."""
    return Words("lost", "back", subject=name, remark=NOT_CALLED)


@dataclass(frozen=True, slots=True)
class BackendState:
    """The status of a backend at one moment. Times are in milliseconds since the epoch.

    `latency_seconds` is of the last call that succeeded. The certificates of its channel are in
    `BackendChannel.certificates`.
    """

    name: str
    state: Literal["reachable", "lost", "unknown"]
    since_ms: int
    reason: str
    last_success_ms: int | None
    latency_seconds: float | None
    in_flight: int
    is_circuit_open: bool


class BackendStatus:
    """Follows the calls to one backend. All threads may use it; a call takes no lock."""

    def __init__(
        self, name: str, component: Component, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._name = name
        self._component = component
        self._clock = clock
        self._in_flight: dict[int, None] = {}
        self._begun_at = clock()
        self._answered_at = self._succeeded_at = -float("inf")
        self._latency_seconds: float | None = None
        self._is_refused = False

    @property
    def is_probe_due(self) -> bool:
        """Whether there was no call for some time."""
        pause = IDLE_SECONDS if self._component.state.is_well else LOST_SECONDS
        return not self._in_flight and self._clock() - self._begun_at >= pause

    def begin(self, call: object, started: float) -> None:
        """Note that a call begins."""
        self._in_flight[id(call)] = None
        self._begun_at = started

    def end(self, call: object) -> None:
        """Note that a call has ended."""
        self._in_flight.pop(id(call), None)

    def succeeded(self, operation: str, started: float) -> None:
        """Note that the service answered, and not with an error."""
        self._succeeded_at = now = self._clock()
        self._latency_seconds = now - started
        self._answered(operation)

    def failed(
        self, operation: str, error: grpc.RpcError, started: float, *, is_fair: bool
    ) -> None:
        """Note the error of a call. It had enough time if `is_fair` is true."""
        if code_of(error) in _ANSWERS.get(operation, {}) or (
            operation == "create" and denied(error)
        ):
            self.succeeded(operation, started)
            return
        fault = failed(error).outcome
        if fault.code == "CANCELLED" or (fault.kind is FaultKind.SLOW and not is_fair):
            return  # by this proxy
        is_refusal = _is_refusal(fault, operation)
        if is_refusal and operation not in _WRITES and self._succeeded_at > 0:
            return  # perhaps the backend allows nobody to make this call
        if not (is_refusal or _is_loss(fault)):
            self._answered(operation)
        elif self._answered_at <= started:
            self._is_refused = is_refusal
            self._component.fail(f"{fault.code}: {one_line(fault.detail)}")

    def state(self, *, is_circuit_open: bool) -> BackendState:
        """Return the status now."""
        found = self._component.state
        is_known = found.reason != NOT_CALLED
        known: Literal["reachable", "lost"] = "reachable" if found.is_well else "lost"
        return BackendState(
            self._name,
            known if is_known else "unknown",
            found.since_ms,
            found.reason,
            self._last_success_ms,
            self._latency_seconds,
            len(self._in_flight),
            is_circuit_open,
        )

    @property
    def _last_success_ms(self) -> int | None:
        if self._latency_seconds is None:
            return None
        return now_ms() - int(1000 * (self._clock() - self._succeeded_at))

    def _answered(self, operation: str) -> None:
        self._answered_at = self._clock()
        if self._is_refused and operation not in _WRITES | {IDLE}:
            return  # a read does not show that creates are allowed again
        self._is_refused = False
        self._component.recover()


def _is_loss(fault: Fault) -> bool:
    return fault.kind in {FaultKind.UNREACHABLE, FaultKind.SLOW} or is_from_http(fault)


def _is_refusal(fault: Fault, operation: str) -> bool:
    if is_from_http(fault):
        return False
    is_missing = operation == "create" and fault.code == "UNIMPLEMENTED"
    return is_missing or fault.kind is FaultKind.UNAUTHORIZED
