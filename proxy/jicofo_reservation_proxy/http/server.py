"""The listener for Jitsi clients: waitress, with bounded input and a graceful shutdown.

waitress itself stops without sending the answers that its threads have just written. This listener
finishes the requests in flight first.
"""

import logging
import math
import resource
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from importlib import metadata

from flask import Flask
from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.server import TcpWSGIServer

from jicofo_reservation_proxy.errors import ListenError
from jicofo_reservation_proxy.observability.throttle import Throttle
from jicofo_reservation_proxy.reservations.room_queue import max_waiting_in_all
from jicofo_reservation_proxy.settings.addresses import split_listen

from .connections import Connection
from .event_loop import EventLoop
from .fast_path import FastPath
from .forms import MAX_BODY_BYTES
from .front_door import FrontDoorInUse
from .listener_tls import ListenerTls
from .refusals import Refusal
from .thread_pool import ThreadPool
from .tls_connection import TlsConnection

TESTED_WAITRESS = "3.0."
"""The fast path relies on private parts of waitress, which other versions may change."""

MAX_CONNECTIONS = 1000

MAX_HEADER_BYTES = 16 * 1024

CHECK_SECONDS = 1.0
"""How often the main loop enforces the time limits of the connections."""

ACCEPT_AT_ONCE = 32
"""How many connections the main loop accepts before it looks at the others again."""

ACCEPT_PAUSE_SECONDS = 0.2
"""How long the main loop accepts nothing after a failure. Without a pause it would try in vain
again and again, for example while the process may open no more files. It also waits for this time
before it closes a connection that was just served, to accept another one."""

