"""`make fuzz`: send random streams to a running proxy, and report what came back."""

import argparse
import os
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.support import free_port, serving_grpc
from tests.faults.processes import Process

from .backend import granting_some
from .compare import comparing
from .oracle import WrongAnswerError
from .play import play_random

WORKERS = 4
CLOSING_SECONDS = 5.0
"""How long the proxy may take to close the last connections."""
BATCH = 50
MAX_GROWTH_KB = 20_000
"""How much the proxy's memory may grow after the first tenth of a run."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What the proxy uses."""

    threads: int
    files: int
    memory_kb: int

    def __str__(self) -> str:
        return f"{self.threads} threads, {self.files} files, {self.memory_kb / 1000:.1f} MB"


class Run:
    """A run of the fuzzer. All workers share it."""

    def __init__(self, port: int, first_seed: int) -> None:
        self.statuses: Counter[int] = Counter()
        self.streams = 0
        self.error: WrongAnswerError | None = None
        self._port = port
        self._next_seed = first_seed
        self._lock = threading.Lock()
        self.is_over = threading.Event()

    def work(self) -> None:
        """Play streams until the run is over."""
        while not self.is_over.is_set():
            with self._lock:
                seeds = range(self._next_seed, self._next_seed + BATCH)
                self._next_seed += BATCH
            try:
                statuses = play_random(self._port, seeds)
            except WrongAnswerError as error:
                self.error = error
                self.is_over.set()
                return
            with self._lock:
                self.statuses += statuses
                self.streams += BATCH


def main() -> int:
    """Run the fuzzer; return 1 if the proxy did something wrong."""
    parser = argparse.ArgumentParser("make fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long; default: 60")
    parser.add_argument(
        "--answers", type=int, default=sys.maxsize, help="stop after this number of answers"
    )
    parser.add_argument("--seed", type=int, default=time.time_ns() // 10**9, help="the first seed")
    parser.add_argument(
        "--compare",
        action="store_true",
        help="compare the answers of the fast path with those of the usual path instead",
    )
    arguments = parser.parse_args()
    if arguments.compare:
        return _compare(arguments.seed, arguments.seconds, arguments.answers)
    with tempfile.TemporaryDirectory() as folder, _proxy(Path(folder)) as (process, port):
        run = Run(port, arguments.seed)
        usages = _watch(process, run, arguments.seconds, arguments.answers)
        after = _idle_usage(process, usages[0])
        wrong = [str(run.error)] if run.error else []
        wrong += _wrong(process, usages, after)
    print(f"seed {arguments.seed}: {run.streams} streams, {run.statuses.total()} answers")
    print(", ".join(f"{status}: {number}" for status, number in sorted(run.statuses.items())))
    print(f"the proxy after a tenth: {usages[0]}; at the end: {usages[-1]}; idle: {after}")
    for line in wrong:
        print(f"WRONG: {line}")
    return bool(wrong)


def _compare(seed: int, seconds: float, answers: int) -> int:
    """Send the same requests through both paths; return 1 if an answer differs."""
    deadline, next_seed, wrong = time.monotonic() + seconds, seed, ""
    with tempfile.TemporaryDirectory() as folder, comparing(Path(folder)) as comparison:
        try:
            while time.monotonic() < deadline and comparison.statuses.total() < answers:
                comparison.play_random(range(next_seed, next_seed + BATCH))
                next_seed += BATCH
                print(
                    f"\r{comparison.statuses.total()} answers", end="", file=sys.stderr, flush=True
                )
        except WrongAnswerError as error:
            wrong = str(error)
    print(file=sys.stderr)
    print(f"seeds {seed} to {next_seed}: {comparison.statuses.total()} answers of each path")
    print(f"{comparison.answered_fast} of them took the fast path")
    if wrong:
        print(f"WRONG: {wrong}")
    return bool(wrong)


@contextmanager
def _proxy(folder: Path) -> Iterator[tuple[Process, int]]:
    """Run a proxy with the limits and the defaults of a real one."""
    port = free_port()
    with serving_grpc(granting_some()) as target:
        command = ["jicofo_reservation_proxy", "serve", "--listen", f"127.0.0.1:{port}"]
        environ = os.environ | {
            "JICOFO_RESERVATION_PROXY_STATE_DIR": str(folder),
            "JICOFO_RESERVATION_PROXY_ADMIN_LISTEN": '""',
            "JICOFO_RESERVATION_PROXY_BACKENDS__DEFAULT__TARGET": target,
        }
        process = Process(command, folder / "log", "listening on", environ)
        process.start()
        try:
            yield process, port
        finally:
            if not process.has_ended:
                process.kill()


def _watch(process: Process, run: Run, seconds: float, answers: int) -> list[Usage]:
    """Let the workers play; return what the proxy used after a tenth and at the end."""
    workers = [threading.Thread(target=run.work) for _ in range(WORKERS)]
    for worker in workers:
        worker.start()
    usages: list[Usage] = []
    start = time.monotonic()
    try:
        while not run.is_over.wait(1.0):
            passed = time.monotonic() - start
            done = max(passed / seconds, run.statuses.total() / answers)
            if not usages and done >= 0.1:
                usages.append(_usage(process.pid))
            print(f"\r{done:.0%}: {run.streams} streams", end="", file=sys.stderr, flush=True)
            if done >= 1 or process.has_ended:
                run.is_over.set()
    finally:
        run.is_over.set()
        for worker in workers:
            worker.join()
        print(file=sys.stderr)
    return [*usages, _usage(process.pid)]


def _idle_usage(process: Process, first: Usage) -> Usage:
    """Return what the proxy uses when it has closed the connections, or after some seconds."""
    deadline = time.monotonic() + CLOSING_SECONDS
    usage = _usage(process.pid)
    while usage.files > first.files - WORKERS and time.monotonic() < deadline:
        threading.Event().wait(0.1)
        usage = _usage(process.pid)
    return usage


def _usage(pid: int) -> Usage:
    fields = dict(
        line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
    )
    return Usage(
        threads=int(fields["Threads"]),
        files=len(list(Path(f"/proc/{pid}/fd").iterdir())),
        memory_kb=int(fields["VmRSS"].split()[0]),
    )


def _wrong(process: Process, usages: list[Usage], after: Usage) -> Iterator[str]:
    if process.has_ended:
        yield "the proxy has ended"
    traces = [line for line in process.text.splitlines() if "xception" in line or "Trace" in line]
    if traces:
        yield f"{len(traces)} traces in the log, the first one: {traces[0][:1000]}"
    first = usages[0]
    if after.memory_kb > first.memory_kb + MAX_GROWTH_KB:
        yield f"the memory grew from {first.memory_kb} to {after.memory_kb} kB"
    if after.files > first.files + WORKERS or after.threads > first.threads + WORKERS:
        yield f"threads or files grew: {first}; {after}"


if __name__ == "__main__":
    sys.exit(main())
