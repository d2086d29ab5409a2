"""The stage of each test, and the figures that the tests leave at the end of pytest's output."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from .processes import Stage

_FIGURES: list[str] = []


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """Yield a place for processes, all of which end with the test."""
    with Stage(tmp_path) as stage:
        yield stage


@pytest.fixture
def figures() -> list[str]:
    """Return the list of what a test wants to be read in the summary."""
    return _FIGURES


@pytest.fixture(scope="session")
def is_long() -> bool:
    """Whether the long versions are wanted (`make faults`)."""
    return os.environ.get("FAULTS") == "long"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the figures."""
    if _FIGURES:
        terminalreporter.section("faults")
        for line in _FIGURES:
            terminalreporter.line(line)
