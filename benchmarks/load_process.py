"""The load client: a separate process, which does one job after the other.

It is the Go program `benchmarks/go`, or load.py if there is no Go.
"""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.children import Child, Children


@dataclass(frozen=True, slots=True)
class Job:
    """A job: calls of one kind, either a number of them or for some seconds (bursts.py)."""

    kind: str
    port: int
    connections: int
    seconds: float
    calls: int


@dataclass(frozen=True, slots=True)
class Result:
    """The time of each call, the answers per second, and the share of a core of the client."""

    latencies_us: list[float]
    answers_per_second: float
    client_cores: float


class LoadProcess:
    """The process. `client_cores` is the maximum share of a core that it used in a job."""

    def __init__(self, children: Children, command: Sequence[str]) -> None:
        self._child: Child = children.start_piped("the load", command)
        self.client_cores = 0.0

    def run(self, job: Job) -> Result:
        """Do a job; return its result.

        Raises ChildError when a contender gave a wrong answer or none.
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
        self.client_cores = max(self.client_cores, result.client_cores)
        return result
