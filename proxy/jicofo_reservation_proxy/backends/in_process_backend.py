"""A backend inside the proxy's process, over a real gRPC channel.

It serves on a socket file in a directory that only this user can enter, so that everything a
separate backend has (deadlines, statuses, cancellation) holds here too, and nobody else can call.
"""

import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc

from jicofo_reservation_proxy.errors import StateError
from jicofo_reservation_proxy.gen.jicofo.reservation.v1 import reservation_pb2_grpc

GRACE_SECONDS = 1.0


class InProcessBackend:
    """Serves a `ReservationServiceServicer` until it is closed."""

    def __init__(
        self, servicer: reservation_pb2_grpc.ReservationServiceServicer, threads: int
    ) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="reservations-"))
        self.target = f"unix:{self._directory / 'backend.sock'}"
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="backend")
        self._server = grpc.server(self._executor)
        reservation_pb2_grpc.add_ReservationServiceServicer_to_server(servicer, self._server)
        try:
            self._server.add_insecure_port(self.target)
        except RuntimeError as error:
            shutil.rmtree(self._directory)
            raise StateError(
                f"{self._directory}: cannot hold a socket; set TMPDIR to a short, plain path"
            ) from error
        self._server.start()

    def close(self) -> None:
        """Stop serving, let what is being worked on finish for a moment, and clean up.

        A servicer that hangs is not waited for.
        """
        self._server.stop(GRACE_SECONDS).wait()
        self._executor.shutdown(wait=False, cancel_futures=True)
        shutil.rmtree(self._directory, ignore_errors=True)
