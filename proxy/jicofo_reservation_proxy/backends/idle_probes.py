"""Idle probes: a harmless call to each backend that was not called for a minute.

At night no room is opened, and an operator still wants to know whether a backend answers. The call
is a GetConference for a conference that no backend has. It also keeps the connection open.
"""

import threading
from collections.abc import Callable, Iterable
from typing import Protocol

from .backend_status import PROBE_SECONDS

LOOK_SECONDS = 2.0


class Probed(Protocol):
    """A backend that can be probed."""

    def probe_if_idle(self) -> None:
        """Make a harmless call if there was none for some time. Raises nothing."""


class IdleProbes:
    """The thread that probes the backends until it is stopped.

    `backends` returns the backends of this moment.
    """

    def __init__(
        self, backends: Callable[[], Iterable[Probed]], every_seconds: float = LOOK_SECONDS
    ) -> None:
        self._backends = backends
        self._every_seconds = every_seconds
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="idle-probes", daemon=True)
        self._thread.start()

    def stop(self, within_seconds: float = 2 * PROBE_SECONDS) -> None:
        """Stop the thread, and wait for its end, but not longer than for one probe."""
        self._stopped.set()
        self._thread.join(min(within_seconds, 2 * PROBE_SECONDS))

    def _run(self) -> None:
        while not self._stopped.wait(self._every_seconds):
            for backend in list(self._backends()):
                if not self._stopped.is_set():
                    backend.probe_if_idle()
