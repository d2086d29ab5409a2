"""Compare the proxy with a naive bridge and a bridge in Go, in one run.

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
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script, from anywhere

from jicofo_reservation_proxy.commands.progress import Progress

from benchmarks import bursts, ends, footprint, machine, startup
from benchmarks.bursts import Bursts, Contender, Kind
from benchmarks.children import (
    NAIVE,
    PORT_LINE,
    PROXY_LINE,
    Child,
    ChildError,
    Children,
    end_on_signals,
    on_backend,
    proxy_arguments,
)
from benchmarks.ends import Ends
from benchmarks.load_process import LoadProcess
from benchmarks.report import Goal, Report
from benchmarks.stats import Spread
from benchmarks.wire import HOST, Rooms, WrongAnswerError

DIRECT = "direct gRPC call"
NAIVE_BRIDGE = "naive bridge"
PROXY = "proxy"
GO_BRIDGE = "Go bridge"
STUBBED = "proxy, built-in stub"

KEPT = Kind("one kept connection (Jicofo)", "kept", 1, rounds=60, calls=40)
NEW = Kind("a new connection each (Prosody)", "new", 1, rounds=60, calls=40)
MIDDLE = Kind("16 connections", "kept", 16, rounds=12, seconds=0.7)
MOST = Kind("64 connections", "kept", 64, rounds=12, seconds=0.7)
THOROUGH = (KEPT, NEW, MIDDLE, MOST)
QUICK = (
    replace(KEPT, rounds=8, calls=20),
    replace(NEW, rounds=8, calls=20),
    replace(MIDDLE, rounds=2, seconds=0.3),
    replace(MOST, rounds=2, seconds=0.3),
)
START_UPS = 9
FOOT = """
A ratio compares the bursts of one round, and the order of the contenders changes from round to
round. When the machine does other work, the whole round is slower, and the ratio hardly changes.
Quartiles that lie far apart show that the machine was too busy.
"""


@dataclass(frozen=True)
class Bench:
    """One run of the benchmark, with its processes."""

    children: Children
    progress: Progress
    ends: Ends
    backend: Child
    backend_port: int

    def start_naive(self) -> Child:
        """Start a naive bridge."""
        command = [sys.executable, NAIVE, f"{HOST}:{self.backend_port}"]
        return self.children.start("the naive bridge", command)

    def start_proxy(self, backend_port: int | None) -> Child:
        """Start a proxy; with None, it uses its built-in stub."""
        arguments = proxy_arguments(self.children)
        return self.children.start("the proxy", arguments, on_backend(backend_port))

    def run(self, kinds: tuple[Kind, ...], start_ups: int) -> Report:
        """Make all measurements. Measure the start-up last, when no other contender runs."""
        self.rehearse()
        contenders = self.start_contenders()
        load = LoadProcess(self.children, self.ends.load)
        measured = {
            kind.name: bursts.measure(load, kind, self.with_direct(kind, contenders), self.progress)
            for kind in kinds
        }
        children = {name: contender.child for name, contender in contenders.items()}
        children[STUBBED] = self.loaded_stub(load, kinds[-1])
        memory = footprint.measure(children)
        for child in children.values():
            child.end()
        start_up = self.measure_start_up(start_ups)
        return Report(
            machine.describe(),
            self.ends.language,
            load.client_cores,
            goals_of(measured, memory, start_up),
            {name: _spreads(each) for name, each in measured.items()},
            {name: _ratios(each) for name, each in measured.items()},
            memory,
            start_up,
        )

    def rehearse(self) -> None:
        """Start each contender once, so that its modules are compiled before the measurements."""
        self.progress.show("starting")
        for child, line in (
            (self.start_naive(), PORT_LINE),
            (self.start_proxy(self.backend_port), PROXY_LINE),
            (self.start_proxy(None), PROXY_LINE),
        ):
            child.port(line)
            child.end()

    def start_contenders(self) -> dict[str, Contender]:
        """Start the contenders."""
        naive, proxy = self.start_naive(), self.start_proxy(self.backend_port)
        contenders = {
            NAIVE_BRIDGE: Contender(naive.port(PORT_LINE), naive),
            PROXY: Contender(proxy.port(PROXY_LINE), proxy),
        }
        if self.ends.bridge:
            command = [*self.ends.bridge, f"{HOST}:{self.backend_port}"]
            bridge = self.children.start("the Go bridge", command)
            contenders[GO_BRIDGE] = Contender(bridge.port(PORT_LINE), bridge)
        return contenders

    def with_direct(self, kind: Kind, contenders: dict[str, Contender]) -> dict[str, Contender]:
        """Add the backend itself; only calls on kept connections compare with a direct call."""
        if kind.way == "new":
            return contenders
        backend = Contender(self.backend_port, self.backend, is_backend=True)
        return {DIRECT: backend, **contenders}

    def loaded_stub(self, load: LoadProcess, kind: Kind) -> Child:
        """Start a proxy with its built-in stub, and load it for a short time.

        The time is short because the stub keeps all rooms.
        """
        child = self.start_proxy(None)
        contenders = {STUBBED: Contender(child.port(PROXY_LINE), child)}
        bursts.measure(load, replace(kind, rounds=1), contenders, self.progress)
        return child

    def measure_start_up(self, rounds: int) -> dict[str, Spread]:
        """Measure the start-up of the contenders, and of Python alone."""
        starts = startup.StartUp(self.children, self.backend_port, Rooms())
        measured: dict[str, startup.Start] = {
            PROXY: partial(starts.proxy, self.backend_port),
            STUBBED: partial(starts.proxy, None),
            NAIVE_BRIDGE: starts.naive,
        }
        measured |= {
            name: partial(starts.ending, code) for name, code in startup.REFERENCES.items()
        }
        return startup.measure(measured, rounds, self.progress)


def _spreads(measured: Bursts) -> dict[str, dict[str, Spread]]:
    return {name: bursts.spreads(each) for name, each in measured.items()}


def _ratios(measured: Bursts) -> dict[str, dict[str, Spread]]:
    names = [name for name in measured if name not in {NAIVE_BRIDGE, DIRECT}]
    return {name: bursts.compared(measured, name, NAIVE_BRIDGE) for name in names}


def goals_of(
    measured: dict[str, Bursts],
    memory: dict[str, footprint.FootprintFigures],
    start_up: dict[str, Spread],
) -> list[Goal]:
    """Return the goals with the measured figures."""
    ratio = {name: bursts.compared(each, PROXY, NAIVE_BRIDGE) for name, each in measured.items()}
    kept, new = ratio[KEPT.name], ratio[NEW.name]
    middle, most = ratio[MIDDLE.name], ratio[MOST.name]
    goals = [
        Goal("time of a call, kept connection / naive", "<=", 0.62, "", kept["p50_us"]),
        Goal("time of a call, new connection / naive", "<=", 0.62, "", new["p50_us"]),
        Goal("processor time of a call / naive", "<=", 0.62, "", kept["cpu_us"]),
        Goal("answers/s, 16 connections / naive", ">=", 2.0, "", middle["answers_per_second"]),
        Goal("p99, 16 connections / naive", "<=", 0.8, "", middle["p99_us"]),
        Goal("answers/s, 64 connections / naive", ">=", 4.0, "", most["answers_per_second"]),
        Goal("first answer", "<=", 0.3, " s", start_up[PROXY]),
    ]
    if PROXY in memory:
        peak = Spread.of([memory[PROXY].peak_mb])
        goals.append(Goal("peak memory, 64 connections", "<=", 65, " MB", peak))
    return goals


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
        help="run for about 20 seconds instead of three minutes, to see that the benchmark works; "
        "do not publish these figures",
    )
    parser.add_argument(
        "--json", metavar="FILE", type=Path, help="also write all figures to this file, as JSON"
    )
    return parser.parse_args(arguments)


def run(kinds: tuple[Kind, ...], start_ups: int) -> Report:
    """Make all measurements; leave no process and no temporary file behind."""
    progress = Progress()
    try:
        with (
            tempfile.TemporaryDirectory(prefix="bench-") as folder,
            Children(Path(folder)) as children,
        ):
            progress.show("building the Go program")
            both = ends.build(Path(folder))
            backend = children.start("the backend", both.backend)
            port = backend.port(PORT_LINE)
            return Bench(children, progress, both, backend, port).run(kinds, start_ups)
    finally:
        progress.clear()


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark and print its report; return the exit code."""
    chosen = parse(arguments)
    end_on_signals()
    try:
        report = run(QUICK, 1) if chosen.quick else run(THOROUGH, START_UPS)
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
