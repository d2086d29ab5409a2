"""Kept connections to one server, with urllib3: who connects, and when a connection is used again.

The classes of urllib3's connections are extended at the places that urllib3 names for it: the pool
class has the attribute `ConnectionCls`, and a connection makes its socket in `_new_conn`.
"""

from __future__ import annotations

import http.client
import io
import ipaddress
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection

from .deadline_sockets import DeadlineSocket, DeadlineTlsSocket, connect
from .name_lookups import NameLookups

MAX_IDLE_SECONDS = 1.0
"""A connection that was idle for longer is not used again. A server closes an idle connection when
it likes (gunicorn after 2 s, Node.js and Apache after 5 s), and a POST that is sent just then is
lost: nobody knows whether the server has read it."""

_WITHOUT_BODY = frozenset({101, 204, 304})
"""Answers without a body (RFC 9112, section 6.3). Some scripts send one anyway, and it would become
the answer to the next request. So the connection is not used again. After 101, it is not HTTP any
more."""

_INTERIM = frozenset(range(100, 200)) - {http.HTTPStatus.SWITCHING_PROTOCOLS}
"""The statuses after which the answer follows."""


MAX_ANSWER_BYTES = 1024 * 1024
"""The largest answer that is received, with its head. A body has its own limit, and 1 MiB is enough
for chunks of one byte each."""


class NoConnectionError(Exception):
    """There is no connection to the server, so no byte of a request was sent."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(_text(cause))
        self.is_timeout = isinstance(cause, TimeoutError)
        self.is_certificate = "CERTIFICATE_VERIFY_FAILED" in str(cause)


class _Head:
    """A file whose lines must be whole: the base class takes a head that was cut for a whole one.

    A first line that is not of HTTP may end as it likes; the base class refuses it.
    """

    def __init__(self, file: io.BufferedIOBase) -> None:
        self._file = file
        self._has_begun = False

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def readline(self, limit: int) -> bytes:
        """Return a line. Raises `RemoteDisconnected` if it was cut."""
        line = self._file.readline(limit)
        is_cut = not line.endswith(b"\n") and len(line) < limit
        if is_cut and (self._has_begun or line.startswith(b"HTTP/") or not line):
            raise http.client.RemoteDisconnected("the connection was closed in the head")
        self._has_begun = True
        return line


class _Response(http.client.HTTPResponse):
    """A response with a whole head, after the interim responses (RFC 9110, section 15.2).

    The base class skips only 100. It takes `103 Early Hints` for the answer, and what follows for
    the answer to the next request.
    """

    def begin(self) -> None:
        """Read the head of the answer. Raises `http.client.HTTPException` and `OSError`."""
        file = self.fp
        self.fp = _Head(file)  # type: ignore[assignment] # only its lines are read here
        try:
            super().begin()
            while self.status in _INTERIM:
                self.headers = self.msg = None  # type: ignore[assignment] # nothing is read yet
                super().begin()
        finally:
            if self.fp is not None:  # the base class has not closed it
                self.fp = file


class _Kept:
    """Whether the connections to one server can be kept.

    Some servers close each connection after its answer and do not say so. Once a request was lost
    on a kept connection, each request gets a new one.
    """

    is_on = True


class _Connection(HTTPConnection):
    """A connection whose operations end at the deadline of their request.

    urllib3 sets `timeout` to the seconds that a request has, before it connects or sends.
    """

    lookups: NameLookups
    kept: _Kept
    response_class = _Response
    is_local: bool
    """Whether the server must be on this machine: the requests have a secret, and no TLS."""

    answered_at: float | None = None
    may_be_kept: bool = True
    until: float | None = None
    """The deadline of the request that made the connection, until the request is sent."""

    def connect(self) -> None:
        """Connect. Raises `NoConnectionError`."""
        self.until = time.monotonic() + _seconds(self.timeout)
        try:
            super().connect()
        except (OSError, urllib3.exceptions.HTTPError) as error:
            raise NoConnectionError(error) from error

    def _new_conn(self) -> DeadlineSocket:
        until = self.until or float("inf")
        infos = self.lookups.addresses(until - time.monotonic())
        opened = connect(infos, until, self.lookups.note)
        if self.is_local and not _is_loopback(opened):
            opened.close()
            raise OSError(
                "wanted an address on this machine, because the proxy sends a secret in plaintext, "
                f"got {self.host} on another one; use https://"
            )
        return opened

    @property
    def is_connected(self) -> bool:
        """Whether this connection may be used for one more request."""
        if self.answered_at is not None:
            is_fresh = time.monotonic() - self.answered_at <= MAX_IDLE_SECONDS
            if not (self.may_be_kept and self.kept.is_on and is_fresh):
                return False
        if isinstance(self.sock, ssl.SSLSocket) and self.sock.pending():
            return False  # bytes after the last answer, which the base class sees only without TLS
        return super().is_connected

    def request(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - as the base class
        """Send a request before its deadline. Connecting to the server counts too."""
        if isinstance(self.sock, DeadlineSocket | DeadlineTlsSocket):
            self.sock.until = self.until or time.monotonic() + _seconds(self.timeout)
        with self._noting_losses():
            super().request(*args, **kwargs)
        self.until = None
        if isinstance(self.sock, DeadlineSocket | DeadlineTlsSocket):
            self.sock.bytes_left = MAX_ANSWER_BYTES

    def getresponse(self) -> urllib3.HTTPResponse:  # type: ignore[override]
        """Read the head of the answer."""
        with self._noting_losses():
            response = super().getresponse()
        self.answered_at = time.monotonic()
        self.may_be_kept = response.status not in _WITHOUT_BODY
        return response

    @contextmanager
    def _noting_losses(self) -> Iterator[None]:
        """Keep no more connections if the server has closed this one, which was kept."""
        try:
            yield
        except ConnectionError:  # http.client's RemoteDisconnected is one too
            if self.answered_at is not None:
                self.kept.is_on = False
            raise


class _TlsConnection(_Connection, HTTPSConnection):
    """A connection over TLS."""


def pool_classes(
    lookups: NameLookups, *, is_local: bool
) -> dict[str, type[urllib3.HTTPConnectionPool]]:
    """Return the classes of pools for one server, by scheme."""
    extra = {"lookups": lookups, "is_local": is_local, "kept": _Kept()}

    class Pool(urllib3.HTTPConnectionPool):
        ConnectionCls = type("Connection", (_Connection,), extra)

    class TlsPool(urllib3.HTTPSConnectionPool):
        ConnectionCls = type("TlsConnection", (_TlsConnection,), extra)

    return {"http": Pool, "https": TlsPool}


def tls_context(ca: bytes | None) -> ssl.SSLContext:
    """Return a TLS context that checks the server; without `ca`, by the authorities of the system.

    Raises `ssl.SSLError`.
    """
    context = ssl.create_default_context(cadata=ca.decode("ascii", "ignore") if ca else None)
    context.sslsocket_class = DeadlineTlsSocket
    return context


def _seconds(timeout: object) -> float:
    return timeout if isinstance(timeout, int | float) else float("inf")


def _is_loopback(opened: DeadlineSocket) -> bool:
    return ipaddress.ip_address(opened.getpeername()[0].partition("%")[0]).is_loopback


def _text(cause: Exception) -> str:
    """Return the text of an error, with that of the error that it was made of."""
    return f"{type(cause).__name__}: {cause}" if str(cause) else type(cause).__name__
