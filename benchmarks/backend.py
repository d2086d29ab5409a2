"""The backend that all contenders call: it grants each request at once and stores nothing.

Run it as a script. The first line of its output is the port that it listens on.
"""

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor

import grpc
from jicofo_reservation_proxy.gen.jicofo.reservation.v1 import (
    reservation_pb2 as pb,
)
from jicofo_reservation_proxy.gen.jicofo.reservation.v1 import (
    reservation_pb2_grpc as pb_grpc,
)


class GrantEverything(pb_grpc.ReservationServiceServicer):
    """Grants each request a new conference; the ids are numbers from 1."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)

    def CreateConference(  # noqa: N802 - the contract's name
        self,
        request: pb.CreateConferenceRequest,
        context: grpc.ServicerContext,  # noqa: ARG002 - gRPC's signature
    ) -> pb.CreateConferenceResponse:
        """Grant the room, without a duration."""
        conference = pb.Conference(
            id=str(next(self._numbers)),
            room=request.room.raw,
            owner=request.owner.raw,
            start_time=request.start_time,
        )
        return pb.CreateConferenceResponse(conference=conference)

    def GetConference(  # noqa: N802 - the contract's name
        self,
        request: pb.GetConferenceRequest,
        context: grpc.ServicerContext,  # noqa: ARG002 - gRPC's signature
    ) -> pb.GetConferenceResponse:
        """Return a conference that has only an id."""
        return pb.GetConferenceResponse(conference=pb.Conference(id=request.conference_id))

    def DeleteConference(  # noqa: N802 - the contract's name
        self,
        request: pb.DeleteConferenceRequest,  # noqa: ARG002 - gRPC's signature
        context: grpc.ServicerContext,  # noqa: ARG002 - gRPC's signature
    ) -> pb.DeleteConferenceResponse:
        """Answer OK; this backend stores no conferences."""
        return pb.DeleteConferenceResponse()


def main() -> None:
    """Serve on a free port of the loopback interface until the process is killed."""
    server = grpc.server(ThreadPoolExecutor(max_workers=16))
    pb_grpc.add_ReservationServiceServicer_to_server(GrantEverything(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
