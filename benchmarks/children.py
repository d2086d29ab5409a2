"""Child processes that cannot outlive the benchmark, and the ports that they say they listen on."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

HERE = Path(__file__).resolve().parent
START_SECONDS = 20.0
END_SECONDS = 10.0
PORT_LINE = re.compile(r"^(\d+)$", re.MULTILINE)  # backend.py and naive.py
PROXY_LINE = re.compile(r"listening on http://127\.0\.0\.1:(\d+)")
ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SETTINGS = "JICOFO_RESERVATION_PROXY_"
PROXY = ("-m", "jicofo_reservation_proxy", "serve")
NAIVE = str(HERE / "naive.py")
BACKEND = str(HERE / "backend.py")


class ChildError(Exception):
    """A child did not start, or ended by itself."""


@dataclass(frozen=True, slots=True)
class Memory:
    """What a process holds in memory, now and at its most."""

    resident_bytes: int
    peak_bytes: int


@dataclass(frozen=True)
class Child:
    """A running process, and the file that its output goes to.

    A file and not a pipe, so that no child ever waits for the benchmark to read.
    """

    name: str
    process: subprocess.Popen[bytes]
    output: Path

    def port(self, line: re.Pattern[str]) -> int:
        """Wait for the line that names the port, and return the port.

        Raises ChildError when the line does not come.
        """
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            ended = self.process.poll() is not None
            if found := line.search(self._said()):
                return int(found[1])
            if ended:
                break
            time.sleep(0.01)
        raise self.failure("named no port")

    def failure(self, what: str) -> ChildError:
        """Return an error with the end of what the child said."""
        return ChildError(f"{self.name} {what}; the end of its output:\n{self._said()[-2000:]}")

    def memory(self) -> Memory | None:
        """Return what the process holds, or None where there is no /proc."""
        status = Path(f"/proc/{self.process.pid}/status")
        if not status.exists():
            return None
        fields = dict(re.findall(r"^(VmRSS|VmHWM):\s+(\d+) kB$", status.read_text(), re.MULTILINE))
        return Memory(int(fields["VmRSS"]) * 1024, int(fields["VmHWM"]) * 1024)

    def clock(self) -> Callable[[], float] | None:
        """Return the clock of the processor time that the process uses, in microseconds.

        None on systems other than Linux, where clock_getcpuclockid(3) has other numbers.
        """
        if sys.platform != "linux":
            return None
        number = ~self.process.pid << 3 | 2
        return lambda: time.clock_gettime_ns(number) / 1000

    def end(self) -> None:
        """End the process, politely first. Ending it twice is fine."""
        self.process.terminate()
        try:
            self.process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe:
                with suppress(BrokenPipeError):  # it ended with a job unread
                    pipe.close()

    def _said(self) -> str:
        return self.output.read_text(errors="replace")


class Children:
    """Every process that the benchmark starts; leaving the context ends them all."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
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
                child.process.terminate()  # all at once, then wait for each
            for child in self._started:
                child.end()

    def start(
        self, name: str, arguments: Sequence[str], settings: Mapping[str, str] | None = None
    ) -> Child:
        """Start a Python process, with these settings of the proxy and no others."""
        output = self._folder / f"{len(self._started)}.txt"
        with output.open("wb") as sink, uninterrupted():
            process = subprocess.Popen(
                [sys.executable, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                env=environment(settings or {}, self._folder / "bytecode"),
                start_new_session=True,  # Ctrl-C is for the benchmark, which then ends them
            )
            return self._keep(Child(name, process, output))

    def start_piped(self, name: str, arguments: Sequence[str]) -> Child:
        """Start a Python process that is told what to do on its input and answers on its output."""
        output = self._folder / f"{len(self._started)}.txt"
        with output.open("wb") as sink, uninterrupted():
            process = subprocess.Popen(
                [sys.executable, *arguments],
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

    def state_dir(self) -> str:
        """Return a new, empty folder for one proxy's state."""
        folder = self._folder / f"state-{len(self._started)}"
        folder.mkdir()
        return str(folder)


def environment(settings: Mapping[str, str], bytecode: Path) -> dict[str, str]:
    """Return the environment without any setting of the proxy but the given ones.

    Byte code is kept for the length of the run, as it is for installed programs: otherwise a
    checkout that may not write any would be compiled anew at each start.
    """
    kept = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(SETTINGS) and key != "PYTHONDONTWRITEBYTECODE"
    }
    given = {SETTINGS + key: value for key, value in settings.items()}
    return kept | given | {"PYTHONPYCACHEPREFIX": str(bytecode)}


def on_backend(port: int | None) -> dict[str, str]:
    """Return the proxy's settings for a backend; None leaves it to its built-in stub."""
    return {} if port is None else {"BACKENDS__DEFAULT__TARGET": f"127.0.0.1:{port}"}


def proxy_arguments(children: Children, port: int = 0) -> list[str]:
    """Return the command line of a proxy with a state of its own."""
    return [*PROXY, "--listen", f"127.0.0.1:{port}", "--state-dir", children.state_dir()]


def end_on_signals() -> None:
    """Let SIGTERM and SIGHUP end the benchmark as Ctrl-C does: the children first."""
    for number in ENDING_SIGNALS:
        signal.signal(number, signal.default_int_handler)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold such a signal back until the end of the block, so that no child is lost or left."""
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
