"""Worlds: a backend, and a real proxy in front of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from jicofo_reservation_proxy.app import Proxy
from jicofo_reservation_proxy.ledger.records import RecordState

from tests.e2e.support import PATIENT, Client, serving_http, settings
from tests.unit.ledgers import eventually

from .handbook import Handbook
from .server import serving

MANY_THREADS = 64
"""The default: the simulated Prosody sends up to 50 requests at once."""


@dataclass(frozen=True)
class World:
    """A backend and the proxy in front of it."""

    backend: Handbook
    proxy: Proxy
    port: int

    def client(self, agent: str) -> Client:
        """Return a client of the proxy."""
        return Client(self.port, agent)


@contextmanager
def running(kind: type[Handbook], directory: Path) -> Iterator[World]:
    """Run a backend and a proxy; no request of the proxy may be wrong for the backend."""
    backend = kind()
    with serving(backend) as port:
        own = _settings(kind, port, directory)
        values = {"threads": MANY_THREADS, "backends": {"default": own}}
        with Proxy(settings(directory / "state", **values)) as proxy:
            with serving_http(proxy) as listening:
                yield World(backend, proxy, listening)
            eventually(lambda: proxy.ledger.counts[RecordState.PENDING] == 0)
    assert backend.complaints == []


def _settings(kind: type[Handbook], port: int, directory: Path) -> dict[str, object]:
    own: dict[str, object] = {**PATIENT, **kind.settings}
    if kind.api_key:
        file = directory / "key"
        file.write_text(kind.api_key)
        file.chmod(0o600)
        own["auth"] = {"api_key_file": str(file), "header": "x-api-key"}
    return own | {"target": f"http://127.0.0.1:{port}{kind.prefix}"}
