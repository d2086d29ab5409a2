"""Connections over TLS. As in connections.py, only one thread at a time uses a socket."""

import socket
import ssl
import time
from contextlib import suppress

from .connections import SEND_SECONDS, TLS_HANDSHAKE, Connection
from .listener_tls import ListenerTls
from .refusals import Refusal
from .request_parser import PlainRequest

PLAIN = "This port speaks TLS: the base URL must begin with https://"


class TlsConnection(Connection):
    """A connection over TLS.

    The main loop makes the handshake. A client that speaks plain HTTP gets an answer in plain HTTP,
    and the connection is closed.
    """

    _wants_to_write = False
    _blocked_since = 0.0
    listener_tls: ListenerTls
    """The TLS with which the connection was accepted; a reload may change that of the server."""

    _tls: ssl.SSLSocket | None = None
    _is_secure = False

    def readable(self) -> bool:
        """Return whether the main loop must read from the socket."""
        return not self._wants_to_write and super().readable()

    def writable(self) -> bool:
        """Return whether the main loop must send something, or close the connection."""
        return (self._wants_to_write and not self.requests) or super().writable()

    def handle_read(self) -> None:
        """Read what the client sent: the handshake first, then its requests."""
        if self._is_secure or self.is_closing:
            super().handle_read()
        else:
            self._secure()

    def handle_write(self) -> None:
        """Send the rest of the handshake or of an answer."""
        if self._wants_to_write:
            self._wants_to_write = False
            self.handle_read()
        else:
            super().handle_write()

    def send(self, data: bytes, do_close: bool = True) -> int:  # noqa: FBT001, FBT002 - waitress's
        """Send what the socket takes; return the number of bytes."""
        try:
            return int(super().send(data, do_close=do_close))
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return 0
        except ssl.SSLError:  # the client is gone
            self.will_close = True
            return 0

    def _receive(self) -> bytes | None:
        try:
            data = super()._receive()
        except ssl.SSLWantReadError:
            return None
        except ssl.SSLWantWriteError:  # TLS must send something first, such as a KeyUpdate
            self._block()
            return None
        while data and self._tls and self._tls.pending():  # the main loop cannot see these bytes
            data += self._tls.recv(int(self.adj.recv_bytes))
        return data

    def _secure(self) -> None:
        """Go on with the handshake; the first request comes with a later event."""
        if self._tls is None:
            self._tls = self._begun()
        if self._tls is not None:
            self._shake_hands(self._tls)

    def _shake_hands(self, tls: ssl.SSLSocket) -> None:
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLWantWriteError:
            self._block()
        except OSError as error:
            reason = error.reason if isinstance(error, ssl.SSLError) else error.strerror
            self.server.refusals.note(Refusal.TLS_HANDSHAKE, self.peer, detail=str(reason))
            self.handle_close()
        else:
            self._is_secure = True

    def _begun(self) -> ssl.SSLSocket | None:
        """Look at the first byte; return the socket with TLS, or `None` if there is no TLS."""
        try:
            first = self.socket.recv(1, socket.MSG_PEEK)
            if first == TLS_HANDSHAKE:
                context: ssl.SSLContext = self.listener_tls.context
                self.socket = tls = context.wrap_socket(
                    self.socket, server_side=True, do_handshake_on_connect=False
                )
                return tls
        except OSError:  # the client is gone
            first = b""
        if first:
            self.refuse(PlainRequest(PLAIN))
        else:
            self.handle_close()
        return None

    def enforce_time_limits(self, now: float) -> None:
        """Do as a connection without TLS; also close it if the client reads nothing."""
        if self._wants_to_write and now > self._blocked_since + SEND_SECONDS:
            self.handle_close()
        else:
            super().enforce_time_limits(now)

    def _block(self) -> None:
        """Wait until the socket takes what TLS has to send."""
        self._wants_to_write = True
        self._blocked_since = time.monotonic()

    def handle_close(self) -> None:
        """Close the connection, and tell a client over TLS that nothing was cut off."""
        if not self.requests:  # otherwise another thread uses the socket
            self._notify_close()
        super().handle_close()

    def _begin_to_close(self) -> None:
        self._notify_close()
        super()._begin_to_close()

    def _notify_close(self) -> None:
        """Send close_notify (RFC 8446, section 6.1), and do not wait for the client's."""
        if self._tls and self._is_secure:
            with suppress(OSError, ValueError):
                self._tls.unwrap()
