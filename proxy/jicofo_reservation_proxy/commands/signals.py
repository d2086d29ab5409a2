"""Signals: SIGTERM and Ctrl-C end a command in an orderly way."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Protocol, Self

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Listener(Protocol):
    """What `serve` needs of a listener, such as the one for Jitsi clients (http/server.py)."""

    left_seconds: float
    """What is left of the time for the shutdown, once `run` has returned."""

    @property
    def url(self) -> str:
        """The address that is really listened on."""

    def run(self) -> None:
        """Serve until `stop`, then finish what is in flight."""

    def stop(self) -> None:
        """Make `run` return. Safe in a signal handler and from any thread."""


class StopSignals:
    """SIGTERM and SIGINT while this lasts: they stop the listener, as soon as there is one."""

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
        """Run the listener until a signal. If one has come already, it only shuts down."""
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
    """Let SIGTERM end a tool as Ctrl-C does: it cleans up, and tells what it has found."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
