"""The stage of each test, and the figures that pytest prints at the end of its output."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from .processes import Stage

_FIGURES: list[str] = []


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """Yield a stage; it ends all its processes when the test ends."""
    with Stage(tmp_path) as stage:
        yield stage


@pytest.fixture
def figures() -> list[str]:
    """Return the list of lines for the summary; a test appends its lines."""
    return _FIGURES


@pytest.fixture(scope="session")
def is_long() -> bool:
    """Return whether to run the long versions of the tests (`make faults`)."""
    return os.environ.get("FAULTS") == "long"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the figures."""
    if _FIGURES:
        terminalreporter.section("faults")
        for line in _FIGURES:
            terminalreporter.line(line)
