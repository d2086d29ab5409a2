"""Signals: SIGTERM and Ctrl-C end a command gracefully; SIGHUP reloads the settings."""

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


class Reloads(Protocol):
    """What `serve` reloads at SIGHUP (settings/reloader.py). Signal handlers call the methods."""

    def request(self) -> None:
        """Reload the settings soon."""

    def refuse(self) -> None:
        """Reload nothing from now on."""


class ServeSignals:
    """A context manager that handles the signals to `serve`.

    SIGTERM and SIGINT stop the listener. One that arrives before `run` is called stops the listener
    at the call of `run`. SIGHUP reloads the settings, unless the listener is stopping. One that
    arrives before `reloads` is called reloads them at that call.
    """

    def __init__(self) -> None:
        self._listener: Listener | None = None
        self._reloader: Reloads | None = None
        self._requested = False
        self._must_reload = False

    def __enter__(self) -> Self:
        self._previous = {number: signal.signal(number, self._stop) for number in _SIGNALS}
        self._previous[signal.SIGHUP] = signal.signal(signal.SIGHUP, self._reload)
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

    def reloads(self, reloader: Reloads) -> None:
        """Let SIGHUP reload these settings."""
        self._reloader = reloader
        if self._must_reload:
            reloader.request()

    def _reload(self, _number: int, _frame: FrameType | None) -> None:
        self._must_reload = True
        if self._reloader:
            self._reloader.request()

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        self._requested = True
        if self._reloader:
            self._reloader.refuse()
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
