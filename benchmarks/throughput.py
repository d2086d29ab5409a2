"""Many calls at once: how many answers come in a second, at several numbers of connections."""

import dataclasses
import itertools
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jicofo_reservation_proxy.commands.progress import Progress

from benchmarks.children import Child, Children
from benchmarks.load import Job, Result
from benchmarks.stats import Spread, ratios

CONNECTIONS = (1, 16, 64)

Answers = dict[tuple[str, int], list[float]]
"""Answers per second by contender and connections, one per round."""


@dataclass(frozen=True, slots=True)
class ThroughputFigures:
    """Answers per second by contender and connections, and how each holds up at the most."""

    answers_per_second: dict[str, dict[int, Spread]]
    most_over_middle: dict[str, Spread]
    ours_over_naive: dict[int, Spread]
    client_cores: float


class LoadProcess:
    """The process of load.py, doing one job after the other."""

    def __init__(self, children: Children) -> None:
        self._child: Child = children.start_piped("the load", ["-m", "benchmarks.load"])
        self.client_cores = 0.0

    def run(self, job: Job) -> float:
        """Return the answers per second; the client's share of a core is kept at its highest.

        Raises ChildError when a contender gave a wrong answer or none.
        """
        pipes = self._child.process
        if pipes.stdin is None or pipes.stdout is None:
            raise TypeError("the load is a process with pipes")
        pipes.stdin.write(json.dumps(dataclasses.asdict(job)).encode() + b"\n")
        pipes.stdin.flush()
        line = pipes.stdout.readline()  # in bounded time: a job has an end, and so has its patience
        if not line:
            raise self._child.failure("ended")
        result = Result(**json.loads(line))
        if not job.direct:
            self.client_cores = max(self.client_cores, result.client_cores)
        return result.answers_per_second


def measure(
    load: LoadProcess,
    ports: Mapping[str, int],
    direct: str,
    rounds: int,
    seconds: float,
    progress: Progress,
) -> Answers:
    """Return the answers per second of each contender at each number, one per round.

    Each round is in another order. A round before the first warms everything and is not counted.
    """
    cells = list(itertools.product(ports, CONNECTIONS))
    answers: Answers = {cell: [] for cell in cells}
    for number in range(rounds + 1):
        progress.show(f"throughput, round {number} of {rounds}")
        for name, connections in random.sample(cells, len(cells)):
            job = Job(ports[name], connections, seconds, name == direct)
            rate = load.run(job)
            if number > 0:
                answers[name, connections].append(rate)
    return answers


def figures(
    answers: Answers, names: Sequence[str], ours: str, naive: str, client_cores: float
) -> ThroughputFigures:
    """Return what the rounds say."""
    _, middle, most = CONNECTIONS
    return ThroughputFigures(
        answers_per_second={
            name: {n: Spread.of(answers[name, n]) for n in CONNECTIONS} for name in names
        },
        most_over_middle={
            name: ratios(answers[name, most], answers[name, middle]) for name in names
        },
        ours_over_naive={n: ratios(answers[ours, n], answers[naive, n]) for n in CONNECTIONS},
        client_cores=client_cores,
    )
