"""The thread that probes idle backends."""

import threading

from jicofo_reservation_proxy.backends.idle_probes import IdleProbes

from tests.unit.ledgers import LONG_SECONDS


class Backend:
    """A backend that records its probes."""

    def __init__(self) -> None:
        self.is_probed = threading.Event()

    def probe_if_idle(self) -> None:
        """Note the probe."""
        self.is_probed.set()


def test_each_backend_is_probed_again_and_again() -> None:
    """Also a backend that was added later; after `stop` the thread has ended."""
    backends = [Backend()]
    probes = IdleProbes(lambda: backends, every_seconds=0.001)
    try:
        assert backends[0].is_probed.wait(LONG_SECONDS)
        backends.append(Backend())
        assert backends[1].is_probed.wait(LONG_SECONDS)
    finally:
        probes.stop()
    assert "idle-probes" not in {thread.name for thread in threading.enumerate()}
