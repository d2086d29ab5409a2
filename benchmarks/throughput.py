"""Many calls at once: the answers per second with different numbers of connections."""

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
"""Answers per second by contender and number of connections, one value per round."""


@dataclass(frozen=True, slots=True)
class ThroughputFigures:
    """Answers per second by contender and number of connections, and ratios of them.

    `most_over_middle` is the ratio of 64 to 16 connections.
    """

    answers_per_second: dict[str, dict[int, Spread]]
    most_over_middle: dict[str, Spread]
    ours_over_naive: dict[int, Spread]
    client_cores: float


class LoadProcess:
    """The process of load.py, which does one job after the other."""

    def __init__(self, children: Children) -> None:
        self._child: Child = children.start_piped("the load", ["-m", "benchmarks.load"])
        self.client_cores = 0.0

    def run(self, job: Job) -> float:
        """Do a job; return the answers per second.

        `client_cores` keeps the maximum share of a core that the HTTP client used. Raises
        ChildError when a contender gave a wrong answer or none.
        """
        pipes = self._child.process
        if pipes.stdin is None or pipes.stdout is None:
            raise TypeError("the load: wanted a process with pipes for input and output, got none")
        pipes.stdin.write(json.dumps(dataclasses.asdict(job)).encode() + b"\n")
        pipes.stdin.flush()
        # This call cannot block for ever: the load waits at most PATIENCE_SECONDS for an answer.
        line = pipes.stdout.readline()
        if not line:
            raise self._child.failure("ended too early")
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
    """Return the answers per second of each contender with each number of connections.

    Each round has another order. An extra round before the first one warms up the contenders and is
    not counted.
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
    """Return the medians, quartiles and ratios of all rounds."""
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
