"""The fault tests' backend over HTTP, with the store and the arguments of `backend.py`.

It speaks the API of Jitsi's handbook. As every HTTP backend, it carries out a request that the
proxy has given up. It carries out the deletions of one conference one after the other, as a lock on
a row in a database does. If the store contains a failure for a replica, the replica simulates it.
"""

import json
import socket
import struct
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import chain, repeat
from typing import Any
from urllib.parse import parse_qsl, unquote

from jicofo_reservation_proxy.text_rules import format_time

from .forwarder import GARBAGE
from .replica import READY, Replica, parser
from .store import CreateRequest, Method, Store, Stored

DRIP_SECONDS = 0.2

METHODS: dict[str, Method] = {"POST": "create", "GET": "get", "DELETE": "delete"}
PAGE = b"<!DOCTYPE html><html><body><h1>A page of a web server</h1></body></html>"
_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER of 0 s: `close` sends a RST."""

Answer = tuple[int, bytes]


class BackendServer(ThreadingHTTPServer):
    """The server of one replica; all replicas share one store."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], replica: Replica) -> None:
        self.replica = replica
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        super().__init__(address, _Handler)

    def lock(self, conference_id: str) -> threading.Lock:
        """Return the lock for the deletions of a conference."""
        return self._locks[conference_id]

    def handle_error(self, *_: object) -> None:
        """Ignore a connection that the proxy has closed."""


class _Handler(BaseHTTPRequestHandler):
    """Answers the requests of one connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # head and body leave in one packet
    server: BackendServer

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        fields = dict(parse_qsl(self.rfile.read(length).decode("ascii"), strict_parsing=True))
        self._answer(fields["name"], lambda: self._create(fields))

    def do_GET(self) -> None:
        conference_id = self._id
        self._answer(conference_id, lambda: self._get(conference_id))

    def do_DELETE(self) -> None:
        conference_id = self._id
        self._answer(conference_id, lambda: self._delete(conference_id))

    def log_message(self, *_: object) -> None:
        """Log nothing: the store records the calls."""

    @property
    def _id(self) -> str:
        return unquote(self.path.rpartition("/")[2])

    def _answer(self, subject: str, carry_out: Callable[[], Answer]) -> None:
        """Carry out a call and answer it, or simulate the failure in the store."""
        replica, method = self.server.replica, METHODS[self.command]
        simulation = replica.begin(method, subject)
        failure = simulation.failure
        # Such an answer comes from a server in front of the backend, which waits for nothing.
        if failure == "refuse":
            self._send(503, b'{"message": "simulated refusal"}')
            return
        if failure == "break":
            self._reset()
            return
        lock = self.server.lock(subject) if method == "delete" else nullcontext()
        with lock:
            if failure in _INSTEAD:
                self._send(*_INSTEAD[failure])
                return
            if failure == "wait":
                replica.wait(method, simulation)
            answer = carry_out()
        if failure == "late":
            replica.wait(method, simulation)
        if failure == "garbage":
            self._send_raw([GARBAGE])
        elif failure == "drip":
            self._send_raw(self._dripping())
        else:
            self._send(*answer)

    def _create(self, fields: dict[str, str]) -> Answer:
        replica = self.server.replica
        start = datetime.fromisoformat(fields["start_time"])
        wanted = CreateRequest(
            self.headers["Idempotency-Key"],
            fields["name"],
            fields.get("mail_owner", ""),
            int(start.timestamp() * 1000),
            replica.simulation("create").failure == "ended",
        )
        stored, is_own = replica.store.create(replica.name, wanted, _always)
        if is_own:
            return 200, _json(_document(stored))
        return 409, _json({"conflict_id": stored.id})

    def _get(self, conference_id: str) -> Answer:
        stored = self.server.replica.store.get(conference_id)
        if stored is None:
            return 404, _json({"message": "no such conference"})
        return 200, _json(_document(stored))

    def _delete(self, conference_id: str) -> Answer:
        replica = self.server.replica
        replica.store.delete(replica.name, conference_id, _always)
        return 200, _json({})

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _send_raw(self, parts: Iterator[bytes] | Sequence[bytes]) -> None:
        """Send bytes until there are no more, or until the proxy closes the connection."""
        self.close_connection = True
        for part in parts:
            self.connection.sendall(part)

    def _dripping(self) -> Iterator[bytes]:
        yield b"HTTP/1.1 200 OK\r\n"
        for byte in chain(b"X-Slow: ", repeat(ord("a"))):
            threading.Event().wait(DRIP_SECONDS)
            yield bytes([byte])

    def _reset(self) -> None:
        """Reset the connection."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        # The descriptors of the two files keep the connection open.
        for each in (self.rfile, self.wfile, self.connection):
            each.close()


_INSTEAD: dict[str, Answer] = {
    "page": (500, PAGE),
    "no_route": (404, PAGE),
    "no_service": (404, b"Not Found"),
}
"""The failures in which the backend answers, and carries nothing out."""


def _always() -> bool:
    return True


def _document(stored: Stored) -> dict[str, Any]:
    """Return a conference; its `url` contains its serial number."""
    document: dict[str, Any] = {
        "id": stored.id,
        "name": stored.room,
        "mail_owner": stored.owner or None,
        "start_time": format_time(stored.start_time_ms),
        "duration": -1,
        "url": f"conference:{stored.serial}",
    }
    if stored.has_ended:
        document |= {"start_time": format_time(1_600_000_000_000), "duration": 60}
    return document


def _json(value: object) -> bytes:
    return json.dumps(value).encode("ascii")


def main(argv: Sequence[str] | None = None) -> None:
    """Serve until SIGKILL ends the process."""
    arguments = parser().parse_args(argv)
    host, _, port = arguments.address.rpartition(":")
    with (
        Store(arguments.store) as store,
        BackendServer((host, int(port)), Replica(store, arguments.replica)) as server,
    ):
        print(READY, flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
