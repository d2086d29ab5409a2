"""The load: a separate process that keeps a number of calls in flight and counts the answers.

For HTTP it uses one thread and epoll, so that the client needs only a small part of a core. For
gRPC it uses blocking threads on one channel, as a Python program would. Each input line is a job,
and each output line is the result of a job. The process ends at the end of its input.
"""

import dataclasses
import gc
import json
import selectors
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass

from benchmarks.direct import DirectClient
from benchmarks.wire import (
    PATIENCE_SECONDS,
    Connection,
    Rooms,
    WrongAnswerError,
    jicofo_request,
    missing_bytes,
)


@dataclass(frozen=True, slots=True)
class Job:
    """A job: keep `connections` calls in flight for `seconds`, over HTTP or directly over gRPC."""

    port: int
    connections: int
    seconds: float
    direct: bool


@dataclass(frozen=True, slots=True)
class Result:
    """The answers per second within the time, and the share of a core that the client used."""

    answers_per_second: float
    client_cores: float


class Caller:
    """One keep-alive connection with at most one request in flight."""

    def __init__(self, connection: Connection, rooms: Rooms) -> None:
        self.socket = connection.socket
        self._rooms = rooms
        self._answer = bytearray()

    def send(self) -> None:
        """Send a request for a new room."""
        self._answer.clear()
        self.socket.sendall(jicofo_request(self._rooms.next()))

    def receive(self) -> bool:
        """Read the bytes that have arrived; return whether the answer is complete."""
        received = self.socket.recv(16384)
        if not received:
            raise WrongAnswerError(f"the connection ended after {bytes(self._answer)!r}")
        self._answer += received
        return missing_bytes(self._answer) <= 0


def run_http(job: Job, rooms: Rooms) -> int:
    """Keep HTTP calls in flight; return the number of answers that arrived in time."""
    with ExitStack() as stack, selectors.DefaultSelector() as selector:
        callers = [
            Caller(stack.enter_context(Connection(job.port)), rooms) for _ in range(job.connections)
        ]
        for caller in callers:
            selector.register(caller.socket, selectors.EVENT_READ, caller)
        return count_answers(selector, callers, job.seconds)


def count_answers(selector: selectors.BaseSelector, callers: list[Caller], seconds: float) -> int:
    """Send a new request after each answer until the time is over; return the number of answers.

    Wait for the last answers too, but do not count them.
    """
    deadline = time.perf_counter() + seconds
    for caller in callers:
        caller.send()
    answers = 0
    waiting = len(callers)
    while waiting:
        ready = selector.select(PATIENCE_SECONDS)
        if not ready:
            raise WrongAnswerError(f"{waiting} requests got no answer")
        for key, _ in ready:
            if not key.data.receive():
                continue
            if time.perf_counter() < deadline:
                answers += 1
                key.data.send()
            else:
                waiting -= 1
    return answers


def run_direct(job: Job, rooms: Rooms) -> int:
    """Return the number of answers that the backend gave in time to blocking threads."""
    with DirectClient(job.port, rooms) as client, ThreadPoolExecutor(job.connections) as threads:
        client.call()  # opens the connection before the time starts
        deadline = time.perf_counter() + job.seconds
        counts = [threads.submit(count_calls, client, deadline) for _ in range(job.connections)]
        return sum(count.result() for count in counts)


def count_calls(client: DirectClient, deadline: float) -> int:
    """Call again after each answer until the time is over; return the number of answers in time."""
    answers = 0
    while True:
        client.call()
        if time.perf_counter() >= deadline:
            return answers
        answers += 1


def run(job: Job, rooms: Rooms) -> Result:
    """Do a job; return its result."""
    cpu = time.process_time()
    started = time.perf_counter()
    answers = (run_direct if job.direct else run_http)(job, rooms)
    took = time.perf_counter() - started
    return Result(answers / job.seconds, (time.process_time() - cpu) / took)


def main() -> int:
    """Do the jobs of the input; return 0, or 1 when a contender gave a wrong answer or none."""
    gc.disable()
    rooms = Rooms()
    try:
        for line in sys.stdin:
            result = run(Job(**json.loads(line)), rooms)
            gc.collect()
            print(json.dumps(dataclasses.asdict(result)), flush=True)
    except (OSError, WrongAnswerError) as error:
        print(f"the load failed: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
