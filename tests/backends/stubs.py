"""Build the stub backends as their READMEs say, and run them as real processes."""

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
GO = ROOT / "backend_stub/go"
JAVA = ROOT / "backend_stub/java"
GO_BINARY = ROOT / "build/jicofo-reservation-stub-go"
JAR = JAVA / "target/jicofo-reservation-stub.jar"

START_SECONDS = 30.0
STOP_SECONDS = 60.0

_LISTENING = re.compile(r"listening on (\S+) \((plaintext|TLS|mTLS)\)\n")

_RACE = ("-race",) if os.environ.get("CI") == "true" or shutil.which("gcc") else ()
"""Go's race detector needs a C compiler. CI must have a C compiler; another machine may lack it."""


class StubError(Exception):
    """A stub could not be built or started, or ended with an error."""


@dataclass(frozen=True)
class Stub:
    """A stub backend: its names, the tools that it needs, and the commands to build and run it."""

    name: str
    title: str
    tools: tuple[str, ...]
    build_command: tuple[str, ...]
    command: tuple[str, ...]
    checks: tuple[tuple[str, ...], ...] = ()
    """The commands that run the stub's own tests, in its own language."""

    def __str__(self) -> str:
        """Return the name, which pytest shows in the id of a test."""
        return self.name

    @property
    def readme(self) -> Path:
        """The README of this stub."""
        return ROOT / "backend_stub" / self.name / "README.md"

    @property
    def missing_tools(self) -> str:
        """The tools that this machine lacks, joined by "and"; empty if none is missing."""
        return " and ".join(tool for tool in self.tools if shutil.which(tool) is None)

    def build(self) -> None:
        """Build the stub. Raises `StubError` with the output of the build if the build fails."""
        if self.build_command:
            run(self.build_command)


STUBS = (
    Stub("python", "Python", (), (), (sys.executable, "-m", "jicofo_reservation_stub")),
    Stub(
        "go",
        "Go",
        ("go",),
        ("go", "build", "-C", str(GO), "-o", str(GO_BINARY), "."),
        (str(GO_BINARY),),
        (
            ("go", "vet", "-C", str(GO), "./..."),
            ("gofmt", "-d", str(GO)),
            ("go", "test", "-C", str(GO), *_RACE, "./..."),
        ),
    ),
    Stub(
        "java",
        "Java",
        ("java", "mvn"),
        ("mvn", "-q", "-B", "-f", str(JAVA / "pom.xml"), "-DskipTests", "package"),
        ("java", "-Xmx128m", "-jar", str(JAR)),
        (("mvn", "-q", "-B", "-f", str(JAVA / "pom.xml"), "verify"),),
    ),
)


def run(command: Sequence[str]) -> None:
    """Run a command to its end. Raises `StubError` with the output if the command fails."""
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode:
        raise StubError(f"{' '.join(command)}: exit code {done.returncode}:\n{done.stdout}")


@contextmanager
def serving(stub: Stub, *flags: str) -> Iterator[str]:
    """Run a stub on a free port; yield its address. Raises `StubError` if the stub fails."""
    command = [*stub.command, "--listen", "127.0.0.1:0", *flags]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=_environment()
    ) as process:
        watchdog = threading.Timer(START_SECONDS, process.kill)
        watchdog.start()
        log: list[str] = []
        reader = threading.Thread(target=lambda: log.extend(process.stderr or ()))
        reader.start()
        try:
            yield _address(process, log)
        finally:
            watchdog.cancel()
            watchdog.join()
            code = _stop(process)
            reader.join()
    if code:
        raise StubError(f"{stub.name}: exit code {code}:\n{''.join(log[-20:])}")


def _address(process: "subprocess.Popen[str]", log: list[str]) -> str:
    line = process.stdout.readline() if process.stdout else ""
    match = _LISTENING.fullmatch(line)
    if match is None:
        process.kill()
        process.wait()
        raise StubError(f"stub: wanted 'listening on ADDRESS', got {line!r}\n{''.join(log)}")
    return match[1]


def _stop(process: "subprocess.Popen[str]") -> int:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        return process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def _environment() -> dict[str, str]:
    """Return the environment with a PYTHONPATH on which Python finds the Python stub."""
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
