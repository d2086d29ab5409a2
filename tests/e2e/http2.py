"""An HTTP/2 server that is no gRPC server, such as an ingress without a route.

It answers every request with one HTTP status, and with neither a body nor trailers. The few frames
that this needs are made by hand (RFC 9113).
"""

import socket
import socketserver
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BufferedIOBase

_PREFACE_BYTES = 24
_HEADERS, _SETTINGS, _PING = 1, 4, 6
_ACK, _END_STREAM, _END_HEADERS = 0x1, 0x1, 0x4


class _Connection(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        assert isinstance(self.server, _Server)
        with suppress(OSError):  # the client, or the end of the test, closed the connection
            self.rfile.read(_PREFACE_BYTES)
            self._send(_SETTINGS, 0, 0)
            while head := _read_head(self.rfile):
                kind, flags, stream, size = head
                payload = self.rfile.read(size)
                if kind == _SETTINGS and not flags & _ACK:
                    self._send(_SETTINGS, _ACK, 0)
                elif kind == _PING and not flags & _ACK:
                    self._send(_PING, _ACK, 0, payload)
                elif kind == _HEADERS:
                    # HPACK: the name ":status" by its index, and the value as a text (RFC 7541).
                    status = b"\x08\x03" + str(self.server.status).encode()
                    self._send(_HEADERS, _END_STREAM | _END_HEADERS, stream, status)

    def _send(self, kind: int, flags: int, stream: int, payload: bytes = b"") -> None:
        head = len(payload).to_bytes(3, "big") + struct.pack(">BBI", kind, flags, stream)
        self.wfile.write(head + payload)


def _read_head(received: BufferedIOBase) -> tuple[int, int, int, int] | None:
    head = received.read(9)
    if len(head) < 9:
        return None
    kind, flags, stream = struct.unpack(">BBI", head[3:])
    return kind, flags, stream, int.from_bytes(head[:3], "big")


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int], status: int) -> None:
        self.status = status
        self.connections: list[socket.socket] = []
        super().__init__(address, _Connection)

    def process_request(
        self, request: socket.socket | tuple[bytes, socket.socket], client_address: object
    ) -> None:
        assert isinstance(request, socket.socket)
        self.connections.append(request)
        super().process_request(request, client_address)


@contextmanager
def answering(status: int, address: str = "127.0.0.1:0") -> Iterator[str]:
    """Answer every request with this HTTP status; yield the address."""
    host, _, port = address.partition(":")
    with _Server((host, int(port)), status) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"{host}:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
            for connection in server.connections:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
