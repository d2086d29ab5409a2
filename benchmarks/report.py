"""The figures as a text to read, and as JSON."""

import dataclasses
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from benchmarks.footprint import FootprintFigures
from benchmarks.serial import SerialFigures
from benchmarks.stats import Spread
from benchmarks.throughput import CONNECTIONS, ThroughputFigures

WIDTH = 50


@dataclass(frozen=True, slots=True)
class Goal:
    """One figure that the proxy is to reach."""

    what: str
    sign: Literal["<=", ">="]
    wanted: float
    unit: str
    measured: Spread

    @property
    def met(self) -> bool:
        """Whether the median reaches it."""
        if self.sign == "<=":
            return self.measured.median <= self.wanted
        return self.measured.median >= self.wanted


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that one run measured."""

    machine: str
    goals: list[Goal]
    serial: SerialFigures
    throughput: ThroughputFigures
    memory: dict[str, FootprintFigures]
    start_up_seconds: dict[str, Spread]

    def as_json(self) -> str:
        """Return all figures, with the units in the keys."""
        known = dataclasses.asdict(self)
        for told, goal in zip(known["goals"], self.goals, strict=True):
            told["met"] = goal.met
        return json.dumps(known, indent=2) + "\n"

    def as_text(self) -> str:
        """Return the tables."""
        sections = (
            goal_lines(self.goals),
            serial_lines(self.serial),
            throughput_lines(self.throughput),
            memory_lines(self.memory),
            start_up_lines(self.start_up_seconds),
        )
        text = "\n\n".join("\n".join(lines) for lines in sections)
        return f"{text}\n\nMachine: {self.machine}\n"


def row(first: str, *cells: str) -> str:
    """Return a line of a table."""
    return f"{first:<{WIDTH}}" + "".join(f"{cell:>14}" for cell in cells)


def between(spread: Spread, digits: int) -> str:
    """Return the quartiles."""
    return f"{spread.low:.{digits}f}..{spread.high:.{digits}f}"


def goal_lines(goals: Iterable[Goal]) -> Iterator[str]:
    """Tell what was to be reached and what was."""
    yield row("To reach", "wanted", "measured", "quartiles", "")
    for goal in goals:
        yield row(
            f"  {goal.what}",
            f"{goal.sign} {goal.wanted:g}{goal.unit}",
            f"{goal.measured.median:.2f}{goal.unit}",
            between(goal.measured, 2),
            "met" if goal.met else "NOT MET",
        )


def serial_lines(figures: SerialFigures) -> Iterator[str]:
    """Tell the latencies of single calls."""
    yield row(
        "One call at a time, microseconds", "median", "quartiles", "over direct", "quartiles", "CPU"
    )
    for name, spread in figures.latency_us.items():
        over = figures.overhead_us.get(name)
        yield row(
            f"  {name}",
            f"{spread.median:.0f}",
            between(spread, 0),
            f"{over.median:+.0f}" if over else "",
            between(over, 0) if over else "",
            f"{figures.cpu_us[name].median:.0f}" if name in figures.cpu_us else "",
        )


def throughput_lines(figures: ThroughputFigures) -> Iterator[str]:
    """Tell the answers per second."""
    most, middle = CONNECTIONS[-1], CONNECTIONS[-2]
    heads = [f"{n} conn." for n in CONNECTIONS]
    yield row("Many calls at once, answers per second", *heads, f"{most} / {middle}")
    for name, rates in figures.answers_per_second.items():
        cells = [f"{rates[n].median:.0f}" for n in CONNECTIONS]
        yield row(f"  {name}", *cells, f"{figures.most_over_middle[name].median:.2f}")
    cells = [f"{figures.ours_over_naive[n].median:.2f}" for n in CONNECTIONS]
    yield row("  the proxy / the naive bridge", *cells)
    yield f"  (the HTTP client took {figures.client_cores:.2f} of one core at the most)"


def memory_lines(figures: dict[str, FootprintFigures]) -> Iterator[str]:
    """Tell the memory."""
    yield row("Memory after the load, MB", "resident", "peak")
    for name, held in figures.items():
        yield row(f"  {name}", f"{held.resident_mb:.1f}", f"{held.peak_mb:.1f}")
    if not figures:
        yield "  unknown: this system has no /proc"


def start_up_lines(figures: dict[str, Spread]) -> Iterator[str]:
    """Tell the start-up times."""
    yield row("From start to first answer, seconds", "median", "quartiles")
    for name, spread in figures.items():
        yield row(f"  {name}", f"{spread.median:.3f}", between(spread, 3))
