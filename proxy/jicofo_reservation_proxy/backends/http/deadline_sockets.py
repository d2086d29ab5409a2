"""Sockets on which every operation ends at a deadline, however slowly or fast the bytes come.

The time-outs of Python's sockets are for one operation each: a server that sends one byte a second
would hold a call for hours. And http.client has no limit for some parts of an answer: it reads a
chunk of the size -1 until the server closes the connection.
"""

import http.client
import socket
import ssl
import time
from collections.abc import Sequence
from typing import Any, Protocol

SocketAddress = tuple[Any, ...]
AddressInfo = tuple[int, int, int, SocketAddress]
"""The family, the kind, the protocol and the address of a socket."""


class Note(Protocol):
    """Notes whether an address has accepted a connection."""

    def __call__(self, info: AddressInfo, /, *, works: bool) -> None:
        """Note it."""


class _Deadline:
    """The deadline of a socket, as a time of `time.monotonic`, and how many bytes may come."""

    until = float("inf")
    bytes_left = float("inf")

    def settimeout(self, value: float | None) -> None:
        """Set the time-out of the next operation, which ends at the deadline at the latest.

        Raises `TimeoutError` if the deadline has passed.
        """
        left = self.until - time.monotonic()
        if left <= 0:
            raise TimeoutError("the deadline has passed")
        limits = [limit for limit in (left, value) if limit is not None and limit != float("inf")]
        super().settimeout(min(limits) if limits else None)  # type: ignore[misc]

    def recv_into(self, *args: Any, **kwargs: Any) -> int:  # noqa: ANN401 - as the base class
        """Receive bytes before the deadline. Raises `HTTPException` if there are too many."""
        self.settimeout(None)
        count = int(super().recv_into(*args, **kwargs))  # type: ignore[misc]
        self.bytes_left -= count
        if self.bytes_left < 0:
            raise http.client.HTTPException("the answer is too large")
        return count

    def send(self, *args: Any, **kwargs: Any) -> int:  # noqa: ANN401 - as the base class
        """Send bytes before the deadline."""
        self.settimeout(None)
        return super().send(*args, **kwargs)  # type: ignore[misc, no-any-return]

    def sendall(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - as the base class
        """Send all bytes before the deadline."""
        self.settimeout(None)
        super().sendall(*args, **kwargs)  # type: ignore[misc]


class DeadlineSocket(_Deadline, socket.socket):
    """A socket with a deadline."""


class DeadlineTlsSocket(_Deadline, ssl.SSLSocket):
    """A TLS socket with a deadline; a context makes it (`SSLContext.sslsocket_class`)."""


def connect(
    infos: Sequence[AddressInfo],
    until: float,
    note: Note = lambda _info, *, works: None,  # noqa: ARG005
) -> DeadlineSocket:
    """Return a socket that is connected to the first address that accepts a connection.

    Each address gets an equal part of the time that is left. `note` gets each address that was
    tried, and whether it works. Raises `OSError`; that is a `TimeoutError` if the deadline has
    passed.
    """
    failure: OSError = OSError("the name has no address")
    for number, info in enumerate(infos):
        now = time.monotonic()
        try:
            opened = _connected(info, now + (until - now) / (len(infos) - number))
        except OSError as error:
            failure = error
            note(info, works=False)
            continue
        note(info, works=True)
        opened.until = until
        opened.settimeout(None)  # a TLS handshake takes this time-out over
        return opened
    raise failure


def _connected(info: AddressInfo, until: float) -> DeadlineSocket:
    family, kind, protocol, address = info
    opened = DeadlineSocket(family, kind, protocol)
    try:
        opened.until = until
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        opened.settimeout(None)
        opened.connect(address)
    except OSError:
        opened.close()
        raise
    return opened
