"""Whether UNIMPLEMENTED proves that a backend has no DeleteConference, which is optional.

If it has none, its deletions are unnecessary. But UNIMPLEMENTED also comes from something else than
the backend: gRPC reports the HTTP status 404 as UNIMPLEMENTED (an ingress without a route, during a
roll-out), and so does a server on which the service is not registered yet. A deletion that is taken
for unnecessary is lost, so only a proof counts.
"""

import time
from collections.abc import Callable

CONFIRM_SECONDS = 600.0
"""How long a backend must report a missing method before the proxy believes it. A roll-out, in
which the replicas differ, is shorter."""


class MissingDelete:
    """What a backend has said about its method DeleteConference.

    `is_default_path` says whether the proxy calls the path of the contract. Another path may be
    mistyped, so UNIMPLEMENTED proves nothing. `clock` counts seconds from an arbitrary start.
    """

    def __init__(
        self, *, is_default_path: bool, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._may_be_missing = is_default_path
        self._clock = clock
        self._since: float | None = None

    def note_acknowledged(self) -> None:
        """Record that the backend acknowledged a deletion, so that it has the method."""
        self._may_be_missing = False

    def is_proven(self, *, by_the_service: bool) -> bool:
        """Record that a deletion was answered UNIMPLEMENTED; return whether that is a proof.

        `by_the_service` says whether the service itself answered: it answered the probe of the same
        attempt, and UNIMPLEMENTED did not come from an HTTP status.
        """
        if not by_the_service:
            self._since = None
        if not (by_the_service and self._may_be_missing):
            return False
        if self._since is None:
            self._since = self._clock()
        return self._clock() - self._since >= CONFIRM_SECONDS
