"""The tracer of OpenTelemetry: spans over OTLP, as its standard variables say.

The names of the attributes are those of OpenTelemetry's semantic conventions for HTTP and RPC. The
proxy sets none of OpenTelemetry's global objects, because the program that embeds the proxy may
have its own.
"""

import logging
import netrc  # noqa: F401 - requests would import it in the first export, without a free file
import os
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from jicofo_reservation_proxy import __version__

from .throttle import Throttle
from .traces import Answered, Parent

SERVICE_NAME = "jicofo-reservation-proxy"
"""The name of the service, unless OTEL_SERVICE_NAME or OTEL_RESOURCE_ATTRIBUTES has another."""

FLUSH_SECONDS = 2.0
"""The longest time in which `close` exports what is left, also if the drain has more time: the
collector may hang."""

ABORT_SECONDS = 0.2
"""How long `close` then waits for the thread to see that it must end."""

_PREFIX = "jicofo_reservation_proxy"
_SPEAKERS = (
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    "opentelemetry.sdk._shared_internal",
)
"""The loggers of OpenTelemetry that log a line for each export that fails, and for lost spans."""

logger = logging.getLogger(__name__)


class OpenTelemetryTracer:
    """A `Tracer` that exports its spans in batches, from a thread of its own.

    At most OTEL_BSP_MAX_QUEUE_SIZE spans wait (2048 by default); more of them are lost. After a
    fork the tracer of the new process is closed. Raises `ValueError` if a variable is not valid.
    """

    def __init__(self) -> None:
        provider = TracerProvider(resource=_resource(), shutdown_on_exit=False)
        self._exporter = _Exporter()
        self._processor = BatchSpanProcessor(self._exporter)
        provider.add_span_processor(self._processor)
        self._tracer = provider.get_tracer(_PREFIX, __version__)
        self._propagator = TraceContextTextMapPropagator()
        self._quiet = _Quiet()
        for name in _SPEAKERS:
            logging.getLogger(name).addFilter(self._quiet)
        os.register_at_fork(after_in_child=_after_fork(weakref.ref(self)))

    @contextmanager
    def request(self, method: str, route: str, parent: Parent) -> Iterator["_RequestSpan"]:
        """Begin the span of a request; an invalid `parent` counts as none."""
        attributes = {"http.request.method": method, "http.route": route}
        context = self._propagator.extract(parent._asdict()) if parent.traceparent else None
        with self._span(f"{method} {route}", SpanKind.SERVER, attributes, context) as span:
            yield _RequestSpan(span)

    @contextmanager
    def call(self, backend: str, method_path: str, incident_id: str) -> Iterator["_CallSpan"]:
        """Begin the span of a gRPC call."""
        service, _, method = method_path.lstrip("/").partition("/")
        attributes = {
            "rpc.system": "grpc",
            "rpc.service": service,
            "rpc.method": method,
            **_of_backend(backend, incident_id),
        }
        with self._span(f"{service}/{method}", SpanKind.CLIENT, attributes) as span:
            yield _CallSpan(span, self._propagator)

    @contextmanager
    def http_call(self, backend: str, endpoint: str, incident_id: str) -> Iterator["_HttpCallSpan"]:
        """Begin the span of an HTTP request; the template has no room and no id."""
        method, _, template = endpoint.partition(" ")
        attributes = {
            "http.request.method": method,
            "url.template": template,
            **_of_backend(backend, incident_id),
        }
        with self._span(endpoint, SpanKind.CLIENT, attributes) as span:
            yield _HttpCallSpan(span, self._propagator)

    @contextmanager
    def deletion(self, backend: str, incident_id: str) -> Iterator[None]:
        """Begin the span of an attempt to deliver a deletion, with all its calls."""
        attributes = _of_backend(backend, incident_id)
        with self._span("deliver deletion", SpanKind.INTERNAL, attributes):
            yield

    @contextmanager
    def _span(
        self,
        name: str,
        kind: SpanKind,
        attributes: dict[str, str],
        context: Context | None = None,
    ) -> Iterator[Span]:
        """Begin a span, which is current until it ends.

        An exception makes it an error. Its text stays out of the span: the text of a backend may
        have personal data.
        """
        with self._tracer.start_as_current_span(
            name,
            context,
            kind,
            attributes,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield span
            except BaseException:  # raised again: also Ctrl-C makes the span an error
                span.set_status(StatusCode.ERROR)
                raise

    def close(self, within_seconds: float) -> None:
        """Export what is left, at most for this time and `FLUSH_SECONDS`, and end the thread.

        The first attempt that fails is the last one.
        An export that hangs goes on in its daemon thread until OTEL_EXPORTER_OTLP_TIMEOUT.
        """
        # BatchSpanProcessor's own methods have no time limit, and repeat attempts that fail.
        over = self._quiet.has_failed
        over.clear()
        flush = threading.Thread(target=self._flush, args=[over], name="traces", daemon=True)
        flush.start()
        over.wait(min(within_seconds, FLUSH_SECONDS))
        self._exporter.shutdown()
        flush.join(ABORT_SECONDS)
        if not flush.is_alive():  # otherwise its lines would still come
            for name in _SPEAKERS:
                logging.getLogger(name).removeFilter(self._quiet)

    def _flush(self, over: threading.Event) -> None:
        self._processor.shutdown()  # type: ignore[no-untyped-call]
        over.set()

    def after_fork(self) -> None:
        """End the thread that OpenTelemetry has started in the new process."""
        self._exporter.disown()
        self._processor.shutdown()  # type: ignore[no-untyped-call]


class _Exporter(OTLPSpanExporter):
    """The exporter. A second `shutdown` does nothing, and logs nothing.

    Nor does a `shutdown` after `disown`: in a forked process, another thread may have held the
    locks of the exporter, and its connection belongs to the parent.
    """

    def __init__(self) -> None:
        super().__init__()
        self._closing = threading.Lock()

    def shutdown(self) -> None:
        """Give up the attempts to export, and close the connection."""
        if self._closing.acquire(blocking=False):
            super().shutdown()  # type: ignore[no-untyped-call]

    def disown(self) -> None:
        """Make `shutdown` do nothing."""
        self._closing = threading.Lock()
        self._closing.acquire()


class _RequestSpan:
    """The span of a request, which is current until its answer is ready."""

    def __init__(self, span: Span) -> None:
        self._span = span

    def answer(self, answered: Answered) -> None:
        """Store what the answer was. Only a status from 500 on is an error of the server."""
        optional = {
            f"{_PREFIX}.client": answered.client,
            f"{_PREFIX}.backend": answered.backend,
            f"{_PREFIX}.source": answered.source,
            "error.type": answered.fault,
        }
        self._span.set_attributes(
            {
                "http.response.status_code": answered.status,
                f"{_PREFIX}.incident_id": answered.incident_id,
                f"{_PREFIX}.outcome": answered.outcome,
                **{name: value for name, value in optional.items() if value},
            }
        )
        if answered.status >= 500:
            self._span.set_status(StatusCode.ERROR)


class _CallSpan:
    """The span of a call. `metadata` names it to the backend."""

    def __init__(self, span: Span, propagator: TraceContextTextMapPropagator) -> None:
        self._span = span
        headers: dict[str, str] = {}
        propagator.inject(headers)
        self.metadata: Sequence[tuple[str, str]] = tuple(headers.items())

    def retry(self) -> None:
        """Store that the call begins once more."""
        self._span.add_event("retry")

    def end(self, code: str, number: int) -> None:
        """Store the gRPC status of the call; every status except OK is an error of a client."""
        self._span.set_attribute("rpc.grpc.status_code", number)
        if number:
            self._span.set_attribute("error.type", code)
            self._span.set_status(StatusCode.ERROR)


class _HttpCallSpan(_CallSpan):
    """The span of an HTTP request."""

    def end(self, code: str, number: int) -> None:
        """Store the HTTP status; every status from 400 on is an error of a client, as is none."""
        if number:
            self._span.set_attribute("http.response.status_code", number)
        if not 0 < number < 400:
            self._span.set_attribute("error.type", code)
            self._span.set_status(StatusCode.ERROR)


class _Quiet(logging.Filter):
    """Stops the lines of OpenTelemetry about spans that it cannot export; logs one each minute."""

    def __init__(self) -> None:
        super().__init__()
        self._throttle = Throttle()
        self.has_failed = threading.Event()
        """Set when an attempt to export fails."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether OpenTelemetry may log a record."""
        if record.levelno < logging.WARNING:
            return True
        self.has_failed.set()
        if number := self._throttle.note():
            logger.warning(
                "cannot export all traces: %s (%d such messages since the last line)",
                record.getMessage(),
                number,
            )
        return False


def _after_fork(found: "weakref.ref[OpenTelemetryTracer]") -> Callable[[], None]:
    """Return the hook of a tracer, which does not keep the tracer: a hook cannot be removed."""

    def run() -> None:
        if tracer := found():
            tracer.after_fork()

    return run


def _resource() -> Resource:
    """Return the description of this service; the variables of the operator come first."""
    own = {"service.name": SERVICE_NAME, "service.version": __version__}
    given = OTELResourceDetector().detect().attributes
    return Resource.create({name: text for name, text in own.items() if name not in given})


def _of_backend(backend: str, incident_id: str) -> dict[str, str]:
    return {f"{_PREFIX}.backend": backend, f"{_PREFIX}.incident_id": incident_id}
