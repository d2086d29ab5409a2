"""A TCP forwarder that acts as a bad network: it resets, sends garbage, or stays silent."""

import selectors
import socket
import struct
import threading
from contextlib import suppress
from typing import Literal, Self

Mode = Literal["pass", "reset", "garbage", "silent"]
"""The modes of the forwarder.

- `pass`: forward the bytes of a connection in both directions.
- `reset`: accept a connection, and reset it at once.
- `garbage`: accept a connection, and send bytes that are not HTTP/2.
- `silent`: accept a connection, and send nothing.
"""

GARBAGE = b"SSH-2.0-OpenSSH_9.2\r\n" + bytes(range(256))
POLL_SECONDS = 0.02

_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER of 0 s: `close` sends a RST."""


class Forwarder:
    """Forwards connections to an address; a context manager that starts and ends its thread."""

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._mode: Mode = "pass"
        self._keeps_upstream = False
        self._peers: dict[socket.socket, socket.socket | None] = {}
        self._kept: list[socket.socket] = []
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="forwarder")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._drop_all()
        for connection in self._kept:
            connection.close()
        self._listener.close()
        self._selector.close()

    def set_mode(self, mode: Mode, *, keeps_upstream: bool = False) -> None:
        """Set the mode for new connections, and reset the existing connections.

        With `keeps_upstream` the connections to the backend stay open, and the backend does not
        notice the reset.
        """
        with self._lock:
            self._mode = mode
            self._keeps_upstream = keeps_upstream
            self._drop_all()

    def _run(self) -> None:
        while not self._ended.is_set():
            for key, _ in self._selector.select(POLL_SECONDS):
                with self._lock, suppress(OSError):
                    self._serve(key.fileobj)

    def _serve(self, ready: object) -> None:
        if ready is self._listener:
            self._accept()
        elif isinstance(ready, socket.socket) and ready in self._peers:
            self._pass_on(ready)

    def _accept(self) -> None:
        connection, _ = self._listener.accept()
        if self._mode == "reset":
            _reset(connection)
            return
        upstream: socket.socket | None = None
        if self._mode == "pass":
            try:
                upstream = socket.create_connection(self._target)
            except OSError:
                _reset(connection)
                return
            self._add(upstream, connection)
        self._add(connection, upstream)
        if self._mode == "garbage":
            connection.sendall(GARBAGE)

    def _add(self, connection: socket.socket, peer: socket.socket | None) -> None:
        self._peers[connection] = peer
        self._selector.register(connection, selectors.EVENT_READ)

    def _pass_on(self, connection: socket.socket) -> None:
        peer = self._peers[connection]
        try:
            received = connection.recv(65536)
        except OSError:
            received = b""
        if received and peer:
            peer.sendall(received)
        elif not received:
            self._drop(connection)
            if peer:
                self._drop(peer)

    def _drop_all(self) -> None:
        for connection in list(self._peers):
            self._drop(connection)

    def _drop(self, connection: socket.socket) -> None:
        if connection not in self._peers:
            return
        del self._peers[connection]
        self._selector.unregister(connection)
        if self._keeps_upstream and connection.getpeername() == self._target:
            self._kept.append(connection)
        else:
            _reset(connection)


def _reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    connection.close()
