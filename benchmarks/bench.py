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

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script, from anywhere

from jicofo_reservation_proxy.commands.progress import Progress

from benchmarks import bursts, contenders, disk, ends, footprint, kinds, lives, machine, startup
from benchmarks.bursts import Kind
from benchmarks.children import PORT_LINE, ChildError, Children, end_on_signals
from benchmarks.comparison import Comparison
from benchmarks.contenders import (
    DIRECT,
    GO_BRIDGE,
    NAIVE_BRIDGE,
    PROXY,
    STUBBED_PROGRAM,
    Contender,
    Program,
)
from benchmarks.disk import Disk
from benchmarks.ends import Ends
from benchmarks.footprint import Footprint
from benchmarks.goals import goals_of
from benchmarks.hanging import Hanging
from benchmarks.load_process import LoadProcess
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
    backend: Contender
    programs: list[Program]
    load: LoadProcess
    scale: Scale

    def run(self, start_ups: int) -> Report:
        """Make all measurements. Measure the start-up last, when no other contender runs."""
        self.rehearse()
        calls, memory = self.measure_calls()
        life, state = self.measure_lives()
        comparisons = [*calls, life, *self.measure_hanging()]
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
            memory,
            start_up,
        )

    def start(self, programs: list[Program], backend_port: int) -> dict[str, Contender]:
        """Start contenders that call the backend on this port."""
        return {each.name: each.start(self.children, backend_port) for each in programs}

    def rehearse(self) -> None:
        """Start each contender once, so that its modules are compiled before the measurements."""
        self.progress.show("starting")
        end(self.start([*self.programs, STUBBED_PROGRAM], self.backend.port))

    def measure_calls(self) -> tuple[list[Comparison], dict[str, Footprint]]:
        """Compare all contenders in all kinds of calls, and measure their memory."""
        running = self.start(self.programs, self.backend.port)
        idle = footprint.idle(self.load, running)
        comparisons = [self.compare(self.scale(kind), running) for kind in kinds.CALLS]
        memory = footprint.footprints(idle, running)
        end(running)
        return comparisons, memory | self.measure_stub()

    def measure_stub(self) -> dict[str, Footprint]:
        """Measure the memory of a proxy with its built-in stub.

        Its load is short, because the stub keeps all rooms.
        """
        running = self.start([STUBBED_PROGRAM], self.backend.port)
        idle = footprint.idle(self.load, running)
        self.bursts(replace(self.scale(kinds.MOST), rounds=1), running)
        memory = footprint.footprints(idle, running)
        end(running)
        return memory

    def bursts(self, kind: Kind, running: dict[str, Contender]) -> bursts.Bursts:
        """Make the bursts of one kind."""
        return bursts.collected(bursts.rounds(self.load, kind, running, self.progress))

    def compare(self, kind: Kind, running: dict[str, Contender]) -> Comparison:
        """Compare contenders; with a direct call to the backend too, if they keep connections."""
        compared = running if kind.way == "new" else {DIRECT: self.backend, **running}
        return Comparison.of(kind.name, NAIVE_BRIDGE, self.bursts(kind, compared))

    def measure_lives(self) -> tuple[Comparison, Disk]:
        """Compare the life of a room through the proxy and through the bridge in Go."""
        backend = start_backend(self.children, self.ends, lives.BACKEND_SECONDS)
        able = [each for each in self.programs if each.name in {PROXY, GO_BRIDGE}]
        running = self.start(able, backend.port)
        kind = self.scale(kinds.LIFE)
        measured, state = lives.measure(self.load, kind, running, self.folder, self.progress)
        end({**running, DIRECT: backend})
        return Comparison.of(kind.name, GO_BRIDGE, measured), state

    def measure_hanging(self) -> Iterator[Comparison]:
        """Compare the calls of the proxy with and without calls that hang."""
        hangers = LoadProcess(self.children, self.ends.load)
        hanging = Hanging(self.children, self.load, hangers, self.backend.port, self.progress)
        for kind in map(self.scale, (kinds.HANGING, kinds.HANGING_4)):
            yield Comparison.of(kind.name, PROXY, hanging.measure(kind))

    def measure_start_up(self, rounds: int) -> dict[str, Spread]:
        """Measure the start-up of the contenders, and of Python alone."""
        starts = startup.StartUp(self.children, self.backend.port, Rooms())
        measured: dict[str, startup.Start] = {
            program.name: partial(starts.program, program)
            for program in (*self.programs, STUBBED_PROGRAM)
        }
        measured |= {
            name: partial(starts.ending, code) for name, code in startup.REFERENCES.items()
        }
        return startup.measure(measured, rounds, self.progress)


def end(running: Mapping[str, Contender]) -> None:
    """End contenders."""
    for contender in running.values():
        contender.child.end()


def start_backend(children: Children, ends: Ends, delay_seconds: float = 0.0) -> Contender:
    """Start a backend whose answers take some time."""
    child = children.start("the backend", [*ends.backend, str(delay_seconds)])
    return Contender(child.port(PORT_LINE), child, "grpc")


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
            backend = start_backend(children, both)
            load = LoadProcess(children, both.load)
            programs = contenders.programs(both)
            yield Bench(Path(name), children, progress, both, backend, programs, load, scale)
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
        help="run for about 40 seconds instead of six minutes, to see that the benchmark works; "
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
