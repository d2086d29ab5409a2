"""Credential rotation: use new credentials when the credential files of a backend change.

The proxy first makes a trial call with the new credentials. If the new credentials may be the cause
of a failure, the old credentials stay in use. New TLS files need a new channel. The proxy closes
the old channel after the deadline of every call on it has passed. So no call fails because of a
rotation.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol, cast

import grpc

from jicofo_reservation_proxy.certificates import (
    CertificateEnd,
    end_of_authorities,
    end_of_chain,
)
from jicofo_reservation_proxy.clock import now_ms
from jicofo_reservation_proxy.errors import CredentialsError
from jicofo_reservation_proxy.ids import new_incident_id
from jicofo_reservation_proxy.observability.health import Health, Words
from jicofo_reservation_proxy.observability.metrics import Metrics
from jicofo_reservation_proxy.settings.addresses import is_xds_target
from jicofo_reservation_proxy.settings.schema import Backend

from . import contract, credentials
from .backend import PROBE_ID
from .channel import Calls, bind, dial, service_config
from .credentials import Credentials
from .xds_bootstrap import check_bootstrap

REFRESH_SECONDS = 2.0
"""How often the proxy reads the files. A shorter interval would gain little, because Kubernetes
needs up to a minute to replace files."""

TRY_SECONDS = 3.0
"""The deadline of the trial call. After any failure, the next `refresh` tries again."""

RETIRE_MARGIN_SECONDS = 1.0
"""The time between the last possible deadline on an old channel and the closing of that channel."""

WORDS = Words("broken", "well again", level=logging.ERROR, tells_each_reason=True)
"""The words of the component of credentials."""

logger = logging.getLogger(__name__)


class BackendChannel:
    """The channel to one backend, with the newest credentials that the backend accepts.

    The constructor raises `CredentialsError` if it cannot use the credential files, and
    `SettingsError` if a control plane names the addresses and there is no bootstrap file. The
    channel connects in the background.
    """

    def __init__(
        self, name: str, backend: Backend, metrics: Metrics, health: Health | None = None
    ) -> None:
        self._name = name
        self._key = f"backends.{name}"
        self._backend = backend
        self._metrics = metrics
        if is_xds_target(backend.target):
            check_bootstrap(f"{self._key}.target", backend.target)
        self._plugin = credentials.load_plugin(f"{self._key}.auth", backend.auth)
        self._credentials = credentials.load(self._key, backend)
        for warning in credentials.readable_by_others(self._key, backend):
            logger.warning("%s", warning)
        self._channel = self._dial(self._credentials)
        self._calls = self._bind(self._channel, self._credentials)
        self._retired: list[tuple[grpc.Channel, float]] = []
        self._component = (health or Health()).component(f"{self._key}.credentials", WORDS)
        self._lock = threading.Lock()

    @property
    def calls(self) -> Calls:
        """The RPCs over the current channel."""
        return self._calls

    @property
    def certificates(self) -> list[CertificateEnd]:
        """When the certificates in use end: the own one, and those of the authorities."""
        tls, key = self._credentials.tls, f"{self._key}.tls"
        if tls is None:
            return []
        return [
            *end_of_chain(f"{key}.cert_file", tls.cert),
            *end_of_authorities(f"{key}.ca_file", tls.ca, now_ms()),
        ]

    def refresh(self) -> None:
        """Read the files. If the files changed, try the new credentials.

        If the backend accepts the new credentials, or refuses both the new and the old ones with
        the same status, use the new ones. If the backend is unreachable, or refuses only the new
        credentials, keep the old ones. The log contains a repeated failure with the same message
        only once.
        """
        with self._lock:
            self._close_retired(time.monotonic())
            try:
                found = credentials.load(self._key, self._backend)
                if found != self._credentials:
                    self._use(found)
                    self._metrics.credential_reloads.labels(self._name, "ok").inc()
                self._component.recover()
            except CredentialsError as error:
                self._complain(str(error))

    def close(self) -> None:
        """Close all channels. This cancels the calls in flight."""
        with self._lock:
            self._close_retired(float("inf"))
            self._channel.close()

    def _use(self, found: Credentials) -> None:
        is_same_channel = found.tls == self._credentials.tls
        channel = self._channel if is_same_channel else self._dial(found)
        calls = self._bind(channel, found)
        try:
            self._check(calls)
        except CredentialsError:
            if not is_same_channel:
                channel.close()
            raise
        if not is_same_channel:
            self._retire(self._channel)
        self._channel, self._calls, self._credentials = channel, calls, found
        logger.info("%s: new credentials are in use", self._key)

    def _check(self, calls: Calls) -> None:
        """Make a trial call with the new credentials.

        Raises `CredentialsError` if the old credentials should stay in use.
        """
        failure = _trial_failure(calls)
        if failure is None:
            return
        is_about_credentials = failure.code in _NOT_ALLOWED
        if is_about_credentials and _trial_failure(self._calls) == failure:
            # The backend refuses the old credentials too: perhaps it allows no caller to make the
            # trial call, so the failure says nothing about the new credentials.
            return
        raise CredentialsError(
            f"the trial call with the new credentials failed: {failure.code.name} {failure.detail}"
        )

    def _retire(self, channel: grpc.Channel) -> None:
        lifetime = self._backend.answer_within.total_seconds() + RETIRE_MARGIN_SECONDS
        self._retired.append((channel, time.monotonic() + lifetime))

    def _complain(self, complaint: str) -> None:
        self._metrics.credential_reloads.labels(self._name, "failed").inc()
        self._component.fail(
            f"{complaint}; the old credentials stay in use, and the proxy will try again"
        )

    def _close_retired(self, now: float) -> None:
        for channel, until in self._retired:
            if until <= now:
                channel.close()
        self._retired = [entry for entry in self._retired if entry[1] > now]

    def _dial(self, found: Credentials) -> grpc.Channel:
        return dial(self._backend, found, self._plugin, (service_config(self._backend),))

    def _bind(self, channel: grpc.Channel, found: Credentials) -> Calls:
        constant = tuple(self._backend.metadata.items())
        return bind(channel, self._backend.methods, constant + found.metadata)


_NOT_REACHED = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}
_NOT_ALLOWED = {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED}


@dataclass(frozen=True, slots=True)
class _TrialFailure:
    """The reason why a trial call failed. A comparison ignores `detail`, which is for people."""

    code: grpc.StatusCode
    detail: str = field(compare=False)


def _trial_failure(calls: Calls) -> _TrialFailure | None:
    """Make a trial call: read a conference that does not exist.

    Return the reason if the connection failed or the backend refused the credentials, otherwise
    `None`.
    """
    try:
        calls.get(
            contract.get_message(PROBE_ID),
            timeout=TRY_SECONDS,
            wait_for_ready=True,
            metadata=((contract.INCIDENT_KEY, new_incident_id()), *calls.metadata),
        )
    except grpc.RpcError as error:
        call = cast("grpc.Call", error)
        if call.code() in _NOT_REACHED | _NOT_ALLOWED:
            return _TrialFailure(call.code(), call.details() or "")
    return None


class Refreshable(Protocol):
    """A part that uses credentials from files."""

    def refresh(self) -> None:
        """Read the files again, and use new credentials. Raises nothing."""


class CredentialRotation:
    """The thread that refreshes all parts at an interval, until it is stopped.

    `parts` returns the parts, which may be others each time.
    """

    def __init__(
        self, parts: Callable[[], Iterable[Refreshable]], every_seconds: float = REFRESH_SECONDS
    ) -> None:
        self._parts = parts
        self._every_seconds = every_seconds
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="credentials", daemon=True)
        self._thread.start()

    def stop(self, within_seconds: float = 2 * TRY_SECONDS) -> None:
        """Stop the thread, and wait for its end.

        One `refresh` makes at most two trial calls: with the new and with the old credentials.
        """
        self._stopped.set()
        self._thread.join(min(within_seconds, 2 * TRY_SECONDS))

    def _run(self) -> None:
        while not self._stopped.wait(self._every_seconds):
            for part in self._parts():
                if not self._stopped.is_set():
                    part.refresh()
