"""Send one stream on one connection, and return what comes back."""

import socket
import struct
from contextlib import suppress

from .streams import Stream

WAIT_SECONDS = 60.0

_RESET = struct.pack("ii", 1, 0)


def send(port: int, stream: Stream) -> bytes | None:
    """Send a stream, close the sending side, and return all answers; `None` after a reset.

    Raises `TimeoutError` if the server does not close the connection, and `ConnectionError` if the
    server resets the connection.
    """
    with socket.create_connection(("127.0.0.1", port), WAIT_SECONDS) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with suppress(BrokenPipeError):  # the server has answered and closed already
            for piece in stream.pieces:
                connection.sendall(piece)
        if stream.is_reset:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            return None
        with suppress(OSError):
            connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65536), b""))
