"""Every metric of the proxy.

A label never contains a room, an owner or an id, because their number is not limited.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0)
"""The largest bound is 20 s, the time after which Prosody gives up (clients.md)."""

_PREFIX = "jicofo_reservation_proxy"


class Metrics:
    """The metrics of one proxy, with a separate registry."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            f"{_PREFIX}_requests",
            "Requests of the reservation API that were answered.",
            ("operation", "client", "outcome", "status"),
            registry=self.registry,
        )
        self.refusals = Counter(
            f"{_PREFIX}_refusals",
            "Requests and connections that were refused before the reservation API, by reason.",
            ("reason", "method"),
            registry=self.registry,
        )
        self.admin_refusals = Counter(
            f"{_PREFIX}_admin_refusals",
            "Requests that the admin listener refused, by reason.",
            ("reason",),
            registry=self.registry,
        )
        self.request_seconds = Histogram(
            f"{_PREFIX}_request_seconds",
            "Seconds from the start of a request in a thread until its answer is ready.",
            ("operation",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.calls = Counter(
            f"{_PREFIX}_backend_calls",
            "Calls to backends, by gRPC or HTTP status; a call with its retries counts once.",
            ("backend", "operation", "code"),
            registry=self.registry,
        )
        self.retries = Counter(
            f"{_PREFIX}_backend_call_retries",
            "Retries of calls to backends that were not available.",
            ("backend", "operation"),
            registry=self.registry,
        )
        self.call_seconds = Histogram(
            f"{_PREFIX}_backend_call_seconds",
            "Duration of calls to backends with their retries, in seconds.",
            ("backend", "operation"),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.deletion_attempts = Counter(
            f"{_PREFIX}_deletion_attempts",
            "Attempts to deliver a deletion to its backend, by result.",
            ("backend", "reason", "result"),
            registry=self.registry,
        )
        self.ledger_write_seconds = Histogram(
            f"{_PREFIX}_ledger_write_seconds",
            "Seconds of each write of changes to the ledger, until they are durable.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.conferences = Gauge(
            f"{_PREFIX}_conferences",
            "Conferences in the ledger: open, with a pending or with an abandoned deletion.",
            ("state",),
            registry=self.registry,
        )
        self.tenant_creates = Counter(
            f"{_PREFIX}_tenant_creates",
            "Creates by tenant, if the setting metrics_tenants names tenants.",
            ("tenant", "outcome"),
            registry=self.registry,
        )
        self.without_backend = Counter(
            f"{_PREFIX}_answers_without_backend",
            "Requests that the ledger or a fallback grant answered, because the backend did not.",
            ("backend", "source"),
            registry=self.registry,
        )
        self.credential_reloads = Counter(
            f"{_PREFIX}_credential_reloads",
            "Attempts to use new credentials from their files, by result.",
            ("backend", "result"),
            registry=self.registry,
        )
        self.listener_reloads = Counter(
            f"{_PREFIX}_listener_credential_reloads",
            "Attempts to use new client tokens or certificates of the listener, by result.",
            ("setting", "result"),
            registry=self.registry,
        )

    def forget_backend(self, name: str) -> None:
        """Remove the series of a backend that is no longer in the settings."""
        for metric in (
            self.calls,
            self.retries,
            self.call_seconds,
            self.deletion_attempts,
            self.without_backend,
            self.credential_reloads,
        ):
            metric.remove_by_labels({"backend": name})

    @property
    def has_fault(self) -> bool:
        """Whether any request of the reservation API ended in a fault."""
        samples = (sample for metric in self.requests.collect() for sample in metric.samples)
        return any(sample.labels.get("outcome") == "fault" for sample in samples)
