"""waitress around the application: bounded input, JSON for every error, and a drain at the end.

waitress answers a broken request line, or a header or body that is too large, in plain text, and
stops without sending what its threads have just written; it lets its threads and its main loop
contend for the sockets, and wakes the thread that has slept longest. All this is mended here, in
subclasses of its own classes; benchmarks/README.md has what it is worth.
"""

import logging
import resource
import signal
import socket
import threading
import time
from types import FrameType
from typing import Self

from flask import Flask
from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.channel import HTTPChannel
from waitress.server import TcpWSGIServer
from waitress.task import ErrorTask, ThreadedTaskDispatcher, WSGITask

from . import clients, forms, logs
from .addresses import is_loopback_listen, split_listen
from .errors import ListenError
from .model import BadInput
from .settings import Settings

MAX_CONNECTIONS = 1000

MAX_HEADER_BYTES = 16 * 1024

IDLE_SECONDS = 600
"""How long an idle connection is kept. Closing one within 2 s of its last answer makes Jicofo's
next POST fail (clients.md "idle connection"); Jicofo keeps one, so minutes cost little."""

_POLL_SECONDS = 0.05
_QUIET_SECONDS = 0.2
"""After so long without work, what clients had sent before the end has been read."""

logger = logging.getLogger(__name__)


class _JsonErrorTask(ErrorTask):  # type: ignore[misc]
    """Answers what waitress itself refuses, in the words of everything else here."""

    def execute(self) -> None:
        error = self.request.error
        message = f"{error.reason}: {error.body}"
        answer = clients.render_bad_input(BadInput(error.code, message))
        fields = {"status": error.code, "detail": clients.one_line(message)}
        logs.event(logger, logging.WARNING, "refused", fields)
        self.status = f"{error.code} {error.reason}"
        self.response_headers.append(("Content-Type", "application/json"))
        self.set_close_on_finish()
        self.content_length = len(answer.body)
        self.write(answer.body)


class _Task(WSGITask):  # type: ignore[misc]
    """Sends head and body in one piece, where the body is one piece."""

    wrote_header: bool

    def build_response_header(self) -> bytes:
        """Return the head, which announces the end of the connection where the server drains."""
        if self.channel.server.is_draining:
            self.set_close_on_finish()
        head: bytes = super().build_response_header()
        return head

    def write(self, data: bytes) -> None:
        if self.wrote_header or not data or self.content_length != len(data):
            super().write(data)
            return
        self.channel.write_soon(self.build_response_header() + data)
        self.wrote_header = True
        self.content_bytes_written = len(data)


class _Channel(HTTPChannel):  # type: ignore[misc]
    """A connection whose answer is sent by the thread that made it, at once.

    So the log line after it delays nobody. While a thread is at it, the main loop keeps out of the
    way: else it spins on a socket that it cannot lock, and 64 connections get a fifth of the
    throughput of 16.
    """

    task_class = _Task
    error_task_class = _JsonErrorTask

    def writable(self) -> bool:
        """Whether the main loop has anything to do here."""
        is_left_over = self.total_outbufs_len and not self.requests
        return bool(self.will_close or self.close_when_flushed or is_left_over)

    def handle_expt(self) -> None:
        """Close the connection on urgent data (TCP's URG), which no HTTP client sends.

        Left unread it would make the main loop spin.
        """
        self.handle_close()

    @property
    def is_busy(self) -> bool:
        """Whether a request is being worked on, or an answer is still to be sent."""
        return bool(self.requests or self.total_outbufs_len)


class _Dispatcher(ThreadedTaskDispatcher):  # type: ignore[misc]
    """Threads that are started as they are needed, up to a limit.

    waitress wakes the thread that has slept longest, so that with all of them at work from the
    start each request meets a cold one; each costs some 45 kB once it has been at work.
    """

    def __init__(self, limit: int) -> None:
        super().__init__()
        self._limit = limit

    def add_task(self, task: object) -> None:
        """Queue a task, and start a thread for it if none is idle."""
        with self.lock:
            self.queue.append(task)
            self.queue_cv.notify()
            is_short = len(self.queue) > len(self.threads) - self.active_count
            if is_short and len(self.threads) < self._limit:
                self._start_thread()

    def _start_thread(self) -> None:
        number = len(self.threads)
        try:
            self.start_new_thread(self.handler_thread, number)
        except RuntimeError as error:
            logger.error("%s; %d are at work", error, number)  # noqa: TRY400 - the line says it all
            return
        self.threads.add(number)
        self.active_count += 1


