"""Real servers for the tests: the proxy on a socket, and backends with scripted answers."""

import itertools
import json
import random
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import grpc
from jicofo_reservation_proxy.app import Proxy
from jicofo_reservation_proxy.gen.jicofo.reservation.v1 import reservation_pb2 as pb
from jicofo_reservation_proxy.gen.jicofo.reservation.v1 import reservation_pb2_grpc
from jicofo_reservation_proxy.http.server import Server
from jicofo_reservation_proxy.settings.schema import Settings
from jicofo_reservation_proxy.settings.validation import validate

JICOFO = "Apache-HttpClient/4.5.13 (Java/17)"
PROSODY = "Prosody (0.12.3; posix)"
CURL = "curl/8.5.0"
START = "2048-04-20T17:55:12.000Z"
TIMEOUT_SECONDS = 60.0
"""The time limit of each wait, long enough for a busy machine."""

PATIENT = {"answer_within": "15s"}
"""The longest deadline that is allowed, for tests in which no call may reach its deadline."""

Context = grpc.ServicerContext


@dataclass
class Script(reservation_pb2_grpc.ReservationServiceServicer):
    """A backend whose answers come from functions; it records the requests."""

    create: Callable[[pb.CreateConferenceRequest, Context], pb.CreateConferenceResponse]
    get: Callable[[pb.GetConferenceRequest, Context], pb.GetConferenceResponse] | None = None
    delete: Callable[[pb.DeleteConferenceRequest, Context], pb.DeleteConferenceResponse] | None = (
        None
    )
    creates: list[pb.CreateConferenceRequest] = field(default_factory=list)
    gets: list[pb.GetConferenceRequest] = field(default_factory=list)
    deletes: list[pb.DeleteConferenceRequest] = field(default_factory=list)
    metadata: list[dict[str, str | bytes]] = field(default_factory=list)

    def CreateConference(  # noqa: N802 - gRPC's name
        self, request: pb.CreateConferenceRequest, context: Context
    ) -> pb.CreateConferenceResponse:
        """Return the answer of `create`."""
        self._note(self.creates, request, context)
        return self.create(request, context)

    def GetConference(  # noqa: N802 - gRPC's name
        self, request: pb.GetConferenceRequest, context: Context
    ) -> pb.GetConferenceResponse:
        """Return the answer of `get`, or UNIMPLEMENTED if `get` is `None`."""
        self._note(self.gets, request, context)
        if self.get is None:
            context.abort(grpc.StatusCode.UNIMPLEMENTED, "no GetConference here")
        return self.get(request, context)

    def DeleteConference(  # noqa: N802 - gRPC's name
        self, request: pb.DeleteConferenceRequest, context: Context
    ) -> pb.DeleteConferenceResponse:
        """Return the answer of `delete`, or OK if `delete` is `None`."""
        self._note(self.deletes, request, context)
        return self.delete(request, context) if self.delete else pb.DeleteConferenceResponse()

    def _note(self, requests: list[Any], request: object, context: Context) -> None:
        requests.append(request)
        self.metadata.append(dict(context.invocation_metadata()))


def granting(conference_id: str = "364758328", **fields: object) -> Script:
    """Return a backend that grants every room as a conference with this id and these fields."""

    def create(request: pb.CreateConferenceRequest, _: Context) -> pb.CreateConferenceResponse:
        return pb.CreateConferenceResponse(conference=conference(request, conference_id, **fields))

    return Script(create)


def granting_all() -> Script:
    """Return a backend that grants every request a conference of its own."""
    numbers = itertools.count(1)

    def create(request: pb.CreateConferenceRequest, _: Context) -> pb.CreateConferenceResponse:
        return pb.CreateConferenceResponse(conference=conference(request, str(next(numbers))))

    return Script(create)


def conference(
    request: pb.CreateConferenceRequest, conference_id: str = "364758328", **fields: object
) -> pb.Conference:
    """Return the conference that a request asks for."""
    values: dict[str, Any] = {
        "id": conference_id,
        "room": request.room.raw,
        "owner": request.owner.raw,
        "start_time": request.start_time,
    }
    return pb.Conference(**(values | fields))


def free_port() -> int:
    """Return a free port that the kernel does not give to clients.

    Otherwise, while a server is down, the kernel may give the server's port to a client. Then the
    server cannot use its port again, or the client connects to itself.
    """
    range_file = Path("/proc/sys/net/ipv4/ip_local_port_range")
    first_of_clients = int(range_file.read_text().split()[0])
    while True:
        port = random.SystemRandom().randrange(10_000, first_of_clients)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


