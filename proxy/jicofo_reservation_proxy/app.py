"""The composition root: settings → objects → a WSGI application."""

from __future__ import annotations

import atexit
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Self

from flask import Flask

from .admin.control_socket import ControlSocket
from .backends.backend import Backend
from .backends.credential_rotation import BackendChannel, CredentialRotation
from .backends.grpc_backend import GrpcBackend
from .clock import SteadyClock
from .errors import StateError
from .http.access_control import AccessControl
from .http.base_path import BasePath
from .http.client_tokens import ClientTokens
from .http.dialects import recognition
from .http.fast_path import FastPath
from .http.handlers import Handlers
from .http.host_names import names_to_check
from .http.listener_tls import ListenerTls
from .http.owners import guest_test
from .http.refusals import Refusals
from .http.wsgi import FrontDoor, make_flask
from .ledger import record_rows
from .ledger.file_watch import FileWatch
from .ledger.ledger import Store
from .ledger.records import RecordState
from .ledger.room_locks import LocalLocks
from .ledger.sqlite_aliases import SqliteAliases
from .ledger.sqlite_database import Database
from .ledger.sqlite_holds import SqliteHolds
from .ledger.sqlite_ledger import SqliteLedger, retry
from .ledger.sqlite_withdrawals import SqliteWithdrawals
from .observability.health import Health
from .observability.metrics import Metrics
from .reservations.deletion_delivery import Delivery
from .reservations.in_flight_limits import InFlightLimits
from .reservations.routing import DEFAULT_BACKEND, Router
from .reservations.use_cases import Policy, UseCases
from .settings import sources
from .settings.schema import Backend as BackendSettings
from .settings.schema import BackendName, Route, Settings, Target

if TYPE_CHECKING:
    from .backends.in_process_backend import InProcessBackend
    from .gen.jicofo.reservation.v1.reservation_pb2_grpc import ReservationServiceServicer

logger = logging.getLogger(__name__)

EXTENSION = "jicofo_reservation_proxy"
"""The key of the `Proxy` in `app.extensions`."""

CLOSING_SECONDS = 1.0
"""The part of the drain in which no deletion is sent any more, and all files are closed."""

_HELD: Mapping[RecordState, str] = {
    RecordState.OPEN: "open conferences",
    RecordState.PENDING: "pending deletions",
    RecordState.ABANDONED: "abandoned deletions",
}


