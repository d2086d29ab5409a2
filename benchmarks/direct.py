"""The direct gRPC call, which the benchmark compares with every bridge."""

from types import TracebackType
from typing import Self

import grpc
from google.protobuf.timestamp_pb2 import Timestamp
from jicofo_reservation_proxy.gen.jicofo.reservation.v1 import (
    reservation_pb2 as pb,
)
from jicofo_reservation_proxy.gen.jicofo.reservation.v1 import (
    reservation_pb2_grpc as pb_grpc,
)

from benchmarks.wire import PATIENCE_SECONDS, Rooms, WrongAnswerError

REQUEST_ID = "3f1f7a52-3a11-5d0e-9a55-0a6d2f9b7c11"  # the backend ignores it; the size is realistic


class DirectClient:
    """A client with its own channel; it sends the same request as the bridges."""

    def __init__(self, port: int, rooms: Rooms) -> None:
        self._rooms = rooms
        self._channel = grpc.insecure_channel(
            f"127.0.0.1:{port}", options=[("grpc.use_local_subchannel_pool", 1)]
        )
        self._create = pb_grpc.ReservationServiceStub(self._channel).CreateConference

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._channel.close()

    def question(self) -> pb.CreateConferenceRequest:
        """Return a request for a new room."""
        room = self._rooms.next()
        start_time = Timestamp()
        start_time.GetCurrentTime()
        return pb.CreateConferenceRequest(
            request_id=REQUEST_ID,
            room=pb.Room(raw=room, name=room),
            owner=pb.Owner(raw="juliet@example.com", user="juliet", domain="example.com"),
            start_time=start_time,
            client=pb.CLIENT_JICOFO,
        )

    def ask(self, question: pb.CreateConferenceRequest) -> None:
        """Send the request, with a deadline, since every bridge sets one too.

        Raises WrongAnswerError when the backend does not grant the room.
        """
        try:
            granted = self._create(question, timeout=PATIENCE_SECONDS).HasField("conference")
        except grpc.RpcError as error:
            raise WrongAnswerError(f"the backend answered {error}") from error
        if not granted:
            raise WrongAnswerError("the backend did not grant the room")

    def call(self) -> None:
        """Ask for a new room."""
        self.ask(self.question())
