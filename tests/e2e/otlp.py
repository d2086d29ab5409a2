"""A real OTLP receiver for the tests: an HTTP server that keeps the spans that it gets."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1 import trace_service_pb2
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from .support import TIMEOUT_SECONDS


class Receiver:
    """An OTLP receiver: it keeps the spans, and the resources that sent them."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.services: set[str] = set()
        self._changed = threading.Condition()

    def take(self, body: bytes) -> None:
        """Keep the spans of a request."""
        request = trace_service_pb2.ExportTraceServiceRequest.FromString(body)
        with self._changed:
            for sent in request.resource_spans:
                self.services.add(attributes(sent.resource)["service.name"])
                self.spans += [span for scope in sent.scope_spans for span in scope.spans]
            self._changed.notify_all()

    def wait(self, *names: str) -> list[Span]:
        """Return the spans, in the order of their start, when those with these names are there."""

        def are_there() -> bool:
            found = [span.name for span in self.spans]
            return all(found.count(name) >= names.count(name) for name in names)

        with self._changed:
            assert self._changed.wait_for(are_there, TIMEOUT_SECONDS), self.spans
            return sorted(self.spans, key=lambda span: span.start_time_unix_nano)


@contextmanager
def receiving(status: int = 200) -> Iterator[tuple[Receiver, str]]:
    """Run a receiver that answers with an HTTP status; yield it and its endpoint."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/traces"
            receiver.take(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield receiver, f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def attributes(of: Any) -> dict[str, Any]:  # noqa: ANN401 - spans, events and resources have them
    """Return attributes as plain values."""
    return {
        pair.key: getattr(pair.value, str(pair.value.WhichOneof("value"))) for pair in of.attributes
    }
