"""The time from the start of a process to its first complete answer."""

import random
import socket
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from jicofo_reservation_proxy.commands.progress import Progress

from benchmarks.children import (
    NAIVE,
    START_SECONDS,
    Child,
    Children,
    on_backend,
    proxy_arguments,
)
from benchmarks.stats import Spread
from benchmarks.wire import HOST, Connection, Rooms, jicofo_request

RETRY_SECONDS = 0.001
REFERENCES = {
    "python without code, until its end": "pass",
    "python importing flask, grpc, waitress": "import os, flask, grpc, waitress; os._exit(0)",
}
"""Names and code of Python processes for comparison: no contender can start faster than these."""

Start = Callable[[], float]
"""Starts a process, ends it, and returns the seconds from the start to the first answer."""


@dataclass(frozen=True, slots=True)
class StartUp:
    """Starts the contenders, one at a time, on free ports."""

    children: Children
    backend_port: int
    rooms: Rooms

    def proxy(self, backend_port: int | None) -> float:
        """Return the seconds that the proxy needs; with None, it uses its built-in stub."""
        port = free_port()
        arguments = proxy_arguments(self.children, port)
        started = time.perf_counter()
        child = self.children.start("the proxy", arguments, on_backend(backend_port))
        return self._until_answer(child, port, started)

    def naive(self) -> float:
        """Return the seconds that the naive bridge needs."""
        port = free_port()
        arguments = [sys.executable, NAIVE, f"{HOST}:{self.backend_port}", str(port)]
        started = time.perf_counter()
        child = self.children.start("the naive bridge", arguments)
        return self._until_answer(child, port, started)

    def ending(self, code: str) -> float:
        """Return the seconds from the start to the end of a Python process that runs the code."""
        started = time.perf_counter()
        child = self.children.start(f"python -c {code!r}", [sys.executable, "-c", code])
        if child.process.wait(START_SECONDS):
            raise child.failure("failed")
        return time.perf_counter() - started

    def _until_answer(self, child: Child, port: int, started: float) -> float:
        with connect(child, port) as connection:
            connection.ask(jicofo_request(self.rooms.next()))
            took = time.perf_counter() - started
        child.end()
        return took


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        port: int = listener.getsockname()[1]
        return port


def connect(child: Child, port: int) -> Connection:
    """Try to connect until the child listens; return the connection.

    Raises ChildError when the child ends, or does not listen within `START_SECONDS`.
    """
    deadline = time.perf_counter() + START_SECONDS
    while time.perf_counter() < deadline and child.process.poll() is None:
        try:
            return Connection(port)
        except ConnectionRefusedError:
            time.sleep(RETRY_SECONDS)
    raise child.failure("did not listen")


def measure(starts: Mapping[str, Start], rounds: int, progress: Progress) -> dict[str, Spread]:
    """Return the seconds of each contender; each round has another order.

    An extra round before the first one fills the page cache and is not counted.
    """
    seconds: dict[str, list[float]] = {name: [] for name in starts}
    for number in range(rounds + 1):
        progress.show(f"start-up, round {number} of {rounds}")
        for name in random.sample(list(starts), len(starts)):
            took = starts[name]()
            if number > 0:
                seconds[name].append(took)
    return {name: Spread.of(values) for name, values in seconds.items()}
