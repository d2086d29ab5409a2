"""The thread that refreshes the channels of all backends."""

import threading

from jicofo_reservation_proxy.backends.credential_rotation import (
    CredentialRotation,
)

from tests.unit.ledgers import LONG_SECONDS


class _Channel:
    """A channel whose refresh waits until `go_on` is set."""

    def __init__(self) -> None:
        self.began, self.go_on = threading.Event(), threading.Event()

    def refresh(self) -> None:
        """Note the call, and wait."""
        self.began.set()
        assert self.go_on.wait(LONG_SECONDS)


def test_no_channel_is_refreshed_after_the_stop() -> None:
    """`stop` waits only for the refresh that is in progress, however many channels there are."""
    first, second = _Channel(), _Channel()
    channels = [first, second]
    rotation = CredentialRotation(lambda: channels, every_seconds=0.001)
    assert first.began.wait(LONG_SECONDS)
    rotation.stop(within_seconds=0)
    first.go_on.set()
    rotation.stop()
    assert not second.began.is_set()
