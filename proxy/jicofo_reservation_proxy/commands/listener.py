"""A listener, as `serve` sees it: an address, served until it is told to stop."""

from typing import Protocol


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
