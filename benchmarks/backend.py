"""The backend that all contenders call: it grants each request and stores nothing.

Run it as a script. Its argument is the delay of each answer, in seconds. The first line of its
output is the port that it listens on.
"""

import itertools
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
from jicofo_reservation_proxy.gen.jicofo.reservation.v1 import (
    reservation_pb2 as pb,
)
from jicofo_reservation_proxy.gen.jicofo.reservation.v1 import (
    reservation_pb2_grpc as pb_grpc,
)


class GrantEverything(pb_grpc.ReservationServiceServicer):
    """Grants each request a new conference, after a delay; the ids are numbers from 1."""

    def __init__(self, delay_seconds: float = 0.0) -> None:
        self._delay_seconds = delay_seconds
        self._numbers = itertools.count(1)

    def CreateConference(  # noqa: N802 - the contract's name
        self,
        request: pb.CreateConferenceRequest,
        context: grpc.ServicerContext,  # noqa: ARG002 - gRPC's signature
    ) -> pb.CreateConferenceResponse:
        """Grant the room, without a duration."""
        time.sleep(self._delay_seconds)
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
        time.sleep(self._delay_seconds)
        return pb.GetConferenceResponse(conference=pb.Conference(id=request.conference_id))

    def DeleteConference(  # noqa: N802 - the contract's name
        self,
        request: pb.DeleteConferenceRequest,  # noqa: ARG002 - gRPC's signature
        context: grpc.ServicerContext,  # noqa: ARG002 - gRPC's signature
    ) -> pb.DeleteConferenceResponse:
        """Answer OK; this backend stores no conferences."""
        time.sleep(self._delay_seconds)
        return pb.DeleteConferenceResponse()


def main() -> None:
    """Serve on a free port of the loopback interface until the process is killed."""
    server = grpc.server(ThreadPoolExecutor(max_workers=16))
    pb_grpc.add_ReservationServiceServicer_to_server(GrantEverything(float(sys.argv[1])), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
