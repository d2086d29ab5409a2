"""Compare the proxy with other bridges in front of the same backend, in one run.

All processes run on this machine, on the loopback interface, and this program ends them.

exit codes:
  0    the benchmark ran, whether or not the proxy met the goals
  1    a process failed or gave a wrong answer
  2    the command line is wrong
  130  Ctrl-C
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script, from anywhere

from jicofo_reservation_proxy.commands.progress import Progress

from benchmarks import (
    apis,
    bursts,
    contenders,
    disk,
    ends,
    footprint,
    kinds,
    lives,
    machine,
    startup,
)
from benchmarks.bursts import Bursts, Kind
from benchmarks.children import PORT_LINE, ChildError, Children, end_on_signals
from benchmarks.comparison import Comparison
from benchmarks.contenders import (
    DIRECT_CALLS,
    GO_BRIDGE,
    HTTP_PROXY,
    NAIVE_BRIDGE,
    PROXY,
    STUBBED_PROGRAM,
    Backends,
    Contender,
    Program,
)
from benchmarks.disk import Disk
from benchmarks.ends import Api, Ends
from benchmarks.footprint import Footprint
from benchmarks.goals import goals_of
from benchmarks.hanging import Hanging
from benchmarks.load_process import LoadProcess, Speaks
from benchmarks.report import Report
from benchmarks.stats import Spread
from benchmarks.wire import Rooms, WrongAnswerError

START_UPS = 9
FOOT = """
A ratio compares the bursts of one round, and the order of the contenders changes from round to
round. When the machine does other work, the whole round is slower, and the ratio hardly changes.
Quartiles that lie far apart show that the machine was too busy.
"""
Scale = Callable[[Kind], Kind]
"""Makes the bursts of a kind shorter, or leaves them as they are."""


@dataclass(frozen=True)
class Bench:
    """One run of the benchmark, with its processes."""

    folder: Path
    children: Children
    progress: Progress
    ends: Ends
    backends: Backends
    programs: list[Program]
    load: LoadProcess
    scale: Scale

    def run(self, start_ups: int) -> Report:
        """Make all measurements. Measure the start-up last, when no other contender runs."""
        self.rehearse()
        calls, memory = self.measure_calls()
        life, state = self.measure_lives()
        comparisons = [
            *(Comparison.of(kind, NAIVE_BRIDGE, measured) for kind, measured in calls.items()),
            Comparison.of(kinds.LIFE.name, GO_BRIDGE, life),
            *self.measure_hanging(),
        ]
        start_up = self.measure_start_up(start_ups)
        by_kind = {each.kind: each for each in comparisons}
        return Report(
            machine.describe(),
            state,
            self.ends.language,
            self.load.client_cores,
            contenders.left_out(),
            goals_of(by_kind, state, memory, start_up),
            comparisons,
            apis.pairs({**calls, kinds.LIFE.name: life}, memory, start_up),
            memory,
            start_up,
        )

    def start(self, programs: list[Program], backends: Backends) -> dict[str, Contender]:
        """Start contenders that call these backends."""
        return {each.name: each.start(self.children, backends) for each in programs}

    def rehearse(self) -> None:
        """Start each contender once, so that its modules are compiled before the measurements."""
        self.progress.show("starting")
        end(self.start([*self.programs, STUBBED_PROGRAM], self.backends))

    def measure_calls(self) -> tuple[dict[str, Bursts], dict[str, Footprint]]:
        """Make the bursts of all contenders in all kinds of calls, and measure their memory."""
        running = self.start(self.programs, self.backends)
        idle = footprint.idle(self.load, running)
        calls = {kind.name: self.call(self.scale(kind), running) for kind in kinds.CALLS}
        memory = footprint.footprints(idle, running)
        end(running)
        return calls, memory | self.measure_stub()

    def measure_stub(self) -> dict[str, Footprint]:
        """Measure the memory of a proxy with its built-in stub.

        Its load is short, because the stub keeps all rooms.
        """
        running = self.start([STUBBED_PROGRAM], self.backends)
        idle = footprint.idle(self.load, running)
        self.bursts(replace(self.scale(kinds.MOST), rounds=1), running)
        memory = footprint.footprints(idle, running)
        end(running)
        return memory

    def bursts(self, kind: Kind, running: dict[str, Contender]) -> Bursts:
        """Make the bursts of one kind."""
        return bursts.collected(bursts.rounds(self.load, kind, running, self.progress))

    def call(self, kind: Kind, running: dict[str, Contender]) -> Bursts:
        """Make the bursts of contenders; also of direct calls, if the clients keep connections."""
        direct = {name: self.backends[api] for name, api in DIRECT_CALLS.items()}
        return self.bursts(kind, running if kind.way == "new" else {**direct, **running})

    def measure_lives(self) -> tuple[Bursts, Disk]:
        """Make the bursts of a room's life through the proxy and through the bridge in Go."""
        backends = start_backends(self.children, self.ends, lives.BACKEND_SECONDS)
        able = [each for each in self.programs if each.name in {PROXY, HTTP_PROXY, GO_BRIDGE}]
        running = self.start(able, backends)
        kind = self.scale(kinds.LIFE)
        measured, state = lives.measure(self.load, kind, running, self.folder, self.progress)
        end(running)
        end(backends)
        return measured, state

    def measure_hanging(self) -> Iterator[Comparison]:
        """Compare the calls of the proxy with and without calls that hang."""
        hangers = LoadProcess(self.children, self.ends.load)
        healthy_port = self.backends["grpc"].port
        hanging = Hanging(self.children, self.load, hangers, healthy_port, self.progress)
        for kind in map(self.scale, (kinds.HANGING, kinds.HANGING_4)):
            yield Comparison.of(kind.name, PROXY, hanging.measure(kind))

    def measure_start_up(self, rounds: int) -> dict[str, Spread]:
        """Measure the start-up of the contenders, and of Python alone."""
        starts = startup.StartUp(self.children, self.backends, Rooms())
        measured: dict[str, startup.Start] = {
            program.name: partial(starts.program, program)
            for program in (*self.programs, STUBBED_PROGRAM)
        }
        measured |= {
            name: partial(starts.ending, code) for name, code in startup.REFERENCES.items()
        }
        return startup.measure(measured, rounds, self.progress)


