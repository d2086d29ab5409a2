"""The proxy: its objects, made of settings; the reload, which changes some; the shutdown."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Self

from prometheus_client import ProcessCollector

from jicofo_reservation_proxy.admin.control_socket import ControlSocket
from jicofo_reservation_proxy.admin.gauges import Gauges
from jicofo_reservation_proxy.admin.snapshot import take
from jicofo_reservation_proxy.admin.status import to_json
from jicofo_reservation_proxy.backends.backend_status import BackendState
from jicofo_reservation_proxy.backends.credential_rotation import CredentialRotation, Refreshable
from jicofo_reservation_proxy.backends.idle_probes import IdleProbes
from jicofo_reservation_proxy.backends.pool import BackendPool, Member, WatchedBackend
from jicofo_reservation_proxy.certificates import CertificateEnd
from jicofo_reservation_proxy.clock import SteadyClock, now_ms
from jicofo_reservation_proxy.errors import CollectedFaults, ProxyError, StateError
from jicofo_reservation_proxy.http.access_log import AccessLog
from jicofo_reservation_proxy.http.client_tokens import ClientTokens
from jicofo_reservation_proxy.http.front_door import FrontDoor, FrontDoorInUse
from jicofo_reservation_proxy.http.recent_requests import RecentRequests
from jicofo_reservation_proxy.http.refusals import Refusals
from jicofo_reservation_proxy.http.wsgi import make_flask
from jicofo_reservation_proxy.ids import Named, decode
from jicofo_reservation_proxy.ledger.records import RecordState
from jicofo_reservation_proxy.observability import logs
from jicofo_reservation_proxy.observability.certificate_watch import CertificateWatch
from jicofo_reservation_proxy.observability.chosen_tracer import chosen_tracer
from jicofo_reservation_proxy.observability.health import Health
from jicofo_reservation_proxy.observability.metrics import Metrics
from jicofo_reservation_proxy.observability.traces import Tracer
from jicofo_reservation_proxy.reservations.deletion_delivery import Delivery
from jicofo_reservation_proxy.reservations.in_flight_limits import InFlightLimits
from jicofo_reservation_proxy.reservations.numeric_ids import NumericIds
from jicofo_reservation_proxy.reservations.room_queue import RoomQueue, max_waiting_in_all
from jicofo_reservation_proxy.reservations.shared import Shared
from jicofo_reservation_proxy.settings.changes import differences, until_restart
from jicofo_reservation_proxy.settings.health import SettingsHealth
from jicofo_reservation_proxy.settings.origins import Origins
from jicofo_reservation_proxy.settings.reloader import Reloader
from jicofo_reservation_proxy.settings.schema import Backend as BackendSettings
from jicofo_reservation_proxy.settings.schema import BackendName, Route, Settings
from jicofo_reservation_proxy.settings.sources import Loaded, Source
from jicofo_reservation_proxy.settings.warnings import warnings_about

from .connect import connect
from .front_doors import NONE, FrontDoors, ListenerCredentials
from .local_backend import LocalBackend
from .open_store import OpenStore

if TYPE_CHECKING:
    from jicofo_reservation_proxy.gen.jicofo.reservation.v1.reservation_pb2_grpc import (
        ReservationServiceServicer,
    )

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
        self.requests = RecentRequests()
        """The last requests, and those in flight."""
        self._access_log = AccessLog(self.metrics, self.requests, settings.metrics_tenants)
        self._has_listener = has_listener
        self._certificate_watch = CertificateWatch(lambda: self.certificates)
        self._clock = SteadyClock()
        self._keeps_state = keeps_state and settings.state == "disk"
        self._drain_seconds = settings.drain_within.total_seconds()
        self._until = time.monotonic()
        self._pid = os.getpid()
        self._local = LocalBackend(servicer)
        self.commands: Mapping[str, Callable[[str], bytes]] = {}
        self.backends = BackendPool(self._connect)
        with ExitStack() as stack:
            stack.callback(self._local.close)
            self.tracer = self._start_tracer(stack)
            self._front_doors = FrontDoors(
                self.metrics,
                self.health,
                self.refusals,
                self._access_log,
                self.tracer,
                has_listener,
            )
            self._credentials = self._front_doors.credentials(settings, NONE)
            stack.callback(self.backends.close)
            backends, routes = self._local.choose(settings)
            self.backends.use(self.backends.prepare(backends))
            state_dir = settings.state_dir if self._keeps_state else None
            self._store = OpenStore(
                state_dir, self.health, self.metrics, stack, lambda: self._closing_seconds
            )
            self.ledger, self.figures = self._store.store.ledger, self._store.figures
            self.delivery = self._make_delivery()
            self._shared = self._share()
            self.backends.has_conferences = self._store.has_conferences
            self.backends.forget = self._forget
            self.front_door = FrontDoorInUse(self._make_door(settings, routes))
            self.flask = make_flask(self.front_door)
            self.flask.extensions[EXTENSION] = self
            self._start(stack)
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
    def admin_tokens(self) -> ClientTokens | None:
        """The tokens for changes over the admin listener; `None` without the setting."""
        return self._credentials.admin_tokens

    @property
    def targets(self) -> Mapping[str, str]:
        """The address of each backend."""
        found = self.backends.members.items()
        return {name: str(member.settings.target) for name, member in found}

    @property
    def backend_states(self) -> list[BackendState]:
        """The status of each backend."""
        return [backend.state for backend in self._watched_backends()]

    def _watched_backends(self) -> list[WatchedBackend]:
        return [member.backend for member in self.backends.members.values()]

    @property
    def certificates(self) -> list[CertificateEnd]:
        """The certificates in use: that of the listener, and those for the backends."""
        tls = self.front_door.door.tls
        found = list(tls.certificates) if tls else []
        for member in self.backends.members.values():
            found += member.connection.certificates
        return found

    @property
    def connections(self) -> int:
        """The number of open connections of clients."""
        return self.count_connections()

    def _start(self, stack: ExitStack) -> None:
        """Start the threads; `stack` stops them in the opposite order."""
        rotation = CredentialRotation(self._with_credentials)
        stack.callback(lambda: rotation.stop(self._closing_seconds))
        self._announce()
        self._show()
        probes = IdleProbes(self._watched_backends)
        stack.callback(lambda: probes.stop(self._closing_seconds))
        self.delivery.start()
        stack.callback(self._stop_delivery)
        self._open_control_socket(stack)
        self.reloader.start()
        stack.callback(self._stop_reloads)

    def _stop_reloads(self) -> None:
        """Wait a moment for a reload; the rest of the drain is for the deletions."""
        self.reloader.stop(self._short_seconds)

    def _stop_delivery(self) -> None:
        self.delivery.stop(max(0.0, self._until - time.monotonic() - self._short_seconds))

    @property
    def _short_seconds(self) -> float:
        return min(CLOSING_SECONDS, self._drain_seconds / 5)

    @property
    def _closing_seconds(self) -> float:
        """The time that one part may take to close; a disk or a backend may hang."""
        return max(CLOSING_SECONDS, self._until - time.monotonic())

    def _use(self, loaded: Loaded) -> Sequence[str]:
        """Use other settings from now on; return what has changed. Raises `ProxyError`.

        The steps up to `prepare` may fail, and change nothing. The front door is the last step, so
        no request uses a backend before all other parts know it.
        """
        with self.backends.changing:
            return self._use_alone(loaded)

    def _use_alone(self, loaded: Loaded) -> Sequence[str]:
        before = self.settings
        settings, waiting = until_restart(before, loaded.settings)
        backends, routes = self._local.choose(settings, before)
        credentials, prepared = self._prepare(settings, backends)
        changes = self.backends.use(prepared)
        for name in changes.added:
            self.delivery.add(name)
        for name in changes.replaced:
            self.delivery.backend_changed(name)
        self._shared.in_flight.change(self._most_calls, settings.threads)
        self._shared.room_queue.max_in_all = max_waiting_in_all(settings.threads)
        self.delivery.change(settings.expire_after, settings.give_up_after)
        self._drain_seconds = settings.drain_within.total_seconds()
        self._credentials = credentials
        self.front_door.door = self._make_door(settings, routes)
        self._access_log.tenants = settings.metrics_tenants
        self._front_doors.forget_unused(credentials)
        self.settings, self.origins = settings, loaded.origins
        if self._has_listener and _log_settings(before) != _log_settings(settings):
            logs.configure(settings.log_format, settings.log_level)
        for part in (credentials.tokens, credentials.tls, credentials.admin_tokens):
            if part:  # a token that was revoked in the same file stops working at once
                part.refresh()
        for name in changes.removed:
            self._warn_of_removed(name)
        self._warn_of_new_doubts(before, settings)
        return (*differences(before, settings), *waiting)

    def _prepare(
        self, settings: Settings, backends: Mapping[BackendName, BackendSettings]
    ) -> tuple[ListenerCredentials, Mapping[str, Member]]:
        """Return all that new settings need and that may fail. Raises `ProxyError`."""
        credentials, prepared = self._credentials, dict[str, Member]()
        try:
            with CollectedFaults() as faults:
                with faults.collect():
                    credentials = self._front_doors.credentials(settings, self._credentials)
                with faults.collect():
                    prepared = self.backends.prepare(backends)
        except ProxyError:
            self.backends.discard(prepared)
            self._front_doors.forget_unused(self._credentials)
            for unused in backends.keys() - self.backends.keys():
                self.health.forget(f"backends.{unused}")
            raise
        return credentials, prepared

    def _make_door(self, settings: Settings, routes: Sequence[Route]) -> FrontDoor:
        return self._front_doors.make(
            settings, routes, self._credentials, self.backends, self._shared
        )

    def _warn_of_new_doubts(self, before: Settings, settings: Settings) -> None:
        """Log the warnings about settings that the start has not logged (commands/serve.py)."""
        if not self._has_listener:
            return
        known = set(warnings_about(before, {}))
        for warning in warnings_about(settings, {}):
            if warning not in known:
                logger.warning("%s", warning)

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
        yield from filter(None, self._credentials)
        yield self.backends
        yield self._certificate_watch

    def _announce(self) -> None:
        """Log the number of conferences from an earlier process; export the current number."""
        for state, number in self.ledger.counts.items():
            gauge = self.metrics.conferences.labels(state.value)
            gauge.set_function(partial(self._count, state))
            if number:
                logger.info("the ledger holds %d %s", number, _HELD[state])
        for name, number in self.figures.read().pending.items():
            if name not in self.backends:
                logger.warning(
                    "backends.%s: %d deletions are pending, and the backend is not in the settings;"
                    " add it again, or abandon them (ledger abandon ID)",
                    name,
                    number,
                )
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

    def _start_tracer(self, stack: ExitStack) -> Tracer | None:
        found = chosen_tracer(os.environ)
        if found is not None:
            stack.callback(lambda: found.close(self._closing_seconds))
        return found

    def _connect(self, name: str, settings: BackendSettings) -> Member:
        return connect(name, settings, self.metrics, self.tracer, self.health)

    def _open_control_socket(self, stack: ExitStack) -> None:
        """Let the command `ledger` ask this proxy, if the ledger is on the disk."""
        if not self._keeps_state:
            return
        self.commands = self._make_commands()
        try:
            control_socket = ControlSocket(self.settings.state_dir, self.commands)
        except StateError as error:  # a file system without sockets
            logger.warning("%s; the command ledger does not work while the proxy runs", error)
        else:
            stack.callback(control_socket.close)

    def _make_commands(self) -> Mapping[str, Callable[[str], bytes]]:
        """Return the commands of the control socket: a name → a function of the argument."""
        store, deletions = self._store, self.delivery.deletions

        def retry(public_id: str) -> bytes:
            store.retry(deletions, public_id, self._clock.now_ms())
            return b""

        def abandon(public_id: str) -> bytes:
            store.abandon(deletions, public_id)
            return b""

        def attempts(public_id: str) -> bytes:
            found = decode(public_id)
            count = deletions.attempts(found.ref) if isinstance(found, Named) else 0
            return str(count).encode()

        return {
            "ledger": lambda _: store.dump(),
            "backup": lambda _: store.copy(),
            "retry": retry,
            "abandon": abandon,
            "attempts": attempts,
            "status": lambda _: json.dumps(to_json(take(self))).encode(),
            "reload": lambda _: json.dumps(dataclasses.asdict(self.reloader.reload())).encode(),
        }

    def _make_delivery(self) -> Delivery:
        return Delivery(
            self.backends,
            self._store.store,
            self.metrics,
            expire_after=self.settings.expire_after,
            give_up_after=self.settings.give_up_after,
            now_ms=self._clock.now_ms,
            is_in_doubt=lambda: self._clock.is_in_doubt,
        )

    def _share(self) -> Shared:
        threads, store = self.settings.threads, self._store.store
        return Shared(
            store,
            self.delivery,
            NumericIds(store.aliases, self.backends, self._store.has_conferences),
            InFlightLimits(self._most_calls, threads),
            RoomQueue(store.locks, max_waiting_in_all(threads)),
            self._clock.now_ms,
        )


def _log_settings(settings: Settings) -> tuple[str, str]:
    return settings.log_format, settings.log_level
