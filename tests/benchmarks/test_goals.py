"""A goal is met, met as hoped, not met, or not judged."""

from dataclasses import replace

import pytest

from benchmarks.bursts import Burst
from benchmarks.comparison import Comparison
from benchmarks.contenders import PROXY
from benchmarks.disk import Disk
from benchmarks.goals import Goal, goals_of
from benchmarks.report import Report
from benchmarks.stats import Spread
from tests.benchmarks.results import REPORT

LESS = Goal("time", "<=", 0.6, 0.5, "", Spread.of([0.55]))
MORE = Goal("answers", ">=", 2.0, None, "", Spread.of([2.5]))


@pytest.mark.parametrize(
    ("goal", "verdict"),
    [
        (LESS, "met"),
        (replace(LESS, measured=Spread.of([0.5])), "met, as hoped"),
        (replace(LESS, measured=Spread.of([0.61])), "NOT MET"),
        (replace(LESS, not_judged="fsync 0.9 ms"), "not judged (fsync 0.9 ms)"),
        (MORE, "met"),
        (replace(MORE, measured=Spread.of([1.9])), "NOT MET"),
        (replace(MORE, hoped=2.5), "met, as hoped"),
    ],
)
def test_the_verdict_is_about_the_median(goal: Goal, verdict: str) -> None:
    """A goal with `<=` wants a small median, one with `>=` a large one."""
    assert goal.verdict == verdict


@pytest.mark.parametrize(
    ("file_system", "fsync_ms", "not_judged"),
    [
        ("ext4", 0.5, ""),
        ("ext4", 0.9, "fsync 0.9 ms"),
        ("tmpfs", 0.01, "state on tmpfs"),
    ],
)
def test_a_disk_that_is_slow_or_in_memory_does_not_judge(
    file_system: str, fsync_ms: float, not_judged: str
) -> None:
    """The goal of a room's life counts only where a DELETE waits for a quick disk."""
    disk = Disk(file_system, Spread.of([fsync_ms]))
    (goal,) = (each for each in _goals(REPORT, disk) if "life" in each.what)
    assert goal.not_judged == not_judged


def test_without_a_go_bridge_there_is_no_goal_for_a_life() -> None:
    """Its goal is a ratio to that bridge."""
    without = [
        replace(each, ratios={}) if each.base == "Go bridge" else each
        for each in REPORT.comparisons
    ]
    goals = _goals(replace(REPORT, comparisons=without), REPORT.disk)
    assert len(goals) == len(REPORT.goals) - 1


def test_without_proc_there_is_no_goal_for_the_memory() -> None:
    """The other goals stay."""
    goals = _goals(replace(REPORT, memory={}), REPORT.disk)
    assert len(goals) == len(REPORT.goals) - 1


def _goals(report: Report, disk: Disk) -> list[Goal]:
    by_kind = {each.kind: each for each in report.comparisons}
    return goals_of(by_kind, disk, report.memory, report.start_up_seconds)


def test_the_ratios_are_those_of_the_rounds() -> None:
    """A ratio compares the bursts of one round; without the base there are none."""
    bursts = {"a": [_burst(100.0), _burst(300.0)], PROXY: [_burst(50.0), _burst(150.0)]}
    compared = Comparison.of("kind", "a", bursts)
    assert compared.ratios[PROXY]["p50_us"] == Spread(0.5, 0.5, 0.5)
    assert set(compared.figures) == {"a", PROXY}
    assert Comparison.of("kind", "b", bursts).ratios == {}


def _burst(p50_us: float) -> Burst:
    return Burst(p50_us, 1.0, 1.0, 1.0, 1.0, 1.0)
