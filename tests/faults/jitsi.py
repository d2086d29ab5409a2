"""A client that opens a room, closes it, and opens it again at once (clients.md).

It records each request and each conference that it held, with `time.monotonic()` (accounts.py).
"""

import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from tests.e2e.support import JICOFO, Client, Reply

RNG = random.SystemRandom()
REPEATS = 3
"""How often a client repeats a request.

Both clients repeat a request that got no answer, but Jicofo never repeats a POST. Prosody also
repeats a request that got 5xx.
"""

GETS = 0.2
"""The probability that a client sends a GET during a meeting."""

MOVES = 0.5
"""The probability that a client moves to a new room after a meeting and leaves the old one.

A client of a shared room does not move."""


def answer_or_none(send: Callable[[], Reply]) -> Reply | None:
    """Return the answer to a request, or `None` if the connection broke before an answer came."""
    try:
        return send()
    except (OSError, AssertionError):  # refused, reset, or closed
        return None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request on one connection; `status` is `None` if the connection broke."""

    method: str
    began: float
    ended: float
    status: int | None


@dataclass(frozen=True, slots=True)
class Holding:
    """A conference that a client held, from the answer to its POST until it began the DELETE."""

    serial: int
    since: float
    until: float
    is_deleted: bool
    """Whether the DELETE was answered 200."""
    proxy: int
    """The number of the proxy."""


@dataclass
class Room:
    """A room that one client opens and closes again and again; sometimes it moves to a new room.

    `clients` has the client for each number of a proxy: each meeting uses one of these proxies. If
    the room `is_shared`, other clients use it at the same time.

    `pause_seconds` is how long Prosody waits before it repeats a request; the real Prosody waits
    3 s. `answered` is called after each DELETE, even if no answer came.
    """

    name: str
    clients: Mapping[int, Client]
    answered: Callable[[], None]
    pause_seconds: float
    meeting_seconds: float
    is_shared: bool = False
    attempts: list[Attempt] = field(default_factory=list)
    holdings: list[Holding] = field(default_factory=list)
    _number: int = 0

    def run(self, is_over: Callable[[], bool]) -> None:
        """Hold meetings until `is_over` returns true."""
        while not is_over():
            self.meet()

    def meet(self) -> None:
        """Open the room, hold a meeting, and close it; pause if the room is refused."""
        proxy = RNG.choice(list(self.clients))
        client = self.clients[proxy]
        created = self._create(client)
        if created is None or created.status != 200:
            self._wait(self.pause_seconds)
            return
        since = time.monotonic()
        public_id = created.json["id"]
        if RNG.random() < GETS:
            self._send("GET", lambda: client.get(public_id))
        self._wait(RNG.uniform(0, self.meeting_seconds))
        until = time.monotonic()
        reply = self._send("DELETE", lambda: client.delete(public_id))
        serial = int(created.json["url"].removeprefix("conference:"))
        is_deleted = reply is not None and reply.status == 200
        self.holdings.append(Holding(serial, since, until, is_deleted, proxy))
        self.answered()
        if not self.is_shared and RNG.random() < MOVES:
            self._number += 1

    @property
    def _is_jicofo(self) -> bool:
        return any(client.user_agent == JICOFO for client in self.clients.values())

    def _create(self, client: Client) -> Reply | None:
        now = datetime.now(UTC)
        # Prosody sends whole seconds. If it opens a room twice within one second, both POSTs have
        # the same bytes.
        milliseconds = now.microsecond // 1000 if self._is_jicofo else 0
        start_time = f"{now:%Y-%m-%dT%H:%M:%S}.{milliseconds:03}Z"
        name = f"{self.name}-{self._number}"
        return self._send("POST", lambda: client.create(name, start_time=start_time))

    def _send(self, method: str, send: Callable[[], Reply]) -> Reply | None:
        """Send a request, with this client's repetitions; return the last answer, or `None`."""
        repeats = 0 if self._is_jicofo and method == "POST" else REPEATS
        reply = self._try(method, send)
        for _ in range(repeats):
            if reply is not None and (self._is_jicofo or reply.status < 500):
                break
            if not self._is_jicofo:
                self._wait(self.pause_seconds)
            reply = self._try(method, send)
        return reply

    def _try(self, method: str, send: Callable[[], Reply]) -> Reply | None:
        began = time.monotonic()
        reply = answer_or_none(send)
        status = reply.status if reply else None
        self.attempts.append(Attempt(method, began, time.monotonic(), status))
        return reply

    def _wait(self, seconds: float) -> None:
        threading.Event().wait(seconds)
