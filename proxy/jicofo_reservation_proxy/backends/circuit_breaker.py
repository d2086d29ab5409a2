"""The circuit breaker of a backend: it opens after several calls in a row took too long.

While it is open, the proxy refuses calls at once, so that few requests wait for a slow backend. The
`circuitbreaker` library counts the failures and changes the states. This module adds three things:
the choice of errors that count as failures, the limit of one call at a time in a half-open circuit,
and the log messages.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType

from circuitbreaker import STATE_CLOSED, STATE_HALF_OPEN, STATE_OPEN, CircuitBreaker

FAILURES = 3
"""The circuit opens after this number of calls in a row that took too long."""

OPEN_SECONDS = 5
"""How long an open circuit refuses all calls. Then the circuit is half-open: the proxy makes one
call at a time as a trial."""

logger = logging.getLogger(__name__)


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
    ) -> None:
        self._backend = backend
        self._breaker = CircuitBreaker(
            failure_threshold=failures,
            recovery_timeout=open_seconds,
            expected_exception=lambda _, error: is_failure(error),
            name=backend,
        )
        self._trial = threading.Lock()
        self._logging = threading.Lock()
        self._is_said_to_be_open = False

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
        self._log()

    def _log(self) -> None:
        """Log one line when the circuit opens and one line when it closes.

        Many calls can see the same change of state at the same time; only the first call logs it.
        """
        is_closed = self._breaker.state == STATE_CLOSED
        if is_closed != self._is_said_to_be_open:
            return
        with self._logging:
            if is_closed and self._is_said_to_be_open:
                self._is_said_to_be_open = False
                logger.warning(
                    "backends.%s: the circuit is closed: calls are answered in time again",
                    self._backend,
                )
            elif not is_closed and not self._is_said_to_be_open:
                self._is_said_to_be_open = True
                logger.warning(
                    "backends.%s: the circuit is open: %d calls in a row took too long; "
                    "the proxy refuses calls to this backend and tries again in %d s",
                    self._backend,
                    self._breaker.failure_count,
                    self._breaker.open_remaining,
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
