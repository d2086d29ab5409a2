"""Backends that fail the cases of create.toml: one request for a free room."""

from itertools import count

import grpc
from jicofo_reservation_proxy.gen.jicofo.reservation.v1 import reservation_pb2 as pb
from jicofo_reservation_stub.store import Store

from .backend import Backend, Context, fails, told


@fails({"clients": "step 3, create: wanted conference, got no outcome"})
class KnowsTwoClients(Backend):
    """The backend decides only for known clients: its switch over the clients has no default."""

    def send(
        self, request: pb.CreateConferenceRequest, response: pb.CreateConferenceResponse
    ) -> None:
        """Clear the answer to an unknown client."""
        if request.client not in {pb.CLIENT_JICOFO, pb.CLIENT_PROSODY}:
            response.Clear()


@fails({"id": "step 1, create: id: wanted 1 to 255 bytes, got 256"})
class MakesLongIds(Backend):
    """The ids are signed tokens that became longer than 255 bytes."""

    def __init__(self) -> None:
        super().__init__(Store(ids=(f"{number:0256}" for number in count(1))))


@fails(
    {
        "echo-room": "step 1, create: room: wanted '[acme]caf%c3%a9-conformance-…-echo-room-0', "
        "got 'café-conformance-…-echo-room-0'"
    }
)
class TellsTheDecodedRoom(Backend):
    """The backend answers with the decoded name of the room instead of the name that Jitsi sent."""

    def send(
        self, request: pb.CreateConferenceRequest, response: pb.CreateConferenceResponse
    ) -> None:
        """Set the room to `Room.name`."""
        if not response.HasField("denial"):
            told(response).room = request.room.name


@fails(
    {
        "echo-owner": "step 1, create: owner: wanted 'Juliet.Capulet+board@Example.com', "
        "got 'juliet.capulet+board@example.com'"
    }
)
class TellsOwnersInLowerCase(Backend):
    """The backend stores owners in lower case."""

    def receive(self, request: pb.CreateConferenceRequest, _context: Context) -> None:
        """Convert the owner to lower case."""
        if request.HasField("owner"):
            request.owner.raw = request.owner.raw.lower()


def _refuse(context: Context, what: str) -> None:
    context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"owner: {what}")


@fails(
    {
        "owners": "step 1, create: wanted conference, "
        "got INVALID_ARGUMENT ('owner: has not signed in')"
    }
)
class RefusesGuests(Backend):
    """The backend answers a guest with an error status instead of a denial with a sentence."""

    def receive(self, request: pb.CreateConferenceRequest, context: Context) -> None:
        """Refuse a guest."""
        if request.owner.guest:
            _refuse(context, "has not signed in")


@fails(
    {"owners": "step 2, create: wanted conference, got INVALID_ARGUMENT ('owner: has no domain')"}
)
class WantsADomain(Backend):
    """The backend treats owners as mail addresses and requires an "@"."""

    def receive(self, request: pb.CreateConferenceRequest, context: Context) -> None:
        """Refuse an owner without a domain."""
        if request.HasField("owner") and not request.owner.domain:
            _refuse(context, "has no domain")


@fails({"owners": "step 3, create: owner: wanted '…', got '…'"})
class CutsOwners(Backend):
    """The database column for owners has 40 characters, and the database cuts longer owners."""

    def receive(self, request: pb.CreateConferenceRequest, _context: Context) -> None:
        """Cut a long owner."""
        if request.HasField("owner"):
            request.owner.raw = request.owner.raw[:40]


@fails(
    {
        "no-owner": "step 1, create: wanted conference, "
        "got INVALID_ARGUMENT ('owner: wanted one, got none')"
    }
)
class WantsAnOwner(Backend):
    """The backend requires an owner, because all its users sign in."""

    def receive(self, request: pb.CreateConferenceRequest, context: Context) -> None:
        """Refuse a request without an owner."""
        if not request.HasField("owner"):
            _refuse(context, "wanted one, got none")


@fails(
    {
        "extra-fields": "step 1, create: wanted conference, "
        "got INVALID_ARGUMENT ('extra_fields: unknown: booking, empty, größe')"
    }
)
class RefusesExtraFields(Backend):
    """The backend refuses form fields that it does not know."""

    def receive(self, request: pb.CreateConferenceRequest, context: Context) -> None:
        """Refuse a request with extra fields."""
        if request.extra_fields:
            names = ", ".join(sorted(request.extra_fields))
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"extra_fields: unknown: {names}")


@fails({"options": "step 1, create: password: wanted no control characters, got one or more"})
class KeepsTheLineFeed(Backend):
    """The backend reads the password from a file and keeps the line feed at its end."""

    def __init__(self) -> None:
        super().__init__(password="open sesame\n")


@fails(
    {
        "options": "step 1, create: pin: wanted at most 255 bytes, got 256",
        "get": "step 2, get: pin: wanted the same value as before, got another value (not shown)",
    }
)
class MakesLongPins(Backend):
    """The PINs are padded with zeros to 256 digits, and the backend does not store them."""

    def send(
        self, _request: pb.CreateConferenceRequest, response: pb.CreateConferenceResponse
    ) -> None:
        """Set a PIN of 256 digits."""
        if not response.HasField("denial"):
            told(response).pin = f"{4711:0256}"


@fails({"broken-request": "step 1, create: wanted INVALID_ARGUMENT, got conference"})
class NamesTheRoomItself(Backend):
    """The backend uses a default room if a request has no room."""

    def receive(self, request: pb.CreateConferenceRequest, _context: Context) -> None:
        """Set the default room."""
        request.room.raw = request.room.raw or "default"


@fails({"broken-request": "step 2, create: wanted INVALID_ARGUMENT, got conference"})
class TakesAnyRequestId(Backend):
    """The backend makes up a missing request_id, so it cannot recognize a repetition."""

    def receive(self, request: pb.CreateConferenceRequest, _context: Context) -> None:
        """Set the made-up request_id."""
        request.request_id = request.request_id or f"made-up-{id(request)}"


@fails({"broken-request": "step 3, create: wanted INVALID_ARGUMENT, got conference"})
class StartsIn1970(Backend):
    """The backend reads an absent start_time as 1970, which is the default value in protobuf."""

    def receive(self, request: pb.CreateConferenceRequest, _context: Context) -> None:
        """Set the start_time to its default value."""
        request.start_time.SetInParent()
