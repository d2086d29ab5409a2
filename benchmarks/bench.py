"""Compare a direct gRPC call, a naive bridge and the proxy, in one run.

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
from dataclasses import dataclass
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script, from anywhere

from jicofo_reservation_proxy.commands.progress import Progress

from benchmarks import footprint, machine, serial, startup, throughput
from benchmarks.children import (
    BACKEND,
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
from benchmarks.direct import DirectClient
from benchmarks.report import Goal, Report
from benchmarks.stats import Spread
from benchmarks.wire import HOST, Connection, Rooms, WrongAnswerError

DIRECT = serial.DIRECT
NAIVE_BRIDGE = "naive bridge"
PROXY = "proxy"
STUBBED = "proxy, built-in stub"
OURS = (PROXY, STUBBED)
NEW_CONNECTION = ", a new connection each (Prosody)"
FOOT = """
The goals use medians of ratios. Each ratio is from one round, and the order of the contenders
changes from round to round. When the machine does other work, the whole round is slower, and the
ratio hardly changes. Quartiles that lie far apart show that the machine was too busy.
"""


@dataclass(frozen=True, slots=True)
class Effort:
    """The number and the length of the measurements."""

    serial_rounds: int
    serial_burst: int
    throughput_rounds: int
    throughput_seconds: float
    start_up_rounds: int


THOROUGH = Effort(300, 10, 8, 0.7, 9)
QUICK = Effort(40, 10, 2, 0.25, 1)


@dataclass(frozen=True)
class Bench:
    """One run of the benchmark, with its processes."""

    children: Children
    effort: Effort
    progress: Progress
    rooms: Rooms
    backend_port: int

    def start_naive(self) -> Child:
        """Start a naive bridge."""
        return self.children.start("the naive bridge", [NAIVE, f"{HOST}:{self.backend_port}"])

    def start_proxy(self, backend_port: int | None) -> Child:
        """Start a proxy; with None, it uses its built-in stub."""
        arguments = proxy_arguments(self.children)
        return self.children.start("the proxy", arguments, on_backend(backend_port))

    def run(self) -> Report:
        """Make all measurements. Measure the start-up last, when no other contender runs."""
        self.rehearse()
        contenders = {NAIVE_BRIDGE: self.start_naive(), PROXY: self.start_proxy(self.backend_port)}
        ports = {
            NAIVE_BRIDGE: contenders[NAIVE_BRIDGE].port(PORT_LINE),
            PROXY: contenders[PROXY].port(PROXY_LINE),
        }
        serial_figures = self.measure_serial(ports, contenders)
        load = throughput.LoadProcess(self.children)
        throughput_figures = self.measure_throughput(load, ports)
        contenders[STUBBED] = self.loaded_stub(load)
        memory = footprint.measure(contenders)
        for child in contenders.values():
            child.end()
        start_up = self.measure_start_up()
        goals = goals_of(serial_figures, throughput_figures, memory, start_up)
        return Report(
            machine.describe(), goals, serial_figures, throughput_figures, memory, start_up
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

    def measure_serial(
        self, ports: dict[str, int], contenders: dict[str, Child]
    ) -> serial.SerialFigures:
        """Measure single calls, as Jicofo and as Prosody make them."""
        clocks = {name: child.clock() for name, child in contenders.items()}
        with (
            DirectClient(self.backend_port, self.rooms) as direct,
            Connection(ports[NAIVE_BRIDGE]) as naive,
            Connection(ports[PROXY]) as ours,
        ):
            callers = {
                DIRECT: serial.Caller(serial.direct_call(direct)),
                NAIVE_BRIDGE: serial.Caller(
                    serial.jicofo_call(naive, self.rooms), clocks[NAIVE_BRIDGE]
                ),
                PROXY: serial.Caller(serial.jicofo_call(ours, self.rooms), clocks[PROXY]),
            }
            for name, port in ports.items():
                call = serial.prosody_call(port, self.rooms)
                callers[name + NEW_CONNECTION] = serial.Caller(call, clocks[name])
            measured = serial.measure(
                callers, self.effort.serial_rounds, self.effort.serial_burst, self.progress
            )
        return serial.figures(measured, PROXY, NAIVE_BRIDGE)

    def measure_throughput(
        self, load: throughput.LoadProcess, ports: dict[str, int]
    ) -> throughput.ThroughputFigures:
        """Measure many calls at once."""
        targets = {DIRECT: self.backend_port, **ports}
        answers = throughput.measure(
            load,
            targets,
            DIRECT,
            self.effort.throughput_rounds,
            self.effort.throughput_seconds,
            self.progress,
        )
        return throughput.figures(answers, list(targets), PROXY, NAIVE_BRIDGE, load.client_cores)

    def loaded_stub(self, load: throughput.LoadProcess) -> Child:
        """Start a proxy with its built-in stub, and load it for a short time.

        The time is short because the stub keeps all rooms.
        """
        child = self.start_proxy(None)
        port = child.port(PROXY_LINE)
        throughput.measure(
            load, {STUBBED: port}, DIRECT, 1, self.effort.throughput_seconds, self.progress
        )
        return child

    def measure_start_up(self) -> dict[str, Spread]:
        """Measure the start-up of the contenders, and of Python alone."""
        starts = startup.StartUp(self.children, self.backend_port, self.rooms)
        measured: dict[str, startup.Start] = {
            PROXY: partial(starts.proxy, self.backend_port),
            STUBBED: partial(starts.proxy, None),
            NAIVE_BRIDGE: starts.naive,
        }
        measured |= {
            name: partial(starts.ending, code) for name, code in startup.REFERENCES.items()
        }
        return startup.measure(measured, self.effort.start_up_rounds, self.progress)


def goals_of(
    calls: serial.SerialFigures,
    answers: throughput.ThroughputFigures,
    memory: dict[str, footprint.FootprintFigures],
    start_up: dict[str, Spread],
) -> list[Goal]:
    """Return the goals with the measured figures."""
    kept = answers.most_over_middle[PROXY]
    peaks = {name: Spread.of([memory[name].peak_mb]) for name in OURS if name in memory}
    return [
        Goal("overhead over direct, proxy / naive bridge", "<=", 0.8, "", calls.overhead_ratio),
        Goal("answers per second, 64 / 16 connections", ">=", 0.8, "", kept),
        *(Goal(f"peak memory, {name}", "<=", 60, " MB", peaks[name]) for name in peaks),
        *(Goal(f"first answer, {name}", "<=", 0.6, " s", start_up[name]) for name in OURS),
    ]


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


def run(effort: Effort) -> Report:
    """Make all measurements; leave no process and no temporary file behind."""
    progress = Progress()
    try:
        with (
            tempfile.TemporaryDirectory(prefix="bench-") as folder,
            Children(Path(folder)) as children,
        ):
            backend = children.start("the backend", [BACKEND])
            port = backend.port(PORT_LINE)
            return Bench(children, effort, progress, Rooms(), port).run()
    finally:
        progress.clear()


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark and print its report; return the exit code."""
    chosen = parse(arguments)
    end_on_signals()
    try:
        report = run(QUICK if chosen.quick else THOROUGH)
        print(report.as_text(), end="")
        if chosen.json:
            chosen.json.write_text(report.as_json())
    except KeyboardInterrupt:
        print("bench: interrupted", file=sys.stderr)
        return 130
    except (ChildError, WrongAnswerError, OSError, subprocess.TimeoutExpired) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
