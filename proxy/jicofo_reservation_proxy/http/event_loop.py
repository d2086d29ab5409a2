"""The events of all sockets: epoll in place of waitress's poll.

waitress asks every connection before each poll whether it wants to read or to write. With 64
connections that takes a large part of the time. Here, a connection gets the one event that somebody
asked for with `watch`, and none after that. There is one rule: whoever changes what a connection
wants, calls `watch`. The thread that has answered a request does so, and need not wake the main
loop.
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
    """Waits for the events of `sockets`. The caller adds and removes the entries."""

    def __init__(self, sockets: Sockets) -> None:
        self._sockets = sockets
        self._permanent: set[int] = set()
        self._epoll = select.epoll()

    def close(self) -> None:
        """Close the file of epoll."""
        self._epoll.close()

    def add(self, dispatcher: Any) -> None:  # noqa: ANN401 - waitress has no types
        """Ask for one event of a new dispatcher, of the kind that it wants now."""
        self._epoll.register(_number(dispatcher), _wanted(dispatcher) | _ONCE)

    def add_permanent(self, dispatcher: Any) -> None:  # noqa: ANN401 - waitress has no types
        """Ask for all events of a dispatcher that only reads."""
        self._permanent.add(_number(dispatcher))
        self._epoll.register(_number(dispatcher), select.EPOLLIN)

    def switch(self, dispatcher: Any, *, is_on: bool) -> None:  # noqa: ANN401 - waitress has no types
        """Ask for all events of such a dispatcher, or for none."""
        self._epoll.modify(_number(dispatcher), select.EPOLLIN if is_on else 0)

    def watch(self, dispatcher: Any) -> None:  # noqa: ANN401 - waitress has no types
        """Ask for one event of a dispatcher, of the kind that it wants now, if it wants any.

        Any thread may call this method. A dispatcher that is closed wants nothing.
        """
        number = _number(dispatcher)
        if number is not None and (wanted := _wanted(dispatcher)):
            # The main loop may close it just now. Then epoll has forgotten the number, or a new
            # connection has it, which gets one event too many.
            with suppress(OSError, ValueError):
                self._epoll.modify(number, wanted | _ONCE)

    def handle_events(self, seconds: float) -> None:
        """Wait at most so long for events, and handle them."""
        for number, event in self._epoll.poll(seconds):
            dispatcher = self._sockets.get(number)
            # A thread may use the socket now. It will call `watch`.
            if dispatcher is not None and (wanted := _wanted(dispatcher)):
                # A client may send a request and then reset the connection. The request comes
                # first: if a thread answers it, the connection is closed after that.
                wasyncore.readwrite(dispatcher, event & wanted or event & _OVER)
                if number not in self._permanent:
                    self.watch(dispatcher)


def _number(dispatcher: Any) -> Any:  # noqa: ANN401 - waitress has no types
    """Return the file number of a dispatcher; `None` if it is closed."""
    return dispatcher._fileno  # noqa: SLF001 - waitress has no other name for it


def _wanted(dispatcher: Any) -> int:  # noqa: ANN401 - waitress has no types
    """Return the events that a dispatcher wants."""
    read = _READ if dispatcher.readable() else 0
    return read | (select.EPOLLOUT if dispatcher.writable() else 0)
