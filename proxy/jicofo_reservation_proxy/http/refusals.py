"""Refusals: requests and connections that the listener refuses before the reservation API.

Anybody who reaches the port can cause them in great numbers, so each kind gets at most one line of
the log each minute. The metric counts all of them.
"""

import logging
import threading
from collections.abc import Mapping
from enum import Enum
from typing import NamedTuple

from jicofo_reservation_proxy.clock import now_ms
from jicofo_reservation_proxy.observability.metrics import Metrics
from jicofo_reservation_proxy.observability.throttle import Throttle

logger = logging.getLogger(__name__)

_METHODS = {"GET", "POST", "DELETE"}


class Refusal(Enum):
    """The kind of a refusal; the value is a label of the metric."""

    ORIGIN = "origin"
    HOST = "host"
    TOKEN = "token"  # noqa: S105 - the name of a label
    TLS_TO_PLAIN_PORT = "tls_to_plain_port"
    PLAIN_TO_TLS_PORT = "plain_to_tls_port"
    TLS_HANDSHAKE = "tls_handshake"
    TIMEOUT = "timeout"
    EVICTED = "evicted"
    MALFORMED = "malformed"
    UNKNOWN = "unknown"


_EXPLANATIONS: Mapping[Refusal, str] = {
    Refusal.ORIGIN: "a web page sent it: neither Jicofo nor Prosody sends Origin or Sec-Fetch-Site",
    Refusal.HOST: "its Host is a name that is not in allowed_hosts; if the client is yours, add "
    "the name of its base URL to allowed_hosts",
    Refusal.TOKEN: "it has no valid client token (client_token_file); the room of a refused DELETE "
    "stays held at the backend until its end",
    Refusal.TLS_TO_PLAIN_PORT: "it begins a TLS connection, and this port speaks plain HTTP; the "
    "base URL of the client must begin with http:// (or set listen_tls)",
    Refusal.PLAIN_TO_TLS_PORT: "it is plain HTTP, and this port speaks TLS (listen_tls); the base "
    "URL of the client must begin with https://",
    Refusal.TLS_HANDSHAKE: "the TLS handshake failed",
    Refusal.TIMEOUT: "it did not arrive in time",
    Refusal.MALFORMED: "it is not HTTP/1.1 as the proxy accepts it",
    Refusal.UNKNOWN: "the reservation API has no such request",
    Refusal.EVICTED: "it was idle longest, and there is no room for more connections",
}
"""The kind → why the proxy refuses such a request or connection."""


class SeenRefusals(NamedTuple):
    """The refusals of one kind since the start, and the last one of them.

    `peer` is the address of its client. `explanation` says why, and what to do. `detail` is a text
    about the last one. Times are in milliseconds since the epoch.
    """

    kind: Refusal
    number: int
    first_ms: int
    last_ms: int
    peer: str
    explanation: str
    detail: str


class Refusals:
    """Counts, logs and remembers refusals. All threads may use it."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._lock = threading.Lock()
        self._seen: dict[Refusal, SeenRefusals] = {}
        self._throttles = {kind: Throttle() for kind in Refusal}

    def note(self, kind: Refusal, peer: str, method: str = "", detail: str = "") -> None:
        """Record a refusal. `peer` is the address of the client, `detail` is not a secret."""
        label = method if method in _METHODS or not method else "other"
        self._metrics.refusals.labels(kind.value, label).inc()
        self._remember(kind, peer, detail)
        if number := self._throttles[kind].note():
            logger.warning(
                "refused a %s of %s: %s%s (%d such refusals since the last line)",
                f"{label} request" if method else "connection",
                peer,
                _EXPLANATIONS[kind],
                f": {detail}" if detail else "",
                number,
            )

    def seen(self) -> list[SeenRefusals]:
        """Return the refusals of each kind that there was; the newest one is first."""
        with self._lock:
            found = list(self._seen.values())
        return sorted(found, key=lambda seen: seen.last_ms, reverse=True)

    def _remember(self, kind: Refusal, peer: str, detail: str) -> None:
        now = now_ms()
        with self._lock:
            before = self._seen.get(kind)
            number, first_ms = (before.number, before.first_ms) if before else (0, now)
            self._seen[kind] = SeenRefusals(
                kind, number + 1, first_ms, now, peer, _EXPLANATIONS[kind], detail
            )
