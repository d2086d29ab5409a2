"""Signals: a signal stops the listener at any time."""

import signal
from collections.abc import Iterator

import pytest
from jicofo_reservation_proxy.commands.signals import ServeSignals, ended_by_sigterm

SIGNALS = [signal.SIGTERM, signal.SIGINT]
ALL_SIGNALS = [*SIGNALS, signal.SIGHUP]


class Listener:
    """A listener that records its calls. It can raise a signal while it serves."""

    url = "http://127.0.0.1:7777"
    left_seconds = 0.0

    def __init__(self, while_serving: signal.Signals | None = None) -> None:
        self.happened: list[str] = []
        self._while_serving = while_serving

    def run(self) -> None:
        """Serve."""
        self.happened.append("run")
        if self._while_serving:
            signal.raise_signal(self._while_serving)

    def stop(self) -> None:
        """Stop."""
        self.happened.append("stop")


@pytest.fixture(autouse=True)
def _handlers_are_as_before() -> Iterator[None]:
    before = [signal.getsignal(number) for number in ALL_SIGNALS]
    yield
    assert [signal.getsignal(number) for number in ALL_SIGNALS] == before


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_stops_the_listener(number: signal.Signals) -> None:
    """A signal that arrives while the listener serves stops the listener."""
    listener = Listener(number)
    with ServeSignals() as signals:
        signals.run(listener)
    assert listener.happened == ["run", "stop"]


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_before_run_stops_the_listener(number: signal.Signals) -> None:
    """A signal that arrives before `run` stops the listener before it serves."""
    listener = Listener()
    with ServeSignals() as signals:
        signal.raise_signal(number)
        signals.run(listener)
    assert listener.happened == ["stop", "run"]


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

    def request(self) -> None:
        """Reload soon."""
        self.happened.append("request")

    def refuse(self) -> None:
        """Reload nothing more."""
        self.happened.append("refuse")


def test_sighup_reloads_the_settings_and_stops_nothing() -> None:
    """SIGHUP reaches the reloader, also one that came before the proxy was made."""
    reloader, listener = Reloader(), Listener(signal.SIGHUP)
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
