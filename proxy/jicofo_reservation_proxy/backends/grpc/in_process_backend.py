"""A backend inside the proxy's process, over a real gRPC channel.

It listens on a socket file, so deadlines, statuses and cancellation work as in a separate process.
Only the system user of the proxy can open the directory of the socket file, so no other system user
can call the backend.
"""

import os
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import grpc

from jicofo_reservation_proxy.errors import StateError
from jicofo_reservation_proxy.gen.jicofo.reservation.v1 import reservation_pb2_grpc

GRACE_SECONDS = 1.0

_PREFIX = "reservations-"


class InProcessBackend:
    """Serves a `ReservationServiceServicer` until `close` is called."""

    def __init__(
        self, servicer: reservation_pb2_grpc.ReservationServiceServicer, threads: int
    ) -> None:
        _remove_left_over()
        self._directory = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-"))
        self.target = f"unix:{self._directory / 'backend.sock'}"
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="backend")
        self._server = grpc.server(self._executor)
        reservation_pb2_grpc.add_ReservationServiceServicer_to_server(servicer, self._server)
        try:
            self._server.add_insecure_port(self.target)
        except RuntimeError as error:
            shutil.rmtree(self._directory)
            raise StateError(
                f"{self._directory}: cannot create a socket file in this directory; "
                "set TMPDIR to a short path without special characters"
            ) from error
        self._server.start()

    def close(self) -> None:
        """Stop serving, give the calls in flight `GRACE_SECONDS` to finish, and clean up.

        The method does not wait longer for a servicer that hangs.
        """
        self._server.stop(GRACE_SECONDS).wait()
        self._executor.shutdown(wait=False, cancel_futures=True)
        shutil.rmtree(self._directory, ignore_errors=True)


def _remove_left_over() -> None:
    """Remove the directories of processes that were killed. Their names have the process id."""
    for directory in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*-*"):
        process_id = directory.name.removeprefix(_PREFIX).partition("-")[0]
        with suppress(OSError):  # another process removes it too
            is_ours = process_id.isdecimal() and directory.stat().st_uid == os.geteuid()
            if is_ours and not Path("/proc", process_id).exists():
                shutil.rmtree(directory, ignore_errors=True)
