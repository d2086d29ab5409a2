"""The composition root: settings → objects → a WSGI application."""

from __future__ import annotations

import atexit
from collections.abc import Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, Self

from flask import Flask

from . import clients, contract, sources
from .backend import Backend
from .channels import BackendChannel, Refresher
from .clients import Dialect
from .conferences import Conferences
from .ledger import Ledger
from .metrics import Metrics
from .routing import DEFAULT_BACKEND, Router
from .service import ReservationProxy
from .settings import Backend as BackendSettings
from .settings import BackendName, Settings, Target
from .web import make_flask

if TYPE_CHECKING:
    from .gen.jicofo.reservation.v1.reservation_pb2_grpc import ReservationServiceServicer
    from .inprocess import InProcessBackend

EXTENSION = "jicofo_reservation_proxy"
"""The key of the `Proxy` in `app.extensions`."""

_FORCED: Mapping[str, Dialect | None] = {
    "auto": None,
    "jicofo": clients.JICOFO,
    "prosody": clients.PROSODY,
    "handbook": clients.HANDBOOK,
}


class Proxy:
    """All parts of one proxy, put together; a context manager that closes them in order.

    `servicer` is a backend in this process, in place of the settings' backends and routes.
    With neither it is the stub, which grants every room. Raises `CredentialsError` and
    `StateError`.
    """

    def __init__(
        self, settings: Settings, servicer: ReservationServiceServicer | None = None
    ) -> None:
        self.settings = settings
        self.metrics = Metrics()
        with ExitStack() as stack:
            backends, routes = settings.backends, settings.routes
            if servicer is not None or not backends:
                local = _in_process(servicer, settings.threads)
                stack.callback(local.close)
                backends = {
                    BackendName(DEFAULT_BACKEND): BackendSettings(target=Target(local.target))
                }
                routes = ()
            self.targets = [f"{name} at {backend.target}" for name, backend in backends.items()]
            self.channels = self._open_channels(stack, backends)
            self.ledger = Ledger(settings.state_dir)
            stack.callback(self.ledger.close)
            refresher = Refresher(self.channels.values())
            stack.callback(refresher.stop)
            self.backends = self._make_backends(backends)
            router = Router(routes, self.backends)
            service = ReservationProxy(router, self.backends, self.ledger, settings.conflicts)
            conferences = Conferences(service, _FORCED[settings.client], self.metrics)
            self.flask = make_flask(conferences)
            self.flask.extensions[EXTENSION] = self
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop every thread and close every channel and file. Closing twice is fine."""
        self._stack.close()

    def _open_channels(
        self, stack: ExitStack, backends: Mapping[BackendName, BackendSettings]
    ) -> dict[str, BackendChannel]:
        channels: dict[str, BackendChannel] = {}
        for name, backend in backends.items():
            channels[name] = BackendChannel(name, backend, self.metrics)
            stack.callback(channels[name].close)
        return channels

    def _make_backends(self, backends: Mapping[BackendName, BackendSettings]) -> dict[str, Backend]:
        is_guest = contract.guest_test(self.settings.guest_domains)
        return {
            name: Backend(
                name,
                self.channels[name],
                backend.answer_within.total_seconds(),
                is_guest,
                self.metrics,
            )
            for name, backend in backends.items()
        }


def create_app(
    settings: Settings | None = None, servicer: ReservationServiceServicer | None = None
) -> Flask:
    """Return the WSGI application, for a server of your own.

    Without settings they come from the environment (`sources.load`). `servicer` is a Python
    class's instance that implements the contract; then no second process is needed. All is closed
    when the interpreter ends, or by `app.extensions["jicofo_reservation_proxy"].close()`. A server
    that forks must call this in each worker, since gRPC's threads do not survive a fork.

    Raises `SettingsError`, `CredentialsError` and `StateError`.
    """
    proxy = Proxy(settings if settings is not None else sources.load(), servicer)
    atexit.register(proxy.close)
    return proxy.flask


def _in_process(servicer: ReservationServiceServicer | None, threads: int) -> InProcessBackend:
    """Serve a servicer, or the stub; a gRPC server is imported only where one is needed."""
    from .inprocess import InProcessBackend  # noqa: PLC0415

    if servicer is None:
        from jicofo_reservation_stub import ReservationService  # noqa: PLC0415

        servicer = ReservationService()
    return InProcessBackend(servicer, threads)
