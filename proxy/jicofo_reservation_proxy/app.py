"""The composition root: settings → objects → a WSGI application."""

from __future__ import annotations

import atexit
import dataclasses
import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, Self, cast

from flask import Flask
from prometheus_client import ProcessCollector

from .admin import status
from .admin.control_socket import ControlSocket
from .admin.gauges import Gauges
from .backends.backend_status import BackendState
from .backends.credential_rotation import BackendChannel, CredentialRotation, Refreshable
from .backends.grpc_backend import GrpcBackend
from .backends.idle_probes import IdleProbes
from .backends.pool import BackendPool, Member
from .certificates import CertificateEnd
from .clock import SteadyClock, now_ms
from .errors import ProxyError, StateError
from .http import client_tokens, listener_tls
from .http.access_control import AccessControl
from .http.access_log import AccessLog
from .http.base_path import BasePath
from .http.client_tokens import ClientTokens
from .http.dialects import recognition
from .http.fast_path import FastPath
from .http.front_door import FrontDoor, FrontDoorInUse
from .http.handlers import Handlers
from .http.host_names import names_to_check
from .http.listener_tls import ListenerTls
from .http.owners import guest_test
from .http.recent_requests import RecentRequests
from .http.refusals import Refusals
from .http.traced_handlers import TracedHandlers
from .http.wsgi import make_flask
from .ids import Named, decode
from .ledger import record_rows, sqlite_database
from .ledger.figures import LedgerFigures
from .ledger.file_watch import FileWatch
from .ledger.ledger import Store
from .ledger.records import RecordState
from .ledger.room_locks import LocalLocks
from .ledger.sqlite_aliases import SqliteAliases
from .ledger.sqlite_database import Database
from .ledger.sqlite_holds import SqliteHolds
from .ledger.sqlite_ledger import SqliteLedger, not_pending, retry
from .ledger.sqlite_withdrawals import SqliteWithdrawals
from .observability import logs
from .observability.certificate_watch import CertificateWatch
from .observability.chosen_tracer import chosen_tracer
from .observability.health import Health
from .observability.metrics import Metrics
from .observability.traces import Tracer
from .reservations.deletion_delivery import Delivery
from .reservations.in_flight_limits import InFlightLimits
from .reservations.numeric_ids import NumericIds
from .reservations.room_queue import RoomQueue, max_waiting_in_all
from .reservations.routing import DEFAULT_BACKEND, Router
from .reservations.shared import Shared
from .reservations.use_cases import Policy, UseCases
from .settings.changes import differences, until_restart
from .settings.health import SettingsHealth
from .settings.origins import Origins
from .settings.reloader import Reloader
from .settings.schema import Backend as BackendSettings
from .settings.schema import BackendName, Route, Settings, Target
from .settings.sources import Loaded, Source

if TYPE_CHECKING:
    from .backends.in_process_backend import InProcessBackend
    from .gen.jicofo.reservation.v1.reservation_pb2_grpc import ReservationServiceServicer

logger = logging.getLogger(__name__)

EXTENSION = "jicofo_reservation_proxy"
"""The key of the `Proxy` in `app.extensions`."""

CLOSING_SECONDS = 1.0
"""The part of the drain in which no deletion is sent any more, and all files are closed."""

ABANDON_SECONDS = 20.0
"""How long `ledger abandon` waits for an attempt in progress: longer than any `answer_within`."""

_HELD: Mapping[RecordState, str] = {
    RecordState.OPEN: "open conferences",
    RecordState.PENDING: "pending deletions",
    RecordState.ABANDONED: "abandoned deletions",
}


