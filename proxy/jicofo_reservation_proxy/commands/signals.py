"""Signals: SIGTERM and Ctrl-C end a command gracefully; SIGHUP reloads the settings."""

import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Protocol, Self

_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


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
        """Make `run` return. Any thread may call this method."""


class Reloads(Protocol):
    """What `serve` reloads at SIGHUP (settings/reloader.py). Any thread may call the methods."""

    def request(self) -> None:
        """Reload the settings soon."""

    def refuse(self) -> None:
        """Reload nothing from now on."""


class ServeSignals:
    """A context manager that handles the signals to `serve`.

    SIGTERM and SIGINT stop the listener. One that arrives before `run` is called stops the listener
    at the call of `run`. SIGHUP reloads the settings, unless the listener is stopping. One that
    arrives before `reloads` is called reloads them at that call.

    A thread acts on the signals. Python runs a signal handler only in the main thread, between two
    steps. If the signal arrives just before the main thread begins to wait for connections, the
    handler would run only after the wait, up to 30 s later. So the thread waits for the bytes that
    Python writes to a socket as soon as it gets a signal.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._listener: Listener | None = None
        self._reloader: Reloads | None = None
        self._requested = False
        self._must_reload = False

    def __enter__(self) -> Self:
        reader, self._writer = socket.socketpair()
        self._writer.settimeout(0)  # set_wakeup_fd requires a socket that does not block
        fileno = self._writer.fileno()
        self._wakeup_before = signal.set_wakeup_fd(fileno, warn_on_full_buffer=False)
        self._handlers_before = {
            number: signal.signal(number, _leave_to_the_thread)
            for number in (*_STOP_SIGNALS, signal.SIGHUP)
        }
        self._thread = threading.Thread(
            target=self._act_on_signals, args=(reader,), name="signals", daemon=True
        )
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._handlers_before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup_before)
        self._writer.close()  # the thread ends after the signals that have come
        self._thread.join()

    def run(self, listener: Listener) -> None:
        """Run the listener until a signal. If a signal came before, it only shuts down."""
        with self._lock:
            self._listener = listener
            if self._requested:
                listener.stop()
        listener.run()

    def reloads(self, reloader: Reloads) -> None:
        """Let SIGHUP reload these settings."""
        with self._lock:
            self._reloader = reloader
            if self._must_reload:
                reloader.request()

    def _act_on_signals(self, reader: socket.socket) -> None:
        with reader:
            while byte := reader.recv(1):
                with self._lock:
                    self._act_on(byte[0])

    def _act_on(self, number: int) -> None:
        if number == signal.SIGHUP:
            self._reload()
        elif number in _STOP_SIGNALS:
            self._stop()

    def _reload(self) -> None:
        self._must_reload = True
        if self._reloader:
            self._reloader.request()

    def _stop(self) -> None:
        self._requested = True
        if self._reloader:
            self._reloader.refuse()
        if self._listener:
            self._listener.stop()


def _leave_to_the_thread(_number: int, _frame: FrameType | None) -> None:
    """Do nothing; but without a handler, Python would not write a byte for the signal."""


@contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """Make SIGTERM raise KeyboardInterrupt, as Ctrl-C does: the tool cleans up and reports."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
