"""The reloader: one reload at a time, and its result."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from jicofo_reservation_proxy.errors import CredentialsError
from jicofo_reservation_proxy.settings.reloader import Reloader
from jicofo_reservation_proxy.settings.schema import Settings
from jicofo_reservation_proxy.settings.sources import Loaded, Source

from tests.unit.ledgers import LONG_SECONDS, eventually


class Use:
    """Takes settings; each call waits for `go_on`, and raises `error` if it is set."""

    def __init__(self) -> None:
        self.calls: list[Loaded] = []
        self.go_on = threading.Event()
        self.go_on.set()
        self.error: Exception | None = None

    def __call__(self, loaded: Loaded) -> Sequence[str]:
        """Record the call."""
        self.calls.append(loaded)
        assert self.go_on.wait(LONG_SECONDS)
        if self.error:
            raise self.error
        return ("threads has changed",)


@contextmanager
def started(use: Use) -> Iterator[Reloader]:
    """Yield a reloader without a file; its clock counts the calls."""
    times = iter(range(1, 100))
    reloader = Reloader(Source(None, {}), Settings(state_dir=Path("/x")), use, lambda: next(times))
    reloader.start()
    try:
        yield reloader
    finally:
        use.go_on.set()
        reloader.stop()


def test_several_requests_are_one_reload() -> None:
    """Signals that come while a reload is in progress cause one more reload."""
    use = Use()
    use.go_on.clear()
    with started(use) as reloader:
        reloader.request()
        eventually(lambda: use.calls)
        for _ in range(5):
            reloader.request()
        use.go_on.set()
        eventually(lambda: len(use.calls) == 2 and reloader._requests.empty())
    assert len(use.calls) == 2


def test_a_request_after_the_stop_is_ignored() -> None:
    """The thread ends, and begins no more reloads."""
    use = Use()
    with started(use) as reloader:
        reloader.refuse()
        reloader.request()
        reloader.stop()
    assert use.calls == []


def test_the_state_has_the_last_reloads() -> None:
    """A failure keeps the hash and the time of the last good reload, and has all faults."""
    use = Use()
    with started(use) as reloader:
        first = reloader.state
        assert (first.last_good_ms, first.last_failed_ms, first.has_failed) == (1, None, False)
        use.error = CredentialsError("a: wanted x\nb: wanted y")
        assert reloader.reload().faults == ["a: wanted x", "b: wanted y"]
        failed = reloader.state
        assert (failed.last_good_ms, failed.last_failed_ms, failed.has_failed) == (1, 2, True)
        assert failed.hash == first.hash
        use.error = None
        assert reloader.reload().notes == ("threads has changed",)
        assert (reloader.state.last_good_ms, reloader.state.has_failed) == (3, False)
        assert reloader.state.last_failed_ms == 2


def test_a_fault_of_the_proxy_ends_no_thread(caplog: pytest.LogCaptureFixture) -> None:
    """A bug in a reload is logged with its traceback; the next reload works."""
    use = Use()
    with started(use) as reloader:
        use.error = RuntimeError("a bug")
        reloader.request()
        eventually(lambda: reloader.state.has_failed)
        use.error = None
        assert reloader.reload().faults == ()
    assert "a fault of the proxy in a reload" in caplog.text
