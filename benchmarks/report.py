"""The report: the figures as text tables and as JSON."""

import dataclasses
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from benchmarks.footprint import FootprintFigures
from benchmarks.stats import Spread

Table = dict[str, dict[str, Spread]]
"""Contender → figure (bursts.py) → median and quartiles."""

WIDTH = 50


@dataclass(frozen=True, slots=True)
class Goal:
    """One goal of the proxy: a figure and the limit for it."""

    what: str
    sign: Literal["<=", ">="]
    wanted: float
    unit: str
    measured: Spread

    @property
    def met(self) -> bool:
        """Whether the median is within the limit."""
        if self.sign == "<=":
            return self.measured.median <= self.wanted
        return self.measured.median >= self.wanted


@dataclass(frozen=True, slots=True)
class Report:
    """All figures of one run.

    `language` is that of the backend and of the load client (ends.py), and `client_cores` the
    maximum share of a core that the load client used. `figures` and `ratios` have a table for each
    kind of burst; the ratios are to the naive bridge.
    """

    machine: str
    language: str
    client_cores: float
    goals: list[Goal]
    figures: dict[str, Table]
    ratios: dict[str, Table]
    memory: dict[str, FootprintFigures]
    start_up_seconds: dict[str, Spread]

    def as_json(self) -> str:
        """Return all figures as JSON; the keys contain the units."""
        known = dataclasses.asdict(self)
        for told, goal in zip(known["goals"], self.goals, strict=True):
            told["met"] = goal.met
        return json.dumps(known, indent=2) + "\n"

    def as_text(self) -> str:
        """Return all figures as text tables."""
        sections = [
            goal_lines(self.goals),
            *(burst_lines(kind, table) for kind, table in self.figures.items()),
            ratio_lines(self.ratios),
            memory_lines(self.memory),
            start_up_lines(self.start_up_seconds),
            self.end_lines(),
        ]
        return "\n\n".join("\n".join(lines) for lines in sections) + "\n"

    def end_lines(self) -> Iterator[str]:
        """Yield what a reader must know about the figures."""
        yield f"Machine: {self.machine}"
        yield (
            f"Backend and load client: in {self.language}; the client used at most "
            f"{self.client_cores:.2f} of a core"
        )
        if self.language != "Go":
            yield (
                "WARNING: there is no Go. The backend and the client in Python share the processor "
                "with the contenders, so these figures hide most of the differences."
            )


def row(first: str, *cells: str) -> str:
    """Return one line of a table."""
    return f"{first:<{WIDTH}}" + "".join(f"{cell:>14}" for cell in cells)


def between(spread: Spread, digits: int) -> str:
    """Return the quartiles as `low..high`, with this number of decimal digits."""
    return f"{spread.low:.{digits}f}..{spread.high:.{digits}f}"


def goal_lines(goals: Iterable[Goal]) -> Iterator[str]:
    """Yield the table of the goals."""
    yield row("Goal", "wanted", "measured", "quartiles", "")
    for goal in goals:
        yield row(
            f"  {goal.what}",
            f"{goal.sign} {goal.wanted:g}{goal.unit}",
            f"{goal.measured.median:.2f}{goal.unit}",
            between(goal.measured, 2),
            "met" if goal.met else "NOT MET",
        )


def burst_lines(kind: str, table: Table) -> Iterator[str]:
    """Yield the table of one kind of burst."""
    yield row(
        kind[0].upper() + kind[1:],
        "p50, us",
        "quartiles",
        "p99, us",
        "answers/s",
        "CPU/call, us",
        "switches/call",
    )
    for name, figures in table.items():
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


def ratio_lines(ratios: dict[str, Table]) -> Iterator[str]:
    """Yield the table of the ratios to the naive bridge."""
    yield row("Ratios to the naive bridge", "p50", "quartiles", "p99", "answers/s", "CPU/call", "")
    for kind, table in ratios.items():
        for name, figures in table.items():
            yield row(
                f"  {name}, {kind}",
                f"{figures['p50_us'].median:.2f}",
                between(figures["p50_us"], 2),
                f"{figures['p99_us'].median:.2f}",
                f"{figures['answers_per_second'].median:.2f}",
                f"{figures['cpu_us'].median:.2f}",
            )


def memory_lines(figures: dict[str, FootprintFigures]) -> Iterator[str]:
    """Yield the table of the memory."""
    yield row("Memory after the load, MB", "resident", "peak")
    for name, held in figures.items():
        yield row(f"  {name}", f"{held.resident_mb:.1f}", f"{held.peak_mb:.1f}")
    if not figures:
        yield "  unknown: this system has no /proc"


def start_up_lines(figures: dict[str, Spread]) -> Iterator[str]:
    """Yield the table of the start-up times."""
    yield row("From start to first answer, seconds", "median", "quartiles")
    for name, spread in figures.items():
        yield row(f"  {name}", f"{spread.median:.3f}", between(spread, 3))
