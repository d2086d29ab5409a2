"""A backend, as the use cases see it: three questions, and an outcome for each.

grpc_backend.py asks a `ReservationService`; whatever else can answer the same questions can take
its place.
"""

from typing import Protocol

from jicofo_reservation_proxy.model import (
    ClientKind,
    CreateOutcome,
    CreateRequest,
    DeleteOutcome,
    Deletion,
    GetOutcome,
    Result,
)

PROBE_ID = "jicofo-reservation-proxy-probe"
"""No backend has a conference of this id, so asking for it changes nothing."""


class Deleter(Protocol):
    """What the delivery of deletions needs of a backend."""

    def delete(
        self, deletion: Deletion, incident_id: str, within_seconds: float
    ) -> Result[DeleteOutcome]:
        """Say that a conference is over.

        The result has no code where nothing was sent, so that the conference is untouched for
        certain.
        """


class Backend(Deleter, Protocol):
    """A reservation system.

    Every method returns within `within_seconds` seconds, and raises nothing for a backend's
    failure: that is a `Fault`. Any thread may call it.
    """

    def create(
        self, request: CreateRequest, client: ClientKind, incident_id: str, within_seconds: float
    ) -> Result[CreateOutcome]:
        """Ask for a room."""

    def get(
        self, conference_id: str, incident_id: str, within_seconds: float
    ) -> Result[GetOutcome]:
        """Ask for a conference."""
