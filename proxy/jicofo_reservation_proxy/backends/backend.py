"""The Protocol of a backend, as the use cases see it: three methods that return an outcome.

`GrpcBackend` (grpc/grpc_backend.py) implements it by calling a `ReservationService`, and
`HttpBackend` (http/http_backend.py) by sending HTTP requests.
"""

from typing import Protocol

from jicofo_reservation_proxy.model import (
    ClientKind,
    CreateOutcome,
    CreateRequest,
    DeleteOutcome,
    Deletion,
    GetOutcome,
    Hold,
    Result,
)

PROBE_ID = "jicofo-reservation-proxy-probe"
"""A conference id that no backend has, so a GetConference for it is harmless."""


class Deleter(Protocol):
    """The part of a backend that the delivery of deletions needs."""

    @property
    def drops_old_deletions(self) -> bool:
        """Whether the backend promises not to carry out a deletion that the proxy has given up."""

    def delete(
        self, deletion: Deletion, incident_id: str, within_seconds: float
    ) -> Result[DeleteOutcome]:
        """Deliver a deletion to the backend.

        If the `code` of the result is empty, the deletion was certainly not sent, so the backend
        still has the conference.
        """


class Backend(Deleter, Protocol):
    """A reservation system.

    Every method returns within `within_seconds` seconds. When the backend fails, a method returns a
    `Fault` and raises nothing. Any thread may call the methods.
    """

    def create(
        self,
        request: CreateRequest,
        client: ClientKind,
        hold: Hold,
        incident_id: str,
        within_seconds: float,
    ) -> Result[CreateOutcome]:
        """Ask the backend to create a conference for a room.

        If the `code` of the result is empty, the backend was certainly not asked.
        """

    def get(
        self, conference_id: str, incident_id: str, within_seconds: float
    ) -> Result[GetOutcome]:
        """Read a conference from the backend."""
