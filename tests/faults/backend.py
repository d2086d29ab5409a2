"""The fault tests' backend: `python -m tests.faults.backend --store FILE --address HOST:PORT`.

The backend keeps the contract. It does not carry out a call that the caller has given up. If the
store contains a failure for a replica, the replica simulates it.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from jicofo_reservation_proxy.gen.jicofo.reservation.v1 import reservation_pb2 as pb
from jicofo_reservation_proxy.gen.jicofo.reservation.v1 import reservation_pb2_grpc

from .replica import LOOK_SECONDS, READY, Replica, parser
from .store import CreateRequest, GivenUpError, Method, Store, Stored

THREADS = 64


class ReservationService(reservation_pb2_grpc.ReservationServiceServicer):
    """The service of one replica; all replicas share one store."""

    def __init__(self, replica: Replica, *, keeps_rows: bool) -> None:
        self._replica = replica
        self._store = replica.store
        self._keeps_rows = keeps_rows

    def CreateConference(  # noqa: N802 - gRPC's name
        self, request: pb.CreateConferenceRequest, context: grpc.ServicerContext
    ) -> pb.CreateConferenceResponse:
        """Grant the room, unless the conference of another request holds it."""
        ends_at_once = self._replica.simulation("create").failure == "ended"
        wanted = CreateRequest(
            request.request_id,
            request.room.raw,
            request.owner.raw,
            request.start_time.ToMilliseconds(),
            ends_at_once,
            *self._holder(request),
        )
        with self._failing("create", request.room.raw, context) as is_waited_for:
            stored, is_own = self._store.create(self._replica.name, wanted, is_waited_for)
        # The row has this hold: the requests of a holder for one room come in turn.
        _, hold = self._holder(request)
        if is_own:
            return pb.CreateConferenceResponse(conference=_message(stored), hold=hold)
        conflict = pb.Conflict(conference=_message(stored))
        return pb.CreateConferenceResponse(conflict=conflict, hold=hold)

    def GetConference(  # noqa: N802 - gRPC's name
        self, request: pb.GetConferenceRequest, context: grpc.ServicerContext
    ) -> pb.GetConferenceResponse:
        """Return the conference."""
        with self._failing("get", request.conference_id, context):
            stored = self._store.get(request.conference_id)
        if stored is None:
            context.abort(grpc.StatusCode.NOT_FOUND, "no such conference")
        return pb.GetConferenceResponse(conference=_message(stored))

    def DeleteConference(  # noqa: N802 - gRPC's name
        self, request: pb.DeleteConferenceRequest, context: grpc.ServicerContext
    ) -> pb.DeleteConferenceResponse:
        """Delete the conference for its holder."""
        subject = request.conference_id or request.room
        holder, hold = self._holder(request)
        with self._failing("delete", subject, context) as is_waited_for:
            self._store.delete(
                self._replica.name,
                request.conference_id,
                is_waited_for,
                room=request.room,
                holder=holder,
                hold=hold,
            )
        return pb.DeleteConferenceResponse()

    def _holder(
        self, request: pb.CreateConferenceRequest | pb.DeleteConferenceRequest
    ) -> tuple[str, int]:
        return (request.holder, request.hold) if self._keeps_rows else ("", 0)

    @contextmanager
    def _failing(
        self, method: Method, subject: str, context: grpc.ServicerContext
    ) -> Iterator[Callable[[], bool]]:
        """Simulate the stored failure of a call; yield a check that the caller still waits."""
        simulation = self._replica.begin(method, subject)
        failure = simulation.failure
        if failure == "refuse":
            context.abort(grpc.StatusCode.UNAVAILABLE, "simulated refusal")
        if failure == "break":
            context.abort(grpc.StatusCode.INTERNAL, "simulated error")
        if failure == "no_route":
            context.abort(grpc.StatusCode.UNIMPLEMENTED, "Received http2 header with status: 404")
        if failure == "no_service":
            context.abort(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")
        if failure == "wait":
            self._replica.wait(method, simulation)
        try:
            yield lambda: _is_waited_for(context)
        except GivenUpError:
            context.abort(grpc.StatusCode.CANCELLED, "the caller gave up this call")
        if failure == "late":
            self._replica.wait(method, simulation)


def _is_waited_for(context: grpc.ServicerContext) -> bool:
    return context.is_active() and context.time_remaining() > 0


def _message(stored: Stored) -> pb.Conference:
    """Return a conference; its `url` contains its serial number."""
    message = pb.Conference(
        id=stored.id, room=stored.room, owner=stored.owner, url=f"conference:{stored.serial}"
    )
    if stored.has_ended:
        message.start_time.seconds, message.duration.seconds = 1_600_000_000, 60
    else:
        message.start_time.FromMilliseconds(stored.start_time_ms)
    return message


def main(argv: Sequence[str] | None = None) -> None:
    """Serve until SIGKILL ends the process."""
    flags = parser()
    flags.add_argument("--no-health", action="store_true")
    flags.add_argument("--rows", action="store_true")
    flags.add_argument("--connection-age-ms", type=int, default=2**31 - 1)
    arguments = flags.parse_args(argv)
    with Store(arguments.store) as store, ThreadPoolExecutor(THREADS) as executor:
        options = (
            # Another process must not be able to listen on the port as well.
            ("grpc.so_reuseport", 0),
            ("grpc.max_connection_age_ms", arguments.connection_age_ms),
        )
        server = grpc.server(executor, options=options)
        replica = Replica(store, arguments.replica)
        service = ReservationService(replica, keeps_rows=arguments.rows)
        reservation_pb2_grpc.add_ReservationServiceServicer_to_server(service, server)
        servicer = health.HealthServicer()
        if not arguments.no_health:
            health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
        server.add_insecure_port(arguments.address)
        server.start()
        print(READY, flush=True)
        _report_health(servicer, replica)


def _report_health(servicer: health.HealthServicer, replica: Replica) -> None:
    """Set the health status that the store says; read the store every `LOOK_SECONDS`, forever."""
    told = None
    while True:
        is_failing = replica.simulation("create").failure == "not_serving"
        status = health_pb2.HealthCheckResponse
        wanted = status.NOT_SERVING if is_failing else status.SERVING
        if wanted != told:
            servicer.set("", wanted)
            told = wanted
        threading.Event().wait(LOOK_SECONDS)


if __name__ == "__main__":
    main()
