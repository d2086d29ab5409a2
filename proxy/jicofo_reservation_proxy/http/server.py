"""The listener for Jitsi clients: waitress, with bounded input, and a graceful shutdown at the end.

waitress stops without sending what its threads have just written; here the requests in flight are
finished first.
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
from jicofo_reservation_proxy.settings.addresses import is_loopback_listen, split_listen
from jicofo_reservation_proxy.settings.schema import Settings

from .connections import Connection
from .forms import MAX_BODY_BYTES
from .thread_pool import ThreadPool

MAX_CONNECTIONS = 1000

MAX_HEADER_BYTES = 16 * 1024

IDLE_SECONDS = 600
"""How long an idle connection is kept. Closing one within 2 s of its last answer makes Jicofo's
next POST fail (clients.md "idle connection"); Jicofo keeps one, so minutes cost little."""

_POLL_SECONDS = 0.05
_QUIET_SECONDS = 0.2
"""After so long without work, what clients had sent before the end has been read."""

logger = logging.getLogger(__name__)


class Server(TcpWSGIServer):  # type: ignore[misc]
    """An HTTP server for one application, listening from the start.

    Raises `ListenError` where the address cannot be used.
    """

    channel_class = Connection

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
            max_request_body_size=MAX_BODY_BYTES + 1,  # waitress refuses what reaches it
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

    The others are there for DELETEs and for refusals (reservations/in_flight_limits.py).
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
