"""An HTTP backend that answers any bytes, from which an HTTP library would shrink back."""

import re
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)


class Reaction(NamedTuple):
    """The bytes of an answer, and whether the connection stays open after it."""

    data: bytes
    keeps: bool = False


class RawBackend:
    """The answers of the backend: a function of the method of a request."""

    def __init__(self) -> None:
        self.react: Callable[[str], Reaction] = lambda _: Reaction(b"")
        self.methods: list[str] = []

    def answer(self, connection: socket.socket) -> None:
        """Answer the requests on a connection until one of the two sides closes it."""
        received = b""
        while True:
            head, separator, rest = received.partition(b"\r\n\r\n")
            length = int(found[1]) if (found := _LENGTH.search(head)) else 0
            if not separator or len(rest) < length:
                if not (chunk := connection.recv(65536)):
                    return
                received += chunk
                continue
            received = rest[length:]
            method = head.partition(b" ")[0].decode()
            self.methods.append(method)
            reaction = self.react(method)
            connection.sendall(reaction.data)
            if not reaction.keeps:
                connection.shutdown(socket.SHUT_WR)
                return


@contextmanager
def serving_raw(backend: RawBackend) -> Iterator[str]:
    """Serve a backend on a free port; yield its target."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with suppress(ConnectionError):
                backend.answer(self.request)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = False
        block_on_close = True
        request_queue_size = 64

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
