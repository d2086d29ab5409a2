"""The circuit to a backend: open after calls that all took too long, so that few wait for it.

What a circuit breaker is, and when it trips, is the `circuitbreaker` library's; here stands what
counts as a failure, that one call at a time tries a half-open circuit, and what the log is told.
"""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from circuitbreaker import STATE_CLOSED, STATE_HALF_OPEN, STATE_OPEN, CircuitBreaker

FAILURES = 3
"""So many calls in a row that took too long open the circuit."""

OPEN_SECONDS = 5
"""How long nobody is let through then. Afterwards one call at a time tries."""

logger = logging.getLogger(__name__)


class CircuitOpenError(Exception):
    """The call was not made: the last ones took too long."""


class Circuit:
    """The circuit breaker of one backend. `is_failure` tells which errors open it."""

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
        """Whether calls are refused now."""
        return bool(self._breaker.state == STATE_OPEN)

    @contextmanager
    def call(self, *, counts: bool = True) -> Iterator[None]:
        """Make one call inside; what becomes of it counts or not. Raises `CircuitOpenError`."""
        state = self._breaker.state
        with ExitStack() as stack:
            if state == STATE_OPEN:
                raise CircuitOpenError
            if state == STATE_HALF_OPEN:
                if not self._trial.acquire(blocking=False):
                    raise CircuitOpenError
                stack.callback(self._trial.release)
            if counts:
                stack.enter_context(self._counted())
            yield

    @contextmanager
    def _counted(self) -> Iterator[None]:
        try:
            with self._breaker:
                yield
        finally:
            self._log()

    def _log(self) -> None:
        """Say once that the circuit is open, however many calls found out, and that it closed."""
        is_closed = self._breaker.state == STATE_CLOSED
        if is_closed != self._is_said_to_be_open:
            return
        with self._logging:
            if is_closed and self._is_said_to_be_open:
                self._is_said_to_be_open = False
                logger.warning(
                    "backends.%s: its calls do not take too long any more", self._backend
                )
            elif not is_closed and not self._is_said_to_be_open:
                self._is_said_to_be_open = True
                logger.warning(
                    "backends.%s: %d calls in a row took too long; it is asked again in %d s",
                    self._backend,
                    self._breaker.failure_count,
                    self._breaker.open_remaining,
                )
