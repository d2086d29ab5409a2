"""Signals: SIGTERM and Ctrl-C end a command gracefully."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Protocol, Self

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Listener(Protocol):
    """The interface of a listener for `serve`, such as the HTTP listener (http/server.py)."""

    left_seconds: float
    """After `run` has returned: how many seconds are left for the rest of the shutdown."""

    @property
    def url(self) -> str:
        """The address with the real port, also if the setting has port 0."""

    def run(self) -> None:
        """Serve until `stop` is called, then finish the requests in flight."""

    def stop(self) -> None:
        """Make `run` return. May be called in a signal handler and from any thread."""


class StopSignals:
    """A context manager that handles SIGTERM and SIGINT: a signal stops the listener.

    A signal that arrives before `run` is called stops the listener at the call of `run`.
    """

    def __init__(self) -> None:
        self._listener: Listener | None = None
        self._requested = False

    def __enter__(self) -> Self:
        self._previous = {number: signal.signal(number, self._stop) for number in _SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def run(self, listener: Listener) -> None:
        """Run the listener until a signal. If a signal came before, it only shuts down."""
        self._listener = listener
        if self._requested:
            listener.stop()
        listener.run()

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        self._requested = True
        if self._listener:
            self._listener.stop()


@contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """Make SIGTERM raise KeyboardInterrupt, as Ctrl-C does: the tool cleans up and reports."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
