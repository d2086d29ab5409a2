"""HTTP backends for the tests: real servers, whose answers are functions or raw bytes."""

from __future__ import annotations

import json
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest
from jicofo_reservation_proxy.app import Proxy

from .support import PATIENT, Client, serving_http, settings


@dataclass(frozen=True)
class Received:
    """A request that the backend has read. The names of headers are in lower case.

    `connection` is the number of its connection, from 1. `names` are the names of all headers.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes
    connection: int
    names: tuple[str, ...] = ()

    @property
    def fields(self) -> dict[str, Any]:
        """The fields of a form or of a JSON body."""
        if self.headers.get("content-type", "").startswith("application/json"):
            fields = json.loads(self.body)
            assert isinstance(fields, dict)
            return fields
        pairs = parse_qsl(self.body.decode("ascii"), keep_blank_values=True, strict_parsing=True)
        assert len(dict(pairs)) == len(pairs)
        return dict(pairs)

    @property
    def id(self) -> str:
        """The last segment of the path."""
        return unquote(urlsplit(self.target).path.rpartition("/")[2])


@dataclass(frozen=True)
class Closing:
    """An answer after which the backend closes the connection."""

    answer: bytes | Iterator[bytes] = b""


RESET = object()
"""The answer of a backend that resets the connection."""

Answer = bytes | Iterator[bytes] | Closing | object
Handler = Callable[[Received], Answer]


def answered(status: int, content: object = b"", headers: Mapping[str, str] | None = None) -> bytes:
    """Return the bytes of an answer; `content` is raw bytes, or a value that becomes JSON."""
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    fields = {"Content-Length": str(len(body))}
    if not isinstance(content, bytes):
        fields["Content-Type"] = "application/json"
    lines = [f"{name}: {value}" for name, value in (fields | dict(headers or {})).items()]
    return "\r\n".join([f"HTTP/1.1 {status} {_phrase(status)}", *lines, "", ""]).encode() + body


def _phrase(status: int) -> str:
    return HTTPStatus(status).phrase if status in set(HTTPStatus) else "Unknown"


class HttpScript:
    """A backend with the API of the handbook that tests change; it records the requests.

    `create`, `get` and `delete` are the handlers. By default they keep a book of conferences: each
    room has a conference of its own, with a number that is not used again.
    """

    def __init__(self, create: Handler | None = None) -> None:
        self.create: Handler = create or self.create_in_book
        self.get: Handler = self.get_in_book
        self.delete: Handler = self.delete_in_book
        self.requests: list[Received] = []
        self.book: dict[str, dict[str, Any]] = {}
        self.changed = threading.Condition()
        # The numbers of all connections, of the open ones, and of those open at the same time.
        self.connections = self.open_connections = self.most_connections = 0
        # The names of TLS' server name indication, and the numbers of the clients' certificates.
        self.server_names: list[str | None] = []
        self.certificates: list[int] = []
        self.stopping = threading.Event()
        self._last_id = 1000

    def create_in_book(self, request: Received) -> bytes:
        """Grant a room, or answer 409 with the id of the conference that holds it."""
        with self.changed:
            for conference_id, conference in self.book.items():
                if conference["name"] == request.fields["name"]:
                    return answered(409, {"conflict_id": conference_id})
            self._last_id += 1
            self.book[str(self._last_id)] = granted = conference_of(request, self._last_id)
        return answered(200, granted)

    def get_in_book(self, request: Received) -> bytes:
        """Answer with a conference, or 404."""
        with self.changed:
            found = self.book.get(request.id)
        return answered(200, found) if found else answered(404, {"message": "no such conference"})

    def delete_in_book(self, request: Received) -> bytes:
        """Remove a conference, or answer 404."""
        with self.changed:
            found = self.book.pop(request.id, None)
        return answered(200, {}) if found else answered(404, {"message": "no such conference"})

    def hang(self, _: Received) -> object:
        """Answer nothing until the server stops."""
        self.stopping.wait()
        return RESET

    def of(self, method: str) -> list[Received]:
        """Return the requests with a method, in the order of their arrival."""
        return [request for request in list(self.requests) if request.method == method]

    def answer(self, request: Received) -> Answer:
        """Record a request, and return its answer."""
        with self.changed:
            self.requests.append(request)
            self.changed.notify_all()
        handlers = {"POST": self.create, "GET": self.get, "DELETE": self.delete}
        return handlers[request.method](request)

    def wait(self, method: str, count: int = 1) -> None:
        """Wait until this many requests with a method have arrived."""
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.of(method)) >= count, 60), self.requests


def conference_of(request: Received, conference_id: object) -> dict[str, Any]:
    """Return the conference that a create asks for, as the handbook says."""
    fields = request.fields
    return {"id": conference_id} | fields | {"duration": int(fields.get("duration", -1))}


def granting_by_http(conference_id: object = 364758328) -> Handler:
    """Return a handler that grants every room as a conference with this id."""
    return lambda request: answered(200, conference_of(request, conference_id))


@contextmanager
def serving(
    script: HttpScript,
    context: ssl.SSLContext | Callable[[], ssl.SSLContext] | None = None,
    port: int = 0,
    host: str = "127.0.0.1",
) -> Iterator[str]:
    """Serve a script; yield its URL. `context` turns on TLS."""
    listener = socket.create_server((host, port), backlog=100)
    connections = _Connections(script, context)
    accepting = threading.Thread(target=connections.accept_all, args=(listener,))
    accepting.start()
    scheme = "https" if context else "http"
    try:
        yield f"{scheme}://{host}:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        accepting.join()
        listener.close()
        connections.close()


class _Connections:
    """The connections of a server, each in a thread of its own."""

    def __init__(
        self, script: HttpScript, context: ssl.SSLContext | Callable[[], ssl.SSLContext] | None
    ) -> None:
        self._script = script
        self._context = context
        self._stopping = threading.Event()
        self._script.stopping = self._stopping
        self._open: dict[threading.Thread, socket.socket] = {}

    def accept_all(self, listener: socket.socket) -> None:
        """Accept connections until the listener is closed."""
        while True:
            try:
                accepted, _ = listener.accept()
            except OSError:
                return
            with self._script.changed:
                self._script.connections += 1
                number = self._script.connections
                self._script.open_connections += 1
                self._script.most_connections = max(
                    self._script.most_connections, self._script.open_connections
                )
            thread = threading.Thread(target=self._serve, args=(accepted, number))
            self._open[thread] = accepted
            thread.start()

    def close(self) -> None:
        """Close all connections, and wait for their threads."""
        self._stopping.set()
        for thread, accepted in list(self._open.items()):
            with suppress(OSError):  # it is closed already
                accepted.shutdown(socket.SHUT_RDWR)
            thread.join()

    def _serve(self, accepted: socket.socket, number: int) -> None:
        try:
            with accepted as plain, self._wrapped(plain) as connection:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                with connection.makefile("rb") as reader:
                    while (request := _read(reader, number)) and self._send(
                        connection, self._script.answer(request)
                    ):
                        pass
        except (OSError, UnicodeDecodeError):
            pass  # the client has closed the connection, or it speaks TLS
        finally:
            with self._script.changed:
                self._script.open_connections -= 1
                self._script.changed.notify_all()

    def _wrapped(self, plain: socket.socket) -> socket.socket:
        context = self._context() if callable(self._context) else self._context
        if context is None:
            return plain
        context.sni_callback = lambda _, name, __: self._script.server_names.append(name)
        wrapped = context.wrap_socket(plain, server_side=True)
        if certificate := wrapped.getpeercert():
            self._script.certificates.append(int(str(certificate["serialNumber"]), 16))
        return wrapped

    def _send(self, connection: socket.socket, answer: Answer) -> bool:
        """Send an answer; return whether the connection stays open."""
        if answer is RESET:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return False
        content = answer.answer if isinstance(answer, Closing) else answer
        for part in [content] if isinstance(content, bytes) else content:  # type: ignore[attr-defined]
            connection.sendall(part)
        return not isinstance(answer, Closing)


def _read(reader: Any, number: int) -> Received | None:  # noqa: ANN401 - a file of bytes
    """Return the next request of a connection; `None` at its end."""
    line = reader.readline()
    if not line:
        return None
    method, target, version = line.decode("ascii").split()
    assert version == "HTTP/1.1"
    names, headers = [], {}
    while (line := reader.readline()) not in {b"\r\n", b""}:
        name, _, value = line.decode("ascii").partition(":")
        names.append(name.lower())
        headers[name.lower()] = value.strip()
    body = reader.read(int(headers.get("content-length", "0")))
    return Received(method, target, headers, body, number, tuple(names))


def backend(target: str, **values: object) -> dict[str, object]:
    """Return the settings of one backend, with a long deadline."""
    return PATIENT | {"target": target} | values


@dataclass(frozen=True)
class Running:
    """A proxy on real sockets, with its backend."""

    proxy: Proxy
    client: Client


@contextmanager
def running_http(
    tmp_path: Path,
    script: HttpScript,
    context: ssl.SSLContext | Callable[[], ssl.SSLContext] | None = None,
    *,
    of_proxy: Mapping[str, object] | None = None,
    **values: object,
) -> Iterator[Running]:
    """Run a proxy with a script as its backend; `values` are settings of the backend."""
    with ExitStack() as stack:
        target = stack.enter_context(serving(script, context))
        default = backend(str(values.pop("target", target)), **values)
        own = settings(tmp_path / "state", backends={"default": default}, **(of_proxy or {}))
        proxy = stack.enter_context(Proxy(own))
        yield Running(proxy, Client(stack.enter_context(serving_http(proxy))))


def resolve(
    monkeypatch: pytest.MonkeyPatch, name: str, *addresses: str | Callable[[], object]
) -> None:
    """Let a host name have these addresses; a function is called first, and may hang or raise."""
    found = socket.getaddrinfo

    def look_up(host: str, port: int, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        if host != name:
            return found(host, port, *args, **kwargs)
        texts = [each for each in addresses if isinstance(each, str) or each()]
        infos = [found(str(text), port, *args, **kwargs) for text in texts]
        return [info for each in infos for info in each]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
