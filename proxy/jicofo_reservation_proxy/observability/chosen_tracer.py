"""The tracer that the operator asks for with the standard variables of OpenTelemetry.

Without a tracer, nothing of OpenTelemetry is imported: it takes a quarter of the time that the
proxy itself takes to load.
"""

import logging
from collections.abc import Mapping

from .traces import Tracer

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
"""The variables of the protocol; the first one that is set counts."""

PROTOCOL = "http/protobuf"
"""The only protocol that the proxy exports traces with, and OpenTelemetry's default."""

logger = logging.getLogger(__name__)


def chosen_tracer(environ: Mapping[str, str]) -> Tracer | None:
    """Return a tracer if the operator asks for traces, otherwise `None`.

    If the tracer cannot be made, log a warning and return `None`. The proxy starts nevertheless:
    the variables are often set for all services of a machine, and rooms that do not open are worse
    than traces that are missing.
    """
    if not _is_wanted(environ):
        return None
    protocol = next((environ[name] for name in _PROTOCOLS if environ.get(name)), PROTOCOL)
    if protocol.strip() != PROTOCOL:
        logger.warning(
            "traces are off: wanted OTEL_EXPORTER_OTLP_PROTOCOL=%s, got %r; set "
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=%s, and the endpoint for it (usually port 4318)",
            PROTOCOL,
            protocol,
            PROTOCOL,
        )
        return None
    try:
        from .opentelemetry_tracer import OpenTelemetryTracer  # noqa: PLC0415 - most do not want it

        return OpenTelemetryTracer()
    except ImportError as error:
        logger.warning(
            "traces are off: the variables OTEL_* ask for them, but a package is missing (%s); "
            "install it with: pip install 'jicofo-reservation-proxy[otel]', or set "
            "OTEL_TRACES_EXPORTER=none",
            error,
        )
    except Exception as error:  # noqa: BLE001 - OpenTelemetry does not say what it may raise
        logger.warning("traces are off: wanted valid variables OTEL_*, got an error: %s", error)
    return None


def _is_wanted(environ: Mapping[str, str]) -> bool:
    """Return whether the standard variables ask for traces over OTLP."""
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    chosen = environ.get("OTEL_TRACES_EXPORTER", "")
    exporters = {name.strip().lower() for name in chosen.split(",")}
    if exporters != {""}:
        if not exporters & {"otlp", "none"}:
            logger.warning(
                "traces are off: wanted OTEL_TRACES_EXPORTER=otlp or none, got %r",
                chosen,
            )
        return "otlp" in exporters
    return any(environ.get(name) for name in _ENDPOINTS)
