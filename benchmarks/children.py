"""Child processes, which always end with the benchmark, and the ports that they print."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

HERE = Path(__file__).resolve().parent
START_SECONDS = 60.0  # check.py starts programs under valgrind, which slows them down
END_SECONDS = 30.0
SIGNAL_SECONDS = 3.0
SWITCHES = re.compile(r"^(?:non)?voluntary_ctxt_switches:\s+(\d+)$", re.MULTILINE)
PORT_LINE = re.compile(r"^(\d+)$", re.MULTILINE)  # what the programs of this folder print
ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SETTINGS = "JICOFO_RESERVATION_PROXY_"


class ChildError(Exception):
    """A child process did not start, or ended too early."""


@dataclass(frozen=True, slots=True)
class Memory:
    """The resident memory of a process, now and at its peak."""

    resident_bytes: int
    peak_bytes: int


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process has used since its start."""

    cpu_us: float
    voluntary: int
    involuntary: int


@dataclass(frozen=True)
class Child:
    """A running process, and the file with its output.

    The output goes to a file and not to a pipe, so that no child process waits until the benchmark
    reads the pipe.
    """

    name: str
    process: subprocess.Popen[bytes]
    output: Path

    def port(self, line: re.Pattern[str]) -> int:
        """Wait for the output line that contains the port; return the port.

        Raises ChildError when the process does not print this line within `START_SECONDS`.
        """
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            ended = self.process.poll() is not None
            if found := line.search(self.said()):
                return int(found[1])
            if ended:
                break
            time.sleep(0.01)
        raise self.failure("did not print its port")

    def failure(self, what: str) -> ChildError:
        """Return an error that contains the end of the child's output."""
        return ChildError(f"{self.name} {what}; the end of its output:\n{self.said()[-2000:]}")

    def memory(self) -> Memory | None:
        """Return the memory of the process, or None on a system without /proc."""
        status = Path(f"/proc/{self.process.pid}/status")
        if not status.exists():
            return None
        fields = dict(re.findall(r"^(VmRSS|VmHWM):\s+(\d+) kB$", status.read_text(), re.MULTILINE))
        return Memory(int(fields["VmRSS"]) * 1024, int(fields["VmHWM"]) * 1024)

    def usage(self) -> Usage:
        """Return the processor time in microseconds, and the context switches of all threads.

        The switches of threads that have ended are missing. On systems other than Linux, which have
        no /proc, all figures are 0.
        """
        if sys.platform != "linux":
            return Usage(0.0, 0, 0)
        pid = self.process.pid
        switches = [0, 0]
        for status in Path(f"/proc/{pid}/task").glob("*/status"):
            with suppress(OSError):  # the thread has ended
                found = SWITCHES.findall(status.read_text())
                switches = [total + int(one) for total, one in zip(switches, found, strict=True)]
        return Usage(time.clock_gettime_ns(~pid << 3 | 2) / 1000, *switches)

    def end(self) -> None:
        """End the process with SIGTERM, and after `END_SECONDS` with SIGKILL.

        A second call does nothing. The signal is repeated, because valgrind may hand it to a thread
        that does not wake up the main thread.
        """
        deadline = time.monotonic() + END_SECONDS
        while self.process.poll() is None and time.monotonic() < deadline:
            self.process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(SIGNAL_SECONDS)
        self.process.kill()  # does nothing when the process has ended
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe:
                with suppress(BrokenPipeError):  # the process ended before it read its last job
                    pipe.close()

    def said(self) -> str:
        """Return the output of the process until now."""
        return self.output.read_text(errors="replace")


class Children:
    """All processes that the benchmark starts; leaving the context ends them.

    `under` is the command, such as valgrind, that runs the contenders; normally there is none.
    """

    def __init__(self, folder: Path, under: Sequence[str] = ()) -> None:
        self._folder = folder
        self._under = under
        self._started: list[Child] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with uninterrupted():
            for child in self._started:
                child.process.terminate()  # signal all of them first, so that they end in parallel
            for child in self._started:
                child.end()

    def start(
        self, name: str, arguments: Sequence[str], settings: Mapping[str, str] | None = None
    ) -> Child:
        """Start a program; `settings` are the only settings of the proxy that it gets."""
        output = self.file(f"{name}.txt")
        with output.open("wb") as sink, uninterrupted():
            process = subprocess.Popen(
                [*self._under, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                env=environment(settings or {}, self._folder / "bytecode"),
                start_new_session=True,  # Ctrl-C reaches only the benchmark, which ends the child
            )
            return self._keep(Child(name, process, output))

    def start_piped(self, name: str, arguments: Sequence[str]) -> Child:
        """Start a program that reads jobs from stdin and writes results to stdout."""
        output = self.file(f"{name}.txt")
        with output.open("wb") as sink, uninterrupted():
            process = subprocess.Popen(
                list(arguments),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=sink,
                cwd=HERE.parent,
                start_new_session=True,
            )
            return self._keep(Child(name, process, output))

    def _keep(self, child: Child) -> Child:
        self._started.append(child)
        return child

    def file(self, name: str) -> Path:
        """Return the path of a new file, whose name ends with this one."""
        handle, path = tempfile.mkstemp(f"-{name}", dir=self._folder)
        os.close(handle)
        return Path(path)

    def state_dir(self) -> str:
        """Create a state directory for one proxy; return its path."""
        return tempfile.mkdtemp("-state", dir=self._folder)


def environment(settings: Mapping[str, str], bytecode: Path) -> dict[str, str]:
    """Return the environment, with the given settings of the proxy and no others.

    Python keeps the byte code for the length of the run, as it does for installed programs.
    Otherwise Python would compile the modules again at each start, if it cannot write to the
    checkout.
    """
    kept = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(SETTINGS) and key != "PYTHONDONTWRITEBYTECODE"
    }
    given = {SETTINGS + key: value for key, value in settings.items()}
    return kept | given | {"PYTHONPYCACHEPREFIX": str(bytecode)}


def end_on_signals() -> None:
    """Let SIGTERM and SIGHUP end the benchmark as Ctrl-C does: it ends the children first."""
    for number in ENDING_SIGNALS:
        signal.signal(number, signal.default_int_handler)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Delay an ending signal until the end of the block.

    Otherwise a signal could interrupt the start or the end of a child, and leave it running.
    """
    held: list[int] = []
    before = {number: signal.getsignal(number) for number in ENDING_SIGNALS}
    for number in ENDING_SIGNALS:
        signal.signal(number, lambda number, _frame: held.append(number))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if held:
        raise KeyboardInterrupt
