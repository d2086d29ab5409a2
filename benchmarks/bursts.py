"""Bursts of calls: in each round every contender gets one burst of each kind, in another order."""

import random
import statistics
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from jicofo_reservation_proxy.commands.progress import Progress

from benchmarks.contenders import Contender
from benchmarks.load_process import Job, LoadProcess, Way


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of burst: how a client calls, and how long.

    Each connection makes `calls` calls; without a number, all connections call for `seconds`.
    """

    name: str
    way: Way
    connections: int
    rounds: int
    calls: int = 0
    seconds: float = 0.0


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


def rounds(
    load: LoadProcess,
    kind: Kind,
    contenders: Mapping[str, Contender],
    progress: Progress,
) -> Iterator[dict[str, Burst]]:
    """Yield the bursts of each round, in the order of `contenders`.

    An extra round before the first one warms up the contenders and is not counted.
    """
    for number in range(kind.rounds + 1):
        progress.show(f"{kind.name}, round {number} of {kind.rounds}")
        order = random.sample(list(contenders), len(contenders))
        made = {name: burst(load, kind, contenders[name]) for name in order}
        if number > 0:
            yield {name: made[name] for name in contenders}


def collected(made: Iterable[dict[str, Burst]]) -> Bursts:
    """Return the bursts of all rounds."""
    bursts: Bursts = {}
    for each in made:
        for name, one in each.items():
            bursts.setdefault(name, []).append(one)
    return bursts


def burst(load: LoadProcess, kind: Kind, contender: Contender) -> Burst:
    """Make one burst.

    Raises ChildError when the contender gave a wrong answer, or too few in time.
    """
    job = Job(
        kind.way, contender.speaks, contender.port, kind.connections, kind.seconds, kind.calls
    )
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
