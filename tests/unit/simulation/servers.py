"""HTTP servers on real sockets. A test chooses their answers, which may be invalid."""

import json
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from jicofo_reservation_proxy.simulation.wire import Address


@dataclass(frozen=True)
class Request:
    """A request, as raw bytes and as parsed parts."""

    head: bytes
    body: bytes
    connection: int
    """The number of the connection that the request arrived on."""

    @property
    def method(self) -> str:
        """The HTTP method."""
        return self.head.split(b" ", 1)[0].decode()

    @property
    def target(self) -> bytes:
        """The text between the method and the version, which may contain spaces."""
        return self.head.split(b"\r\n", 1)[0].split(b" ", 1)[1].rpartition(b" ")[0]

    @property
    def form(self) -> dict[str, str]:
        """The fields of the form."""
        return dict(parse_qsl(self.body.decode("ascii"), keep_blank_values=True))


@dataclass(frozen=True)
class Act:
    """How a server handles a request: it sends bytes; then it may close or stay silent."""

    sends: bytes = b""
    closes: bool = False
    is_silent: bool = False


CLOSE = Act(closes=True)
SILENCE = Act(is_silent=True)

Script = Callable[[Request], Act | bytes]


@dataclass
class Scripted:
    """A running server, and the requests that it has received."""

    port: int
    requests: list[Request] = field(default_factory=list)

    @property
    def address(self) -> Address:
        """The address of the server."""
        return Address("127.0.0.1", self.port)

    @property
    def methods(self) -> list[str]:
        """The methods of the requests, in their order."""
        return [request.method for request in self.requests]


@contextmanager
def answering(script: Script) -> Iterator[Scripted]:
    """Serve on a free port. A connection stays open until the script or the client closes it."""
    is_over = threading.Event()
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.script, server.is_over = script, is_over
        server.scripted = Scripted(server.server_address[1])
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.scripted
        finally:
            is_over.set()
            server.shutdown()
            thread.join()


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    request_queue_size = 64
    script: Script
    is_over: threading.Event
    scripted: Scripted
    connections = 0


class _Handler(socketserver.StreamRequestHandler):
    server: _Server
    timeout = 20

    def handle(self) -> None:
        self.server.connections += 1
        connection = self.server.connections
        try:
            while (request := self._read(connection)) is not None and self._act(request):
                pass
        except ConnectionError:
            pass  # the client has closed the connection

    def _read(self, connection: int) -> Request | None:
        lines = []
        while (line := self.rfile.readline()) not in {b"\r\n", b""}:
            lines.append(line)
        if not lines:
            return None
        sizes = [line for line in lines if line.lower().startswith(b"content-length:")]
        size = int(sizes[0].split(b":")[1]) if sizes else 0
        request = Request(b"".join(lines), self.rfile.read(size), connection)
        self.server.scripted.requests.append(request)
        return request

    def _act(self, request: Request) -> bool:
        act = self.server.script(request)
        if isinstance(act, bytes):
            act = Act(act)
        self.wfile.write(act.sends)
        if act.is_silent:
            self.server.is_over.wait(20)
        return not (act.closes or act.is_silent)


def http(status: int, fields: object, *headers: str) -> bytes:
    """Return an answer whose body is these fields as JSON, or these bytes."""
    data = fields if isinstance(fields, bytes) else json.dumps(fields).encode()
    lines = [f"HTTP/1.1 {status} Status", f"Content-Length: {len(data)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + data


def reservation(request: Request, **fields: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    """Return the fields of a good answer to a POST, changed by `fields`."""
    form = request.form
    good: dict[str, Any] = {"id": 7, "duration": 3600}
    good |= {key: form[key] for key in ("name", "mail_owner", "start_time") if key in form}
    return good | fields
