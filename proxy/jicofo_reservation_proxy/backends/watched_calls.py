"""What happens around each call to a backend: circuit breaker, status, metrics, traces, retries."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import cache
from typing import NamedTuple, Protocol, TypeVar

from jicofo_reservation_proxy.model import Fault, FaultKind
from jicofo_reservation_proxy.observability.health import Health
from jicofo_reservation_proxy.observability.metrics import Metrics
from jicofo_reservation_proxy.observability.traces import CallSpan
from jicofo_reservation_proxy.settings.schema import Backend

from . import backend_status, circuit_breaker
from .backend_status import BackendState, BackendStatus, Failure
from .circuit_breaker import Circuit, CircuitOpenError
from .retries import retried

FAIR_SECONDS = 2.0
"""The circuit breaker counts only calls with at least this time-out, or with the time-out
`answer_within` if that is shorter. A call gets a shorter time-out when its request has little time
left; the failure of such a call does not prove that the backend is slow."""

Metadata = Sequence[tuple[str, str]]

BeginSpan = Callable[[str, str], AbstractContextManager[CallSpan]]
"""Begins the span of a call, from the operation and the incident id."""

ResponseT = TypeVar("ResponseT")


class NotAskedError(Exception):
    """The proxy did not make the call; `fault` says why."""

    def __init__(self, kind: FaultKind, detail: str) -> None:
        super().__init__(detail)
        self.fault = Fault(kind, "", detail)


class Code(NamedTuple):
    """How a call ended: a name for logs and metrics, and a number for traces."""

    name: str
    number: int


class Statuses(Protocol):
    """What the responses and the errors of a protocol mean for the calls to a backend."""

    errors: type[Exception]
    """The class of the errors of calls."""

    def of_response(self, response: object) -> Code:
        """Return the code of a call that succeeded."""

    def of_error(self, error: Exception) -> Code:
        """Return the code of a call that failed."""

    def is_too_slow(self, error: BaseException) -> bool:
        """Return whether the deadline of a call has passed."""

    def is_retryable(self, error: Exception) -> bool:
        """Return whether an attempt that failed with this error may be repeated."""

    def failure(self, operation: str, error: Exception) -> Failure | None:
        """Return what an error says about the backend; `None` if it is an answer."""


class WatchedCalls:
    """Makes the calls to one backend.

    Every call ends within the setting `answer_within`, even if `within_seconds` is longer. After
    several calls that took too long, the circuit breaker refuses the next calls
    (circuit_breaker.py).
    """

    def __init__(
        self,
        name: str,
        settings: Backend,
        statuses: Statuses,
        metrics: Metrics,
        health: Health | None,
        begin_span: BeginSpan | None,
    ) -> None:
        self._name = name
        self._statuses = statuses
        self._begin_span = begin_span
        self.answer_within_seconds = settings.answer_within.total_seconds()
        health = health or Health()
        key = f"backends.{name}"
        self._status = BackendStatus(name, health.component(key, backend_status.words(key)))
        # The metrics have few label values, and `labels` looks each of them up under a lock.
        self._count_retries = cache(metrics.retries.labels)
        self._count_calls = cache(metrics.calls.labels)
        self._call_seconds = cache(metrics.call_seconds.labels)
        self._circuit = Circuit(
            name,
            statuses.is_too_slow,
            failures=circuit_breaker.FAILURES,
            open_seconds=circuit_breaker.OPEN_SECONDS,
            component=health.component(f"{key}.circuit", circuit_breaker.words(name)),
        )

    @property
    def state(self) -> BackendState:
        """The status of the backend now."""
        return self._status.state(is_circuit_open=self._circuit.is_open)

    @property
    def is_probe_due(self) -> bool:
        """Whether there was no call for some time."""
        return self._status.is_probe_due

    def make(
        self,
        operation: str,
        incident_id: str,
        within_seconds: float,
        send: Callable[[float, Metadata], ResponseT],
    ) -> ResponseT:
        """Make one call, with its retries.

        `send` makes one attempt: it gets the seconds that are left, and the metadata of the trace.
        Raises the error of the last attempt, and `NotAskedError` if the circuit is open.
        """
        timeout_seconds = min(self.answer_within_seconds, within_seconds)
        is_fair = timeout_seconds >= min(self.answer_within_seconds, FAIR_SECONDS)
        try:
            with self._circuit.call(counts=is_fair):
                if self._begin_span is None:
                    return self._sent(operation, timeout_seconds, send, None, is_fair=is_fair)
                with self._begin_span(operation, incident_id) as span:
                    return self._sent(operation, timeout_seconds, send, span, is_fair=is_fair)
        except CircuitOpenError as error:
            raise NotAskedError(
                FaultKind.SATURATED,
                "not called: the circuit is open, because the last calls took too long",
            ) from error

    def _sent(
        self,
        operation: str,
        timeout_seconds: float,
        send: Callable[[float, Metadata], ResponseT],
        span: CallSpan | None,
        *,
        is_fair: bool,
    ) -> ResponseT:
        metadata = span.metadata if span else ()

        def attempt(left_seconds: float) -> ResponseT:
            return send(left_seconds, metadata)

        def count_retry() -> None:
            self._count_retries(self._name, operation).inc()
            if span:
                span.retry()

        statuses, status = self._statuses, self._status
        started = time.perf_counter()
        code = _UNSENT
        status.begin(attempt, started)
        try:
            response = retried(
                attempt,
                timeout_seconds,
                is_retryable=statuses.is_retryable,
                on_retry=count_retry,
            )
        except statuses.errors as error:
            code = statuses.of_error(error)
            if failure := statuses.failure(operation, error):
                status.failed(operation, failure, started, is_fair=is_fair)
            else:
                status.succeeded(operation, started)
            raise
        else:
            code = statuses.of_response(response)
            status.succeeded(operation, started)
            return response
        finally:
            if span:
                span.end(*code)
            status.end(attempt)
            elapsed = time.perf_counter() - started
            self._count_calls(self._name, operation, code.name).inc()
            self._call_seconds(self._name, operation).observe(elapsed)


_UNSENT = Code("CANCELLED", 1)
"""The code of a call that an unexpected error ended."""
