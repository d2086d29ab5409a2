"""One call at a time, as Jicofo makes them: the time that each bridge adds to a direct call."""

import gc
import random
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from jicofo_reservation_proxy.commands.progress import Progress

from benchmarks.direct import DirectClient
from benchmarks.stats import Spread, differences, ratios
from benchmarks.wire import Connection, Rooms, ask_as_prosody, jicofo_request, prosody_request

Call = Callable[[], float]
"""Makes one call and returns its duration in microseconds."""

Clock = Callable[[], float]
"""Returns the processor time that a contender has used so far, in microseconds."""

DIRECT = "direct gRPC call"
WARM_UP_CALLS = 100  # not counted: gRPC connects, and each code path runs for the first time
CALLS_AFTER_SWITCH = 2  # not counted: the caches still hold the data of another contender


@dataclass(frozen=True, slots=True)
class SerialFigures:
    """Latencies and processor time in microseconds, and the overheads over the direct call."""

    cpu_us: dict[str, Spread]
    latency_us: dict[str, Spread]
    overhead_us: dict[str, Spread]
    overhead_ratio: Spread


def direct_call(client: DirectClient) -> Call:
    """Return a call that goes directly to the backend."""

    def call() -> float:
        question = client.question()
        started = time.perf_counter_ns()
        client.ask(question)
        return (time.perf_counter_ns() - started) / 1000

    return call


def jicofo_call(connection: Connection, rooms: Rooms) -> Call:
    """Return a call over a keep-alive connection, as Jicofo makes it."""

    def call() -> float:
        request = jicofo_request(rooms.next())
        started = time.perf_counter_ns()
        connection.ask(request)
        return (time.perf_counter_ns() - started) / 1000

    return call


def prosody_call(port: int, rooms: Rooms) -> Call:
    """Return a call over a new connection, as Prosody makes it.

    The duration includes the time to open and close the connection.
    """

    def call() -> float:
        request = prosody_request(rooms.next())
        started = time.perf_counter_ns()
        ask_as_prosody(port, request)
        return (time.perf_counter_ns() - started) / 1000

    return call


@dataclass(frozen=True, slots=True)
class Caller:
    """A call to a contender, and the contender's processor clock, or None if it has none."""

    call: Call
    clock: Clock | None = None


@dataclass(slots=True)
class Rounds:
    """The median latency of each burst of a caller, and its processor time per call, by round."""

    latency_us: list[float] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)

    def add_burst(self, caller: Caller, size: int) -> None:
        """Make a burst of `size` calls; add its figures."""
        warm_up(caller.call, CALLS_AFTER_SWITCH)
        before = caller.clock() if caller.clock else 0.0
        self.latency_us.append(statistics.median(caller.call() for _ in range(size)))
        if caller.clock:
            self.cpu_us.append((caller.clock() - before) / size)


def warm_up(call: Call, calls: int) -> None:
    """Make calls without measuring them."""
    for _ in range(calls):
        call()


def measure(
    callers: Mapping[str, Caller], rounds: int, size: int, progress: Progress
) -> dict[str, Rounds]:
    """Return the figures of each caller.

    Each caller makes one burst per round, and each round has another order.
    """
    for caller in callers.values():
        warm_up(caller.call, WARM_UP_CALLS)
    measured = {name: Rounds() for name in callers}
    gc.collect()
    gc.disable()
    try:
        for number in range(rounds):
            progress.show(f"serial calls, round {number + 1} of {rounds}")
            for name in random.sample(list(callers), len(callers)):
                measured[name].add_burst(callers[name], size)
    finally:
        gc.enable()
    return measured


def figures(measured: Mapping[str, Rounds], ours: str, naive: str) -> SerialFigures:
    """Return the medians, quartiles and ratios of all rounds."""
    latencies = {name: rounds.latency_us for name, rounds in measured.items()}
    over = {
        name: differences(values, latencies[DIRECT])
        for name, values in latencies.items()
        if name != DIRECT
    }
    return SerialFigures(
        cpu_us={
            name: Spread.of(rounds.cpu_us) for name, rounds in measured.items() if rounds.cpu_us
        },
        latency_us={name: Spread.of(values) for name, values in latencies.items()},
        overhead_us={name: Spread.of(values) for name, values in over.items()},
        overhead_ratio=ratios(over[ours], over[naive]),
    )
