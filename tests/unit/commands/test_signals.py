"""Signals: a signal stops the listener at any time."""

import operator
import signal
import threading
from collections.abc import Callable, Iterator
from functools import partial

import pytest
from jicofo_reservation_proxy.commands.signals import ServeSignals, ended_by_sigterm

SIGNALS = [signal.SIGTERM, signal.SIGINT]
ALL_SIGNALS = [*SIGNALS, signal.SIGHUP]


PATIENCE_SECONDS = 20.0


class Event:
    """An event. A wait for it is a single step of Python, so that no signal handler runs in it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def set(self) -> None:
        """End the wait."""
        self._lock.release()

    def wait_after_signal(self, number: signal.Signals) -> bool:
        """Wait; meanwhile another thread gets a signal. Return whether the event was set.

        The signal arrives after the last moment at which Python looks for it before the wait, and
        it does not interrupt the wait, because another thread gets it.
        """
        go = threading.Lock()
        go.acquire()

        def raise_signal() -> None:
            with go:
                signal.raise_signal(number)

        thread = threading.Thread(target=raise_signal)
        thread.start()
        # The C code of `map` makes both calls. Between them, Python handles no signal, and the
        # other thread cannot run.
        wait = partial(self._lock.acquire, timeout=PATIENCE_SECONDS)
        steps: tuple[Callable[[], object], ...] = (go.release, wait)
        _, is_set = map(operator.call, steps)
        thread.join()
        return bool(is_set)


class Listener:
    """A listener that records its calls.

    While it serves, it can get a signal. Then it serves until `stop`, or until another event.
    """

    url = "http://127.0.0.1:7777"
    left_seconds = 0.0

    def __init__(
        self, while_serving: signal.Signals | None = None, until: Event | None = None
    ) -> None:
        self.happened: list[str] = []
        self._while_serving = while_serving
        self._stopped = Event()
        self._until = until or self._stopped

    def run(self) -> None:
        """Serve."""
        self.happened.append("run")
        if self._while_serving:
            assert self._until.wait_after_signal(self._while_serving)

    def stop(self) -> None:
        """Stop."""
        self.happened.append("stop")
        self._stopped.set()


@pytest.fixture(autouse=True)
def _handlers_are_as_before() -> Iterator[None]:
    before = [signal.getsignal(number) for number in ALL_SIGNALS]
    yield
    assert [signal.getsignal(number) for number in ALL_SIGNALS] == before


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_stops_the_listener(number: signal.Signals) -> None:
    """A signal stops the listener, also one that does not interrupt the main thread."""
    listener = Listener(number)
    with ServeSignals() as signals:
        signals.run(listener)
    assert listener.happened == ["run", "stop"]


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_before_run_stops_the_listener(number: signal.Signals) -> None:
    """A signal that arrives before `run` stops the listener."""
    listener = Listener()
    with ServeSignals() as signals:
        signal.raise_signal(number)
        signals.run(listener)
    assert sorted(listener.happened) == ["run", "stop"]


def test_without_a_signal_the_listener_is_not_stopped() -> None:
    """Without a signal, the listener is not stopped."""
    listener = Listener()
    with ServeSignals() as signals:
        signals.run(listener)
    assert listener.happened == ["run"]


class Reloader:
    """A reloader that records its calls."""

    def __init__(self) -> None:
        self.happened: list[str] = []
        self.was_asked_twice = Event()

    def request(self) -> None:
        """Reload soon."""
        self.happened.append("request")
        if len(self.happened) == 2:
            self.was_asked_twice.set()

    def refuse(self) -> None:
        """Reload nothing more."""
        self.happened.append("refuse")


def test_sighup_reloads_the_settings_and_stops_nothing() -> None:
    """SIGHUP reaches the reloader, also one that came before the proxy was made."""
    reloader = Reloader()
    listener = Listener(signal.SIGHUP, until=reloader.was_asked_twice)
    with ServeSignals() as signals:
        signal.raise_signal(signal.SIGHUP)
        assert reloader.happened == []
        signals.reloads(reloader)
        signals.run(listener)
    assert reloader.happened == ["request", "request"]
    assert listener.happened == ["run"]


@pytest.mark.parametrize("number", SIGNALS)
def test_a_stop_refuses_later_reloads(number: signal.Signals) -> None:
    """From SIGTERM or Ctrl-C on, nothing is reloaded."""
    reloader = Reloader()
    with ServeSignals() as signals:
        signals.reloads(reloader)
        signals.run(Listener(number))
    assert reloader.happened == ["refuse"]


def test_sigterm_ends_a_tool_as_ctrl_c_does() -> None:
    """SIGTERM raises KeyboardInterrupt, so a tool cleans up as it does after Ctrl-C."""
    with pytest.raises(KeyboardInterrupt), ended_by_sigterm():
        signal.raise_signal(signal.SIGTERM)
