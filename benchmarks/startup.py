"""The time from the start of a process to its first complete answer."""

import random
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from jicofo_reservation_proxy.commands.progress import Progress

from benchmarks.children import START_SECONDS, Children
from benchmarks.contenders import Backends, Program
from benchmarks.ports import free_port, wait_until_open
from benchmarks.stats import Spread
from benchmarks.wire import Rooms, jicofo_request, json_request

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
    backends: Backends
    rooms: Rooms

    def program(self, program: Program) -> float:
        """Return the seconds that a contender needs."""
        port = free_port()
        request = json_request if program.speaks == "json" else jicofo_request
        started = time.perf_counter()
        child = program.launch(self.children, self.backends[program.api].port, port)
        with wait_until_open(child, port) as connection:
            connection.ask(request(self.rooms.next()))
            took = time.perf_counter() - started
        child.end()
        return took

    def ending(self, code: str) -> float:
        """Return the seconds from the start to the end of a Python process that runs the code."""
        started = time.perf_counter()
        child = self.children.start(f"python -c {code!r}", [sys.executable, "-c", code])
        if child.process.wait(START_SECONDS):
            raise child.failure("failed")
        return time.perf_counter() - started


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