@contextmanager
def serving_grpc(
    servicer: reservation_pb2_grpc.ReservationServiceServicer,
    credentials: grpc.ServerCredentials | None = None,
    address: str = "127.0.0.1:0",
) -> Iterator[str]:
    """Serve a backend, by default on a free port; yield its target."""
    with ThreadPoolExecutor(32) as executor:
        server = grpc.server(executor)
        reservation_pb2_grpc.add_ReservationServiceServicer_to_server(servicer, server)
        if credentials is None:
            port = server.add_insecure_port(address)
        else:
            port = server.add_secure_port(address, credentials)
        server.start()
        try:
            yield f"127.0.0.1:{port}" if address.startswith("127.") else address
        finally:
            server.stop(0).wait()


@contextmanager
def serving_http(proxy: Proxy) -> Iterator[int]:
    """Serve a proxy with the real HTTP server on a free port; yield the port."""
    server = Server(proxy.flask, proxy.settings.listen, proxy.front_door)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield int(server.effective_port)
    finally:
        server.stop()
        thread.join()


def settings(state_dir: Path, **values: object) -> Settings:
    """Return settings for a test: a free port and this state directory."""
    own = {"listen": "127.0.0.1:0", "state_dir": state_dir, "threads": 8, "respond_within": "18s"}
    return validate(own | values)


@dataclass
class Client:
    """An HTTP client that sends real bytes, and opens a new connection for each request."""

    port: int
    user_agent: str = JICOFO

    def create(self, name: str = "testroom", **fields: str | None) -> "Reply":
        """Send `POST /conference` as this client does."""
        values: dict[str, str | None] = {
            "name": name,
            "mail_owner": "juliet@example.com",
            "start_time": START,
        }
        form = {key: value for key, value in (values | fields).items() if value is not None}
        content_type = "application/x-www-form-urlencoded"
        if self.user_agent == JICOFO:
            form |= {"duration": "-1"}
            content_type += "; charset=UTF-8"
        return self.send(
            "POST", "/conference", urlencode(form).encode(), {"Content-Type": content_type}
        )

    def get(self, public_id: object) -> "Reply":
        """Send `GET /conference/{id}`."""
        return self.send("GET", f"/conference/{public_id}")

    def delete(self, public_id: object) -> "Reply":
        """Send `DELETE /conference/{id}`."""
        return self.send("DELETE", f"/conference/{public_id}")

    def send(
        self,
        method: str,
        target: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> "Reply":
        """Send one request and read its answer."""
        lines = [f"{method} {target} HTTP/1.1", "Host: localhost", f"User-Agent: {self.user_agent}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
        head = "\r\n".join([*lines, "", ""]).encode()
        return exchange(self.port, head + (body or b""))


@dataclass(frozen=True)
class Reply:
    """An HTTP answer, parsed from its bytes."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        """The body, which must be one flat JSON object of strings, integers and booleans."""
        fields = json.loads(self.body.decode("ascii"))
        assert isinstance(fields, dict)
        assert all(isinstance(value, str | int) for value in fields.values()), fields
        return fields


def exchange(port: int, request: bytes) -> Reply:
    """Send bytes on a new connection and read one answer."""
    with socket.create_connection(("127.0.0.1", port), TIMEOUT_SECONDS) as connection:
        connection.sendall(request)
        return read_reply(connection)


def read_reply(connection: socket.socket) -> Reply:
    """Read one answer, framed by its Content-Length."""
    received = b""
    while b"\r\n\r\n" not in received:
        chunk = connection.recv(65536)
        assert chunk, f"the connection was closed after {received!r}"
        received += chunk
    head, _, body = received.partition(b"\r\n\r\n")
    status_line, *lines = head.decode("ascii").split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    while len(body) < int(headers["content-length"]):
        body += connection.recv(65536)
    assert len(body) == int(headers["content-length"])
    return Reply(int(status_line.split()[1]), headers, body)


@contextmanager
def running(
    state_dir: Path,
    servicer: reservation_pb2_grpc.ReservationServiceServicer | None = None,
    **values: object,
) -> Iterator[Client]:
    """Run a proxy on real sockets; `servicer` becomes the backend named "default"."""
    with ExitStack() as stack:
        if servicer is not None:
            values["backends"] = backends(default=stack.enter_context(serving_grpc(servicer)))
        proxy = stack.enter_context(Proxy(settings(state_dir, **values)))
        yield Client(stack.enter_context(serving_http(proxy)))


def backends(**targets: str) -> dict[str, dict[str, str]]:
    """Return settings of backends, by their names and targets, with a long deadline."""
    return {name: PATIENT | {"target": target} for name, target in targets.items()}
