"""Backends that fail the cases of denial.toml: the room that is denied to everyone."""

from jicofo_reservation_proxy.gen.jicofo.reservation.v1 import reservation_pb2 as pb
from jicofo_reservation_stub.service import ReservationService

from .backend import Backend, Context, fails

_HINT = (
    "; name a room that the backend denies with --denied-room, "
    "or use --without denial if the backend denies no room"
)


@fails({"denial-message": "step 1, create: message: wanted a sentence for the user, got none"})
class DeniesWithoutASentence(Backend):
    """The backend sets the reason of a denial, but not its message."""

    def send(
        self, _request: pb.CreateConferenceRequest, response: pb.CreateConferenceResponse
    ) -> None:
        """Leave out the message."""
        if response.HasField("denial"):
            response.denial.ClearField("message")


@fails({"denial-message": "step 1, create: message: wanted at most 500 characters, got 501"})
class DeniesWithAnEssay(Backend):
    """The message of a denial is longer than 500 characters."""

    def send(
        self, _request: pb.CreateConferenceRequest, response: pb.CreateConferenceResponse
    ) -> None:
        """Set a message of 501 characters."""
        if response.HasField("denial"):
            response.denial.message = "ß" * 501


class _Hasty(Backend):
    """Does something before it applies its rules. `unruly` uses the same store without rules."""

    def __init__(self) -> None:
        super().__init__()
        self.unruly = ReservationService(self._store)


@fails({"denial-again": f"step 2, create: wanted denial, got conference{_HINT}"})
class NotesRequestsBeforeItDecides(_Hasty):
    """The backend records a request before its decision, and grants every recorded request."""

    def __init__(self) -> None:
        super().__init__()
        self._noted: set[str] = set()

    def CreateConference(  # noqa: N802 - gRPC's name
        self, request: pb.CreateConferenceRequest, context: Context
    ) -> pb.CreateConferenceResponse:
        """Apply the rules only to the first call of each request."""
        if request.request_id in self._noted:
            return self.unruly.CreateConference(request, context)
        self._noted.add(request.request_id)
        return super().CreateConference(request, context)


@fails({"denial-again": f"step 1, create: wanted denial, got conflict{_HINT}"})
class HoldsTheRoomBeforeItDenies(_Hasty):
    """The backend stores a conference before it applies its rules, and never removes it.

    The first request for the room, from the case denial-message, still gets a denial.
    """

    def CreateConference(  # noqa: N802 - gRPC's name
        self, request: pb.CreateConferenceRequest, context: Context
    ) -> pb.CreateConferenceResponse:
        """Hold the room, then apply the rules."""
        stored = self.unruly.CreateConference(request, context)
        if stored.HasField("conflict"):
            return stored
        return super().CreateConference(request, context)
