"""A correct backend with methods that broken backends override, and a server for all backends."""

import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import ClassVar, TypeVar

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from jicofo_reservation_proxy.conformance.kit import DENIED_ROOM
from jicofo_reservation_proxy.gen.jicofo.reservation.v1 import reservation_pb2 as pb
from jicofo_reservation_proxy.gen.jicofo.reservation.v1 import reservation_pb2_grpc as pb_grpc
from jicofo_reservation_stub.service import Policy, ReservationService
from jicofo_reservation_stub.store import Conference, Ending, Hold, Store

THREADS = 64
"""More threads than the kit makes calls at the same time, which is 50."""

Context = grpc.ServicerContext


class Backend(ReservationService):
    """The Python stub. It keeps the contract and denies the room of the kit.

    A broken backend overrides one part of this class. `failures` maps each case that finds the bug
    to its complaint. In a complaint, "…" stands for text that differs from run to run.
    """

    failures: ClassVar[Mapping[str, str]] = {}
    health: ClassVar[health_pb2.HealthCheckResponse.ServingStatus.ValueType | None] = (
        health_pb2.HealthCheckResponse.SERVING
    )
    """`None`: the backend has no health service."""

    def __init__(self, store: Store | None = None, password: str | None = None) -> None:
        super().__init__(store, Policy(deny=(DENIED_ROOM,), password=password))

    def CreateConference(  # noqa: N802 - gRPC's name
        self, request: pb.CreateConferenceRequest, context: Context
    ) -> pb.CreateConferenceResponse:
        """Decide as the stub does, between `receive` and `send`."""
        self.receive(request, context)
        response = super().CreateConference(request, context)
        self.send(request, response)
        return response

    def receive(self, request: pb.CreateConferenceRequest, context: Context) -> None:
        """Change a request before the decision, or end its call: for broken backends."""

    def send(
        self, request: pb.CreateConferenceRequest, response: pb.CreateConferenceResponse
    ) -> None:
        """Change the response after the decision: for broken backends."""


class LooseStore(Store):
    """Accepts several conferences with the same room or id, which a correct store never has."""

    def _drop(self, conference: Conference) -> None:
        self._by_id.pop(conference.id, None)
        self._by_room.pop(conference.booking.room, None)
        self._by_request.pop(conference.booking.request_id, None)
        self._holds.pop(conference.id, None)

    def _raise_row(self, conference: Conference, hold: Hold) -> int:
        self._holds.setdefault(conference.id, {})
        return super()._raise_row(conference, hold)

    def _release(self, known: Conference | None, hold: Hold) -> Ending:
        if known is not None:
            self._holds.setdefault(known.id, {})
        return super()._release(known, hold)


BACKENDS: list[type[Backend]] = []
"""All broken backends."""

_Broken = TypeVar("_Broken", bound=type[Backend])


def fails(failures: Mapping[str, str]) -> Callable[[_Broken], _Broken]:
    """Return a decorator that registers a broken backend with the complaints of its cases."""

    def register(backend: _Broken) -> _Broken:
        backend.failures = failures
        BACKENDS.append(backend)
        return backend

    return register


def told(response: pb.CreateConferenceResponse) -> pb.Conference:
    """Return the conference of a grant or of a conflict."""
    held = response.conflict.conference
    return response.conference if response.HasField("conference") else held


def is_given_up(context: Context, within_seconds: float) -> bool:
    """Wait until the caller gives the call up. Return whether it does so within this time."""
    given_up = threading.Event()
    return not context.add_callback(given_up.set) or given_up.wait(within_seconds)


@contextmanager
def serving(backend: Backend) -> Iterator[str]:
    """Serve a backend on a free port. Yield its target."""
    with ThreadPoolExecutor(THREADS) as threads:
        server = grpc.server(threads)
        pb_grpc.add_ReservationServiceServicer_to_server(backend, server)
        if backend.health is not None:
            servicer = health.HealthServicer()
            servicer.set(health.OVERALL_HEALTH, backend.health)
            health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            server.stop(0).wait()
