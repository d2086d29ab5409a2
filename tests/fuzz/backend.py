"""The backend of the fuzzer: it grants few rooms, so nothing grows because of new rooms."""

import itertools

import grpc
from jicofo_reservation_proxy.gen.jicofo.reservation.v1 import reservation_pb2 as pb

from tests.e2e.support import Context, Script, conference

from .streams import ROOMS


def granting_some() -> Script:
    """Return a backend that grants the rooms of the streams, and denies every other room."""
    numbers = {room: str(number) for number, room in enumerate(ROOMS, start=1)}
    counter = itertools.count()

    def create(request: pb.CreateConferenceRequest, _: Context) -> pb.CreateConferenceResponse:
        forget(next(counter))
        number = numbers.get(request.room.raw)
        if number is None:
            return pb.CreateConferenceResponse(denial=pb.Denial(message="no"))
        return pb.CreateConferenceResponse(conference=conference(request, number))

    def get(_: pb.GetConferenceRequest, context: Context) -> pb.GetConferenceResponse:
        forget(next(counter))
        context.abort(grpc.StatusCode.NOT_FOUND, "no such conference")
        raise AssertionError

    def forget(number: int) -> None:
        if number % 1000 == 0:  # it would keep every request
            for kept in (backend.creates, backend.gets, backend.deletes, backend.metadata):
                kept.clear()

    backend = Script(create, get)
    return backend
