"""The stage of each test, and the figures that pytest prints at the end of its output."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from .disk import Disk
from .processes import Kind, Stage

SOURCE = Path(__file__).with_name("below_sqlite.c")

_FIGURES: list[str] = []


@pytest.fixture
def kind() -> Kind:
    """Return how the proxy calls its backends; tests that are for both kinds have a parameter."""
    return "grpc"


@pytest.fixture
def stage(tmp_path: Path, kind: Kind) -> Iterator[Stage]:
    """Yield a stage; it ends all its processes when the test ends."""
    with Stage(tmp_path, kind) as stage:
        yield stage


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the library; skip the tests on a machine without a C compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        assert os.environ.get("CI") != "true", "CI needs a C compiler"
        # These tests build their library from C. CI has a compiler; other machines may not.
        pytest.skip("there is no C compiler")
    file = tmp_path_factory.mktemp("library") / "below_sqlite.so"
    flags = ["-shared", "-fPIC", "-O1", "-Wall", "-Werror"]
    subprocess.run([compiler, *flags, "-o", str(file), str(SOURCE), "-ldl"], check=True)
    return file


@pytest.fixture
def disk(library: Path, tmp_path: Path) -> Disk:
    """Return a disk without faults."""
    return Disk(tmp_path / "faults", library)


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
