"""Credential rotation: the thread that looks whether the credentials' files have changed.

What becomes of new ones is in channel.py.
"""

import threading
from collections.abc import Iterable

from .channel import TRY_SECONDS, BackendChannel

REFRESH_SECONDS = 2.0
"""How often the files are looked at; Kubernetes itself takes up to a minute to swap them."""


class CredentialRotation:
    """The thread that refreshes all channels until it is stopped."""

    def __init__(
        self, channels: Iterable[BackendChannel], every_seconds: float = REFRESH_SECONDS
    ) -> None:
        self._channels = tuple(channels)
        self._every_seconds = every_seconds
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="credentials", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread, and wait for it, but no longer than it may be trying credentials."""
        self._stopped.set()
        self._thread.join(2 * TRY_SECONDS)

    def _run(self) -> None:
        while not self._stopped.wait(self._every_seconds):
            for channel in self._channels:
                channel.refresh()
