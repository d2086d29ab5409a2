"""Tests of the command: real processes, exit codes, signals, and the README."""

import ast
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest

from backend_stub.http import reservations
from backend_stub.http.reservations import format_time

from .conftest import SECONDS, Client, Connect, Reply

FILE = Path(reservations.__file__)
README = FILE.with_name("README.md").read_text("utf-8")
FREE = ("--listen", "127.0.0.1:0")


class Process:
    """The backend as a process."""

    def __init__(self, *flags: str) -> None:
        self.popen = subprocess.Popen(
            [sys.executable, str(FILE), *FREE, *flags],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines: list[str] = []

    @property
    def port(self) -> int:
        """The port in the first line of the output."""
        if not self.lines:
            assert self.popen.stdout is not None
            self.lines.append(self.popen.stdout.readline())
        found = re.fullmatch(r"listening on http://.*:(\d+)\n", self.lines[0])
        assert found, self.lines
        return int(found[1])

    def stop(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
        """Send a signal; return the exit code and the log."""
        self.popen.send_signal(number)
        _, log = self.popen.communicate(timeout=SECONDS)
        return self.popen.returncode, log

    def close(self) -> None:
        """End the process."""
        self.popen.kill()
        self.popen.communicate()


Start = Callable[..., Process]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start the backend with flags; kill it after the test."""
    with ExitStack() as stack:

        def launch(*flags: str) -> Process:
            process = Process(*flags)
            stack.callback(process.close)
            return process

        yield launch


@pytest.fixture
def post(start: Start, connect: Connect) -> Callable[..., list[Reply]]:
    """Start the backend with flags, and ask for rooms."""

    def ask(*flags: str, rooms: tuple[str, ...] = ("board",)) -> list[Reply]:
        client = connect(start(*flags).port)
        return [client.post(room, start_time=now()) for room in rooms]

    return ask


def now() -> str:
    """Return the current time as the clients send it."""
    return format_time(datetime.now(UTC))


def run(*flags: str) -> "subprocess.CompletedProcess[str]":
    """Run the command until it ends."""
    return subprocess.run(
        [sys.executable, str(FILE), *flags],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serves_until_a_signal(start: Start, connect: Connect, number: signal.Signals) -> None:
    """The first line has the address; a signal ends the process with 0."""
    process = start()
    answer = connect(process.port).post(start_time=now())
    assert (answer.status, answer.document["duration"]) == (200, 86_400)
    code, log = process.stop(number)
    assert code == 0
    assert f"name='board': 200 id={answer.document['id']}" in log
    assert "Traceback" not in log


_SIGNALLED = """
import argparse, os, runpy, sys

parse_args = argparse.ArgumentParser.parse_args

def signalled(*values):
    os.kill(os.getpid(), int(sys.argv.pop()))
    return parse_args(*values)

argparse.ArgumentParser.parse_args = signalled
sys.argv.pop(0)
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_during_the_start(number: signal.Signals) -> None:
    """A signal that arrives before the process waits for signals ends the process too."""
    done = subprocess.run(
        [sys.executable, "-c", _SIGNALLED, str(FILE), *FREE, str(int(number))],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("listening on ")


def test_the_flags_of_the_rules(post: Callable[..., list[Reply]], tmp_path: Path) -> None:
    """The flags set the duration, the denied rooms, the optional fields and the size."""
    (tmp_path / "password").write_text("open s\u00e9same\r\n", encoding="utf-8")
    flags = "--duration 90m --deny exec-* --deny hall --max-occupants 7 --lobby --max-conferences 1"
    granted, *others = post(
        *flags.split(),
        "--password-file",
        str(tmp_path / "password"),
        rooms=("board", "exec-1", "hall", "attic"),
    )
    assert granted.document["duration"] == 5400
    assert granted.document["max_occupants"] == 7
    assert granted.document["lobby"] is True
    assert granted.document["password"] == "open s\u00e9same"
    assert [answer.status for answer in others] == [403, 403, 429]


@pytest.mark.parametrize(
    ("flags", "header", "value"),
    [
        ("--token-file", "Authorization", "Bearer hunter2"),
        ("--api-key-file", "X-Api-Key", "hunter2"),
        ("--api-key-header X-Key --api-key-file", "X-Key", "hunter2"),
    ],
)
def test_the_flags_of_the_secret(
    start: Start, connect: Connect, tmp_path: Path, flags: str, header: str, value: str
) -> None:
    """The secret comes from its file; a request without it gets 401."""
    (tmp_path / "secret").write_text("hunter2\n")
    process = start(*flags.split(), str(tmp_path / "secret"))
    client: Client = connect(process.port)
    assert client.ask("GET", "/conference/1", headers={header: value}).status == 404
    assert client.ask("GET", "/conference/1").status == 401
    code, log = process.stop()
    assert (code, "hunter2" in log) == (0, False)


def test_the_file_of_the_database(start: Start, connect: Connect, tmp_path: Path) -> None:
    """With --database, the conferences survive `kill -9`; without it, they do not."""
    flags = ("--database", str(tmp_path / "reservations.sqlite3"))
    process = start(*flags)
    first = connect(process.port).post(start_time=now()).document["id"]
    process.close()
    assert connect(start(*flags).port).post(start_time=now()).document == {"conflict_id": first}
    assert connect(start().port).post(start_time=now()).status == 200


def has_ipv6() -> bool:
    """Return whether a server can listen on ::1."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.parametrize(
    ("flags", "shown"),
    [
        ("--listen localhost:0", "localhost|127.0.0.1|::1"),
        ("--listen 0.0.0.0:0 --insecure", r"0\.0\.0\.0"),
        ("--listen 0.0.0.0:0 --token-file good", r"0\.0\.0\.0"),
        ("--listen 0.0.0.0:0 --api-key-file good", r"0\.0\.0\.0"),
        pytest.param(
            "--listen [::1]:0",
            r"\[::1\]",
            # Some containers have no IPv6 loopback address.
            marks=pytest.mark.skipif(not has_ipv6(), reason="the machine has no IPv6"),
        ),
    ],
)
@pytest.mark.usefixtures("files")
def test_addresses(start: Start, flags: str, shown: str) -> None:
    """The first line has the real port. Another machine's address needs a secret or --insecure."""
    process = start(*flags.split())
    assert process.port > 0
    assert re.fullmatch(f"listening on http://({shown}):[0-9]+\n", process.lines[0])
    assert process.stop()[0] == 0


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Change to a folder that has one file for each fault."""
    monkeypatch.chdir(tmp_path)
    contents = {
        "good": b"hunter2\n",
        "empty": b"",
        "two-lines": b"one\ntwo\n",
        "latin1": b"caf\xe9\n",
        "not-ascii": "caf\u00e9\n".encode(),
        "blank": b"key \n",
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)


BAD_FLAGS = [
    ("--listen 8080", "--listen: wanted host:port, got '8080'"),
    ("--listen :8080", "--listen: wanted host:port, got ':8080'"),
    ("--listen 127.0.0.1:65536", "--listen: wanted host:port"),
    ("--listen 0.0.0.0:0", "--listen: wanted a loopback address, since there is no token, got"),
    ("--listen [::]:0", "--listen: wanted a loopback address"),
    ("--listen host.example.com:1", "add --token-file, or add --insecure"),
    ("--token-file none", "--token-file: wanted a readable file of UTF-8 text, got none"),
    ("--token-file latin1", "--token-file: wanted a readable file of UTF-8 text, got latin1"),
    ("--token-file empty", "--token-file: wanted a single line of printable text in empty"),
    ("--token-file two-lines", "--token-file: wanted a single line of printable text"),
    ("--token-file not-ascii", "--token-file: wanted ASCII characters without spaces at the ends"),
    ("--api-key-file blank", "--api-key-file: wanted ASCII characters without spaces"),
    ("--api-key-file good --token-file good", "not allowed with argument"),
    ("--api-key-header X-Key", "--api-key-header: wanted --api-key-file as well, got none"),
    ("--api-key-header X:", "--api-key-header: wanted letters, digits"),
    ("--api-key-header authorization", "--api-key-header: wanted letters, digits"),
    ("--password-file empty", "--password-file: wanted a single line of printable text"),
    ("--duration 90", "--duration: wanted a whole number and s, m, h or d, such as 8h, got '90'"),
    ("--duration 0h", "--duration: wanted a whole number and s, m, h or d"),
    ("--max-occupants 0", "--max-occupants: wanted a whole number from 1 to 999999999, got '0'"),
    ("--max-conferences 1.5", "--max-conferences: wanted a whole number"),
    ("--database .", "--database: wanted an SQLite file, got .:"),
    ("--database two-lines", "--database: wanted an SQLite file, got two-lines:"),
    ("--lob", "unrecognized arguments: --lob"),
]


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize(("flags", "message"), BAD_FLAGS)
def test_bad_flags(flags: str, message: str) -> None:
    """A wrong flag exits with 2; the error names the flag, the wanted and the given value."""
    done = run(*flags.split())
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_port_in_use(start: Start) -> None:
    """If the port is in use, the exit code is 3 and the error names the flag and a remedy."""
    done = run("--listen", f"127.0.0.1:{start().port}")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("reservations.py: error: --listen: wanted a free address")
    assert "stop the server that uses the address, or choose another one" in done.stderr


def test_help_documents_the_exit_codes() -> None:
    """The help has one line for each exit code."""
    codes = run("--help").stdout.partition("exit codes:")[2]
    assert re.findall(r"(?m)^  (\d)  \w", codes) == ["0", "2", "3"]


def test_the_readme_lists_the_flags() -> None:
    """The table of the README has every flag of the command, and no other flag."""
    in_help = set(re.findall(r"(?m)^  (--[a-z-]+)", run("--help").stdout))
    assert set(re.findall(r"(?m)^\| `(--[a-z-]+)", README)) == in_help


def test_the_readme_names_functions() -> None:
    """The table of rules names functions of the file, and tests that exist."""
    rules = README.partition("## The rules\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| .* \| `(\w+)` \| (`test_.*`) \|$", rules, re.MULTILINE)
    assert len(rows) == rules.count("\n|") - 2 >= 8  # minus the two heading lines
    defined = {
        node.name
        for node in ast.walk(ast.parse(FILE.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
    }
    tests = "".join(file.read_text("utf-8") for file in Path(__file__).parent.glob("test_*.py"))
    for function, named in rows:
        assert function in defined
        for test in re.findall(r"`(test_\w+)`", named):
            assert f"def {test}(" in tests, test


def test_only_the_standard_library() -> None:
    """The file imports nothing but the standard library, so that one can copy it."""
    imported = set()
    for node in ast.walk(ast.parse(FILE.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            imported |= {name.name.partition(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add((node.module or "").partition(".")[0])
    assert imported <= sys.stdlib_module_names
