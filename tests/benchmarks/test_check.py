"""`make bench-check` fails when a call became more expensive than expected, and only then."""

import json
from pathlib import Path

import pytest

from benchmarks import check
from benchmarks.check import Measured
from benchmarks.stats import Spread

EXPECTED = {"instructions": 1.0, "processor time": 1.0}


@pytest.fixture
def expected(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Expect ratios of 1; return the file that says so."""
    path = tmp_path / "expected.json"
    path.write_text(json.dumps(EXPECTED))
    monkeypatch.setattr(check, "EXPECTED", path)
    return path


@pytest.mark.usefixtures("expected")
def test_a_busy_machine_is_no_regression(capsys: pytest.CaptureFixture[str]) -> None:
    """The median may be far too high, as long as the lower quartile is not."""
    measured = [Measured("processor time", Spread(1.9, 1.24, 3.0), 1.25)]
    assert check.report(measured, update=False) == 0
    assert capsys.readouterr().out == (
        "ok: processor time of a POST, proxy / naive bridge: 1.90 (1.24..3.00); "
        "expected 1.00, at most 1.25\n"
        "valgrind is not installed; with it, the check also counts instructions\n"
    )


@pytest.mark.usefixtures("expected")
def test_a_regression_is_told_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """The exit code is 1 if one of the ratios is too high."""
    measured = [
        Measured("processor time", Spread.of([1.2]), 1.25),
        Measured("instructions", Spread.of([1.2]), 1.1),
    ]
    assert check.report(measured, update=False) == 1
    (told,) = (line for line in capsys.readouterr().out.splitlines() if not line.startswith("ok"))
    assert told == (
        "SLOWER: instructions of a POST, proxy / naive bridge: 1.20 (1.20..1.20); "
        "expected 1.00, at most 1.10; make it cheaper, or accept it with --update"
    )


def test_update_keeps_what_was_not_measured(expected: Path) -> None:
    """A machine without valgrind does not remove the expected instructions."""
    measured = [Measured("processor time", Spread.of([2.0]), 1.25)]
    assert check.report(measured, update=True) == 0
    assert json.loads(expected.read_text()) == {"instructions": 1.0, "processor time": 2.0}


def test_the_expected_figures_are_committed() -> None:
    """The file has a ratio for everything that the check can measure."""
    assert set(json.loads(check.EXPECTED.read_text())) == set(EXPECTED)
