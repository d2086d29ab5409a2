"""Connections of clients: subclasses of waitress's channel.

In waitress, the threads and the main loop compete for each socket. Here, only one thread at a time
uses a socket (benchmarks/README.md has the effect). Everything that a client does has a time limit.
"""

import socket
import time
from contextlib import suppress
from typing import Any

from waitress.channel import ClientDisconnected, HTTPChannel
from waitress.utilities import BadRequest, Error

from .fast_path import FastRequest, to_bytes
from .refusals import Refusal
from .request_parser import RequestParser, RequestTimeout
from .tasks import RefusalTask, RequestTask

HEAD_SECONDS = 15.0
"""A whole head must arrive in this time after its first byte; the first head, and a TLS handshake,
in this time after the connection was accepted."""

BODY_SECONDS = 15.0
"""A whole body must arrive in this time after its head."""

SEND_SECONDS = 15.0
"""A client must take a whole answer in this time."""

IDLE_SECONDS = 600.0
"""How long the proxy keeps an idle connection. If the proxy closes a connection within 2 s of its
last answer, Jicofo's next POST fails (clients.md "idle connection"). Jicofo keeps only one
connection, so ten minutes cost little."""

MAX_PIPELINED = 8
"""How many requests of one connection may wait for their answers. Neither Jicofo nor Prosody sends
a request before the answer to the last one."""

LINGERING_CLOSE_SECONDS = 2.0
"""After its last answer, the server discards for this time what the client still sends.

If it closed the connection before the client has sent everything, the kernel would send a reset,
and the client would lose the answer (RFC 9112, section 9.6)."""

TLS_HANDSHAKE = b"\x16"
"""The first byte of a TLS connection (RFC 8446, section 5.1). No HTTP method begins with it."""