class Proxy:
    """The parts of one proxy. As a context manager, the proxy closes them in the right order.

    `servicer` is a backend in this process; it replaces the backends and routes of the settings.
    Without a `servicer`, and without backends in the settings, the backend is the stub, which
    grants every room. With `keeps_state=False` the ledger is in memory only, and the proxy does not
    touch the state directory, which the command `check` does not need. With `has_listener=False`
    another server passes the requests on, so `listen` and `listen_tls` have no effect.

    Raises `SettingsError`, `CredentialsError` and `StateError`.
    """

    def __init__(
        self,
        settings: Settings,
        servicer: ReservationServiceServicer | None = None,
        *,
        keeps_state: bool = True,
        has_listener: bool = True,
    ) -> None:
        self.settings = settings
        self.metrics = Metrics()
        self.health = Health()
        self.is_ready: Callable[[], bool] = lambda: False
        """Whether the proxy listens and is not stopping; `serve` sets it."""
        self.refusals = Refusals(self.metrics)
        tokens = self._read_tokens()
        self.listener_tls = self._read_listener_tls() if has_listener else None
        self._clock = SteadyClock()
        self._keeps_state = keeps_state and settings.state == "disk"
        self._drain_seconds = settings.drain_within.total_seconds()
        self._until = time.monotonic()
        self._pid = os.getpid()
        self._commands: dict[str, Callable[[str], bytes]] = {}
        with ExitStack() as stack:
            backends, routes = self._choose_backends(stack, servicer)
            self.targets = [f"{name} at {backend.target}" for name, backend in backends.items()]
            self.channels = self._open_channels(stack, backends)
            self.backends = self._make_backends(backends)
            store = self._open_store(stack)
            self.ledger = store.ledger
            self.delivery = self._make_delivery(store)
            use_cases = UseCases(
                Router(routes, self.backends),
                self.backends,
                store,
                self.delivery,
                _in_flight_limits(settings, backends),
                _policy(settings, backends),
                self._clock.now_ms,
            )
            own = [found for found in (tokens, self.listener_tls) if found is not None]
            rotation = CredentialRotation([*own, *self.channels.values()])
            stack.callback(lambda: rotation.stop(self._closing_seconds))
            self._announce()
            self.delivery.start()
            stack.callback(self._stop_delivery)
            self._open_control_socket(stack)
            handlers = Handlers(
                use_cases,
                recognition(settings.client),
                guest_test(settings.guest_domains),
                self.metrics,
            )
            door = self._front_door(handlers, tokens, has_listener=has_listener)
            self.flask = make_flask(handlers, door)
            self.fast_path = door.fast_path
            self.flask.extensions[EXTENSION] = self
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self, within_seconds: float | None = None) -> None:
        """Deliver pending deletions, then stop every thread and close every channel and file.

        `within_seconds` is the time for the deliveries; the default is the setting `drain_within`.
        A second call does nothing, and a call in a process that was forked later does nothing.
        """
        if os.getpid() != self._pid:
            return
        if within_seconds is not None:
            self._drain_seconds = within_seconds
        self._until = time.monotonic() + self._drain_seconds
        self._stack.close()

    def _stop_delivery(self) -> None:
        closing_seconds = min(CLOSING_SECONDS, self._drain_seconds / 5)
        self.delivery.stop(max(0.0, self._until - time.monotonic() - closing_seconds))

    @property
    def _closing_seconds(self) -> float:
        """The time that one part may take to close; a disk or a backend may hang."""
        return max(CLOSING_SECONDS, self._until - time.monotonic())

    def _announce(self) -> None:
        """Log the number of conferences from an earlier process; export the current number."""
        for state, number in self.ledger.counts.items():
            gauge = self.metrics.conferences.labels(state.value)
            gauge.set_function(partial(self._count, state))
            if number:
                logger.info("the ledger holds %d %s", number, _HELD[state])
        if self.settings.state == "memory":
            logger.warning('state = "memory": pending deletions will be lost at the next restart')

    def _count(self, state: RecordState) -> float:
        """Return the number of conferences in a state, or NaN if the ledger cannot be read."""
        try:
            return self.ledger.counts[state]
        except StateError:
            return float("nan")

    def _read_tokens(self) -> ClientTokens | None:
        file = self.settings.client_token_file
        return ClientTokens(file, self.metrics) if file else None

    def _read_listener_tls(self) -> ListenerTls | None:
        tls = self.settings.listen_tls
        return ListenerTls(tls, self.metrics) if tls else None

    def _front_door(
        self, handlers: Handlers, tokens: ClientTokens | None, *, has_listener: bool
    ) -> FrontDoor:
        settings = self.settings
        allowed = settings.allowed_hosts
        hosts = names_to_check(settings.listen, allowed) if has_listener else allowed or None
        access = AccessControl(hosts, tokens, settings.client_token_header)
        fast_path = FastPath(handlers, access)
        return FrontDoor(access, BasePath(settings.path_prefix), self.refusals, fast_path)

    def _choose_backends(
        self, stack: ExitStack, servicer: ReservationServiceServicer | None
    ) -> tuple[Mapping[BackendName, BackendSettings], Sequence[Route]]:
        """Return the backends and routes of the settings, or the backend in this process."""
        if servicer is None and self.settings.backends:
            return self.settings.backends, self.settings.routes
        local = _in_process(servicer, self.settings.threads)
        stack.callback(local.close)
        backend = BackendSettings(target=Target(local.target), health_check="off")
        return {BackendName(DEFAULT_BACKEND): backend}, ()

    def _open_store(self, stack: ExitStack) -> Store:
        database = Database(self.settings.state_dir if self._keeps_state else None)
        stack.callback(database.close)
        holds = SqliteHolds(database)
        ledger = SqliteLedger(database)
        stack.callback(lambda: ledger.close(self._closing_seconds))
        aliases = SqliteAliases(database)
        stack.callback(lambda: aliases.close(self._closing_seconds))
        withdrawals = SqliteWithdrawals(database)
        stack.callback(lambda: withdrawals.close(self._closing_seconds))
        if self._keeps_state:
            rewrites = [holds.rewrite, ledger.rewrite, aliases.rewrite, withdrawals.rewrite]
            stack.callback(FileWatch(database, rewrites).close)
            self._commands = {
                "ledger": lambda _: record_rows.to_json(ledger.dump()),
                "backup": lambda _: database.copy(),
                "retry": partial(self._retry, ledger),
            }
        return Store(ledger, aliases, holds, withdrawals, LocalLocks())

    def _open_control_socket(self, stack: ExitStack) -> None:
        """Let the command `ledger` ask this proxy, if the ledger is on the disk."""
        if not self._keeps_state:
            return
        try:
            control_socket = ControlSocket(self.settings.state_dir, self._commands)
        except StateError as error:  # a file system without sockets
            logger.warning("%s; the command ledger does not work while the proxy runs", error)
        else:
            stack.callback(control_socket.close)

    def _retry(self, ledger: SqliteLedger, public_id: str) -> bytes:
        """Make an abandoned deletion pending again, and deliver it soon. Raises `StateError`."""
        ref = retry(ledger, public_id, self._clock.now_ms())
        self.delivery.deletions.wake(ref.backend)
        return b""

    def _make_delivery(self, store: Store) -> Delivery:
        return Delivery(
            self.backends,
            store,
            self.metrics,
            expire_after=self.settings.expire_after,
            give_up_after=self.settings.give_up_after,
            now_ms=self._clock.now_ms,
            is_in_doubt=lambda: self._clock.is_in_doubt,
        )

    def _open_channels(
        self, stack: ExitStack, backends: Mapping[BackendName, BackendSettings]
    ) -> dict[str, BackendChannel]:
        channels: dict[str, BackendChannel] = {}
        for name, backend in backends.items():
            channels[name] = BackendChannel(name, backend, self.metrics)
            stack.callback(channels[name].close)
        return channels

    def _make_backends(
        self, backends: Mapping[BackendName, BackendSettings]
    ) -> Mapping[str, Backend]:
        return {
            name: GrpcBackend(name, backend, self.channels[name], self.metrics)
            for name, backend in backends.items()
        }


