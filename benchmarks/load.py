"""The load client in Python, for a machine without Go; it needs more time than the contenders.

It does the same jobs as the Go program (benchmarks/go). Each input line is a job, and each output
line is the result of a job. The process ends at the end of its input.
"""

import dataclasses
import gc
import json
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from benchmarks.direct import DirectClient
from benchmarks.load_process import Job, Result
from benchmarks.wire import (
    HEADER_END,
    Connection,
    Rooms,
    WrongAnswerError,
    ask_once,
    jicofo_delete,
    jicofo_request,
    json_request,
    prosody_request,
)

Call = Callable[[], object]


def caller(job: Job, rooms: Rooms, stack: ExitStack) -> Call:
    """Return a function that makes one call."""
    if job.speaks == "grpc":
        return stack.enter_context(DirectClient(job.port, rooms)).call
    if job.way == "new":
        request = json_request if job.speaks == "json" else prosody_request
        return lambda: ask_once(job.port, request(rooms.next()))
    connection = stack.enter_context(Connection(job.port))
    if job.way == "life":
        return lambda: live(connection, rooms.next())
    request = json_request if job.speaks == "json" else jicofo_request
    return lambda: connection.ask(request(rooms.next()))


def live(connection: Connection, room: str) -> None:
    """Open a room and close it again."""
    granted = json.loads(connection.ask(jicofo_request(room)).partition(HEADER_END)[2])
    connection.ask(jicofo_delete(granted["id"]))


def calls(job: Job, call: Call, began: float) -> list[float]:
    """Call until the job is done; return the time of each call in microseconds."""
    latencies: list[float] = []
    while job.calls == 0 or len(latencies) < job.calls:
        started = time.perf_counter()
        call()
        ended = time.perf_counter()
        if job.calls == 0 and ended > began + job.seconds:
            break
        latencies.append((ended - started) * 1e6)
    return latencies


def run(job: Job, rooms: Rooms) -> Result:
    """Do a job; return its result."""
    with ExitStack() as stack, ThreadPoolExecutor(job.connections) as threads:
        callers = [caller(job, rooms, stack) for _ in range(job.connections)]
        cpu, began = time.process_time(), time.perf_counter()
        running = [threads.submit(calls, job, call, began) for call in callers]
        latencies = [latency for each in running for latency in each.result()]
        took = time.perf_counter() - began
    cores = (time.process_time() - cpu) / took
    return Result(latencies, len(latencies) / (job.seconds or took), cores)


def main() -> int:
    """Do the jobs of the input; return 0, or 1 when a contender gave a wrong answer or none."""
    gc.disable()
    try:
        for line in sys.stdin:
            job = Job(**json.loads(line))
            result = run(job, Rooms(job.rooms))
            gc.collect()
            print(json.dumps(dataclasses.asdict(result)), flush=True)
    except (OSError, WrongAnswerError) as error:
        print(f"the load failed: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
