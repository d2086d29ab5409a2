"""The benchmark runs with both kinds of ends, and leaves no process behind."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import bench, ends
from benchmarks.bursts import Kind
from benchmarks.report import Report

KINDS = tuple(
    replace(kind, rounds=2, calls=5 if kind.connections == 1 else 0, seconds=kind.seconds and 1.0)
    for kind in bench.QUICK
)


def _is_complete(report: Report, contenders: set[str]) -> None:
    figures = json.loads(report.as_json())["figures"]
    assert set(figures) == {kind.name for kind in bench.THOROUGH}
    for kind, table in figures.items():
        direct = {bench.DIRECT} if "kept" in kind or "connections" in kind else set()
        assert set(table) == contenders | direct
        for contender, measured in table.items():
            assert measured["p50_us"]["median"] > 0
            assert measured["p99_us"]["median"] >= measured["p50_us"]["median"]
            assert measured["answers_per_second"]["median"] > 0
            assert measured["cpu_us"]["median"] > 0, contender
    text = report.as_text()
    assert "Ratios to the naive bridge" in text
    assert all(name in text for name in contenders)


def test_without_go_the_report_says_that_the_figures_are_blurred(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The ends in Python need more processor time than the contenders."""
    monkeypatch.setattr(shutil, "which", lambda _: None)
    report = bench.run(KINDS, 1)
    assert report.language == "Python"
    assert "WARNING: there is no Go" in report.as_text()
    _is_complete(report, {bench.NAIVE_BRIDGE, bench.PROXY})


@pytest.mark.toolchain
def test_with_go_the_report_has_the_go_bridge(capsys: pytest.CaptureFixture[str]) -> None:
    """The ends in Go leave the processor to the contenders."""
    report = bench.run(KINDS, 1)
    assert report.language == "Go"
    assert "WARNING" not in report.as_text()
    _is_complete(report, {bench.NAIVE_BRIDGE, bench.PROXY, bench.GO_BRIDGE})
    assert capsys.readouterr().out == ""


def test_a_contender_that_answers_wrongly_ends_the_benchmark(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The speed of a wrong answer has no meaning."""
    naive = tmp_path / "naive.py"
    naive.write_text(
        "import http.server\n"
        "server = http.server.HTTPServer(('127.0.0.1', 0), http.server.SimpleHTTPRequestHandler)\n"
        "print(server.server_address[1], flush=True)\n"
        "server.serve_forever()\n"
    )
    monkeypatch.setattr(shutil, "which", lambda _: None)
    monkeypatch.setattr(bench, "NAIVE", str(naive))
    monkeypatch.setattr(bench, "QUICK", KINDS)
    assert bench.main(["--quick"]) == 1
    assert "wanted a 200" in capsys.readouterr().err


def test_the_kinds_of_the_goals_are_measured() -> None:
    """Each goal is about a kind that every run measures."""
    names: list[Kind] = [bench.KEPT, bench.NEW, bench.MIDDLE, bench.MOST]
    assert [kind.name for kind in bench.QUICK] == [kind.name for kind in names]
    assert ends.GO.is_dir()