def _in_flight_limits(
    settings: Settings, backends: Mapping[BackendName, BackendSettings]
) -> InFlightLimits:
    per_backend: dict[str, int] = {
        name: int(backend.in_flight) for name, backend in backends.items()
    }
    return InFlightLimits(per_backend, settings.threads)


def _policy(settings: Settings, backends: Mapping[BackendName, BackendSettings]) -> Policy:
    return Policy(
        settings.conflicts,
        settings.respond_within.total_seconds(),
        settings.threads,
        {
            name: int(backend.allow_for.total_seconds())
            for name, backend in backends.items()
            if backend.when_unreachable == "allow"
        },
    )


def create_app(
    settings: Settings | None = None, servicer: ReservationServiceServicer | None = None
) -> Flask:
    """Return the WSGI application, for another WSGI server.

    Without `settings`, the settings come from the environment (`sources.load`). `servicer` is an
    instance of a Python class that implements the contract. It is the only backend, and runs in
    this process.

    The proxy closes itself when the interpreter ends. To close it earlier, call
    `app.extensions["jicofo_reservation_proxy"].close()`.

    A server that forks must call this function in its worker, because threads do not survive a
    fork: after a fork, the application answers every request with 503. The server must have only
    one worker, because a state directory belongs to one process.

    Raises `SettingsError`, `CredentialsError` and `StateError`.
    """
    found = settings if settings is not None else sources.load()
    proxy = Proxy(found, servicer, has_listener=False)
    atexit.register(proxy.close)
    return proxy.flask


def _in_process(servicer: ReservationServiceServicer | None, threads: int) -> InProcessBackend:
    """Serve a servicer, or the stub if there is no servicer.

    The imports are in this function, because most proxies need no gRPC server.
    """
    from .backends.in_process_backend import InProcessBackend  # noqa: PLC0415

    if servicer is None:
        from jicofo_reservation_stub import ReservationService  # noqa: PLC0415

        servicer = ReservationService()
    return InProcessBackend(servicer, threads)
