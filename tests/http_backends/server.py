"""The HTTP part of the backends: a server on a free port that gives requests to a backend."""

import gzip
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Protocol
from urllib.parse import parse_qsl

IDLE_SECONDS = 20.0
"""How long a connection may be idle. The proxy closes its connections before the server stops."""

CHUNK_BYTES = 7


@dataclass(frozen=True, slots=True)
class Request:
    """A request. `path` is percent-encoded, and the names of headers are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = b""

    def form(self) -> dict[str, str]:
        """Return the fields of a form. Raises `ValueError`."""
        text = self.body.decode("ascii")
        return dict(parse_qsl(text, keep_blank_values=True, strict_parsing=True))

    def json(self) -> dict[str, object]:
        """Return the fields of a JSON object. Raises `ValueError`."""
        fields = json.loads(self.body)
        if not isinstance(fields, dict):
            raise ValueError(f"wanted a JSON object, got {fields!r}")  # noqa: TRY004
        return fields


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer, before it is framed."""

    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


def json_answer(
    status: int, value: object, content_type: str = "application/json", **headers: str
) -> Answer:
    """Return an answer with a JSON value as its body."""
    return Answer(status, json.dumps(value).encode(), content_type, headers)


class Framing:
    """Writes an answer with its length, on a connection that stays open."""

    protocol = "HTTP/1.1"

    def write(self, handler: BaseHTTPRequestHandler, answer: Answer) -> None:
        """Write the head and the body of an answer."""
        self._head(handler, answer, {"Content-Length": str(len(answer.body))})
        handler.wfile.write(answer.body)

    @staticmethod
    def _head(handler: BaseHTTPRequestHandler, answer: Answer, framing: Mapping[str, str]) -> None:
        handler.send_response(answer.status)
        if answer.body:
            handler.send_header("Content-Type", answer.content_type)
        for name, value in {**answer.headers, **framing}.items():
            handler.send_header(name, value)
        handler.end_headers()


class ClosesEachConnection(Framing):
    """Answers with HTTP/1.0 and without a length: the end of the connection ends the body."""

    protocol = "HTTP/1.0"

    def write(self, handler: BaseHTTPRequestHandler, answer: Answer) -> None:
        """Write the head and the body of an answer."""
        self._head(handler, answer, {})
        handler.wfile.write(answer.body)


class Chunked(Framing):
    """Writes the body in small chunks."""

    def write(self, handler: BaseHTTPRequestHandler, answer: Answer) -> None:
        """Write the head and the body of an answer."""
        if answer.status == 204:
            super().write(handler, answer)
            return
        self._head(handler, answer, {"Transfer-Encoding": "chunked"})
        for begin in range(0, len(answer.body), CHUNK_BYTES):
            chunk = answer.body[begin : begin + CHUNK_BYTES]
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        handler.wfile.write(b"0\r\n\r\n")


class Gzipped(Framing):
    """Compresses every body, whatever the request accepts."""

    def write(self, handler: BaseHTTPRequestHandler, answer: Answer) -> None:
        """Write the head and the body of an answer."""
        headers = {**answer.headers, "Content-Encoding": "gzip"}
        body = gzip.compress(answer.body)
        super().write(handler, Answer(answer.status, body, answer.content_type, headers))


class Backend(Protocol):
    """What a server serves."""

    framing: Framing

    def answer(self, request: Request) -> Answer:
        """Return the answer to a request. Several threads call this at once."""


@contextmanager
def serving(backend: Backend) -> Iterator[int]:
    """Serve a backend on a free port; yield the port."""

    class Handler(_Handler):
        protocol_version = backend.framing.protocol

    with _Server(("127.0.0.1", 0), Handler) as server:
        server.backend = backend
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = False  # so that the end of the server waits for its threads
    request_queue_size = 128
    backend: Backend


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = IDLE_SECONDS
    wbufsize = -1  # one packet for the head and the body
    disable_nagle_algorithm = True

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.command, self.path, headers, body)
        backend = self.server.backend
        backend.framing.write(self, backend.answer(request))

    do_GET = do_POST = do_PUT = do_DELETE = _serve  # noqa: N815 - the names of http.server

    def log_message(self, *_: object) -> None:
        """Log nothing."""
