"""The processes of a test: a proxy and its backends. They always end with the test."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any, Literal, Self

from jicofo_reservation_proxy.ledger.records import Record, RecordState

from tests.e2e.support import PROSODY, Client, free_port
from tests.unit.ledgers import rows_on_disk, stored

from .replica import READY
from .store import Store

ROOT = Path(__file__).parents[2]
PATIENCE_SECONDS = 60.0
"""How long a test waits for an expected event; enough for a busy machine."""

Kind = Literal["grpc", "http"]
"""How the proxy calls its backends."""

KINDS: Sequence[Kind] = ("grpc", "http")

_MODULES: Mapping[Kind, str] = {"grpc": "tests.faults.backend", "http": "tests.faults.http_backend"}
_LISTENING = "listening on http://127.0.0.1:"
_PREFIX = "JICOFO_RESERVATION_PROXY_"


def until(
    condition: Callable[[], object], what: str, within_seconds: float = PATIENCE_SECONDS
) -> None:
    """Wait until a condition holds; fail with the text `what` if it does not hold in time."""
    deadline = time.monotonic() + within_seconds
    while not condition():
        assert time.monotonic() < deadline, f"wanted within {within_seconds} s: {what}"
        threading.Event().wait(0.02)


class Process:
    """A command that a test can start several times; its output goes to a file."""

    def __init__(
        self, command: Sequence[str], file: Path, ready: str, environ: Mapping[str, str]
    ) -> None:
        self.file = file
        self._command = [sys.executable, "-m", *command]
        self._ready = ready
        self.environ = dict(environ)
        self._begin = 0
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process, and wait until it serves."""
        self.launch()
        self.wait_until_ready()

    def launch(self) -> None:
        """Start the process, and return at once."""
        assert self._process is None
        self._begin = self.file.stat().st_size if self.file.exists() else 0
        with self.file.open("ab") as output:
            self._process = subprocess.Popen(
                self._command, stdout=output, stderr=output, cwd=ROOT, env=self.environ
            )

    def wait_until_ready(self) -> None:
        """Wait until the process serves; fail if it ends."""
        until(lambda: self.has_ended or self._ready in self.text, f"{self._command} serves")
        assert not self.has_ended, self.text

    @property
    def text(self) -> str:
        """The output of the process since its last start."""
        with self.file.open("rb") as output:
            output.seek(self._begin)
            return output.read().decode()

    @property
    def has_ended(self) -> bool:
        """Whether the process is not running."""
        return self._process is None or self._process.poll() is not None

    @property
    def pid(self) -> int:
        """The process id."""
        assert self._process is not None
        return self._process.pid

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process."""
        assert self._process is not None
        self._process.send_signal(number)

    def pause(self) -> None:
        """Pause the process with SIGSTOP, and wait until it is paused."""
        self.signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED)

    def resume(self) -> None:
        """Resume the paused process with SIGCONT."""
        self.signal(signal.SIGCONT)

    def kill(self) -> None:
        """Kill the process with SIGKILL, and wait for its end."""
        self.signal(signal.SIGKILL)
        self.wait()

    def restart(self) -> None:
        """Kill the process, and start it again."""
        self.kill()
        self.start()

    def wait(self, within_seconds: float = PATIENCE_SECONDS) -> int:
        """Wait for the end of the process; return its exit code."""
        assert self._process is not None
        code = self._process.wait(within_seconds)
        self._process = None
        return code

    def close(self) -> None:
        """Kill the process, if one was started."""
        if self._process is not None:
            self.kill()


class Backend(Process):
    """A replica of the backend, always at the same address."""

    def __init__(
        self,
        directory: Path,
        replica: str,
        *,
        kind: Kind = "grpc",
        address: str = "",
        has_health: bool = True,
        keeps_rows: bool = False,
        flags: Sequence[str] = (),
    ) -> None:
        self.replica = replica
        self.address = address or f"127.0.0.1:{free_port()}"
        command = [_MODULES[kind], "--store", str(directory / "store.sqlite3")]
        command += ["--address", self.address, "--replica", replica]
        if not has_health:
            command.append("--no-health")
        if keeps_rows:
            command.append("--rows")
        command += flags
        super().__init__(command, directory / f"backend-{replica}.log", READY, _environ())


class Proxy(Process):
    """A proxy, always with the same port and the same state directory.

    Several proxies can share a `directory`, and with it the state directory; each needs its own
    `name`.
    """

    def __init__(self, directory: Path, name: str, settings: Mapping[str, object]) -> None:
        self.port = free_port()
        values = {
            "listen": f"127.0.0.1:{self.port}",
            "state_dir": directory / "state",
            "admin_listen": '""',
            "log_format": "json",
            **settings,
        }
        self.state_dir = Path(str(values["state_dir"]))
        command = ["jicofo_reservation_proxy", "serve"]
        ready = f"{_LISTENING}{self.port}"
        file = directory / f"{name}.log"
        super().__init__(command, file, ready, _environ() | dict(_variables(values)))

    def client(self, user_agent: str = PROSODY) -> Client:
        """Return a client of this proxy."""
        return Client(self.port, user_agent)

    @property
    def events(self) -> list[dict[str, Any]]:
        """The log events since the last start, parsed from JSON."""
        lines = self.text.splitlines()
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]

    def limit_files(self, number: int) -> None:
        """Let the next start have this limit for open files, like `ulimit -n`."""
        self._command = ["sh", "-c", f'ulimit -n {number}; exec "$@"', "sh", *self._command]

    def records(self, state: RecordState) -> list[Record]:
        """Return the conferences in this state from the ledger on the disk."""
        return [record for record in stored(self.state_dir) if record.state is state]

    def wait_until_delivered(self) -> None:
        """Wait until the ledger on the disk has no pending deletion."""
        until(lambda: not self.records(RecordState.PENDING), "all deletions are delivered")

    def wait_until_withdrawn(self) -> None:
        """Wait until the proxy has withdrawn once each room in which no client has a conference."""
        until(lambda: not self._rooms_to_withdraw(), "all creates without an answer are withdrawn")

    def _rooms_to_withdraw(self) -> set[str]:
        noted = rows_on_disk(self.state_dir, "SELECT room FROM withdrawal WHERE NOT is_sent")
        return {room for (room,) in noted} - {
            record.room for record in self.records(RecordState.OPEN)
        }

    @property
    def holder(self) -> str:
        """The holder of the ledger on the disk."""
        ((holder,),) = rows_on_disk(self.state_dir, "SELECT holder FROM holder")
        return str(holder)


class Stage:
    """The processes of one test; the stage kills all of them when it closes.

    All backends are of one `kind`.
    """

    def __init__(self, directory: Path, kind: Kind = "grpc") -> None:
        self.directory = directory
        self.kind = kind
        self._numbers = count(1)
        with ExitStack() as stack:
            self.store = stack.enter_context(Store(directory / "store.sqlite3"))
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def backend(
        self,
        replica: str = "a",
        *,
        address: str = "",
        has_health: bool = True,
        keeps_rows: bool = False,
        flags: Sequence[str] = (),
    ) -> Backend:
        """Start a replica of the backend, by default on a free port; return it before it serves.

        `flags` are further flags of the command.
        """
        backend = Backend(
            self.directory,
            replica,
            kind=self.kind,
            address=address,
            has_health=has_health,
            keeps_rows=keeps_rows,
            flags=flags,
        )
        self._stack.callback(backend.close)
        backend.launch()
        return backend

    def pair(
        self, *, default: Mapping[str, object] | None = None, **settings: object
    ) -> tuple[Backend, Proxy]:
        """Start a backend and a proxy in front of it; return both when they serve."""
        backend = self.backend()
        proxy = self.proxy(backend, default=default, others=None, **settings)
        proxy.start()
        backend.wait_until_ready()
        return backend, proxy

    def proxy(
        self,
        *replicas: Backend | str,
        default: Mapping[str, object] | None = None,
        others: Mapping[str, str] | None = None,
        **settings: object,
    ) -> Proxy:
        """Return a proxy, not started, whose backend "default" is these replicas or addresses.

        `default` has further settings of the backend "default"; `others` maps the names of other
        backends to their addresses.
        """
        addresses = [
            replica.address if isinstance(replica, Backend) else replica for replica in replicas
        ]
        backends: dict[str, Mapping[str, object]] = {
            "default": {
                "target": self._target(*addresses),
                "answer_within": "10s",
                **(default or {}),
            }
        }
        for name, address in (others or {}).items():
            backends[name] = {"target": self._target(address)}
        values = {
            "respond_within": "15s",
            "drain_within": "5s",
            "backends": backends,
            **settings,
        }
        proxy = Proxy(self.directory, f"proxy{next(self._numbers)}", values)
        self._stack.callback(proxy.close)
        return proxy

    def _target(self, *addresses: str) -> str:
        if self.kind == "grpc":
            return f"ipv4:{','.join(addresses)}"
        (address,) = addresses
        return f"http://{address}"


def _environ() -> dict[str, str]:
    """Return the environment without the variables that hold settings of the proxy."""
    return {name: value for name, value in os.environ.items() if not name.startswith(_PREFIX)}


def _variables(settings: object, name: str = "") -> Iterator[tuple[str, str]]:
    """Yield settings as names and values of environment variables."""
    if isinstance(settings, Mapping):
        for key, value in settings.items():
            yield from _variables(value, f"{name}__{key}" if name else str(key))
    elif isinstance(settings, list):
        yield from _variables(dict(enumerate(settings)), name)
    else:
        yield _PREFIX + name.upper(), str(settings)
