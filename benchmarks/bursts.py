"""Bursts of calls: in each round every contender gets one burst of each kind, in another order."""

import random
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jicofo_reservation_proxy.commands.progress import Progress

from benchmarks.children import Child
from benchmarks.load_process import Job, LoadProcess
from benchmarks.stats import Spread, ratios


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of burst: how a client calls, and how long.

    `way` is "kept" (Jicofo) or "new" (Prosody: a new connection for each call). A burst has `calls`
    calls, or takes `seconds` if there are several connections.
    """

    name: str
    way: str
    connections: int
    rounds: int
    calls: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Contender:
    """The port and the process of a contender. `is_backend`: it is called without a bridge."""

    port: int
    child: Child
    is_backend: bool = False


@dataclass(frozen=True, slots=True)
class Burst:
    """What one burst measured. Times are in microseconds; processor time and switches per call."""

    p50_us: float
    p99_us: float
    answers_per_second: float
    cpu_us: float
    voluntary_switches: float
    involuntary_switches: float


Bursts = dict[str, list[Burst]]
"""The bursts of each contender, one for each round."""

FIGURES = (
    "p50_us",
    "p99_us",
    "answers_per_second",
    "cpu_us",
    "voluntary_switches",
    "involuntary_switches",
)


def measure(
    load: LoadProcess,
    kind: Kind,
    contenders: Mapping[str, Contender],
    progress: Progress,
) -> Bursts:
    """Return the bursts of one kind.

    An extra round before the first one warms up the contenders and is not counted.
    """
    bursts: Bursts = {name: [] for name in contenders}
    for number in range(kind.rounds + 1):
        progress.show(f"{kind.name}, round {number} of {kind.rounds}")
        for name in random.sample(list(contenders), len(contenders)):
            burst = _burst(load, kind, contenders[name])
            if number > 0:
                bursts[name].append(burst)
    return bursts


def _burst(load: LoadProcess, kind: Kind, contender: Contender) -> Burst:
    way = "direct" if contender.is_backend else kind.way
    job = Job(way, contender.port, kind.connections, kind.seconds, kind.calls)
    before = contender.child.usage()
    result = load.run(job)
    after = contender.child.usage()
    calls = len(result.latencies_us)
    if calls < 2:
        raise contender.child.failure(f"answered {calls} calls in time; wanted at least 2")
    cuts = statistics.quantiles(result.latencies_us, n=100, method="inclusive")
    return Burst(
        p50_us=cuts[49],
        p99_us=cuts[98],
        answers_per_second=result.answers_per_second,
        cpu_us=(after.cpu_us - before.cpu_us) / calls,
        voluntary_switches=(after.voluntary - before.voluntary) / calls,
        involuntary_switches=(after.involuntary - before.involuntary) / calls,
    )


def spreads(bursts: Sequence[Burst]) -> dict[str, Spread]:
    """Return the median and the quartiles of each figure."""
    return {figure: Spread.of(getattr(burst, figure) for burst in bursts) for figure in FIGURES}


def compared(bursts: Bursts, name: str, base: str) -> dict[str, Spread]:
    """Return the ratios of a contender to another one, round by round, for each figure."""
    return {
        figure: ratios(
            [getattr(burst, figure) for burst in bursts[name]],
            [getattr(burst, figure) or 1e-9 for burst in bursts[base]],
        )
        for figure in FIGURES
    }
