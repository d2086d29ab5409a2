"""The circuit breaker of a backend: it opens after several calls in a row took too long.

While it is open, the proxy refuses calls at once, so that few requests wait for a slow backend. The
`circuitbreaker` library counts the failures and changes the states. This module adds three things:
the choice of errors that count as failures, the limit of one call at a time in a half-open circuit,
and a component of the health, which logs the changes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType

from circuitbreaker import STATE_CLOSED, STATE_HALF_OPEN, STATE_OPEN, CircuitBreaker

from jicofo_reservation_proxy.observability.health import Component, Words

FAILURES = 3
"""The circuit opens after this number of calls in a row that took too long."""

OPEN_SECONDS = 5
"""How long an open circuit refuses all calls. Then the circuit is half-open: the proxy makes one
call at a time as a trial."""


def words(backend: str) -> Words:
    """Return the words of the component of a circuit."""
    return Words(
        "the circuit is open",
        "the circuit is closed: calls are answered in time again",
        subject=f"backends.{backend}",
    )


class CircuitOpenError(Exception):
    """The proxy did not make the call, because the circuit is open."""


class Circuit:
    """The circuit breaker of one backend.

    `is_failure` returns whether an error counts as a failure. `failures` failures in a row open the
    circuit for `open_seconds`.
    """

    def __init__(
        self,
        backend: str,
        is_failure: Callable[[BaseException], bool],
        *,
        failures: int,
        open_seconds: int,
        component: Component | None = None,
    ) -> None:
        self._component = component or Component(backend, words(backend))
        self._breaker = CircuitBreaker(
            failure_threshold=failures,
            recovery_timeout=open_seconds,
            expected_exception=lambda _, error: is_failure(error),
            name=backend,
        )
        self._trial = threading.Lock()
        self._noting = threading.Lock()

    @property
    def is_open(self) -> bool:
        """Whether the circuit is open, so that calls are refused."""
        return bool(self._breaker.state == STATE_OPEN)

    def call(self, *, counts: bool = True) -> AbstractContextManager[None]:
        """Return a context manager for one call.

        With `counts=False` the result of the call does not change the state of the circuit. Raises
        `CircuitOpenError` when the call must not be made.
        """
        state = self._breaker.state
        is_trial = state == STATE_HALF_OPEN
        if state == STATE_OPEN or (is_trial and not self._trial.acquire(blocking=False)):
            raise CircuitOpenError
        return _Call(self.note if counts else None, self._trial if is_trial else None)

    def note(self, error: BaseException | None) -> None:
        """Count the result of a call: an error, or `None`."""
        if error is None and not self._breaker.failure_count:
            return  # the circuit is closed, and stays closed
        self._breaker.__exit__(type(error) if error else None, error, None)
        with self._noting:
            if self._breaker.state == STATE_CLOSED:
                self._component.recover()
            else:
                self._component.fail(
                    f"{self._breaker.failure_count} calls in a row took too long; the proxy "
                    "refuses calls to this backend and tries again in "
                    f"{self._breaker.open_remaining} s"
                )


class _Call:
    """One call. A class and not a generator, because each request needs one (speed)."""

    __slots__ = ("_note", "_trial")

    def __init__(
        self, note: Callable[[BaseException | None], None] | None, trial: threading.Lock | None
    ) -> None:
        self._note = note
        self._trial = trial

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        try:
            if self._note:
                self._note(error)
        finally:
            if self._trial:
                self._trial.release()
