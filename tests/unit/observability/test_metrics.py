"""The metrics, in the text that Prometheus reads."""

import pytest
from jicofo_reservation_proxy.observability.metrics import Metrics
from prometheus_client import generate_latest

LABELS = {
    "requests_total": ("operation", "client", "outcome", "status"),
    "request_seconds_count": ("operation",),
    "backend_calls_total": ("backend", "operation", "code"),
    "backend_call_seconds_count": ("backend", "operation"),
    "ledger_write_seconds_count": (),
    "tenant_creates_total": ("tenant", "outcome"),
    "deletion_attempts_total": ("backend", "reason", "result"),
    "conferences": ("state",),
    "answers_without_backend_total": ("backend", "source"),
    "credential_reloads_total": ("backend", "result"),
}


@pytest.fixture
def metrics() -> Metrics:
    """Return metrics in which each metric has one event."""
    metrics = Metrics()
    metrics.requests.labels("create", "jicofo", "reservation", 200).inc()
    metrics.request_seconds.labels("create").observe(0.3)
    metrics.calls.labels("default", "create", "OK").inc()
    metrics.call_seconds.labels("default", "create").observe(19.9)
    metrics.ledger_write_seconds.observe(0.3)
    metrics.tenant_creates.labels("acme", "denied").inc()
    metrics.deletion_attempts.labels("default", "ended", "delivered").inc()
    metrics.conferences.labels("abandoned").set_function(lambda: 1)
    metrics.without_backend.labels("default", "ledger").inc()
    metrics.credential_reloads.labels("default", "ok").inc()
    return metrics


def exposition(metrics: Metrics) -> str:
    """Return the text that Prometheus scrapes."""
    return generate_latest(metrics.registry).decode()


@pytest.mark.parametrize(
    "sample",
    [
        'requests_total{client="jicofo",operation="create",outcome="reservation",status="200"} 1.0',
        'request_seconds_bucket{le="0.25",operation="create"} 0.0',
        'request_seconds_bucket{le="0.5",operation="create"} 1.0',
        'request_seconds_count{operation="create"} 1.0',
        'backend_calls_total{backend="default",code="OK",operation="create"} 1.0',
        'backend_call_seconds_bucket{backend="default",le="10.0",operation="create"} 0.0',
        'backend_call_seconds_bucket{backend="default",le="20.0",operation="create"} 1.0',
        "ledger_write_seconds_count 1.0",
        'tenant_creates_total{outcome="denied",tenant="acme"} 1.0',
        'deletion_attempts_total{backend="default",reason="ended",result="delivered"} 1.0',
        'conferences{state="abandoned"} 1.0',
        'answers_without_backend_total{backend="default",source="ledger"} 1.0',
        'credential_reloads_total{backend="default",result="ok"} 1.0',
    ],
)
def test_every_metric_is_exposed(metrics: Metrics, sample: str) -> None:
    """Each metric has its documented name and labels."""
    assert f"jicofo_reservation_proxy_{sample}\n" in exposition(metrics)


def test_there_are_no_other_metrics_and_labels(metrics: Metrics) -> None:
    """The proxy has exactly these metrics and labels; no label is a room, an owner or an id."""
    found = {
        sample.name.removeprefix("jicofo_reservation_proxy_"): tuple(sample.labels)
        for family in metrics.registry.collect()
        for sample in family.samples
        if not sample.name.endswith(("_created", "_bucket", "_sum"))
    }
    assert found == LABELS


def test_each_proxy_has_its_own_metrics(metrics: Metrics) -> None:
    """Two proxies in one process count separately."""
    assert exposition(Metrics()) != exposition(metrics)
    assert " 1.0\n" not in exposition(Metrics())


def test_a_removed_backend_has_no_series(metrics: Metrics) -> None:
    """After a reload without the backend, its series are gone; those of other backends stay."""
    metrics.calls.labels("other", "create", "OK").inc()
    metrics.forget_backend("default")
    text = exposition(metrics)
    assert 'backend="default"' not in text
    assert 'backend="other"' in text


@pytest.mark.parametrize(
    ("outcome", "has_fault"), [("reservation", False), ("denied", False), ("fault", True)]
)
def test_has_fault_is_true_after_a_fault(outcome: str, has_fault: bool) -> None:
    """`has_fault` is true if at least one request ended in a fault."""
    metrics = Metrics()
    assert not metrics.has_fault
    metrics.requests.labels("create", "jicofo", outcome, 200).inc()
    metrics.requests.labels("delete", "jicofo", "deleted", 200).inc()
    assert metrics.has_fault is has_fault
