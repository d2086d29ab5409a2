"""Credential rotation: use new credentials when the credential files of a backend change.

The proxy first makes a trial call with the new credentials. If the new credentials may be the cause
of a failure, the old credentials stay in use. New TLS files need a new connection. The proxy closes
the old one after the deadline of every call on it has passed. So no call fails because of a
rotation.
"""

from __future__ import annotations

import logging
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from jicofo_reservation_proxy.certificates import (
    CertificateEnd,
    end_of_authorities,
    end_of_chain,
)
from jicofo_reservation_proxy.clock import now_ms
from jicofo_reservation_proxy.errors import CredentialsError
from jicofo_reservation_proxy.observability.health import Health, Words
from jicofo_reservation_proxy.observability.metrics import Metrics
from jicofo_reservation_proxy.settings.schema import Backend

from . import credentials
from .credentials import Credentials

REFRESH_SECONDS = 2.0
"""How often the proxy reads the files. A shorter interval would gain little, because Kubernetes
needs up to a minute to replace files."""

TRY_SECONDS = 3.0
"""The deadline of the trial call. After any failure, the next `refresh` tries again."""

RETIRE_MARGIN_SECONDS = 1.0
"""The time between the last possible deadline on an old connection and its closing."""

WORDS = Words("broken", "well again", level=logging.ERROR, tells_each_reason=True)
"""The words of the component of credentials."""

logger = logging.getLogger(__name__)

OpenedT = TypeVar("OpenedT")
"""What calls need: the connection or connections to the backend, and the metadata of the calls."""


@dataclass(frozen=True, slots=True)
class TrialFailure:
    """The reason why a trial call failed. A comparison ignores `detail`, which is for people.

    `is_refusal` is true if the backend refused the credentials, and false if it is unreachable.
    """

    code: str
    is_refusal: bool
    detail: str = field(compare=False)


class Rotation(ABC, Generic[OpenedT]):
    """The connection to one backend, with the newest credentials that the backend accepts.

    The constructor raises `CredentialsError` if it cannot use the credential files. Subclasses open
    and close connections, and make the trial calls.
    """

    def __init__(
        self, name: str, backend: Backend, metrics: Metrics, health: Health | None = None
    ) -> None:
        self._name = name
        self._key = f"backends.{name}"
        self._backend = backend
        self._metrics = metrics
        self._credentials = credentials.load(self._key, backend)
        for warning in credentials.readable_by_others(self._key, backend):
            logger.warning("%s", warning)
        self._opened = self._open(self._credentials, None)
        self._retired: list[tuple[OpenedT, float]] = []
        self._component = (health or Health()).component(f"{self._key}.credentials", WORDS)
        self._lock = threading.Lock()

    @abstractmethod
    def _open(self, found: Credentials, known: OpenedT | None) -> OpenedT:
        """Return what calls with these credentials need; do not wait for a connection.

        `known` has connections with the same TLS files, which the new value uses too.
        """

    @abstractmethod
    def _close(self, opened: OpenedT) -> None:
        """Close the connections. This cancels the calls in flight."""

    @abstractmethod
    def _trial_failure(self, opened: OpenedT) -> TrialFailure | None:
        """Make a harmless call; return the reason if the credentials may have made it fail."""

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
        """Close all connections. This cancels the calls in flight."""
        with self._lock:
            self._close_retired(float("inf"))
            self._close(self._opened)

    def _use(self, found: Credentials) -> None:
        is_same = found.tls == self._credentials.tls
        opened = self._open(found, self._opened if is_same else None)
        try:
            self._check(opened)
        except CredentialsError:
            if not is_same:
                self._close(opened)
            raise
        if not is_same:
            self._retire(self._opened)
        self._opened, self._credentials = opened, found
        logger.info("%s: new credentials are in use", self._key)

    def _check(self, opened: OpenedT) -> None:
        """Make a trial call with the new credentials.

        Raises `CredentialsError` if the old credentials should stay in use.
        """
        failure = self._trial_failure(opened)
        if failure is None:
            return
        if failure.is_refusal and self._trial_failure(self._opened) == failure:
            # The backend refuses the old credentials too: perhaps it allows no caller to make the
            # trial call, so the failure says nothing about the new credentials.
            return
        raise CredentialsError(
            f"the trial call with the new credentials failed: {failure.code} {failure.detail}"
        )

    def _retire(self, opened: OpenedT) -> None:
        lifetime = self._backend.answer_within.total_seconds() + RETIRE_MARGIN_SECONDS
        self._retired.append((opened, time.monotonic() + lifetime))

    def _complain(self, complaint: str) -> None:
        self._metrics.credential_reloads.labels(self._name, "failed").inc()
        self._component.fail(
            f"{complaint}; the old credentials stay in use, and the proxy will try again"
        )

    def _close_retired(self, now: float) -> None:
        for opened, until in self._retired:
            if until <= now:
                self._close(opened)
        self._retired = [entry for entry in self._retired if entry[1] > now]


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
