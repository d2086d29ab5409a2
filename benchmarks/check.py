"""Check that the proxy does not need more processor time for a POST than before.

It compares the proxy with the naive bridge in the same run, and that ratio with the one in
expected.json. With valgrind it counts instructions, which other programs on the machine do not
change. It always measures the processor time too, which includes the kernel's.

exit codes:
  0    the proxy is about as fast as expected, or faster
  1    the proxy is slower than expected
  2    the command line is wrong
  3    a process failed or gave a wrong answer
  130  Ctrl-C
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script, from anywhere

from benchmarks import kinds
from benchmarks.bench import Bench, started, whole
from benchmarks.children import ChildError, Children, end_on_signals
from benchmarks.comparison import Comparison
from benchmarks.contenders import (
    NAIVE_BRIDGE,
    NAIVE_PROGRAM,
    PROXY,
    PROXY_PROGRAM,
    Program,
)
from benchmarks.load_process import Job
from benchmarks.stats import Spread

EXPECTED = Path(__file__).resolve().parent / "expected.json"
COUNT = re.compile(r"^==\d+== I\s+refs:\s+([\d,]+)$", re.MULTILINE)
COUNTER = ("--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null")
FEW, MANY = 100, 400
KIND = replace(kinds.KEPT, rounds=60, calls=100)


@dataclass(frozen=True, slots=True)
class Measured:
    """A ratio of the proxy to the naive bridge.

    `tolerance` is the factor by which it may exceed the expected ratio.
    """

    what: str
    ratio: Spread
    tolerance: float

    def verdict(self, expected: float) -> str:
        """Return one line that begins with `ok` or `SLOWER`.

        The lower quartile counts: on a busy machine, the ratios of many rounds are too high.
        """
        limit = expected * self.tolerance
        is_slower = self.ratio.low > limit
        return (
            f"{'SLOWER' if is_slower else 'ok'}: {self.what} of a POST, proxy / {NAIVE_BRIDGE}: "
            f"{self.ratio.median:.2f} ({self.ratio.low:.2f}..{self.ratio.high:.2f}); "
            f"expected {expected:.2f}, at most {limit:.2f}"
            f"{'; make it cheaper, or accept it with --update' if is_slower else ''}"
        )


def measure(bench: Bench) -> Iterator[Measured]:
    """Yield what this machine can measure."""
    yield Measured("processor time", processor_time(bench), 1.25)
    if valgrind := shutil.which("valgrind"):
        yield Measured("instructions", count_instructions(bench, valgrind), 1.1)


def processor_time(bench: Bench) -> Spread:
    """Return the ratio of the processor time of a call, in user and kernel mode."""
    running = bench.start([NAIVE_PROGRAM, PROXY_PROGRAM], bench.backends)
    measured = bench.bursts(KIND, running)
    return Comparison.of(KIND.name, NAIVE_BRIDGE, measured).ratios[PROXY]["cpu_us"]


def count_instructions(bench: Bench, valgrind: str) -> Spread:
    """Return the ratio of the instructions of a call in user mode.

    The contenders have run before, so that no run compiles Python modules.
    """
    with Children(bench.folder, (valgrind, *COUNTER)) as children:
        naive, proxy = (
            instructions_per_call(bench, children, program)
            for program in (NAIVE_PROGRAM, PROXY_PROGRAM)
        )
    return Spread.of([proxy / naive])


def instructions_per_call(bench: Bench, children: Children, program: Program) -> float:
    """Return the difference of two runs, which differ only in the number of calls."""
    few, many = (run_counted(bench, children, program, calls) for calls in (FEW, MANY))
    return (many - few) / (MANY - FEW)


def run_counted(bench: Bench, children: Children, program: Program, calls: int) -> int:
    """Return the instructions of a process from its start to its end.

    Raises ChildError when valgrind did not count them.
    """
    bench.progress.show(f"counting the instructions of the {program.name}, {calls} calls")
    contender = program.start(children, bench.backends)
    bench.load.run(Job("kept", contender.speaks, contender.port, 1, 0.0, calls))
    contender.child.end()
    if found := COUNT.search(contender.child.said()):
        return int(found[1].replace(",", ""))
    raise contender.child.failure("was not counted by valgrind")


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="check.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--update", action="store_true", help="write the measured ratios to expected.json"
    )
    return parser.parse_args(arguments)


def report(measured: list[Measured], *, update: bool) -> int:
    """Print the verdicts, or write the ratios; return the exit code."""
    expected: dict[str, float] = json.loads(EXPECTED.read_text())
    if update:
        expected |= {each.what: round(each.ratio.median, 3) for each in measured}
        EXPECTED.write_text(json.dumps(expected, indent=2) + "\n")
    verdicts = [each.verdict(expected[each.what]) for each in measured]
    print("\n".join(verdicts))
    if len(measured) == 1:
        print("valgrind is not installed; with it, the check also counts instructions")
    return int(any(verdict.startswith("SLOWER") for verdict in verdicts))


def main(arguments: list[str] | None = None) -> int:
    """Run the check; return the exit code."""
    chosen = parse(arguments)
    end_on_signals()
    if sys.platform != "linux":
        print(
            f"check: wanted Linux, which counts processor time, got {sys.platform}", file=sys.stderr
        )
        return 3
    try:
        with started(whole) as bench:
            measured = list(measure(bench))
        return report(measured, update=chosen.update)
    except KeyboardInterrupt:
        print("check: interrupted", file=sys.stderr)
        return 130
    except (ChildError, OSError, subprocess.SubprocessError) as error:
        print(f"check: {error}", file=sys.stderr)
        return 3


if __name__ == "__main__":
    sys.exit(main())
