"""Which variables ask for a tracer. tests/e2e/test_tracing.py tests the tracer itself."""

import pytest
from jicofo_reservation_proxy.observability import opentelemetry_tracer
from jicofo_reservation_proxy.observability.chosen_tracer import chosen_tracer

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}
TRACES_ENDPOINT = {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:1/v1/traces"}
OTLP = {"OTEL_TRACES_EXPORTER": "otlp"}


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Return a list that gets an item for each tracer that is made."""
    found: list[object] = []

    def make() -> object:
        found.append(object())
        return found[-1]

    monkeypatch.setattr(opentelemetry_tracer, "OpenTelemetryTracer", make)
    return found


@pytest.mark.parametrize(
    "environ",
    [
        ENDPOINT,
        TRACES_ENDPOINT,
        OTLP,
        {"OTEL_TRACES_EXPORTER": "console, OTLP"},
        ENDPOINT | {"OTEL_TRACES_EXPORTER": ""},
        ENDPOINT | {"OTEL_SDK_DISABLED": "false"},
        ENDPOINT | {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"},
        ENDPOINT
        | {
            "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
        },
    ],
)
def test_the_variables_ask_for_a_tracer(
    environ: dict[str, str], made: list[object], caplog: pytest.LogCaptureFixture
) -> None:
    """The exporter `otlp` or an endpoint asks for traces."""
    assert [chosen_tracer(environ)] == made
    assert not caplog.records


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
        {"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://127.0.0.1:1"},
        {"OTEL_SERVICE_NAME": "rooms"},
        ENDPOINT | {"OTEL_TRACES_EXPORTER": "none"},
        ENDPOINT | OTLP | {"OTEL_SDK_DISABLED": " True"},
    ],
)
def test_the_variables_ask_for_no_tracer(
    environ: dict[str, str], made: list[object], caplog: pytest.LogCaptureFixture
) -> None:
    """Without these variables, or if one of them says no, there is no tracer and no warning."""
    assert chosen_tracer(environ) is None
    assert not made
    assert not caplog.records


@pytest.mark.parametrize(
    ("environ", "warning"),
    [
        (
            ENDPOINT | {"OTEL_TRACES_EXPORTER": "zipkin"},
            "wanted OTEL_TRACES_EXPORTER=otlp or none, got 'zipkin'",
        ),
        (
            ENDPOINT | {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            "wanted OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf, got 'grpc'; set",
        ),
    ],
)
def test_what_the_proxy_cannot_do_is_a_warning(
    environ: dict[str, str], warning: str, made: list[object], caplog: pytest.LogCaptureFixture
) -> None:
    """The proxy exports over OTLP and HTTP only. It starts nevertheless, without traces."""
    assert chosen_tracer(environ) is None
    assert not made
    (line,) = caplog.messages
    assert line.startswith("traces are off: ")
    assert warning in line


def test_a_variable_that_is_not_valid_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """OpenTelemetry refuses a value; the proxy says so once, and leaves no thread."""
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "0")
    assert chosen_tracer(OTLP) is None
    (line,) = caplog.messages
    assert "traces are off: wanted valid variables OTEL_*" in line
    assert "max_queue_size" in line
