"""The results of a run as Markdown tables, for README.md."""

import textwrap
from collections.abc import Iterable, Iterator

from benchmarks import kinds
from benchmarks.apis import Pair
from benchmarks.bursts import Kind
from benchmarks.comparison import Comparison
from benchmarks.contenders import DIRECT_CALLS, PROXY
from benchmarks.goals import Goal
from benchmarks.report import Report, between
from benchmarks.stats import Spread

RATIOS = (
    ("time of a call, kept connection, p50", kinds.KEPT, "p50_us"),
    ("time of a call, new connection each, p50", kinds.NEW, "p50_us"),
    ("processor time of a call, kept connection", kinds.KEPT, "cpu_us"),
    ("answers per second, 16 connections", kinds.MIDDLE, "answers_per_second"),
    ("p99, 16 connections", kinds.MIDDLE, "p99_us"),
    ("answers per second, 64 connections", kinds.MOST, "answers_per_second"),
    ("p99, 64 connections", kinds.MOST, "p99_us"),
)
"""The rows of the table of the ratios: what, the kind of burst, and its figure."""
LINE = 127  # characters, as in all pages
SPECIAL = (kinds.LIFE, kinds.HANGING, kinds.HANGING_4)


def markdown(report: Report) -> str:
    """Return all tables, with the conditions of the run."""
    by_kind = {each.kind: each for each in report.comparisons}
    sections = [
        [_item(line) for line in report.end_lines()],
        goal_table(report.goals),
        ratio_table(by_kind),
        pair_table(report.apis),
        *(call_table(kind, by_kind[kind.name]) for kind in kinds.CALLS),
        special_table([by_kind[kind.name] for kind in SPECIAL]),
        machine_table(report),
    ]
    return "\n\n".join("\n".join(lines) for lines in sections)


def _item(line: str) -> str:
    return textwrap.fill(line, LINE, initial_indent="- ", subsequent_indent="  ")


def goal_table(goals: Iterable[Goal]) -> Iterator[str]:
    """Yield the table of the goals."""
    yield from heading("goal", "to reach", "hoped", "measured", "")
    for goal in goals:
        yield row(
            goal.what,
            f"{goal.sign} {goal.wanted:g}{goal.unit}",
            "" if goal.hoped is None else f"{goal.hoped:g}{goal.unit}",
            f"{bracketed(goal.measured, 2)}{goal.unit}",
            goal.verdict,
        )


def ratio_table(by_kind: dict[str, Comparison]) -> Iterator[str]:
    """Yield the table of the ratios to the naive bridge; of the proxy with quartiles."""
    kept = by_kind[kinds.KEPT.name]
    names = [name for name in kept.ratios if name not in DIRECT_CALLS]
    yield from heading(f"ratio to the {kept.base}", *names)
    for what, kind, figure in RATIOS:
        ratios = by_kind[kind.name].ratios
        cells = [
            bracketed(ratios[name][figure], 2)
            if name == PROXY
            else f"{ratios[name][figure].median:.2f}"
            for name in names
        ]
        yield row(what, *cells)


def pair_table(pairs: Iterable[Pair]) -> Iterator[str]:
    """Yield the table of the proxy with an HTTP backend beside the proxy with a gRPC backend."""
    yield from heading("the proxy", "gRPC backend", "HTTP backend", "HTTP / gRPC")
    for pair in pairs:
        yield row(
            pair.what,
            f"{pair.grpc.median:.{pair.digits}f}",
            f"{pair.http.median:.{pair.digits}f}",
            bracketed(pair.ratio, 2),
        )


def call_table(kind: Kind, comparison: Comparison) -> Iterator[str]:
    """Yield the table of one kind of burst."""
    yield from heading(
        kind.name, "p50, µs", "p99, µs", "answers/s", "processor time, µs", "switches per call"
    )
    for name, figures in comparison.figures.items():
        yield row(
            name,
            bracketed(figures["p50_us"], 0),
            f"{figures['p99_us'].median:.0f}",
            f"{figures['answers_per_second'].median:.0f}",
            f"{figures['cpu_us'].median:.0f}",
            f"{figures['voluntary_switches'].median:.1f}"
            f" + {figures['involuntary_switches'].median:.1f}",
        )


def special_table(comparisons: Iterable[Comparison]) -> Iterator[str]:
    """Yield the table of the bursts that do not compare all contenders."""
    yield from heading("", "contender", "p50, µs", "p99, µs", "p50, ratio", "p99, ratio")
    for each in comparisons:
        for name, figures in each.figures.items():
            ratios = each.ratios.get(name)
            yield row(
                each.kind,
                name,
                f"{figures['p50_us'].median:.0f}",
                f"{figures['p99_us'].median:.0f}",
                bracketed(ratios["p50_us"], 2) if ratios else "",
                bracketed(ratios["p99_us"], 2) if ratios else "",
            )


def machine_table(report: Report) -> Iterator[str]:
    """Yield the table of the memory and of the start-up."""
    yield from heading("", "memory with one Jicofo, MB", "peak memory, MB", "first answer, s")
    for name, spread in report.start_up_seconds.items():
        held = report.memory.get(name)
        yield row(
            name,
            f"{held.idle_mb:.1f}" if held else "",
            f"{held.peak_mb:.1f}" if held else "",
            bracketed(spread, 3),
        )


def heading(*cells: str) -> Iterator[str]:
    """Yield the first two lines of a table."""
    yield row(*cells)
    yield "|" + "---|" * len(cells)


def row(*cells: str) -> str:
    """Return one line of a table."""
    return "|" + "|".join(f" {cell} " if cell else " " for cell in cells) + "|"


def bracketed(spread: Spread, digits: int) -> str:
    """Return the median, and the quartiles in brackets if they differ from it."""
    median = f"{spread.median:.{digits}f}"
    return median if spread.low == spread.high else f"{median} ({between(spread, digits)})"