class Proxy:
    """The parts of one proxy. As a context manager, the proxy closes them in the right order.

    `servicer` is a backend in this process; it replaces the backends and routes of the settings.
    Without a `servicer`, and without backends in the settings, the backend is the stub, which
    grants every room. `origins` tells where the settings come from, and `source` reads them again
    for a reload. With `keeps_state=False` the ledger is in memory only, and the proxy does not
    touch the state directory, which the command `check` does not need. With `has_listener=False`
    another server passes the requests on, so `listen` and `listen_tls` have no effect.

    A reload replaces the front door, which is made of settings, and changes `settings` and
    `origins`. All objects that remember something stay: the store, the delivery, the backends whose
    settings are unchanged, and what requests share.

    Raises `SettingsError`, `CredentialsError` and `StateError`.
    """

    def __init__(
        self,
        settings: Settings,
        servicer: ReservationServiceServicer | None = None,
        *,
        origins: Origins | None = None,
        source: Source | None = None,
        keeps_state: bool = True,
        has_listener: bool = True,
    ) -> None:
        self.settings = settings
        self.origins = origins or Origins()
        self.metrics = Metrics()
        self.health, self.started_ms = Health(), now_ms()
        self.is_ready: Callable[[], bool] = lambda: False
        """Whether the proxy listens and is not stopping; `serve` sets it."""
        self.count_connections: Callable[[], int] = lambda: 0
        """The number of open connections of clients; `serve` sets it."""
        self.reloader = Reloader(source, settings, self._use)
        self.refusals = Refusals(self.metrics)
        self._access_log = AccessLog(self.metrics, RecentRequests(), settings.metrics_tenants)
        self._has_listener = has_listener
        self._certificate_watch = CertificateWatch(lambda: self.certificates)
        self._clock = SteadyClock()
        self._keeps_state = keeps_state and settings.state == "disk"
        self._drain_seconds = settings.drain_within.total_seconds()
        self._until = time.monotonic()
        self._pid = os.getpid()
        self._servicer = servicer
        self._local: InProcessBackend | None = None
        self.commands: dict[str, Callable[[str], bytes]] = {}
        self.backends = BackendPool(self._connect)
        with ExitStack() as stack:
            stack.callback(self._close_local)
            self.tracer = self._start_tracer(stack)
            credentials = self._credentials_of(settings, None)
            self.admin_tokens: ClientTokens | None = self._admin_tokens_of(settings)
            stack.callback(self.backends.close)
            backends, routes = self._choose_backends(settings)
            self.backends.use(self.backends.prepare(backends))
            store = self._open_store(stack)
            self.ledger = store.ledger
            self.delivery = self._make_delivery(store)
            self._shared = self._share(store)
            self.backends.has_conferences = partial(_has_conferences, store)
            self.backends.forget = self._forget
            self.front_door = FrontDoorInUse(self._make_door(settings, routes, credentials))
            self._start_rotation(stack)
            self._announce()
            self._show()
            probes = IdleProbes(self._grpc_backends)
            stack.callback(lambda: probes.stop(self._closing_seconds))
            self.delivery.start()
            stack.callback(self._stop_delivery)
            self._open_control_socket(stack)
            self.flask = make_flask(self.front_door)
            self.flask.extensions[EXTENSION] = self
            self.reloader.start()
            stack.callback(lambda: self.reloader.stop(self._closing_seconds))
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

    @property
    def requests(self) -> RecentRequests:
        """The last requests, and those in flight."""
        return self._access_log.recent

    @property
    def targets(self) -> Mapping[str, str]:
        """The address of each backend."""
        found = self.backends.members.items()
        return {name: str(member.settings.target) for name, member in found}

    @property
    def backend_states(self) -> list[BackendState]:
        """The status of each backend."""
        return [backend.state for backend in self._grpc_backends()]

    def _grpc_backends(self) -> list[GrpcBackend]:
        return [each for each in self.backends.values() if isinstance(each, GrpcBackend)]

    @property
    def certificates(self) -> list[CertificateEnd]:
        """The certificates in use: that of the listener, and those for the backends."""
        tls = self.front_door.door.tls
        found = list(tls.certificates) if tls else []
        for member in self.backends.members.values():
            found += member.channel.certificates
        return found

    @property
    def connections(self) -> int:
        """The number of open connections of clients."""
        return self.count_connections()

    def _start_rotation(self, stack: ExitStack) -> None:
        rotation = CredentialRotation(self._with_credentials)
        stack.callback(lambda: rotation.stop(self._closing_seconds))

    def _stop_delivery(self) -> None:
        closing_seconds = min(CLOSING_SECONDS, self._drain_seconds / 5)
        self.delivery.stop(max(0.0, self._until - time.monotonic() - closing_seconds))

    @property
    def _closing_seconds(self) -> float:
        """The time that one part may take to close; a disk or a backend may hang."""
        return max(CLOSING_SECONDS, self._until - time.monotonic())

    def _use(self, loaded: Loaded) -> Sequence[str]:
        """Use other settings from now on; return what has changed. Raises `ProxyError`.

        The steps up to `prepare` may fail, and change nothing. The front door is the last step, so
        no request uses a backend before all other parts know it.
        """
        before = self.settings
        settings, waiting = until_restart(before, loaded.settings)
        credentials = self._credentials_of(settings, self.front_door.door)
        admin_tokens = self._admin_tokens_of(settings)
        backends, routes = self._choose_backends(settings)
        try:
            prepared = self.backends.prepare(backends)
        except ProxyError:
            for unused in backends.keys() - self.backends.keys():
                self.health.forget(f"backends.{unused}")
            raise
        changes = self.backends.use(prepared)
        for name in changes.added:
            self.delivery.add(name)
        for name in changes.replaced:
            self.delivery.backend_changed(name)
        self._shared.in_flight.change(self._most_calls, settings.threads)
        self._shared.room_queue.max_in_all = max_waiting_in_all(settings.threads)
        self.delivery.change(settings.expire_after, settings.give_up_after)
        self._drain_seconds = settings.drain_within.total_seconds()
        self.front_door.door = self._make_door(settings, routes, credentials)
        self._access_log.tenants = settings.metrics_tenants
        self._forget_unused(credentials)
        self.settings, self.origins = settings, loaded.origins
        self.admin_tokens = admin_tokens
        if self._has_listener and _log_settings(before) != _log_settings(settings):
            logs.configure(settings.log_format, settings.log_level)
        for name in changes.removed:
            self._warn_of_removed(name)
        return (*differences(before, settings), *waiting)

    def _forget_unused(self, credentials: _DoorCredentials) -> None:
        """Forget the health of credentials of the listener that are not used any more."""
        if not credentials.tokens:
            self.health.forget(client_tokens.KEY)
        if not credentials.tls:
            self.health.forget(listener_tls.KEY)

    def _warn_of_removed(self, name: str) -> None:
        counts = self.ledger.counts_of(name)
        logger.warning(
            "backends.%s: it is not in the settings any more and gets no new rooms; %d open "
            "conferences and %d pending deletions keep it until they are gone",
            name,
            counts[RecordState.OPEN],
            counts[RecordState.PENDING],
        )

    def _forget(self, backend: str) -> None:
        """Remove what remains of a backend that is not in the pool any more."""
        self.delivery.remove(backend)
        self.health.forget(f"backends.{backend}")
        self.metrics.forget_backend(backend)
        self._shared.in_flight.change(self._most_calls, self.settings.threads)

    @property
    def _most_calls(self) -> Mapping[str, int]:
        found = self.backends.members.items()
        return {name: int(member.settings.in_flight) for name, member in found}

    def _with_credentials(self) -> Iterator[Refreshable]:
        """Yield all parts that use credentials from files."""
        door = self.front_door.door
        if door.access.client_tokens:
            yield door.access.client_tokens
        if door.tls:
            yield door.tls
        if self.admin_tokens:
            yield self.admin_tokens
        yield self.backends
        yield self._certificate_watch

    def _admin_tokens_of(self, settings: Settings) -> ClientTokens | None:
        """Return the tokens for changes over the admin listener. Raises `CredentialsError`."""
        file = settings.admin_token_file
        if file is None or not self._has_listener:
            return None
        return ClientTokens(file, self.metrics, self.health, key="admin_token_file")

    def _announce(self) -> None:
        """Log the number of conferences from an earlier process; export the current number."""
        for state, number in self.ledger.counts.items():
            gauge = self.metrics.conferences.labels(state.value)
            gauge.set_function(partial(self._count, state))
            if number:
                logger.info("the ledger holds %d %s", number, _HELD[state])
        if self.settings.state == "memory":
            logger.warning('state = "memory": pending deletions will be lost at the next restart')

    def _show(self) -> None:
        """Let the admin listener show what is read at each of its requests."""
        self.health.add(self.delivery.component)
        self.health.add(SettingsHealth(self.reloader))
        self.metrics.registry.register(Gauges(self))
        ProcessCollector(registry=self.metrics.registry)

    def _count(self, state: RecordState) -> float:
        """Return the number of conferences in a state, or NaN if the ledger cannot be read."""
        try:
            return self.ledger.counts[state]
        except StateError:
            return float("nan")

    def _credentials_of(self, settings: Settings, known: FrontDoor | None) -> _DoorCredentials:
        """Return the credentials of the listener; those of `known` if their settings are the same.

        Raises `CredentialsError`.
        """
        file, tls = settings.client_token_file, settings.listen_tls
        tokens = known and known.access.client_tokens
        if not tokens or tokens.file != file:
            tokens = ClientTokens(file, self.metrics, self.health) if file else None
        door_tls = known and known.tls
        if not door_tls or door_tls.settings != tls:
            wants_tls = tls if self._has_listener else None
            door_tls = ListenerTls(wants_tls, self.metrics, self.health) if wants_tls else None
        return _DoorCredentials(tokens, door_tls)

    def _make_door(
        self, settings: Settings, routes: Sequence[Route], credentials: _DoorCredentials
    ) -> FrontDoor:
        backends = dict(self.backends)
        use_cases = UseCases(
            Router(routes, [name for name in backends if not self.backends.is_removed(name)]),
            backends,
            self._shared,
            self._policy(settings),
        )
        handlers = self._make_handlers(settings, use_cases)
        hosts: Sequence[str] | None = settings.allowed_hosts or None
        if self._has_listener:
            hosts = names_to_check(settings.listen, settings.allowed_hosts)
        access = AccessControl(hosts, credentials.tokens, settings.client_token_header)
        return FrontDoor(
            access=access,
            base_path=BasePath(settings.path_prefix),
            refusals=self.refusals,
            handlers=handlers,
            fast_path=FastPath(handlers, access),
            tls=credentials.tls,
            threads=settings.threads,
            drain_seconds=settings.drain_within.total_seconds(),
        )

    def _policy(self, settings: Settings) -> Policy:
        found = self.backends.members.items()
        return Policy(
            settings.conflicts,
            settings.respond_within.total_seconds(),
            {
                name: int(member.settings.allow_for.total_seconds())
                for name, member in found
                if member.settings.when_unreachable == "allow"
            },
        )

    def _start_tracer(self, stack: ExitStack) -> Tracer | None:
        found = chosen_tracer(os.environ)
        if found is not None:
            stack.callback(lambda: found.close(self._closing_seconds))
        return found

    def _make_handlers(self, settings: Settings, use_cases: UseCases) -> Handlers:
        dialect_of = recognition(settings.client)
        is_guest = guest_test(settings.guest_domains)
        if self.tracer is None:
            return Handlers(use_cases, dialect_of, is_guest, self._access_log)
        return TracedHandlers(use_cases, dialect_of, is_guest, self._access_log, self.tracer)

    def _choose_backends(
        self, settings: Settings
    ) -> tuple[Mapping[BackendName, BackendSettings], Sequence[Route]]:
        """Return the backends and routes of the settings, or the backend in this process."""
        if self._servicer is None and settings.backends:
            return settings.backends, settings.routes
        if self._local is None:
            self._local = _in_process(self._servicer, settings.threads)
        backend = BackendSettings(target=Target(self._local.target), health_check="off")
        return {BackendName(DEFAULT_BACKEND): backend}, ()

    def _close_local(self) -> None:
        if self._local:
            self._local.close()

    def _connect(self, name: str, settings: BackendSettings) -> Member:
        channel = BackendChannel(name, settings, self.metrics, self.health)
        backend = GrpcBackend(name, settings, channel, self.metrics, self.tracer, self.health)
        return Member(settings, channel, backend)

    def _open_store(self, stack: ExitStack) -> Store:
        database = Database(
            self.settings.state_dir if self._keeps_state else None,
            self.health.component("ledger", sqlite_database.WORDS),
            self.metrics.ledger_write_seconds.observe,
        )
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
            self.commands = {
                "ledger": lambda _: record_rows.to_json(ledger.dump()),
                "backup": lambda _: database.copy(),
                "retry": partial(self._retry, ledger),
                "abandon": partial(self._abandon, ledger),
                "attempts": self._attempts,
                "status": lambda _: json.dumps(status.to_json(status.take(self))).encode(),
                "reload": lambda _: self._reload(),
            }
        self.figures = LedgerFigures(database, ledger, aliases, withdrawals)
        return Store(ledger, aliases, holds, withdrawals, LocalLocks())

    def _open_control_socket(self, stack: ExitStack) -> None:
        """Let the command `ledger` ask this proxy, if the ledger is on the disk."""
        if not self._keeps_state:
            return
        try:
            control_socket = ControlSocket(self.settings.state_dir, self.commands)
        except StateError as error:  # a file system without sockets
            logger.warning("%s; the command ledger does not work while the proxy runs", error)
        else:
            stack.callback(control_socket.close)

    def _retry(self, ledger: SqliteLedger, public_id: str) -> bytes:
        """Make an abandoned deletion pending again, and deliver it soon. Raises `StateError`."""
        ref = retry(ledger, public_id, self._clock.now_ms())
        self.delivery.deletions.wake(ref.backend)
        return b""

    def _abandon(self, ledger: SqliteLedger, public_id: str) -> bytes:
        """Abandon a pending deletion, durably. Raises `StateError`."""
        found = decode(public_id)
        deletions = self.delivery.deletions
        if not isinstance(found, Named) or not deletions.abandon(found.ref, ABANDON_SECONDS):
            raise StateError(not_pending(public_id))
        ledger.flush()
        return b""

    def _attempts(self, public_id: str) -> bytes:
        """Return the number of failed attempts at a deletion by this process."""
        found = decode(public_id)
        count = self.delivery.deletions.attempts(found.ref) if isinstance(found, Named) else 0
        return str(count).encode()

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

    def _share(self, store: Store) -> Shared:
        threads = self.settings.threads
        return Shared(
            store,
            self.delivery,
            NumericIds(store.aliases, self.backends),
            InFlightLimits(self._most_calls, threads),
            RoomQueue(store.locks, max_waiting_in_all(threads)),
            self._clock.now_ms,
        )

    def _reload(self) -> bytes:
        """Reload the settings; return the result as JSON."""
        return json.dumps(dataclasses.asdict(self.reloader.reload())).encode()


class _DoorCredentials(NamedTuple):
    """The credentials of the listener."""

    tokens: ClientTokens | None
    tls: ListenerTls | None


def _has_conferences(store: Store, backend: str) -> bool:
    """Return whether the proxy still needs a removed backend."""
    counts = store.ledger.counts_of(backend)
    held = counts[RecordState.OPEN] + counts[RecordState.PENDING]
    return held > 0 or any(store.withdrawals.of(backend))


def _log_settings(settings: Settings) -> tuple[str, str]:
    return settings.log_format, settings.log_level


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
    source = None if settings is not None else Source()
    loaded = source.read() if source else Loaded(cast("Settings", settings), Origins())
    proxy = Proxy(
        loaded.settings, servicer, origins=loaded.origins, source=source, has_listener=False
    )
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
