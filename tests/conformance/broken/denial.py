"""Backends that fail the cases of denial.toml: the room that is given to nobody."""

from jicofo_reservation_proxy.gen.jicofo.reservation.v1 import reservation_pb2 as pb
from jicofo_reservation_stub.service import ReservationService

from .backend import Backend, Context, fails

_HINT = "; --denied-room names a room that the backend denies, --without denial says none"


@fails({"denial-message": "step 1, create: message: wanted a sentence for people, got none"})
class DeniesWithoutASentence(Backend):
    """It tells the reason only, as the message is for people and its team speaks to machines."""

    def send(
        self, _request: pb.CreateConferenceRequest, response: pb.CreateConferenceResponse
    ) -> None:
        """Leave the message out."""
        if response.HasField("denial"):
            response.denial.ClearField("message")


@fails({"denial-message": "step 1, create: message: wanted at most 500 characters, got 501"})
class DeniesWithAnEssay(Backend):
    """It quotes the whole of the terms of use."""

    def send(
        self, _request: pb.CreateConferenceRequest, response: pb.CreateConferenceResponse
    ) -> None:
        """Make the message long."""
        if response.HasField("denial"):
            response.denial.message = "ß" * 501


class _Hasty(Backend):
    """Does something before its rules are asked: `unruly` decides on the same store without."""

    def __init__(self) -> None:
        super().__init__()
        self.unruly = ReservationService(self._store)


@fails({"denial-again": f"step 2, create: wanted denial, got conference{_HINT}"})
class NotesRequestsBeforeItDecides(_Hasty):
    """A repeated request is noted already, which it takes for "was granted"."""

    def __init__(self) -> None:
        super().__init__()
        self._noted: set[str] = set()

    def CreateConference(  # noqa: N802 - gRPC's name
        self, request: pb.CreateConferenceRequest, context: Context
    ) -> pb.CreateConferenceResponse:
        """Ask the rules once for each request."""
        if request.request_id in self._noted:
            return self.unruly.CreateConference(request, context)
        self._noted.add(request.request_id)
        return super().CreateConference(request, context)


@fails({"denial-again": f"step 1, create: wanted denial, got conflict{_HINT}"})
class HoldsTheRoomBeforeItDenies(_Hasty):
    """It stores first and validates then, without taking back what it stored.

    The first request for the room, which is that of denial-message, is denied all the same.
    """

    def CreateConference(  # noqa: N802 - gRPC's name
        self, request: pb.CreateConferenceRequest, context: Context
    ) -> pb.CreateConferenceResponse:
        """Hold the room, then ask the rules."""
        stored = self.unruly.CreateConference(request, context)
        if stored.HasField("conflict"):
            return stored
        return super().CreateConference(request, context)
