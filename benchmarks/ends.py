"""The two ends of the benchmark, the backend and the load client: in Go, or in Python without Go.

In Python, they share the processor with the contenders and need more of it than these, so the
differences between the contenders become small.
"""

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.children import HERE

GO = HERE / "go"
BUILD_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Ends:
    """The commands of the ends. `bridge` is the bridge in Go; `None` without Go."""

    backend: tuple[str, ...]
    load: tuple[str, ...]
    bridge: tuple[str, ...] | None
    language: str


def build(folder: Path) -> Ends:
    """Build the Go program in a folder; without Go, return the ends in Python.

    Raises `subprocess.SubprocessError` if the program cannot be built.
    """
    go = shutil.which("go") or shutil.which("/usr/local/go/bin/go")
    if go is None:
        return Ends(
            backend=(sys.executable, str(HERE / "backend.py")),
            load=(sys.executable, "-m", "benchmarks.load"),
            bridge=None,
            language="Python",
        )
    program = str(folder / "bench")
    subprocess.run([go, "build", "-o", program, "."], cwd=GO, check=True, timeout=BUILD_SECONDS)
    return Ends(
        backend=(program, "backend"),
        load=(program, "load"),
        bridge=(program, "bridge"),
        language="Go",
    )
