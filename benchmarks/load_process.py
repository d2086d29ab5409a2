"""The load client: a separate process, which does one job after the other.

It is the Go program `benchmarks/go`, or load.py if there is no Go.
"""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from benchmarks.children import Child, Children

Way = Literal["kept", "new", "life"]
"""How a client calls.

On one kept connection (Jicofo), on a new connection for each call (Prosody), or a POST and then the
DELETE of the same room, on one kept connection.
"""
Speaks = Literal["form", "json", "grpc"]
"""What a client sends: the form of Jicofo and Prosody, the contract as JSON, or the gRPC call."""


@dataclass(frozen=True, slots=True)
class Job:
    """A job: for each connection a number of calls, or calls for some seconds (bursts.py).

    `rooms` is the beginning of the rooms' names.
    """

    way: Way
    speaks: Speaks
    port: int
    connections: int
    seconds: float
    calls: int
    rooms: str = "bench"


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
        self.start(job)
        return self.result()

    def start(self, job: Job) -> None:
        """Start a job; `result` returns its result."""
        pipe = self._child.process.stdin
        if pipe is None:
            raise TypeError("the load: wanted a process with a pipe for its input, got none")
        pipe.write(json.dumps(dataclasses.asdict(job)).encode() + b"\n")
        pipe.flush()

    def result(self) -> Result:
        """Wait for the result of the job that was started.

        Raises ChildError when a contender gave a wrong answer or none.
        """
        pipe = self._child.process.stdout
        if pipe is None:
            raise TypeError("the load: wanted a process with a pipe for its output, got none")
        # This call cannot block for ever: the load waits at most PATIENCE_SECONDS for an answer.
        line = pipe.readline()
        if not line:
            raise self._child.failure("ended too early")
        result = Result(**json.loads(line))
        self.client_cores = max(self.client_cores, result.client_cores)
        return result