JUST_SERVED = 3
"""The last rank in the order in which connections are closed to make room (`_eviction_order`)."""

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

    `listen` is the setting, and `in_use` has the front door of the application. If there are too
    many connections, the server closes the one that has been idle longest. Raises `ListenError` if
    the address cannot be used.
    """

    def __init__(
        self,
        app: Flask,
        listen: str,
        in_use: FrontDoorInUse,
    ) -> None:
        self._in_use = in_use
        self.refusals = in_use.door.refusals
        self._has_fast_path = is_tested_waitress()
        if not self._has_fast_path:
            logger.warning(
                "waitress: wanted version %s*, got %s; the fast path is off, so each POST takes "
                "longer; install the version that constraints.txt names",
                TESTED_WAITRESS,
                metadata.version("waitress"),
            )
        self._max_connections = _max_connections()
        self._next_check = self._accepts_from = -math.inf
        self._accept_failures = Throttle()
        self._must_evict = False
        self._full_since = math.inf
        self.is_listening = True
        """Whether the main loop waits for connections to accept."""
        self._stopping = False
        self._ending = threading.Lock()
        self.left_seconds = in_use.door.drain_seconds
        self.is_draining = False
        adjustments = Adjustments(
            backlog=1024,
            max_request_header_size=MAX_HEADER_BYTES,
            max_request_body_size=MAX_BODY_BYTES + 1,  # waitress refuses this size too
            log_socket_errors=False,
            clear_untrusted_proxy_headers=False,
            ident=None,
        )
        self._sockets: dict[int, wasyncore.dispatcher] = {}
        pool = ThreadPool(_threads(in_use.door.threads))
        try:
            super().__init__(
                app,
                map=self._sockets,
                dispatcher=pool,
                adj=adjustments,
                sockinfo=resolve(listen),
            )
        except OSError as error:
            pool.shutdown(timeout=0)
            wasyncore.close_all(self._sockets)
            raise ListenError(f"listen: cannot use {listen}: {error.strerror}") from error
        self.event_loop = EventLoop(self._sockets)
        self.event_loop.add_permanent(self)
        self.event_loop.add_permanent(self.trigger)

    @property
    def fast_path(self) -> FastPath | None:
        """The fast path in use; `None` with a version of waitress that was not tested."""
        return self._in_use.door.fast_path if self._has_fast_path else None

    @property
    def tls(self) -> ListenerTls | None:
        """The TLS of the next connection; `None` for plain HTTP."""
        return self._in_use.door.tls

    @property
    def url(self) -> str:
        """The URL on which the server listens, with the real port if the setting has port 0."""
        host = f"[{self.effective_host}]" if ":" in self.effective_host else self.effective_host
        return f"{'https' if self.tls else 'http'}://{host}:{self.effective_port}"

    @property
    def is_ready(self) -> bool:
        """Whether the server listens and is not stopping."""
        return not self._stopping

    def stop(self) -> None:
        """Make `run` drain and return. Any thread may call this method."""
        with self._ending:  # otherwise `run` could close the trigger before the call below
            if not self._stopping:
                self._stopping = True
                self.pull_trigger()

    def run(self) -> None:
        """Serve until `stop`, then finish the requests in flight within `drain_within`.

        Afterwards `left_seconds` is the remaining part of `drain_within`.
        """
        while not self._stopping:
            self._poll(timeout=self._next_wake_up())
        self._stop_accepting()
        logger.info("stopping: finishing the requests in flight")
        until = time.monotonic() + self._in_use.door.drain_seconds
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
            self.event_loop.close()
        self.left_seconds = max(0.0, until - time.monotonic())

    def readable(self) -> bool:
        """Return whether the main loop should accept a connection.

        If there are too many connections, another one would have to be closed. If it was served
        just now, wait a moment: perhaps a busy connection ends before that.
        """
        now = time.monotonic()
        if not self.accepting or now < self._accepts_from:
            return False
        if len(self.active_channels) < self._max_connections:
            self._full_since = math.inf
            return True
        self._full_since = min(self._full_since, now)
        is_patient = now < self._full_since + ACCEPT_PAUSE_SECONDS
        last_rank = JUST_SERVED - is_patient
        order = _eviction_order(now)
        return any(
            each.is_waiting and order(each)[0] <= last_rank
            for each in self.active_channels.values()
        )

    def handle_accept(self) -> None:
        """Accept the connections that wait, up to a limit."""
        for number in range(ACCEPT_AT_ONCE):
            try:
                accepted = self.accept()
            except OSError as error:
                # Without a free file, `accept` fails also if no more connections wait.
                if number == 0:
                    self._put_off_accepting(error)
                return
            if accepted is None:
                return
            self._open(*accepted)

    def _put_off_accepting(self, error: OSError) -> None:
        self._accepts_from = time.monotonic() + ACCEPT_PAUSE_SECONDS
        self._must_evict = True  # perhaps this process may open no more files
        if self._accept_failures.note():
            logger.error("cannot accept a connection: %s", error.strerror)

    def _open(self, connection: socket.socket, address: object) -> None:
        with suppress(OSError):  # the client is gone already
            self.set_socket_options(connection)
        tls = self.tls
        kind = TlsConnection if tls else Connection
        opened = kind(self, connection, self.fix_addr(address), self.adj, map=self._map)
        if tls:
            opened.listener_tls = tls
        try:
            self.event_loop.add(opened)
        except OSError:  # the system allows no more of them
            opened.handle_close()
            return
        # The first request is often there already. But above the limit, a connection that is busy
        # would make another one be closed in its place.
        if not tls and len(self.active_channels) <= self._max_connections:
            wasyncore.read(opened)
            if opened.will_close:
                self.event_loop.watch(opened)

    def _poll(self, timeout: float) -> None:
        """Handle the next events, and then close the connections that must be closed.

        While the events are handled, no other connection may be closed: its file descriptor could
        be used again at once, and an event of the old connection would reach the new one. What has
        arrived in time is read before a time limit is enforced, also if the process was stopped.
        """
        self._listen_if_possible()
        self.task_dispatcher.limit = _threads(self._in_use.door.threads)
        self.event_loop.handle_events(min(timeout, self.task_dispatcher.look()))
        self._enforce_time_limits()
        self._evict()

    def _listen_if_possible(self) -> None:
        """Stop or begin to wait for connections, as `readable` says."""
        if self.accepting and self.readable() != self.is_listening:
            self.is_listening = not self.is_listening
            self.event_loop.switch(self, is_on=self.is_listening)

    def _next_wake_up(self) -> float:
        """Return after how many seconds the main loop has something to do, also without events."""
        if not self.is_listening:
            return ACCEPT_PAUSE_SECONDS
        return CHECK_SECONDS if self.active_channels else 30.0

    def _enforce_time_limits(self) -> None:
        now = time.monotonic()
        if now < self._next_check:
            return
        self._next_check = now + CHECK_SECONDS
        for channel in list(self.active_channels.values()):
            channel.enforce_time_limits(now)

    def _evict(self) -> None:
        """If there are too many connections, or no file is free, close some that wait."""
        surplus = len(self.active_channels) - self._max_connections
        if surplus <= 0 and not self._must_evict:
            return
        waiting = [channel for channel in self.active_channels.values() if channel.is_waiting]
        if surplus > 0:
            newest = max(self.active_channels.values(), key=lambda channel: channel.accepted_at)
            self._close_for_others([each for each in waiting if each is not newest], surplus)
        else:
            self._close_for_others(waiting, 1)
        self._must_evict = False

    def _close_for_others(self, channels: list[Connection], number: int) -> None:
        for channel in sorted(channels, key=_eviction_order(time.monotonic()))[:number]:
            self.refusals.note(Refusal.EVICTED, channel.peer)
            channel.handle_close()

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
            if len(self.active_channels) < self._max_connections:
                self._open(connection, address)
            else:
                connection.close()

    @property
    def _linger_seconds(self) -> float:
        return min(LINGER_SECONDS, self._in_use.door.drain_seconds / 2)

    def _lingers(self) -> bool:
        """Return whether a client might still send a request on an idle connection."""
        since = time.monotonic() - self._linger_seconds
        return any(
            channel.answered_at > since and not channel.is_closing
            for channel in list(self.active_channels.values())
        )

    def _is_busy(self) -> bool:
        return any(channel.is_busy for channel in list(self.active_channels.values()))


def _eviction_order(now: float) -> Callable[[Connection], tuple[int, float]]:
    """Return the key of the order in which connections are closed to make room.

    1. Connections that were never served, and are not new.
    2. Connections that were served, and have been idle for some time. Jicofo notices that.
    3. New connections that were not served yet.
    4. Connections that were just served. If Jicofo sends a request within 2 s of its last answer,
       it does not notice that the connection is closed (clients.md "idle connection").

    Among equals, the one that has been idle longest comes first.
    """

    def key(channel: Connection) -> tuple[int, float]:
        is_recent = now - channel.idle_since < (LINGER_SECONDS if channel.was_served else 1.0)
        return 2 * is_recent + channel.was_served, channel.idle_since

    return key


def _threads(threads: int) -> int:
    """Return the maximum number of threads: the setting `threads`, and about half more.

    The setting limits the threads that wait for backends (reservations/in_flight_limits.py). A
    quarter more is for POSTs that wait for their room, and a quarter for DELETEs and refusals.
    """
    return threads + max_waiting_in_all(threads) + max(2, threads // 4)


def is_tested_waitress() -> bool:
    """Return whether waitress has a version whose private parts the fast path was tested with."""
    return metadata.version("waitress").startswith(TESTED_WAITRESS)


def why_not_free(listen: str) -> OSError | None:
    """Return the error for which a server cannot listen on an address; `None` if it can."""
    try:
        family, kind, _, address = resolve(listen)
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        return error
    return None


def raise_file_limit() -> None:
    """Raise the soft limit of this process for open files to the hard limit."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):  # a container may forbid it
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _max_connections() -> int:
    """Return the maximum number of open connections: at most half of the limit for open files.

    The other half is for backends and for the ledger.
    """
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MAX_CONNECTIONS if files == resource.RLIM_INFINITY else min(MAX_CONNECTIONS, files // 2)


def resolve(listen: str) -> tuple[int, int, int, tuple[object, ...]]:
    """Return the first address of `listen`, in the form that waitress accepts."""
    host, port = split_listen(listen)
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, protocol, _, address = found[0]
    return family, kind, protocol, address
