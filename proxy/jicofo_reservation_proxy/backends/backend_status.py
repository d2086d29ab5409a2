"""The status of a backend: whether it answers, since when, and how its last calls went.

A backend is *lost* if a call does not reach its service: it is unreachable or too slow, an HTTP
server answers in its place, or it refuses the credentials or the method of a create or a delete.
Every other answer of the service shows that it is there, also an error.

One call that fails among many that succeed shows nothing, for example while one of several replicas
restarts. So a failure counts only if the service answered no other call after this one had begun.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from jicofo_reservation_proxy.clock import now_ms
from jicofo_reservation_proxy.model import Fault, FaultKind
from jicofo_reservation_proxy.observability.health import Component, Words
from jicofo_reservation_proxy.text_rules import one_line

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


def words(name: str) -> Words:
    """Return the words of the component of a backend."""
    return Words("lost", "back", subject=name, remark=NOT_CALLED)


@dataclass(frozen=True, slots=True)
class Failure:
    """How a call failed.

    `is_elsewhere` is true if another server answered in place of the backend, and `is_missing` if
    the backend does not have the method. `is_own` is true if this proxy cancelled the call.
    """

    fault: Fault
    is_elsewhere: bool = False
    is_missing: bool = False
    is_own: bool = False


@dataclass(frozen=True, slots=True)
class BackendState:
    """The status of a backend at one moment. Times are in milliseconds since the epoch.

    `fault` is the last fault of a lost backend. `latency_seconds` is of the last call that
    succeeded. The certificates are in `Rotation.certificates`.
    """

    name: str
    state: Literal["reachable", "lost", "unknown"]
    since_ms: int
    reason: str
    fault: Fault | None
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
        self._fault: Fault | None = None

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

    def failed(self, operation: str, failure: Failure, started: float, *, is_fair: bool) -> None:
        """Note that a call failed. It had enough time if `is_fair` is true."""
        fault = failure.fault
        if failure.is_own or (fault.kind is FaultKind.SLOW and not is_fair):
            return
        is_refusal = _is_refusal(failure, operation)
        if is_refusal and operation not in _WRITES and self._succeeded_at > 0:
            return  # perhaps the backend allows nobody to make this call
        if not (is_refusal or _is_loss(failure)):
            self._answered(operation)
        elif self._answered_at <= started:
            self._is_refused, self._fault = is_refusal, fault
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
            None if found.is_well else self._fault,
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


def _is_loss(failure: Failure) -> bool:
    return failure.is_elsewhere or failure.fault.kind in {FaultKind.UNREACHABLE, FaultKind.SLOW}


def _is_refusal(failure: Failure, operation: str) -> bool:
    if failure.is_elsewhere:
        return False
    is_missing = operation == "create" and failure.is_missing
    return is_missing or failure.fault.kind is FaultKind.UNAUTHORIZED