class Server(TcpWSGIServer):  # type: ignore[misc]
    """An HTTP server for one application, listening from the start.

    Raises `ListenError` where the address cannot be used.
    """

    channel_class = _Channel

    def __init__(self, app: Flask, settings: Settings) -> None:
        self._drain_seconds = settings.drain_within.total_seconds()
        self._stopping = False
        # Reentrant: a signal handler may come while the thread that it interrupts has it.
        self._ending = threading.RLock()
        self.left_seconds = self._drain_seconds
        self.is_draining = False
        adjustments = Adjustments(
            threads=_threads(settings),
            connection_limit=_max_connections(),
            backlog=1024,
            channel_timeout=IDLE_SECONDS,
            max_request_header_size=MAX_HEADER_BYTES,
            max_request_body_size=forms.MAX_BODY_BYTES + 1,  # waitress refuses what reaches it
            asyncore_use_poll=True,
            log_socket_errors=False,
            clear_untrusted_proxy_headers=False,
            ident=None,
        )
        self._sockets: dict[int, wasyncore.dispatcher] = {}
        try:
            super().__init__(
                app,
                map=self._sockets,
                dispatcher=_Dispatcher(_threads(settings)),
                adj=adjustments,
                sockinfo=_resolve(settings.listen),
            )
        except OSError as error:
            wasyncore.close_all(self._sockets)
            raise ListenError(f"listen: cannot use {settings.listen}: {error.strerror}") from error
        if not is_loopback_listen(settings.listen):
            logger.warning(
                "listening on %s: others than this machine may create and delete conferences",
                settings.listen,
            )

    @property
    def url(self) -> str:
        """The address that is really listened on."""
        host = f"[{self.effective_host}]" if ":" in self.effective_host else self.effective_host
        return f"http://{host}:{self.effective_port}"

    def stop(self) -> None:
        """Make `run` drain and return. Safe in a signal handler and from any thread."""
        with self._ending:  # else `run` could end, and close the trigger, before it is pulled
            if not self._stopping:
                self._stopping = True
                self.pull_trigger()

    def run(self) -> None:
        """Serve until `stop`, then finish what is in flight, for as long as the settings allow.

        `left_seconds` is then what is left of that time.
        """
        while not self._stopping:
            self._poll(timeout=30.0)
        self._stop_accepting()
        logger.info("stopping: finishing what is in flight")
        until = time.monotonic() + self._drain_seconds
        quiet_since = time.monotonic()
        while self.active_channels and time.monotonic() < min(until, quiet_since + _QUIET_SECONDS):
            self._poll(timeout=_POLL_SECONDS)
            if self._is_busy():
                quiet_since = time.monotonic()
        if cut_off := sum(channel.is_busy for channel in list(self.active_channels.values())):
            logger.warning("%d requests are cut off: drain_within is over", cut_off)
        self.task_dispatcher.shutdown(timeout=max(0.0, until - time.monotonic()))
        with self._ending:
            wasyncore.close_all(self._sockets)
        self.left_seconds = max(0.0, until - time.monotonic())

    def _poll(self, timeout: float) -> None:
        wasyncore.loop(timeout=timeout, use_poll=True, map=self._sockets, count=1)

    def _stop_accepting(self) -> None:
        """Close the listener, at the very moment when no client waits to be accepted.

        A client with a connection has sent its request in good faith.
        """
        self.is_draining = True
        self.accepting = False
        self.del_channel()
        while True:
            try:
                connection, address = self.socket.accept()
            except OSError:
                self.socket.close()
                return
            self.set_socket_options(connection)
            self.channel_class(self, connection, self.fix_addr(address), self.adj, map=self._map)

    def _is_busy(self) -> bool:
        return any(channel.is_busy for channel in list(self.active_channels.values()))


def _threads(settings: Settings) -> int:
    """Return how many threads there may be: those that may wait for backends, and a quarter more.

    The others are there for DELETEs and for refusals (slots.py).
    """
    return settings.threads + max(2, settings.threads // 4)


def _max_connections() -> int:
    """Return how many connections may be open: half of the files that this process may have.

    One that cannot be accepted for want of a file would make the main loop spin.
    """
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MAX_CONNECTIONS if files == resource.RLIM_INFINITY else min(MAX_CONNECTIONS, files // 2)


def _resolve(listen: str) -> tuple[int, int, int, tuple[object, ...]]:
    """Return the first address of `listen` in waitress's form."""
    host, port = split_listen(listen)
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, protocol, _, address = found[0]
    return family, kind, protocol, address


class StopSignals:
    """SIGTERM and SIGINT while this lasts: they stop the server, as soon as there is one."""

    def __init__(self) -> None:
        self._server: Server | None = None
        self._requested = False

    def __enter__(self) -> Self:
        self._previous = {number: signal.signal(number, self._stop) for number in _SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def run(self, server: Server) -> None:
        """Run the server until a signal; not at all if one has come already."""
        self._server = server
        if self._requested:
            server.stop()
        server.run()

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        self._requested = True
        if self._server:
            self._server.stop()


_SIGNALS = (signal.SIGTERM, signal.SIGINT)
