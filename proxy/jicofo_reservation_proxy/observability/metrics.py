"""Every metric of the proxy, in one place. Labels are bounded: no room, owner or id is one."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0)
"""Up to 20 s, where Prosody gives up (clients.md)."""

_PREFIX = "jicofo_reservation_proxy"


class Metrics:
    """The metrics of one proxy, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            f"{_PREFIX}_requests",
            "HTTP requests answered.",
            ("operation", "client", "outcome", "status"),
            registry=self.registry,
        )
        self.request_seconds = Histogram(
            f"{_PREFIX}_request_seconds",
            "Time from a request's arrival in a thread to its answer.",
            ("operation",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.calls = Counter(
            f"{_PREFIX}_backend_calls",
            "gRPC calls to backends, by the code that ended them.",
            ("backend", "operation", "code"),
            registry=self.registry,
        )
        self.call_seconds = Histogram(
            f"{_PREFIX}_backend_call_seconds",
            "Time that gRPC calls to backends took.",
            ("backend", "operation"),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.circuit_open = Gauge(
            f"{_PREFIX}_backend_circuit_open",
            "1 while a backend is not asked, because its last answers took too long.",
            ("backend",),
            registry=self.registry,
        )
        self.deletion_attempts = Counter(
            f"{_PREFIX}_deletion_attempts",
            "Attempts to deliver a deletion to its backend, by what came of it.",
            ("backend", "reason", "result"),
            registry=self.registry,
        )
        self.conferences = Gauge(
            f"{_PREFIX}_conferences",
            "Conferences in the ledger: open; those whose deletion is pending; or was abandoned.",
            ("state",),
            registry=self.registry,
        )
        self.without_backend = Counter(
            f"{_PREFIX}_answers_without_backend",
            "Requests that the proxy answered itself, since the backend did not.",
            ("backend", "source"),
            registry=self.registry,
        )
        self.credential_reloads = Counter(
            f"{_PREFIX}_credential_reloads",
            "Changes of credentials' files that were taken over, or not.",
            ("backend", "result"),
            registry=self.registry,
        )

    @property
    def has_fault(self) -> bool:
        """Whether any request ended in a fault, be it a DELETE, whose status does not tell."""
        samples = (sample for metric in self.requests.collect() for sample in metric.samples)
        return any(sample.labels.get("outcome") == "fault" for sample in samples)
