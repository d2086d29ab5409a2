"""The composition root: settings → objects → a WSGI application."""

from __future__ import annotations

import atexit
import logging
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Self

from flask import Flask

from . import clients, contract, sources
from .aliases import Aliases
from .backend import Backend
from .channels import BackendChannel, Refresher
from .clients import Dialect
from .conferences import Conferences
from .database import Database
from .delivery import Delivery
from .ledger import Ledger
from .metrics import Metrics
from .records import RecordState
from .routing import DEFAULT_BACKEND, Router
from .service import Policy, ReservationProxy
from .settings import Backend as BackendSettings
from .settings import BackendName, Route, Settings, Target
from .slots import Slots
from .web import make_flask

if TYPE_CHECKING:
    from .gen.jicofo.reservation.v1.reservation_pb2_grpc import ReservationServiceServicer
    from .inprocess import InProcessBackend

logger = logging.getLogger(__name__)

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
    With neither it is the stub, which grants every room. Without `keeps_state` the state directory
    is left alone, for a proxy that only tries something. Raises `CredentialsError` and
    `StateError`.
    """

    def __init__(
        self,
        settings: Settings,
        servicer: ReservationServiceServicer | None = None,
        *,
        keeps_state: bool = True,
    ) -> None:
        self.settings = settings
        self.metrics = Metrics()
        self._drain_seconds = settings.drain_within.total_seconds()
        with ExitStack() as stack:
            backends, routes = self._choose_backends(stack, servicer)
            self.targets = [f"{name} at {backend.target}" for name, backend in backends.items()]
            self.channels = self._open_channels(stack, backends)
            self.backends = self._make_backends(backends)
            is_on_disk = keeps_state and settings.state == "disk"
            database = Database(settings.state_dir if is_on_disk else None)
            stack.callback(database.close)
            self.ledger = Ledger(database)
            stack.callback(self.ledger.close)
            aliases = Aliases(database)
            self.delivery = self._make_delivery(aliases)
            service = ReservationProxy(
                Router(routes, self.backends),
                self.backends,
                self.ledger,
                aliases,
                self.delivery,
                _slots(settings, backends),
                _policy(settings, backends),
            )
            stack.callback(Refresher(self.channels.values()).stop)
            self._announce()
            self.delivery.start()
            stack.callback(self._stop_delivery)
            conferences = Conferences(service, _FORCED[settings.client], self.metrics)
            self.flask = make_flask(conferences)
            self.flask.extensions[EXTENSION] = self
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self, within_seconds: float | None = None) -> None:
        """Deliver what can be delivered, stop every thread, close every channel and file.

        `within_seconds` is the time for deliveries; absent, it is the settings' `drain_within`.
        Closing twice is fine.
        """
        if within_seconds is not None:
            self._drain_seconds = within_seconds
        self._stack.close()

    def _stop_delivery(self) -> None:
        self.delivery.stop(self._drain_seconds)

    def _announce(self) -> None:
        """Say what an earlier process left, and let it be counted."""
        for state, number in self.ledger.counts.items():
            gauge = self.metrics.conferences.labels(state.value)
            gauge.set_function(partial(self._count, state))
            if number:
                logger.info("the ledger holds %d %s conferences", number, state.value)
        if self.settings.state == "memory":
            logger.warning(
                'state = "memory": DELETEs that are not delivered will be lost at the next restart'
            )

    def _count(self, state: RecordState) -> int:
        return self.ledger.counts[state]

    def _choose_backends(
        self, stack: ExitStack, servicer: ReservationServiceServicer | None
    ) -> tuple[Mapping[BackendName, BackendSettings], Sequence[Route]]:
        """Return the settings' backends and routes, or the one in this process."""
        if servicer is None and self.settings.backends:
            return self.settings.backends, self.settings.routes
        local = _in_process(servicer, self.settings.threads)
        stack.callback(local.close)
        backend = BackendSettings(target=Target(local.target), health_check="off")
        return {BackendName(DEFAULT_BACKEND): backend}, ()

    def _make_delivery(self, aliases: Aliases) -> Delivery:
        return Delivery(
            self.backends,
            self.ledger,
            aliases,
            self.metrics,
            expire_after=self.settings.expire_after,
            give_up_after=self.settings.give_up_after,
        )

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


def _slots(settings: Settings, backends: Mapping[BackendName, BackendSettings]) -> Slots:
    per_backend: dict[str, int] = {
        name: int(backend.in_flight) for name, backend in backends.items()
    }
    return Slots(per_backend, settings.threads)


def _policy(settings: Settings, backends: Mapping[BackendName, BackendSettings]) -> Policy:
    return Policy(
        settings.conflicts,
        settings.respond_within.total_seconds(),
        {
            name: int(backend.allow_for.total_seconds())
            for name, backend in backends.items()
            if backend.when_unreachable == "allow"
        },
    )


def create_app(
    settings: Settings | None = None, servicer: ReservationServiceServicer | None = None
) -> Flask:
    """Return the WSGI application, for a server of your own.

    Without settings they come from the environment (`sources.load`). `servicer` is a Python
    class's instance that implements the contract; then no second process is needed. All is closed
    when the interpreter ends, or by `app.extensions["jicofo_reservation_proxy"].close()`. A server
    that forks must call this in its worker, since gRPC's threads do not survive a fork, and have
    one worker only, since a state directory belongs to one process.

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
