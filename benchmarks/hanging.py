"""The latency of a healthy backend's rooms while calls to another backend of the same proxy hang.

Each round starts a proxy of its own, because a proxy may keep the threads that it started for the
calls that hung. The round measures a burst without hanging calls, and then one with them. The
second burst begins as soon as the backend has all the hanging calls, so it includes the first
request that meets them.

The hanging backend answers when the burst is over: within the deadline of the proxy, so that its
circuit breaker stays closed, and the shutdown of the proxy waits for nothing.
"""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace

import grpc
from jicofo_reservation_proxy.commands.progress import Progress
from jicofo_reservation_proxy.gen.jicofo.reservation.v1 import (
    reservation_pb2 as pb,
)
from jicofo_reservation_proxy.gen.jicofo.reservation.v1 import (
    reservation_pb2_grpc as pb_grpc,
)

from benchmarks.backend import GrantEverything
from benchmarks.bursts import Burst, Bursts, Kind, burst, collected
from benchmarks.children import Children
from benchmarks.contenders import PROXY, PROXY_LINE, Contender, start_proxy
from benchmarks.load_process import Job, LoadProcess
from benchmarks.wire import HOST, PATIENCE_SECONDS

CALLS = 16
HUNG = f"{PROXY}, {CALLS} calls hang"
ROOMS = "hang"
WARM_UP_CALLS = 50


class HangingBackend(GrantEverything):
    """Grants a room only after `release`."""

    def __init__(self) -> None:
        super().__init__()
        self._arrived = threading.Semaphore(0)
        self._released = threading.Semaphore(0)

    def CreateConference(  # noqa: N802 - the contract's name
        self, request: pb.CreateConferenceRequest, context: grpc.ServicerContext
    ) -> pb.CreateConferenceResponse:
        """Wait for `release`; then grant the room."""
        self._arrived.release()
        self._released.acquire()
        return super().CreateConference(request, context)

    def wait_until_called(self) -> bool:
        """Wait for one call; return False when none comes within `PATIENCE_SECONDS`."""
        return self._arrived.acquire(timeout=PATIENCE_SECONDS)

    def release(self) -> None:
        """Answer the calls that hang."""
        self._released.release(CALLS)


@contextmanager
def hanging_backend() -> Iterator[tuple[HangingBackend, int]]:
    """Run a hanging backend in this process, which has nothing to do during a burst."""
    backend = HangingBackend()
    threads = ThreadPoolExecutor(2 * CALLS)
    server = grpc.server(threads)
    pb_grpc.add_ReservationServiceServicer_to_server(backend, server)
    port = server.add_insecure_port(f"{HOST}:0")
    server.start()
    try:
        yield backend, port
    finally:
        backend.release()
        server.stop(None).wait()
        threads.shutdown()


@dataclass(frozen=True, slots=True)
class Hanging:
    """The measurement, with two load clients: one calls, and the calls of `hangers` hang."""

    children: Children
    load: LoadProcess
    hangers: LoadProcess
    healthy_port: int
    progress: Progress

    def measure(self, kind: Kind) -> Bursts:
        """Return the bursts without and with hanging calls.

        Raises ChildError when the proxy does not send all hanging calls to their backend.
        """
        with hanging_backend() as (backend, port):
            return collected(self._rounds(kind, backend, port))

    def _rounds(self, kind: Kind, backend: HangingBackend, port: int) -> Iterator[dict[str, Burst]]:
        for number in range(kind.rounds):
            self.progress.show(f"{kind.name}, round {number + 1} of {kind.rounds}")
            proxy = self._start(port)
            burst(self.load, replace(kind, calls=WARM_UP_CALLS), proxy)
            free = burst(self.load, kind, proxy)
            self._hang(backend, proxy)
            hung = burst(self.load, kind, proxy)
            backend.release()
            self.hangers.result()
            proxy.child.end()
            yield {PROXY: free, HUNG: hung}

    def _start(self, hanging_port: int) -> Contender:
        settings = {
            # With several backends, Jicofo's number waits for the disk (numeric_ids.py).
            "CLIENT": "prosody",
            "BACKENDS__DEFAULT__TARGET": f"{HOST}:{self.healthy_port}",
            "BACKENDS__HANGING__TARGET": f"{HOST}:{hanging_port}",
            "BACKENDS__HANGING__ANSWER_WITHIN": "15s",
            "RESPOND_WITHIN": "18s",
            "ROUTES__0__ROOM": f"{ROOMS}-*",
            "ROUTES__0__BACKEND": "hanging",
        }
        child = start_proxy(self.children, settings)
        return Contender(child.port(PROXY_LINE), child)

    def _hang(self, backend: HangingBackend, proxy: Contender) -> None:
        self.hangers.start(Job("kept", "form", proxy.port, CALLS, 0.0, 1, ROOMS))
        for number in range(CALLS):
            if not backend.wait_until_called():
                raise proxy.child.failure(f"sent {number} of {CALLS} calls that hang")