class Connection(HTTPChannel):  # type: ignore[misc]
    """A connection. The thread that made an answer also sends the answer, at once.

    The thread writes the log line afterwards, so the log line delays no client. While `requests` is
    not empty, a thread works on the connection, and the main loop ignores the socket.
    """

    answered_at = -float("inf")
    """The time of the last answer on this connection, in seconds of `time.monotonic`."""

    was_served = False
    """Whether the client has got a 200 on this connection, so it probably is Jicofo or Prosody."""

    parser_class = RequestParser
    task_class = RequestTask
    error_task_class = RefusalTask

    request: RequestParser | None
    requests: list[Any]
    """The requests that wait for their answers: one `FastRequest`, or some of `RequestParser`.

    While a thread waits for the next request, the last one stays here, although it is answered."""
    close_when_flushed: bool
    socket: socket.socket

    def __init__(self, *arguments: object, **keywords: object) -> None:
        self.accepted_at = time.monotonic()
        self._closing_since: float | None = None
        super().__init__(*arguments, **keywords)

    @property
    def peer(self) -> str:
        """The address of the client."""
        return str(self.addr[0])

    @property
    def is_busy(self) -> bool:
        """Whether a request is in progress, or an answer is not sent completely."""
        return bool(self.requests or self.total_outbufs_len)

    @property
    def is_waiting(self) -> bool:
        """Whether the server waits for the client: for a request, or until it reads an answer."""
        return not self.requests

    @property
    def is_closing(self) -> bool:
        """Whether the last answer is sent, and the rest of what the client sends is discarded."""
        return self._closing_since is not None

    @property
    def idle_since(self) -> float:
        """The time of the last answer, or of the start of the connection if there was none.

        A client that sends one byte after the other is as idle as one that sends nothing.
        """
        return max(self.accepted_at, self.answered_at)

    def readable(self) -> bool:
        """Return whether the main loop must read from the socket."""
        return not self.requests and (self.is_closing or bool(super().readable()))

    def writable(self) -> bool:
        """Return whether the main loop must send something, or close the connection.

        It must close nothing while a thread uses the socket: the number of the file could belong to
        another connection in the middle of a system call of the thread.
        """
        must_write = self.will_close or self.close_when_flushed or self.total_outbufs_len
        return not self.requests and bool(must_write)

    def handle_read(self) -> None:
        """Read what the client sent."""
        try:
            data = self._receive()
        except OSError:  # the client is gone
            self.handle_close()
            return
        if data:
            self.last_activity = time.time()
            self.received(data)
        elif data is not None:
            self._end_of_input()

    def _receive(self) -> bytes | None:
        """Return the next bytes, `b""` at the end, and `None` if there is nothing yet."""
        with suppress(BlockingIOError):
            return self.socket.recv(int(self.adj.recv_bytes))
        return None

    def _end_of_input(self) -> None:
        """Answer a request that is not complete: the client may have closed only its side."""
        if self.request is not None and not self.is_closing:
            self.refuse(BadRequest("the request is not complete"))
        else:
            self.handle_close()

    def received(self, data: bytes) -> bool:
        """Take the next bytes of the client.

        At most `MAX_PIPELINED` requests are queued. If the client has sent more at once, the last
        of them closes the connection, so the client sends the others again (RFC 9112, section
        9.3.2).
        """
        if self.request is None and data.startswith(TLS_HANDSHAKE):
            self.server.refusals.note(Refusal.TLS_TO_PLAIN_PORT, self.peer)
            self.will_close = True
        with self.requests_lock:
            if self.will_close or self.close_when_flushed or self.is_closing:
                return False
            if self._queue_known(data):
                return True
            while data and len(self.requests) < MAX_PIPELINED:
                data = data[self._take(data) :]
            if data:
                self.requests[-1].close_connection()
        return True

    def _queue_known(self, data: bytes) -> bool:
        """Queue a request with a known head; return whether these bytes are one."""
        fast_path = self.server.fast_path
        if fast_path is None or self.request is not None or self.requests:
            return False
        request = fast_path.find(data)
        if request is None:
            return False
        self.requests.append(request)
        self.server.add_task(self)
        return True

    def _take(self, data: bytes) -> int:
        """Give data to the request that is not complete yet; return how much of it was taken."""
        if self.request is None:
            self.request = self.parser_class(self.adj)
        taken = self.request.received(data)
        if self.request.completed:
            if not self.request.empty:
                self.requests.append(self.request)
                if len(self.requests) == 1:
                    self.server.add_task(self)
            self.request = None
        return taken

    def service(self) -> None:
        """Answer the first request of this connection. A thread of the server calls this method.

        The thread goes on with the next request if it has a known head and comes soon, so Jicofo's
        requests need no hand-over from the main loop.
        """
        try:
            self._serve()
        except BaseException:  # otherwise the connection would stay busy, and no limit would end it
            self.will_close = True
            self.requests = []
            raise
        finally:
            self.server.event_loop.watch(self)
            if not self.server.is_listening:  # perhaps there is room for a new connection now
                self.server.pull_trigger()

    def _serve(self) -> None:
        request: object = self.requests[0]
        while isinstance(request, FastRequest) and self.connected and not self.server.is_draining:
            closes = self._answer(request)
            request = self._next(closes=closes)
        if request is None:
            return
        if isinstance(request, FastRequest):  # its answer must say that the connection closes
            self.requests[0] = self._parsed(request.data)
        super().service()

    def _answer(self, request: FastRequest) -> bool:
        """Answer a request that takes the fast path; return whether the connection closes."""
        answer, entry = request.answer()
        closes = request.head.closes or self.server.is_draining
        self.answered_at = time.monotonic()
        self.was_served = self.was_served or answer.status == 200
        with suppress(ClientDisconnected):
            self.write_soon(to_bytes(answer, closes=closes))
        if entry:
            entry.record()
        return closes

    def _next(self, *, closes: bool) -> FastRequest | None:
        """Return the next request after an answer, if it has a known head and comes soon.

        Queue all other requests that come. While the answered request is the first of `requests`,
        the main loop ignores the socket, and only this thread uses it.
        """
        data = None
        is_flushed = self.connected and not (self.will_close or self.total_outbufs_len)
        if closes and is_flushed:
            self._begin_to_close()
        elif is_flushed and self.server.task_dispatcher.waits_for_client(self.socket.fileno()):
            with suppress(OSError):  # the main loop will see it too, and the end of the input
                data = self._receive()
        fast_path = self.server.fast_path
        request = fast_path.find(data) if fast_path and data and not self.request else None
        with self.requests_lock:
            self.requests = [request] if request else []
            self.close_when_flushed = self.close_when_flushed or (closes and not is_flushed)
        if data and not request:
            self.received(data)
        return request

    def _parsed(self, data: bytes) -> RequestParser:
        """Return a complete request as the usual path reads it."""
        request = self.parser_class(self.adj)
        while data:
            data = data[request.received(data) :]
        return request

    def refuse(self, error: Error) -> None:
        """Answer the request that is not complete yet with an error, and close the connection."""
        request = self.request or self.parser_class(self.adj)
        self.request = None
        request.refuse(error)
        with self.requests_lock:
            self.requests.append(request)
            self.server.add_task(self)

    def write_soon(self, data: bytes) -> int:
        """Send data at once; what the socket does not take now waits in a buffer of waitress."""
        if self.total_outbufs_len or not self.connected:
            return int(super().write_soon(data))
        try:
            sent = self.send(data, do_close=False)
        except OSError:  # the client is gone
            self.will_close = True
            return len(data)
        if sent < len(data):
            super().write_soon(data[sent:])
        return len(data)

    def handle_write(self) -> None:
        """Send the rest of an answer. After the last answer, close the connection."""
        if not self.close_when_flushed:
            super().handle_write()
            return
        if self.total_outbufs_len:
            self._flush_exception(self._flush_some)
        if not self.connected or self.will_close:  # the client is gone
            self.handle_close()
        elif not self.total_outbufs_len:
            self.close_when_flushed = False
            self._begin_to_close()

    def handle_expt(self) -> None:
        """Close the connection on urgent data (TCP's URG), which no HTTP client sends.

        Without this method, unread urgent data would keep the main loop in an endless loop.
        """
        self.handle_close()

    def enforce_time_limits(self, now: float) -> None:
        """Refuse a request that arrives too slowly; close a connection that is idle too long.

        The main loop calls this method about once a second.
        """
        if self.requests:
            return
        if self.request is not None and not self.is_closing:
            if now > self._request_deadline(self.request):
                self.refuse(RequestTimeout("the request did not arrive in time"))
        elif now > self._idle_deadline():
            self.handle_close()

    def _request_deadline(self, request: RequestParser) -> float:
        """Return until when a request must be complete; the time of the last answer counts not."""
        if request.headers_finished:
            return max(request.head_at, self.answered_at) + BODY_SECONDS
        begin = self.accepted_at if self.answered_at < self.accepted_at else request.began_at
        return max(begin, self.answered_at) + HEAD_SECONDS

    def _idle_deadline(self) -> float:
        if self._closing_since is not None:
            return self._closing_since + LINGERING_CLOSE_SECONDS
        if self.total_outbufs_len:
            return self.answered_at + SEND_SECONDS
        if self.answered_at > self.accepted_at:
            return self.answered_at + IDLE_SECONDS
        return self.accepted_at + HEAD_SECONDS

    def _begin_to_close(self) -> None:
        """Tell the client that no more answers follow; discard what it still sends."""
        self._closing_since = time.monotonic()
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:  # the client is gone
            self.will_close = True
