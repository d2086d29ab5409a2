"""The benchmark runs with both kinds of ends, and leaves no process behind."""

import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import bench, contenders, kinds
from benchmarks.bursts import Kind
from benchmarks.children import HERE
from benchmarks.contenders import (
    DIRECT_CALLS,
    DISTRIBUTIONS,
    GO_BRIDGE,
    HTTP_PROXY,
    NAIVE_BRIDGE,
    PROXY,
)
from benchmarks.hanging import HUNG
from benchmarks.report import Report

WAIT_SECONDS = 60.0


def _tiny(kind: Kind) -> Kind:
    return replace(kind, rounds=2, calls=kind.calls and 5, seconds=kind.seconds and 1.0)


def _is_complete(report: Report, names: set[str]) -> None:
    figures = {each.kind: each.figures for each in report.comparisons}
    for kind in kinds.CALLS:
        direct = set() if kind.way == "new" else set(DIRECT_CALLS)
        assert set(figures.pop(kind.name)) == names | direct
    assert set(figures.pop(kinds.LIFE.name)) == names & {PROXY, HTTP_PROXY, GO_BRIDGE}
    assert set(figures.pop(kinds.HANGING.name)) == {PROXY, HUNG}
    assert set(figures.pop(kinds.HANGING_4.name)) == {PROXY, HUNG}
    assert not figures
    for comparison in report.comparisons:
        for contender, measured in comparison.figures.items():
            assert 0 < measured["p50_us"].median <= measured["p99_us"].median
            assert measured["answers_per_second"].median > 0
            assert measured["cpu_us"].median > 0, contender
    assert all(pair.ratio.median > 0 for pair in report.apis)
    assert names < set(report.memory)
    assert names < set(report.start_up_seconds)
    assert all(name in report.as_text() for name in names)
    assert Report.from_json(report.as_json()) == report


def test_without_go_the_report_says_that_the_figures_are_blurred(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The ends in Python need more time than the contenders; optional contenders are left out."""
    monkeypatch.setattr(shutil, "which", lambda _: None)
    monkeypatch.setattr(contenders, "is_installed", lambda _: False)
    report = bench.run(_tiny, 1)
    assert report.language == "Python"
    text = report.as_text()
    assert "WARNING: there is no Go" in text
    assert f"Left out: {', '.join(DISTRIBUTIONS)}; to install them: .venv/bin/pip " in text
    assert not [goal for goal in report.goals if GO_BRIDGE in goal.what]
    _is_complete(report, {NAIVE_BRIDGE, PROXY, HTTP_PROXY})


@pytest.mark.toolchain
def test_with_go_the_report_has_the_go_bridge(capsys: pytest.CaptureFixture[str]) -> None:
    """The ends in Go leave the processor to the contenders; those that are installed take part."""
    report = bench.run(_tiny, 1)
    assert report.language == "Go"
    assert "WARNING" not in report.as_text()
    assert [goal for goal in report.goals if GO_BRIDGE in goal.what]
    installed = {name for name in DISTRIBUTIONS if name not in contenders.left_out()}
    _is_complete(report, {NAIVE_BRIDGE, PROXY, HTTP_PROXY, GO_BRIDGE} | installed)
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
    wrong = replace(
        contenders.NAIVE_PROGRAM,
        launch=lambda children, *_: children.start("naive", [sys.executable, str(naive)]),
    )
    monkeypatch.setattr(contenders, "NAIVE_PROGRAM", wrong)
    assert bench.main(["--quick"]) == 1
    assert "wanted a 200" in capsys.readouterr().err


def test_ctrl_c_ends_all_processes() -> None:
    """Ctrl-C ends the benchmark with exit code 130, and with it every process that it started."""
    command = [sys.executable, str(HERE / "bench.py"), "--quick"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        deadline = time.monotonic() + WAIT_SECONDS
        while len(children := _children(running.pid)) < 3 and time.monotonic() < deadline:
            assert running.poll() is None
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=WAIT_SECONDS)
    assert len(children) >= 3
    assert running.returncode == 130
    assert (out, err.splitlines()[-1:]) == (b"", [b"bench: interrupted"])
    assert not [child for child in children if Path(f"/proc/{child}").exists()]


def _children(pid: int) -> list[int]:
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()
    return [int(child) for child in listed]


def test_a_quick_run_measures_the_same_kinds() -> None:
    """Each goal is about a kind that every run measures."""
    for kind in (*kinds.CALLS, kinds.LIFE, kinds.HANGING, kinds.HANGING_4):
        short = kinds.quick(kind)
        assert short.name == kind.name
        assert short.rounds >= 2
        assert bool(short.calls) != bool(short.seconds)
