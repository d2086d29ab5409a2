"""The admin listener: waitress in a thread of its own, with small bounds.

It begins after the ledger was read, answers during the whole shutdown, and ends last.
"""

import errno
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.server import TcpWSGIServer

from jicofo_reservation_proxy.errors import ListenError
from jicofo_reservation_proxy.http.server import resolve

from .application import RunningProxy, make_admin

THREADS = 2
"""One may be busy with a scrape or a status page while the other one answers a probe."""

MAX_CONNECTIONS = 50
MAX_HEADER_BYTES = 16 * 1024
MAX_BODY_BYTES = 1024

IDLE_SECONDS = 60
"""How long an idle connection stays open. Prometheus uses one for all its scrapes."""

PAUSE_SECONDS = 0.2
"""How long the listener waits after a failure to accept, for example while no file is free."""

CLOSE_SECONDS = 1.0

_WAKE_SECONDS = 5.0

logger = logging.getLogger(__name__)


class AdminServer(TcpWSGIServer):  # type: ignore[misc]
    """Serves the application of the admin listener from the constructor until `stop`.

    Raises `ListenError` if the address cannot be used.
    """

    def __init__(self, proxy: RunningProxy) -> None:
        listen = proxy.settings.admin_listen
        adjustments = Adjustments(
            threads=THREADS,
            connection_limit=MAX_CONNECTIONS,
            channel_timeout=IDLE_SECONDS,
            cleanup_interval=int(_WAKE_SECONDS),
            max_request_header_size=MAX_HEADER_BYTES,
            max_request_body_size=MAX_BODY_BYTES,
            log_socket_errors=False,
            clear_untrusted_proxy_headers=False,
            ident=None,
        )
        self._is_closing = False
        self._sockets: dict[int, wasyncore.dispatcher] = {}
        try:
            super().__init__(
                make_admin(proxy), map=self._sockets, adj=adjustments, sockinfo=resolve(listen)
            )
        except OSError as error:
            self._end()
            raise ListenError(_explained(listen, error)) from error
        self._thread = threading.Thread(target=self._run, name="admin", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """The URL of the status page, with the real port if the setting has port 0."""
        host = f"[{self.effective_host}]" if ":" in self.effective_host else self.effective_host
        return f"http://{host}:{self.effective_port}"

    def stop(self) -> None:
        """Stop listening, and end the threads within a second."""
        self._is_closing = True
        self.pull_trigger()
        self._thread.join(CLOSE_SECONDS)
        self._end()

    def handle_accept(self) -> None:
        """Accept a connection. After a failure, pause: the next attempt would fail at once too."""
        before = len(self.active_channels)
        super().handle_accept()
        if len(self.active_channels) == before:
            time.sleep(PAUSE_SECONDS)

    def _run(self) -> None:
        while not self._is_closing:
            # Not `select`, which fails for a file descriptor above 1023.
            wasyncore.poll2(_WAKE_SECONDS, self._sockets)

    def _end(self) -> None:
        dispatcher = getattr(self, "task_dispatcher", None)  # absent if the constructor failed
        if dispatcher is not None:
            dispatcher.shutdown(timeout=CLOSE_SECONDS)
        wasyncore.close_all(self._sockets)


@contextmanager
def admin_listener(proxy: RunningProxy, *, is_configured: bool) -> Iterator[AdminServer | None]:
    """Run the admin listener of a proxy in the `with` block; yield `None` if there is none.

    `is_configured` says whether the operator chose the address. If not, an address that another
    program uses is a warning: a second proxy on this machine is not an error. Otherwise raises
    `ListenError`.
    """
    try:
        server = AdminServer(proxy) if proxy.settings.admin_listen else None
    except ListenError as error:
        if is_configured:
            raise
        logger.warning("%s; the proxy runs without the admin listener", error)
        server = None
    try:
        yield server
    finally:
        if server is not None:
            server.stop()


def _explained(listen: str, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"admin_listen: another program uses {listen}; set admin_listen to a free port"
    return f"admin_listen: cannot use {listen}: {error.strerror}"
