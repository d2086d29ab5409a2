"""The goals of the proxy, as ratios within one run where other programs could disturb a figure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from benchmarks import disk, kinds
from benchmarks.comparison import Comparison
from benchmarks.contenders import PROXY
from benchmarks.disk import Disk
from benchmarks.footprint import Footprint
from benchmarks.hanging import CALLS, HUNG
from benchmarks.stats import Spread

FSYNC_LIMIT_MS = 0.5


@dataclass(frozen=True, slots=True)
class Goal:
    """One goal: a figure, the limit to reach, and the value hoped for (None: the limit).

    `not_judged` is the reason why this run cannot tell; empty if it can.
    """

    what: str
    sign: Literal["<=", ">="]
    wanted: float
    hoped: float | None
    unit: str
    measured: Spread
    not_judged: str = ""

    @property
    def verdict(self) -> str:
        """Whether the median is within the limit, in a few words."""
        if self.not_judged:
            return f"not judged ({self.not_judged})"
        if not self._is_within(self.wanted):
            return "NOT MET"
        is_better = self.hoped is not None and self._is_within(self.hoped)
        return "met, as hoped" if is_better else "met"

    def _is_within(self, limit: float) -> bool:
        median = self.measured.median
        return median <= limit if self.sign == "<=" else median >= limit


def goals_of(
    comparisons: Mapping[str, Comparison],
    disk: Disk,
    memory: Mapping[str, Footprint],
    start_up: Mapping[str, Spread],
) -> list[Goal]:
    """Return the goals with their figures; without those that this machine cannot measure."""
    return [
        *_calls(comparisons),
        *_life(comparisons[kinds.LIFE.name], disk),
        *_hanging(comparisons),
        Goal("first answer", "<=", 0.3, None, " s", start_up[PROXY]),
        *_memory(memory),
    ]


def _calls(comparisons: Mapping[str, Comparison]) -> list[Goal]:
    kept, new, middle, most = (
        comparisons[kind.name].ratios[PROXY]
        for kind in (kinds.KEPT, kinds.NEW, kinds.MIDDLE, kinds.MOST)
    )
    return [
        Goal("time of a call, kept connection / naive", "<=", 0.62, 0.57, "", kept["p50_us"]),
        Goal("time of a call, new connection / naive", "<=", 0.62, 0.55, "", new["p50_us"]),
        Goal("answers/s, 16 connections / naive", ">=", 2.0, 3.0, "", middle["answers_per_second"]),
        Goal("answers/s, 64 connections / naive", ">=", 4.0, 7.0, "", most["answers_per_second"]),
        Goal("answers/s, 64 / 16 connections", ">=", 1.0, None, "", _growth(comparisons)),
        Goal("processor time of a call / naive", "<=", 0.62, 0.5, "", kept["cpu_us"]),
        Goal("p99, 16 connections / naive", "<=", 0.8, 0.4, "", middle["p99_us"]),
    ]


def _growth(comparisons: Mapping[str, Comparison]) -> Spread:
    """Return the ratio of the medians: the two kinds have no rounds in common."""
    most, middle = (
        comparisons[kind.name].figures[PROXY]["answers_per_second"].median
        for kind in (kinds.MOST, kinds.MIDDLE)
    )
    return Spread.of([most / middle])


def _life(life: Comparison, disk: Disk) -> list[Goal]:
    if PROXY not in life.ratios:
        return []
    ratio = life.ratios[PROXY]["p50_us"]
    return [Goal("a room's life / Go bridge", "<=", 0.55, 0.52, "", ratio, _unfit(disk))]


def _unfit(measured: Disk) -> str:
    """Return why the disk cannot show how long a DELETE waits; empty if it can."""
    if measured.file_system in disk.IN_MEMORY:
        return f"state on {measured.file_system}"
    if measured.fsync_ms.median > FSYNC_LIMIT_MS:
        return f"fsync {measured.fsync_ms.median:.1f} ms"
    return ""


def _hanging(comparisons: Mapping[str, Comparison]) -> list[Goal]:
    made = []
    for kind, clients in ((kinds.HANGING, "1 connection"), (kinds.HANGING_4, "4 connections")):
        ratio = comparisons[kind.name].ratios[HUNG]
        for figure, limit in (("p50_us", 1.5), ("p99_us", 3.0)):
            what = f"{figure[:3]} while {CALLS} calls hang / without, {clients}"
            made.append(Goal(what, "<=", limit, None, "", ratio[figure]))
    return made


def _memory(memory: Mapping[str, Footprint]) -> list[Goal]:
    if PROXY not in memory:
        return []
    idle = Spread.of([memory[PROXY].idle_mb])
    return [Goal("memory with one Jicofo", "<=", 54, None, " MB", idle)]
