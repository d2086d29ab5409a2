"""Make a front door from settings: at the start, and again at each reload."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from jicofo_reservation_proxy.backends.pool import BackendPool
from jicofo_reservation_proxy.errors import CollectedFaults
from jicofo_reservation_proxy.http import client_tokens, listener_tls
from jicofo_reservation_proxy.http.access_control import AccessControl
from jicofo_reservation_proxy.http.access_log import AccessLog
from jicofo_reservation_proxy.http.base_path import BasePath
from jicofo_reservation_proxy.http.client_tokens import ClientTokens
from jicofo_reservation_proxy.http.dialects import recognition
from jicofo_reservation_proxy.http.fast_path import FastPath
from jicofo_reservation_proxy.http.front_door import FrontDoor
from jicofo_reservation_proxy.http.handlers import Handlers
from jicofo_reservation_proxy.http.host_names import names_to_check
from jicofo_reservation_proxy.http.listener_tls import ListenerTls
from jicofo_reservation_proxy.http.owners import guest_test
from jicofo_reservation_proxy.http.refusals import Refusals
from jicofo_reservation_proxy.http.traced_handlers import TracedHandlers
from jicofo_reservation_proxy.observability.health import Health
from jicofo_reservation_proxy.observability.metrics import Metrics
from jicofo_reservation_proxy.observability.traces import Tracer
from jicofo_reservation_proxy.reservations.routing import Router
from jicofo_reservation_proxy.reservations.shared import Shared
from jicofo_reservation_proxy.reservations.use_cases import Policy, UseCases
from jicofo_reservation_proxy.settings.schema import Route, Settings

ADMIN_TOKENS_KEY = "admin_token_file"


class ListenerCredentials(NamedTuple):
    """The credentials of both listeners."""

    tokens: ClientTokens | None
    tls: ListenerTls | None
    admin_tokens: ClientTokens | None


NONE = ListenerCredentials(None, None, None)


@dataclass(frozen=True, slots=True)
class FrontDoors:
    """Makes front doors, and the credentials of the listeners.

    With `has_listener=False` another server passes the requests on. A proxy without traces has no
    `tracer`.
    """

    metrics: Metrics
    health: Health
    refusals: Refusals
    access_log: AccessLog
    tracer: Tracer | None
    has_listener: bool

    def credentials(self, settings: Settings, known: ListenerCredentials) -> ListenerCredentials:
        """Return the credentials of new settings; those of `known` if their settings are the same.

        Raises `CredentialsError` with all faults.
        """
        tokens = tls = admin_tokens = None
        with CollectedFaults() as faults:
            with faults.collect():
                tokens = self._tokens(settings, known.tokens)
            with faults.collect():
                tls = self._tls(settings, known.tls)
            with faults.collect():
                admin_tokens = self._admin_tokens(settings, known.admin_tokens)
        return ListenerCredentials(tokens, tls, admin_tokens)

    def _tokens(self, settings: Settings, known: ClientTokens | None) -> ClientTokens | None:
        file = settings.client_token_file
        if known and known.file == file:
            return known
        return ClientTokens(file, self.metrics, self.health) if file else None

    def _tls(self, settings: Settings, known: ListenerTls | None) -> ListenerTls | None:
        tls = settings.listen_tls if self.has_listener else None
        if known and known.settings == tls:
            return known
        return ListenerTls(tls, self.metrics, self.health) if tls else None

    def _admin_tokens(self, settings: Settings, known: ClientTokens | None) -> ClientTokens | None:
        file = settings.admin_token_file if self.has_listener else None
        if known and known.file == file:
            return known
        return ClientTokens(file, self.metrics, self.health, key=ADMIN_TOKENS_KEY) if file else None

    def forget_unused(self, credentials: ListenerCredentials) -> None:
        """Forget the health of credentials that are not used any more."""
        keys = (client_tokens.KEY, listener_tls.KEY, ADMIN_TOKENS_KEY)
        for key, found in zip(keys, credentials, strict=True):
            if not found:
                self.health.forget(key)

    def make(
        self,
        settings: Settings,
        routes: Sequence[Route],
        credentials: ListenerCredentials,
        pool: BackendPool,
        shared: Shared,
    ) -> FrontDoor:
        """Return the front door of settings, for the backends that are in the pool now."""
        backends = dict(pool)
        in_settings = [name for name in backends if not pool.is_removed(name)]
        use_cases = UseCases(Router(routes, in_settings), backends, shared, _policy(settings, pool))
        handlers = self._handlers(settings, use_cases)
        hosts: Sequence[str] | None = settings.allowed_hosts or None
        if self.has_listener:
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

    def _handlers(self, settings: Settings, use_cases: UseCases) -> Handlers:
        dialect_of = recognition(settings.client)
        is_guest = guest_test(settings.guest_domains)
        if self.tracer is None:
            return Handlers(use_cases, dialect_of, is_guest, self.access_log)
        return TracedHandlers(use_cases, dialect_of, is_guest, self.access_log, self.tracer)


def _policy(settings: Settings, pool: BackendPool) -> Policy:
    found = pool.members.items()
    return Policy(
        settings.conflicts,
        settings.respond_within.total_seconds(),
        {
            name: int(member.settings.allow_for.total_seconds())
            for name, member in found
            if member.settings.when_unreachable == "allow"
        },
    )