def end(running: Mapping[Any, Contender]) -> None:
    """End contenders or backends."""
    for contender in running.values():
        contender.child.end()


def start_backends(children: Children, ends: Ends, delay_seconds: float = 0.0) -> Backends:
    """Start a backend of each API, whose answers take some time."""
    return {api: start_backend(children, ends, api, delay_seconds) for api in ends.backends}


def start_backend(children: Children, ends: Ends, api: Api, delay_seconds: float) -> Contender:
    """Start a backend. One with the HTTP API understands the form of the load client."""
    child = children.start(f"the {api} backend", [*ends.backends[api], str(delay_seconds)])
    speaks: Speaks = "grpc" if api == "grpc" else "form"
    return Contender(child.port(PORT_LINE), child, speaks)


@contextmanager
def started(scale: Scale) -> Iterator[Bench]:
    """Start what every measurement needs; leave no process and no temporary file behind."""
    progress = Progress()
    try:
        with (
            tempfile.TemporaryDirectory(prefix="bench-", dir=disk.folder()) as name,
            Children(Path(name)) as children,
        ):
            progress.show("building the Go program")
            both = ends.build(Path(name))
            backends = start_backends(children, both)
            load = LoadProcess(children, both.load)
            programs = contenders.programs(both)
            yield Bench(Path(name), children, progress, both, backends, programs, load, scale)
    finally:
        progress.clear()


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="bench.py",
        description=__doc__,
        epilog=FOOT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="run for about 40 seconds instead of seven minutes, to see that the benchmark works; "
        "do not publish these figures",
    )
    parser.add_argument(
        "--json", metavar="FILE", type=Path, help="also write all figures to this file, as JSON"
    )
    return parser.parse_args(arguments)


def run(scale: Scale, start_ups: int) -> Report:
    """Make all measurements."""
    with started(scale) as bench:
        return bench.run(start_ups)


def whole(kind: Kind) -> Kind:
    """Leave a kind as it is."""
    return kind


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark and print its report; return the exit code."""
    chosen = parse(arguments)
    end_on_signals()
    try:
        report = run(kinds.quick, 1) if chosen.quick else run(whole, START_UPS)
        print(report.as_text(), end="")
        if chosen.json:
            chosen.json.write_text(report.as_json())
    except KeyboardInterrupt:
        print("bench: interrupted", file=sys.stderr)
        return 130
    except (ChildError, WrongAnswerError, OSError, subprocess.SubprocessError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
