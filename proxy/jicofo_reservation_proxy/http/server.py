"""The listener for Jitsi clients: waitress, with bounded input and a graceful shutdown.

waitress itself stops without sending the answers that its threads have just written. This listener
finishes the requests in flight first.
"""

import logging
import resource
import socket
import threading
import time

from flask import Flask
from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.server import TcpWSGIServer

from jicofo_reservation_proxy.errors import ListenError
from jicofo_reservation_proxy.reservations.room_queue import max_waiting_in_all
from jicofo_reservation_proxy.settings.addresses import is_loopback_listen, split_listen
from jicofo_reservation_proxy.settings.schema import Settings

from .connections import Connection
from .forms import MAX_BODY_BYTES
from .thread_pool import ThreadPool

MAX_CONNECTIONS = 1000

MAX_HEADER_BYTES = 16 * 1024

IDLE_SECONDS = 600
"""How long the proxy keeps an idle connection. If the proxy closes a connection within 2 s of its
last answer, Jicofo's next POST fails (clients.md "idle connection"). Jicofo keeps only one
connection, so ten minutes cost little."""

LINGER_SECONDS = 2.5
"""During a graceful shutdown, an idle connection stays open for this time after its last answer,
for the same reason. It stays open for at most half of `drain_within`."""

_POLL_SECONDS = 0.05
_QUIET_SECONDS = 0.2
"""The shutdown ends after this time without a request in progress: the server has then read all
requests that clients sent before the shutdown."""

logger = logging.getLogger(__name__)


class Server(TcpWSGIServer):  # type: ignore[misc]
    """An HTTP server for one application. It listens as soon as it is constructed.

    Raises `ListenError` if the address cannot be used.
    """

    channel_class = Connection

    def __init__(self, app: Flask, settings: Settings) -> None:
        self._drain_seconds = settings.drain_within.total_seconds()
        self._stopping = False
        # Reentrant: a signal handler may interrupt the thread that holds this lock.
        self._ending = threading.RLock()
        self._linger_seconds = min(LINGER_SECONDS, self._drain_seconds / 2)
        self.left_seconds = self._drain_seconds
        self.is_draining = False
        adjustments = Adjustments(
            threads=_threads(settings),
            connection_limit=_max_connections(),
            backlog=1024,
            channel_timeout=IDLE_SECONDS,
            max_request_header_size=MAX_HEADER_BYTES,
            max_request_body_size=MAX_BODY_BYTES + 1,  # waitress refuses this size too
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
                dispatcher=ThreadPool(_threads(settings)),
                adj=adjustments,
                sockinfo=_resolve(settings.listen),
            )
        except OSError as error:
            wasyncore.close_all(self._sockets)
            raise ListenError(f"listen: cannot use {settings.listen}: {error.strerror}") from error
        if not is_loopback_listen(settings.listen):
            logger.warning(
                "listening on %s: other machines can create and delete conferences",
                settings.listen,
            )

    @property
    def url(self) -> str:
        """The URL on which the server listens, with the real port if the setting has port 0."""
        host = f"[{self.effective_host}]" if ":" in self.effective_host else self.effective_host
        return f"http://{host}:{self.effective_port}"

    def stop(self) -> None:
        """Make `run` drain and return. Safe in a signal handler and from any thread."""
        with self._ending:  # otherwise `run` could close the trigger before the call below
            if not self._stopping:
                self._stopping = True
                self.pull_trigger()

    def run(self) -> None:
        """Serve until `stop`, then finish the requests in flight within `drain_within`.

        Afterwards `left_seconds` is the remaining part of `drain_within`.
        """
        while not self._stopping:
            self._poll(timeout=30.0)
        self._stop_accepting()
        logger.info("stopping: finishing the requests in flight")
        until = time.monotonic() + self._drain_seconds
        quiet_since = time.monotonic()
        while self.active_channels and time.monotonic() < min(until, quiet_since + _QUIET_SECONDS):
            self._poll(timeout=_POLL_SECONDS)
            if self._is_busy() or self._lingers():
                quiet_since = time.monotonic()
        if cut_off := sum(channel.is_busy for channel in list(self.active_channels.values())):
            logger.warning("%d requests are cut off: drain_within has passed", cut_off)
        self.task_dispatcher.shutdown(timeout=max(0.0, until - time.monotonic()))
        with self._ending:
            wasyncore.close_all(self._sockets)
        self.left_seconds = max(0.0, until - time.monotonic())

    def _poll(self, timeout: float) -> None:
        wasyncore.loop(timeout=timeout, use_poll=True, map=self._sockets, count=1)

    def _stop_accepting(self) -> None:
        """Accept the connections that clients have already opened, then close the listener.

        The kernel opens a connection before the server accepts it, so the client may already have
        sent its request.
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

    def _lingers(self) -> bool:
        """Return whether a client might still send a request on an idle connection."""
        since = time.monotonic() - self._linger_seconds
        return any(channel.answered_at > since for channel in list(self.active_channels.values()))

    def _is_busy(self) -> bool:
        return any(channel.is_busy for channel in list(self.active_channels.values()))


def _threads(settings: Settings) -> int:
    """Return the maximum number of threads: the setting `threads`, and about half more.

    The setting limits the threads that wait for backends (reservations/in_flight_limits.py). A
    quarter more is for POSTs that wait for their room, and a quarter for DELETEs and refusals.
    """
    waiting = max_waiting_in_all(settings.threads)
    return settings.threads + waiting + max(2, settings.threads // 4)


def _max_connections() -> int:
    """Return the maximum number of open connections: at most half of the limit for open files.

    Without a free file the server cannot accept a connection. The main loop would then try again
    without a pause.
    """
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MAX_CONNECTIONS if files == resource.RLIM_INFINITY else min(MAX_CONNECTIONS, files // 2)


def _resolve(listen: str) -> tuple[int, int, int, tuple[object, ...]]:
    """Return the first address of `listen`, in the form that waitress accepts."""
    host, port = split_listen(listen)
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, protocol, _, address = found[0]
    return family, kind, protocol, address
