"""Signals: they stop whoever listens, whenever they come."""

import signal
from collections.abc import Iterator

import pytest
from jicofo_reservation_proxy.commands.signals import StopSignals, ended_by_sigterm

SIGNALS = [signal.SIGTERM, signal.SIGINT]


class Listener:
    """A listener that is sent a signal while it serves; it keeps what happened."""

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
    before = [signal.getsignal(number) for number in SIGNALS]
    yield
    assert [signal.getsignal(number) for number in SIGNALS] == before


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_stops_the_listener(number: signal.Signals) -> None:
    """It comes while the listener serves."""
    listener = Listener(number)
    with StopSignals() as signals:
        signals.run(listener)
    assert listener.happened == ["run", "stop"]


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_before_there_is_a_listener(number: signal.Signals) -> None:
    """It is not forgotten: the listener is told to stop before it serves."""
    listener = Listener()
    with StopSignals() as signals:
        signal.raise_signal(number)
        signals.run(listener)
    assert listener.happened == ["stop", "run"]


def test_no_signal() -> None:
    """Nothing but a signal stops the listener."""
    listener = Listener()
    with StopSignals() as signals:
        signals.run(listener)
    assert listener.happened == ["run"]


def test_sigterm_ends_a_tool_as_ctrl_c_does() -> None:
    """A tool that cleans up after Ctrl-C does so after SIGTERM too."""
    with pytest.raises(KeyboardInterrupt), ended_by_sigterm():
        signal.raise_signal(signal.SIGTERM)
