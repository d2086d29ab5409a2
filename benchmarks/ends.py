"""The ends of the benchmark, the backends and the load client: in Go, or in Python without Go.

In Python, they share the processor with the contenders and need more of it than these, so the
differences between the contenders become small.
"""

import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from benchmarks.children import HERE

GO = HERE / "go"
BUILD_SECONDS = 300.0

Api = Literal["grpc", "http"]
"""The API of a backend: this project's contract over gRPC, or that of Jitsi's handbook."""


@dataclass(frozen=True, slots=True)
class Ends:
    """The commands of the ends. `bridge` is the bridge in Go; `None` without Go."""

    backends: Mapping[Api, tuple[str, ...]]
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
            backends={
                "grpc": (sys.executable, str(HERE / "backend.py")),
                "http": (sys.executable, str(HERE / "http_backend.py")),
            },
            load=(sys.executable, "-m", "benchmarks.load"),
            bridge=None,
            language="Python",
        )
    program = str(folder / "bench")
    subprocess.run([go, "build", "-o", program, "."], cwd=GO, check=True, timeout=BUILD_SECONDS)
    return Ends(
        backends={
            "grpc": (program, "backend", "grpc"),
            "http": (program, "backend", "http"),
        },
        load=(program, "load"),
        bridge=(program, "bridge"),
        language="Go",
    )
