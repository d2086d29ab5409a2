"""The load: a process of its own that keeps a number of calls in flight and counts the answers.

One thread and epoll for HTTP, so that the client takes a small part of a core; blocking
threads on one channel for gRPC, which is how a Python program would call. Each line of the
input is a job, each line of the output its result; the end of the input is the end.
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
    """Keep this many calls in flight for so long, over HTTP or straight to the backend."""

    port: int
    connections: int
    seconds: float
    direct: bool


@dataclass(frozen=True, slots=True)
class Result:
    """How many answers came within the time, and what share of a core the client took."""

    answers_per_second: float
    client_cores: float


class Caller:
    """One kept-alive connection with at most one request in flight."""

    def __init__(self, connection: Connection, rooms: Rooms) -> None:
        self.socket = connection.socket
        self._rooms = rooms
        self._answer = bytearray()

    def send(self) -> None:
        """Ask for a new room."""
        self._answer.clear()
        self.socket.sendall(jicofo_request(self._rooms.next()))

    def receive(self) -> bool:
        """Take what has come, and say whether that is the whole answer."""
        received = self.socket.recv(16384)
        if not received:
            raise WrongAnswerError(f"the connection ended after {bytes(self._answer)!r}")
        self._answer += received
        return missing_bytes(self._answer) <= 0


def run_http(job: Job, rooms: Rooms) -> int:
    """Return the answers that came over HTTP in time; those still due are waited for."""
    with ExitStack() as stack, selectors.DefaultSelector() as selector:
        callers = [
            Caller(stack.enter_context(Connection(job.port)), rooms) for _ in range(job.connections)
        ]
        for caller in callers:
            selector.register(caller.socket, selectors.EVENT_READ, caller)
        return count_answers(selector, callers, job.seconds)


def count_answers(selector: selectors.BaseSelector, callers: list[Caller], seconds: float) -> int:
    """Send again on each answer until the time is over, then wait for the last answers."""
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
    """Return the answers that the backend itself gave in time, to blocking threads."""
    with DirectClient(job.port, rooms) as client, ThreadPoolExecutor(job.connections) as threads:
        client.call()  # connects
        deadline = time.perf_counter() + job.seconds
        counts = [threads.submit(count_calls, client, deadline) for _ in range(job.connections)]
        return sum(count.result() for count in counts)


def count_calls(client: DirectClient, deadline: float) -> int:
    """Call again on each answer until the time is over, and return the answers until then."""
    answers = 0
    while True:
        client.call()
        if time.perf_counter() >= deadline:
            return answers
        answers += 1


def run(job: Job, rooms: Rooms) -> Result:
    """Do a job."""
    cpu = time.process_time()
    started = time.perf_counter()
    answers = (run_direct if job.direct else run_http)(job, rooms)
    took = time.perf_counter() - started
    return Result(answers / job.seconds, (time.process_time() - cpu) / took)


def main() -> int:
    """Do the jobs that come in; 1 when a contender gave a wrong answer."""
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
