"""The metrics that are read when Prometheus scrapes them, so that no request pays for them."""

import platform
from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from jicofo_reservation_proxy import __version__
from jicofo_reservation_proxy.backends.backend_status import BackendState
from jicofo_reservation_proxy.certificates import CertificateEnd
from jicofo_reservation_proxy.ledger.figures import LedgerFigures
from jicofo_reservation_proxy.observability.health import Health
from jicofo_reservation_proxy.settings.reloader import Reloader

_PREFIX = "jicofo_reservation_proxy"


class Measured(Protocol):
    """What the gauges read of a proxy. The values may change while the proxy runs."""

    health: Health
    figures: LedgerFigures
    reloader: Reloader

    @property
    def backend_states(self) -> Iterable[BackendState]:
        """The status of each backend."""

    @property
    def certificates(self) -> Iterable[CertificateEnd]:
        """The certificates in use."""

    @property
    def connections(self) -> int:
        """The number of open connections of clients."""


class Gauges(Collector):
    """Collects the gauges of a proxy. A backend that was removed has no series any more."""

    def __init__(self, proxy: Measured) -> None:
        self._proxy = proxy

    def describe(self) -> Iterable[Metric]:
        """Return nothing: the registry then does not collect before the first scrape."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Yield the gauges with their values now."""
        yield _gauge("build_info", "The version of the proxy; the value is always 1.", _build())
        yield from self._settings()
        yield from self._backends()
        yield from self._certificates()
        yield from self._ledger()
        yield _gauge(
            "component_healthy",
            "1 while a component works, 0 while it fails.",
            {(("component", state.name),): state.is_well for state in self._proxy.health.states()},
        )
        yield _gauge("connections", "Open connections of clients.", {(): self._proxy.connections})

    def _settings(self) -> Iterator[Metric]:
        state = self._proxy.reloader.state
        yield _gauge(
            "settings_info",
            "The hash of the settings in effect; the value is always 1.",
            {(("hash", state.hash),): 1},
        )
        yield _gauge(
            "settings_last_reload_successful",
            "1 if the last reload of the settings succeeded, or if there was none; 0 if it failed.",
            {(): not state.has_failed},
        )
        yield _gauge(
            "settings_last_reload_success_timestamp_seconds",
            "When the settings in effect were read.",
            {(): state.last_good_ms / 1000},
        )
        yield _gauge(
            "settings_last_reload_failure_timestamp_seconds",
            "When a reload of the settings last failed; absent if none did.",
            {} if state.last_failed_ms is None else {(): state.last_failed_ms / 1000},
        )

    def _backends(self) -> Iterator[Metric]:
        states = list(self._proxy.backend_states)
        yield _gauge(
            "backend_reachable",
            "1 while the backend answers, 0 while it is lost; absent before the first call.",
            {
                _backend(each.name): each.state == "reachable"
                for each in states
                if each.state != "unknown"
            },
        )
        yield _gauge(
            "backend_calls_in_flight",
            "Calls to the backend that wait for their answer.",
            {_backend(each.name): each.in_flight for each in states},
        )
        yield _gauge(
            "backend_last_success_timestamp_seconds",
            "When a call to the backend last succeeded; absent before that.",
            {
                _backend(each.name): each.last_success_ms / 1000
                for each in states
                if each.last_success_ms is not None
            },
        )
        yield _gauge(
            "backend_circuit_open",
            "1 while the circuit breaker is open: the last calls to the backend took too long.",
            {_backend(each.name): each.is_circuit_open for each in states},
        )

    def _certificates(self) -> Iterator[Metric]:
        yield _gauge(
            "certificate_not_after_timestamp_seconds",
            "When the certificate in a file ends, by the setting that names the file.",
            {(("file", each.key),): each.ends_at_ms / 1000 for each in self._proxy.certificates},
        )

    def _ledger(self) -> Iterator[Metric]:
        figures = self._proxy.figures.read()
        yield _gauge(
            "ledger_records",
            "Rows of each table of the ledger.",
            {(("table", table),): number for table, number in figures.records.items()},
        )
        yield _gauge(
            "ledger_text_bytes",
            "The size of all conferences, as the limit of the ledger counts it.",
            {(): figures.text_bytes},
        )
        yield _gauge(
            "ledger_file_bytes",
            "The size of the files of the ledger, a few seconds ago.",
            {(): figures.file_bytes},
        )
        yield _gauge(
            "pending_deletions",
            "Deletions that the backend has not acknowledged yet.",
            {
                _backend(each.name): figures.pending.get(each.name, 0)
                for each in self._proxy.backend_states
            }
            | {_backend(name): number for name, number in figures.pending.items()},
        )
        yield _gauge(
            "oldest_pending_deletion_timestamp_seconds",
            "Since when the conference of the oldest pending deletion is over; absent without one.",
            {_backend(name): ms / 1000 for name, ms in figures.oldest_pending_ms.items()},
        )


def _build() -> Mapping[tuple[tuple[str, str], ...], float]:
    return {(("version", __version__), ("python", platform.python_version())): 1}


def _backend(name: str) -> tuple[tuple[str, str], ...]:
    return (("backend", name),)


def _gauge(
    name: str, documentation: str, values: Mapping[tuple[tuple[str, str], ...], float]
) -> Metric:
    """Return a gauge; the keys of `values` are the names and values of labels."""
    family = GaugeMetricFamily(f"{_PREFIX}_{name}", documentation)
    for labels, value in values.items():
        family.add_sample(family.name, dict(labels), float(value))
    return family
