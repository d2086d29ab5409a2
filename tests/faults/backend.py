"""The fault tests' backend: `python -m tests.faults.backend --store FILE --address HOST:PORT`.

The backend keeps the contract. It does not carry out a call that the caller has given up. It
misbehaves when its store says so.
"""

import argparse
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from jicofo_reservation_proxy.gen.jicofo.reservation.v1 import reservation_pb2 as pb
from jicofo_reservation_proxy.gen.jicofo.reservation.v1 import reservation_pb2_grpc

from .store import Method, Misdeed, NotWantedError, Store, Stored, Wish

THREADS = 64
READY = "serving"
"""The line that the backend prints when it accepts calls."""

LOOK_SECONDS = 0.05


class ReservationService(reservation_pb2_grpc.ReservationServiceServicer):
    """The service of one replica; all replicas share one store."""

    def __init__(self, store: Store, replica: str) -> None:
        self._store = store
        self._replica = replica

    def CreateConference(  # noqa: N802 - gRPC's name
        self, request: pb.CreateConferenceRequest, context: grpc.ServicerContext
    ) -> pb.CreateConferenceResponse:
        """Grant the room, unless the conference of another request holds it."""
        wish = Wish(
            request.request_id,
            request.room.raw,
            request.owner.raw,
            request.start_time.ToMilliseconds(),
        )
        with self._behaving("create", request.room.raw, context) as is_wanted:
            stored, is_own = self._store.create(self._replica, wish, is_wanted)
        if is_own:
            return pb.CreateConferenceResponse(conference=_message(stored))
        return pb.CreateConferenceResponse(conflict=pb.Conflict(conference=_message(stored)))

    def GetConference(  # noqa: N802 - gRPC's name
        self, request: pb.GetConferenceRequest, context: grpc.ServicerContext
    ) -> pb.GetConferenceResponse:
        """Return the conference."""
        with self._behaving("get", request.conference_id, context):
            stored = self._store.get(request.conference_id)
        if stored is None:
            context.abort(grpc.StatusCode.NOT_FOUND, "no such conference")
        return pb.GetConferenceResponse(conference=_message(stored))

    def DeleteConference(  # noqa: N802 - gRPC's name
        self, request: pb.DeleteConferenceRequest, context: grpc.ServicerContext
    ) -> pb.DeleteConferenceResponse:
        """Delete the conference."""
        with self._behaving("delete", request.conference_id, context) as is_wanted:
            self._store.delete(self._replica, request.conference_id, is_wanted)
        return pb.DeleteConferenceResponse()

    @contextmanager
    def _behaving(
        self, method: Method, subject: str, context: grpc.ServicerContext
    ) -> Iterator[Callable[[], bool]]:
        """Misbehave around a call as the store says; yield a check that the caller still waits."""
        self._store.note_call(self._replica, method, subject)
        misdeed, seconds = self._store.misdeed(self._replica, method) or ("", 0.0)
        if misdeed == "refuse":
            context.abort(grpc.StatusCode.UNAVAILABLE, "told to refuse")
        if misdeed == "break":
            context.abort(grpc.StatusCode.INTERNAL, "told to break")
        if misdeed == "wait":
            self._wait(method, misdeed, seconds)
        try:
            yield lambda: _is_wanted(context)
        except NotWantedError:
            context.abort(grpc.StatusCode.CANCELLED, "the caller gave up this call")
        if misdeed == "late":
            self._wait(method, misdeed, seconds)

    def _wait(self, method: Method, misdeed: Misdeed, seconds: float | None) -> None:
        """Wait for this time; `None` is until the store no longer has this misdeed."""
        if seconds is not None:
            threading.Event().wait(seconds)
            return
        while self._store.misdeed(self._replica, method) == (misdeed, None):
            threading.Event().wait(LOOK_SECONDS)


def _is_wanted(context: grpc.ServicerContext) -> bool:
    return context.is_active() and context.time_remaining() > 0


def _message(stored: Stored) -> pb.Conference:
    """Return a conference; its `url` contains the backend's own id."""
    message = pb.Conference(
        id=stored.id, room=stored.room, owner=stored.owner, url=f"conference:{stored.id}"
    )
    message.start_time.FromMilliseconds(stored.start_time_ms)
    return message


def main(argv: Sequence[str] | None = None) -> None:
    """Serve until the process is ended with SIGKILL."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--address", required=True)
    parser.add_argument("--replica", default="a")
    parser.add_argument("--no-health", action="store_true")
    arguments = parser.parse_args(argv)
    with Store(arguments.store) as store, ThreadPoolExecutor(THREADS) as executor:
        # Another process must not be able to listen on the port as well.
        server = grpc.server(executor, options=(("grpc.so_reuseport", 0),))
        service = ReservationService(store, arguments.replica)
        reservation_pb2_grpc.add_ReservationServiceServicer_to_server(service, server)
        servicer = health.HealthServicer()
        if not arguments.no_health:
            health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
        server.add_insecure_port(arguments.address)
        server.start()
        print(READY, flush=True)
        _tell_health(servicer, store, arguments.replica)


def _tell_health(servicer: health.HealthServicer, store: Store, replica: str) -> None:
    """Report the health status that the store says; check it every `LOOK_SECONDS`, for ever."""
    told = None
    while True:
        is_sick = (store.misdeed(replica, "create") or ("", 0.0))[0] == "not_serving"
        status = health_pb2.HealthCheckResponse
        wanted = status.NOT_SERVING if is_sick else status.SERVING
        if wanted != told:
            servicer.set("", wanted)
            told = wanted
        threading.Event().wait(LOOK_SECONDS)


if __name__ == "__main__":
    main()
