"""The main loop's view of all sockets: epoll in place of waitress's poll.

waitress asks every connection before each poll whether it wants to read or to write. With 64
connections that takes a large part of the time. Here, a connection gets one event and is then
ignored, until somebody calls `watch` for it. The thread that has answered a request calls `watch`
itself, so it need not wake the main loop.
"""

import select
from contextlib import suppress
from typing import Any

from waitress import wasyncore

_READ = select.EPOLLIN | select.EPOLLPRI
_ONCE = select.EPOLLONESHOT
_OVER = select.EPOLLHUP | select.EPOLLERR

Sockets = dict[int, Any]
"""A file number → a dispatcher of waitress: the listener, its trigger, or a connection."""


class EventLoop:
    """Waits for events of `sockets`. The caller adds and removes the entries."""

    def __init__(self, sockets: Sockets) -> None:
        self._sockets = sockets
        self._epoll = select.epoll()

    def close(self) -> None:
        """Close the file of epoll."""
        self._epoll.close()

    def add(self, dispatcher: Any) -> None:  # noqa: ANN401 - waitress has no types
        """Begin to wait for events of a dispatcher: for the first one that it wants now."""
        self._epoll.register(dispatcher._fileno, _wanted(dispatcher) | _ONCE)  # noqa: SLF001 - it has no other name

    def watch(self, dispatcher: Any) -> bool:  # noqa: ANN401 - waitress has no types
        """Wait for the next event that a dispatcher wants now; return whether it wants any.

        Any thread may call this method. A dispatcher that is closed wants nothing.
        """
        number = dispatcher._fileno  # noqa: SLF001 - it has no other name
        wanted = 0 if number is None else _wanted(dispatcher)
        if wanted:
            # The main loop may close it just now. Then epoll has forgotten it.
            with suppress(OSError, ValueError):
                self._epoll.modify(number, wanted | _ONCE)
        return wanted != 0

    def handle_events(self, seconds: float) -> None:
        """Wait at most so long for events, and handle them."""
        for number, event in self._epoll.poll(seconds):
            dispatcher = self._sockets.get(number)
            if dispatcher is None:
                continue
            # A thread may use the socket since it was watched. The thread will watch it again.
            if wanted := _wanted(dispatcher):
                # A client may send a request and reset its connection: read first. If a thread then
                # answers, the connection is closed after that.
                wasyncore.readwrite(dispatcher, event & wanted or event & _OVER)
                self.watch(dispatcher)


def _wanted(dispatcher: Any) -> int:  # noqa: ANN401 - waitress has no types
    """Return the events that a dispatcher wants."""
    read = _READ if dispatcher.readable() else 0
    return read | (select.EPOLLOUT if dispatcher.writable() else 0)
