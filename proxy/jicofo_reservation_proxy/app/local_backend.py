"""The backend in this process: the servicer of `create_app`, or the stub if there is no backend.

The imports are in the methods, because most proxies need no gRPC server.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from jicofo_reservation_proxy.errors import SettingFault, SettingsError
from jicofo_reservation_proxy.reservations.routing import DEFAULT_BACKEND
from jicofo_reservation_proxy.settings.schema import Backend, BackendName, Route, Settings, Target

if TYPE_CHECKING:
    from jicofo_reservation_proxy.backends.grpc.in_process_backend import InProcessBackend
    from jicofo_reservation_proxy.gen.jicofo.reservation.v1.reservation_pb2_grpc import (
        ReservationServiceServicer,
    )

_NO_BACKENDS = SettingFault(
    "backends",
    "wanted at least one backend, because the proxy uses some, got none; is the file complete? To "
    "go back to the stub, which grants every room, restart the proxy",
)


class LocalBackend:
    """Starts the backend in this process when the settings need it, and keeps it until `close`."""

    def __init__(self, servicer: ReservationServiceServicer | None) -> None:
        self._servicer = servicer
        self._running: InProcessBackend | None = None

    def choose(
        self, settings: Settings, before: Settings | None = None
    ) -> tuple[Mapping[BackendName, Backend], Sequence[Route]]:
        """Return the backends and routes of the settings, or the backend in this process.

        A reload gives the settings `before` it. It does not replace backends by the stub: a file
        that is empty, because it is just being written, would grant every room.

        Raises `StateError` if the backend cannot start, and `SettingsError`.
        """
        if self._servicer is None and settings.backends:
            return settings.backends, settings.routes
        if self._servicer is None and before and before.backends:
            raise SettingsError([_NO_BACKENDS])
        if self._running is None:
            self._running = self._start(settings.threads)
        backend = Backend(target=Target(self._running.target), health_check="off")
        return {BackendName(DEFAULT_BACKEND): backend}, ()

    def close(self) -> None:
        """Stop the backend if it runs."""
        if self._running:
            self._running.close()

    def _start(self, threads: int) -> InProcessBackend:
        from jicofo_reservation_proxy.backends.grpc.in_process_backend import (  # noqa: PLC0415
            InProcessBackend,
        )

        if self._servicer is not None:
            return InProcessBackend(self._servicer, threads)
        from jicofo_reservation_stub import ReservationService  # noqa: PLC0415

        return InProcessBackend(ReservationService(), threads)
