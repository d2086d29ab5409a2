"""Backends that fail the cases of create.toml: what one request for a free room gets."""

from itertools import count

import grpc
from jicofo_reservation_proxy.gen.jicofo.reservation.v1 import reservation_pb2 as pb
from jicofo_reservation_stub.store import Store

from .backend import Backend, Context, fails, told


@fails({"clients": "step 3, create: wanted conference, got no outcome"})
class KnowsTwoClients(Backend):
    """Its switch over the clients has no default."""

    def send(
        self, request: pb.CreateConferenceRequest, response: pb.CreateConferenceResponse
    ) -> None:
        """Clear the answer to a client that it does not know."""
        if request.client not in {pb.CLIENT_JICOFO, pb.CLIENT_PROSODY}:
            response.Clear()


@fails({"id": "step 1, create: id: wanted 1 to 255 bytes, got 256"})
class MakesLongIds(Backend):
    """Its ids are signed tokens, which grew."""

    def __init__(self) -> None:
        super().__init__(Store(ids=(f"{number:0256}" for number in count(1))))


@fails(
    {
        "echo-room": "step 1, create: room: wanted '[acme]caf%c3%a9-conformance-…-echo-room-0', "
        "got 'café-conformance-…-echo-room-0'"
    }
)
class TellsTheDecodedRoom(Backend):
    """It echoes the name that people read, in place of what Jitsi sent."""

    def send(
        self, request: pb.CreateConferenceRequest, response: pb.CreateConferenceResponse
    ) -> None:
        """Tell `Room.name`."""
        if not response.HasField("denial"):
            told(response).room = request.room.name


@fails(
    {
        "echo-owner": "step 1, create: owner: wanted 'Juliet.Capulet+board@Example.com', "
        "got 'juliet.capulet+board@example.com'"
    }
)
class TellsOwnersInLowerCase(Backend):
    """It puts addresses into their normal form before it stores them."""

    def receive(self, request: pb.CreateConferenceRequest, _context: Context) -> None:
        """Take the owner in lower case."""
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
    """It takes a guest for a fault of the caller, and has no sentence to deny it with."""

    def receive(self, request: pb.CreateConferenceRequest, context: Context) -> None:
        """Refuse a guest."""
        if request.owner.guest:
            _refuse(context, "has not signed in")


@fails(
    {"owners": "step 2, create: wanted conference, got INVALID_ARGUMENT ('owner: has no domain')"}
)
class WantsADomain(Backend):
    """It takes owners for addresses, which have an "@"."""

    def receive(self, request: pb.CreateConferenceRequest, context: Context) -> None:
        """Refuse an owner without a domain."""
        if request.HasField("owner") and not request.owner.domain:
            _refuse(context, "has no domain")


@fails({"owners": "step 3, create: owner: wanted '…', got '…'"})
class CutsOwners(Backend):
    """Its column for owners has 40 characters, and its database cuts off what does not fit."""

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
    """Its users have all signed in, so it never met a request without an owner."""

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
    """It is strict about what it does not know."""

    def receive(self, request: pb.CreateConferenceRequest, context: Context) -> None:
        """Refuse a request with extra fields."""
        if request.extra_fields:
            names = ", ".join(sorted(request.extra_fields))
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"extra_fields: unknown: {names}")


@fails({"options": "step 1, create: password: wanted no control characters, got some"})
class KeepsTheLineFeed(Backend):
    """It reads the password from a file, with the end of its line."""

    def __init__(self) -> None:
        super().__init__(password="open sesame\n")


@fails(
    {
        "options": "step 1, create: pin: wanted at most 255 bytes, got 256",
        "get": "step 2, get: pin: wanted the same as before, got another",
    }
)
class MakesLongPins(Backend):
    """Its PINs are filled up with zeros, and are not stored."""

    def send(
        self, _request: pb.CreateConferenceRequest, response: pb.CreateConferenceResponse
    ) -> None:
        """Set a PIN of 256 digits."""
        if not response.HasField("denial"):
            told(response).pin = f"{4711:0256}"


@fails({"broken-request": "step 1, create: wanted INVALID_ARGUMENT, got conference"})
class NamesTheRoomItself(Backend):
    """A request without a room gets a default one, as a form without a field would."""

    def receive(self, request: pb.CreateConferenceRequest, _context: Context) -> None:
        """Fill the room in."""
        request.room.raw = request.room.raw or "default"


@fails({"broken-request": "step 2, create: wanted INVALID_ARGUMENT, got conference"})
class TakesAnyRequestId(Backend):
    """It makes up a request_id where there is none, so that no repetition can be told."""

    def receive(self, request: pb.CreateConferenceRequest, _context: Context) -> None:
        """Fill the request_id in."""
        request.request_id = request.request_id or f"made-up-{id(request)}"


@fails({"broken-request": "step 3, create: wanted INVALID_ARGUMENT, got conference"})
class StartsIn1970(Backend):
    """It reads a start_time that is not there, which is 1970 in protobuf."""

    def receive(self, request: pb.CreateConferenceRequest, _context: Context) -> None:
        """Set the start_time to what it reads."""
        request.start_time.SetInParent()
