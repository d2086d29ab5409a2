"""The report: the figures as text tables and as JSON."""

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
    """All figures of one run."""

    machine: str
    goals: list[Goal]
    serial: SerialFigures
    throughput: ThroughputFigures
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


def serial_lines(figures: SerialFigures) -> Iterator[str]:
    """Yield the table of single calls: latencies, overheads, processor times."""
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
    """Yield the table of the answers per second."""
    most, middle = CONNECTIONS[-1], CONNECTIONS[-2]
    heads = [f"{n} conn." for n in CONNECTIONS]
    yield row("Many calls at once, answers per second", *heads, f"{most} / {middle}")
    for name, rates in figures.answers_per_second.items():
        cells = [f"{rates[n].median:.0f}" for n in CONNECTIONS]
        yield row(f"  {name}", *cells, f"{figures.most_over_middle[name].median:.2f}")
    cells = [f"{figures.ours_over_naive[n].median:.2f}" for n in CONNECTIONS]
    yield row("  the proxy / the naive bridge", *cells)
    yield f"  (the HTTP client used at most {figures.client_cores:.2f} of one core)"


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
