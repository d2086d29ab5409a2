"""The report: the figures as text tables and as JSON."""

import dataclasses
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Self

import cattrs

from benchmarks.apis import Pair
from benchmarks.comparison import Comparison
from benchmarks.contenders import INSTALL
from benchmarks.disk import Disk
from benchmarks.footprint import Footprint
from benchmarks.goals import Goal
from benchmarks.stats import Spread

WIDTH = 56


@dataclass(frozen=True, slots=True)
class Report:
    """All figures of one run.

    `language` is that of the backend and of the load client (ends.py), and `client_cores` the
    maximum share of a core that the load client used. `left_out` has the contenders that are not
    installed. `apis` compares the proxy with both kinds of backends (apis.py).
    """

    machine: str
    disk: Disk
    language: str
    client_cores: float
    left_out: list[str]
    goals: list[Goal]
    comparisons: list[Comparison]
    apis: list[Pair]
    memory: dict[str, Footprint]
    start_up_seconds: dict[str, Spread]

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `as_json` wrote."""
        return cattrs.structure(json.loads(text), cls)

    def as_json(self) -> str:
        """Return all figures as JSON; the keys contain the units."""
        known = dataclasses.asdict(self)
        for told, goal in zip(known["goals"], self.goals, strict=True):
            told["verdict"] = goal.verdict
        return json.dumps(known, indent=1) + "\n"

    def as_text(self) -> str:
        """Return all figures as text tables."""
        sections = [
            goal_lines(self.goals),
            *(burst_lines(each) for each in self.comparisons),
            *(ratio_lines(each) for each in self.comparisons if each.ratios),
            pair_lines(self.apis),
            memory_lines(self.memory),
            start_up_lines(self.start_up_seconds),
            self.end_lines(),
        ]
        return "\n\n".join("\n".join(lines) for lines in sections) + "\n"

    def end_lines(self) -> Iterator[str]:
        """Yield what a reader must know about the figures."""
        yield f"Machine: {self.machine}"
        yield (
            f"State directories: on {self.disk.file_system}; 4 kB and their fsync take "
            f"{self.disk.fsync_ms.median:.2f} ms ({between(self.disk.fsync_ms, 2)})"
        )
        yield (
            f"Backend and load client: in {self.language}; the client used at most "
            f"{self.client_cores:.2f} of a core"
        )
        if self.left_out:
            yield f"Left out: {', '.join(self.left_out)}; to install them: .venv/bin/{INSTALL}"
        if self.language != "Go":
            yield (
                "WARNING: there is no Go. The backend and the client in Python share the processor "
                "with the contenders, so these figures hide most of the differences."
            )


def row(first: str, *cells: str) -> str:
    """Return one line of a table."""
    return f"{first:<{WIDTH}}" + "".join(f"{cell:>14}" for cell in cells).rstrip()


def between(spread: Spread, digits: int) -> str:
    """Return the quartiles as `low..high`, with this number of decimal digits."""
    return f"{spread.low:.{digits}f}..{spread.high:.{digits}f}"


def goal_lines(goals: Iterable[Goal]) -> Iterator[str]:
    """Yield the table of the goals."""
    yield row("Goal", "to reach", "hoped", "measured", "quartiles")
    for goal in goals:
        numbers = row(
            f"  {goal.what}",
            f"{goal.sign} {goal.wanted:g}{goal.unit}",
            "" if goal.hoped is None else f"{goal.hoped:g}{goal.unit}",
            f"{goal.measured.median:.2f}{goal.unit}",
            between(goal.measured, 2),
        )
        yield f"{numbers}  {goal.verdict}"


def burst_lines(comparison: Comparison) -> Iterator[str]:
    """Yield the table of one kind of burst."""
    yield row(
        comparison.kind[0].upper() + comparison.kind[1:],
        "p50, us",
        "quartiles",
        "p99, us",
        "answers/s",
        "CPU/call, us",
        "switches/call",
    )
    for name, figures in comparison.figures.items():
        switches = (figures["voluntary_switches"], figures["involuntary_switches"])
        yield row(
            f"  {name}",
            f"{figures['p50_us'].median:.0f}",
            between(figures["p50_us"], 0),
            f"{figures['p99_us'].median:.0f}",
            f"{figures['answers_per_second'].median:.0f}",
            f"{figures['cpu_us'].median:.0f}",
            " + ".join(f"{each.median:.1f}" for each in switches),
        )


def ratio_lines(comparison: Comparison) -> Iterator[str]:
    """Yield the table of the ratios in one kind of burst."""
    yield row(
        f"Ratios to {comparison.base}: {comparison.kind}",
        "p50",
        "quartiles",
        "p99",
        "answers/s",
        "CPU/call",
    )
    for name, figures in comparison.ratios.items():
        yield row(
            f"  {name}",
            f"{figures['p50_us'].median:.2f}",
            between(figures["p50_us"], 2),
            f"{figures['p99_us'].median:.2f}",
            f"{figures['answers_per_second'].median:.2f}",
            f"{figures['cpu_us'].median:.2f}",
        )


def pair_lines(pairs: Iterable[Pair]) -> Iterator[str]:
    """Yield the table of the proxy with an HTTP backend beside the proxy with a gRPC backend."""
    yield row("The proxy with a backend over", "gRPC", "HTTP", "HTTP / gRPC", "quartiles")
    for pair in pairs:
        yield row(
            f"  {pair.what}",
            f"{pair.grpc.median:.{pair.digits}f}",
            f"{pair.http.median:.{pair.digits}f}",
            f"{pair.ratio.median:.2f}",
            between(pair.ratio, 2),
        )


def memory_lines(figures: dict[str, Footprint]) -> Iterator[str]:
    """Yield the table of the memory."""
    yield row("Memory, MB", "one Jicofo", "peak")
    for name, held in figures.items():
        yield row(f"  {name}", f"{held.idle_mb:.1f}", f"{held.peak_mb:.1f}")
    if not figures:
        yield "  unknown: this system has no /proc"


def start_up_lines(figures: dict[str, Spread]) -> Iterator[str]:
    """Yield the table of the start-up times."""
    yield row("From start to first answer, seconds", "median", "quartiles")
    for name, spread in figures.items():
        yield row(f"  {name}", f"{spread.median:.3f}", between(spread, 3))
