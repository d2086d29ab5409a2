"""Tests of the command line: flags, exit codes, signals, and the list of flags in the README."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from jicofo_reservation_proxy.gen.jicofo.reservation.v1 import reservation_pb2 as pb
from jicofo_reservation_proxy.gen.jicofo.reservation.v1 import reservation_pb2_grpc as pb_grpc
from jicofo_reservation_stub.__main__ import main
from jicofo_reservation_stub.server import Server

from .conftest import CHANNEL_OPTIONS, Authority, Serve

README = Path(__file__).parents[2] / "backend_stub" / "python" / "README.md"

Start = Callable[..., list[pb.CreateConferenceResponse]]


def has_ipv6() -> bool:
    """Return whether a server can listen on ::1."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def create(
    channel: grpc.Channel, room: str = "board", key: str | None = None
) -> pb.CreateConferenceResponse:
    """Call CreateConference; wait until the server is reachable."""
    message = pb.CreateConferenceRequest(
        request_id=f"for-{room}", room=pb.Room(raw=room, name=room), start_time=Timestamp()
    )
    message.start_time.GetCurrentTime()
    metadata: tuple[tuple[str, str], ...] = (("x-incident-id", "inc-17"),)
    if key is not None:
        metadata = (*metadata, ("x-key", key))
    stub = pb_grpc.ReservationServiceStub(channel)
    return stub.CreateConference(message, timeout=20, metadata=metadata, wait_for_ready=True)


@pytest.fixture
def signal_after() -> Iterator[Callable[[Callable[[], None]], None]]:
    """Run an action on another thread, then send SIGTERM to this process."""
    threads: list[threading.Thread] = []

    def start(action: Callable[[], None]) -> None:
        def act() -> None:
            try:
                action()
            finally:
                os.kill(os.getpid(), signal.SIGTERM)

        threads.append(threading.Thread(target=act))
        threads[-1].start()

    # If main() has returned before the signal arrives, the signal must not end the tests.
    before = signal.signal(signal.SIGTERM, lambda _number, _frame: None)
    yield start
    for thread in threads:
        thread.join(timeout=30)
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def ask_main(signal_after: Callable[[Callable[[], None]], None], tmp_path: Path) -> Start:
    """Run main with flags, ask for rooms, and stop main; return the answers."""

    def ask(
        *flags: str, rooms: tuple[str, ...] = ("board",), key: str | None = None
    ) -> list[pb.CreateConferenceResponse]:
        listen = f"unix:{tmp_path}/s"
        answers: list[pb.CreateConferenceResponse] = []

        def calls() -> None:
            with grpc.insecure_channel(listen, CHANNEL_OPTIONS) as channel:
                answers.extend(create(channel, room, key) for room in rooms)

        signal_after(calls)
        assert main(["--listen", listen, *flags]) == 0
        return answers

    return ask


def test_serves_until_sigterm(
    ask_main: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The stub prints its address, answers calls, and exits with 0 after SIGTERM."""
    before = signal.getsignal(signal.SIGINT)
    (answer,) = ask_main()
    assert not answer.conference.HasField("duration")
    assert answer.conference.HasField("lobby") is False
    assert capsys.readouterr().out == f"listening on unix:{tmp_path}/s (plaintext)\n"
    assert signal.getsignal(signal.SIGINT) == before


def test_flags_of_the_policy(ask_main: Start, tmp_path: Path) -> None:
    """The flags set the duration, the occupants, the lobby, the password and the denied names."""
    secret = tmp_path / "password"
    secret.write_text("open s\u00e9same\r\n", encoding="utf-8")
    flags = "--duration 90.5 --max-occupants 7 --lobby --deny exec-* --deny hall --verbose"
    granted, *denied = ask_main(
        *flags.split(), "--password-file", str(secret), rooms=("board", "exec-1", "hall")
    )
    conference = granted.conference
    assert (conference.duration.seconds, conference.duration.nanos) == (90, 500_000_000)
    assert (conference.max_occupants, conference.lobby) == (7, True)
    assert conference.password == "open s\u00e9same"
    assert [answer.WhichOneof("outcome") for answer in denied] == ["denial", "denial"]


def test_key_flags(ask_main: Start, tmp_path: Path) -> None:
    """The stub reads the API key from the file, and the name of its header from the flag."""
    (tmp_path / "key").write_text("hunter2\n")
    flags = ("--api-key-file", str(tmp_path / "key"), "--api-key-header", "X-Key")
    (answer,) = ask_main(*flags, key="hunter2")
    assert answer.HasField("conference")


def test_port_in_use(serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    """If the port is in use, the exit code is 3 and the error names the flag and a remedy."""
    address = serve()
    assert main(["--listen", address]) == 3
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(
        f"jicofo-reservation-stub: error: --listen: {address}: wanted a free address"
    )
    assert "stop the server that uses the address, or choose another one" in captured.err


@pytest.fixture
def files(tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    """Change to a folder that has one file for each fault."""
    monkeypatch.chdir(tmp_path)
    contents = {
        "empty": b"",
        "two-lines": b"one\ntwo\n",
        "latin1": b"caf\xe9\n",
        "not-ascii": "caf\u00e9\n".encode(),
        "blank": b"key \n",
        "long": "\u00e9".encode() * 128,
        "good": b"hunter2\n",
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    for name, path in zip(("cert", "key"), authority.issue("localhost"), strict=True):
        (tmp_path / name).write_bytes(path.read_bytes())


LINE = (
    "wanted a single line of printable text, got an empty file, several lines or control "
    "characters in"
)
BAD_FLAGS = [
    ("--listen 50051", "argument --listen: wanted host:port or unix:/path, got '50051'"),
    ("--listen :50051", "argument --listen: wanted host:port or unix:/path, got ':50051'"),
    ("--listen localhost:65536", "argument --listen: wanted host:port"),
    ("--listen localhost:\u0665", "argument --listen: wanted host:port"),
    ("--listen unix:", "argument --listen: wanted host:port or unix:/path, got 'unix:'"),
    (
        "--listen 0.0.0.0:50051",
        "got 0.0.0.0:50051; add --tls-cert and --tls-key, or add --insecure if you trust the netw",
    ),
    ("--listen host.example.com:1", "--listen: wanted a loopback address"),
    ("--listen [::]:1", "--listen: wanted a loopback address"),
    ("--tls-cert cert", "--tls-cert and --tls-key: wanted both flags or neither, got only one"),
    ("--tls-key key", "--tls-cert and --tls-key: wanted both flags or neither, got only one"),
    ("--client-ca cert", "--client-ca: wanted --tls-cert and --tls-key as well, got neither"),
    ("--insecure --tls-cert cert --tls-key key", "--insecure: wanted no TLS flags, got --tls-cert"),
    ("--tls-cert none --tls-key key", "--tls-cert, --tls-key, --client-ca: wanted a readable"),
    ("--tls-cert cert --tls-key good", "--tls-key, --client-ca: wanted a PEM certificate chain"),
    ("--api-key-header x", "--api-key-header: wanted --api-key-file as well, got none"),
    ("--api-key-header grpc-x", "argument --api-key-header: wanted letters, digits"),
    ("--api-key-header x-bin", "argument --api-key-header: wanted letters, digits"),
    ("--api-key-header x:y", "argument --api-key-header: wanted letters, digits"),
    ("--api-key-file none", "argument --api-key-file: wanted a readable file, got none: No such"),
    ("--api-key-file empty", f"argument --api-key-file: {LINE} empty"),
    ("--api-key-file two-lines", f"argument --api-key-file: {LINE} two-lines"),
    ("--api-key-file latin1", "argument --api-key-file: wanted UTF-8 text, got bytes that are not"),
    ("--api-key-file not-ascii", "argument --api-key-file: wanted ASCII characters without spaces"),
    ("--api-key-file blank", "argument --api-key-file: wanted ASCII characters without spaces"),
    ("--password-file long", "argument --password-file: wanted at most 255 bytes, got 256 bytes"),
    ("--password-file two-lines", f"argument --password-file: {LINE} two-lines"),
    ("--duration 0", "--duration: wanted a number of seconds from 1 to 315576000000, got '0'"),
    ("--duration nan", "argument --duration: wanted a number of seconds from 1"),
    ("--duration 1h", "argument --duration: wanted a number of seconds from 1"),
    ("--duration 1e300", "argument --duration: wanted a number of seconds from 1"),
    ("--grace 3601", "argument --grace: wanted a number of seconds from 0 to 3600, got '3601'"),
    ("--grace=-1", "argument --grace: wanted a number of seconds from 0 to 3600, got '-1'"),
    ("--max-occupants 0", "--max-occupants: wanted a whole number from 1 to 2147483647, got '0'"),
    ("--max-occupants 2147483648", "argument --max-occupants: wanted a whole number"),
    ("--max-conferences 1.5", "argument --max-conferences: wanted a whole number"),
    ("--lob", "unrecognized arguments: --lob"),
]


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize(("flags", "message"), BAD_FLAGS)
def test_bad_flags(flags: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong flag exits with 2; the error names the flag, the wanted and the given value."""
    with pytest.raises(SystemExit, match=r"^2$"):
        main(flags.split())
    assert message in capsys.readouterr().err


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize(
    ("flags", "line"),
    [
        ("--listen localhost:0", r"localhost:[1-9]\d* \(plaintext\)"),
        pytest.param(
            "--listen [::1]:0",
            r"\[::1\]:[1-9]\d* \(plaintext\)",
            # Some containers have no IPv6 loopback address.
            marks=pytest.mark.skipif(not has_ipv6(), reason="the machine has no IPv6"),
        ),
        ("--listen 0.0.0.0:0 --insecure", r"0\.0\.0\.0:[1-9]\d* \(plaintext\)"),
        ("--listen 0.0.0.0:0 --tls-cert cert --tls-key key", r"0\.0\.0\.0:[1-9]\d* \(TLS\)"),
        ("--listen 127.0.0.1:0 --tls-cert cert --tls-key key --client-ca cert", r".* \(mTLS\)"),
    ],
)
def test_the_first_line_names_the_address(
    flags: str,
    line: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first line has the real port. Plaintext on a non-loopback address needs --insecure."""

    class StoppedAtOnce(Server):
        def start(self) -> str:
            """Start to serve; then a signal arrives, before main waits for one."""
            address = super().start()
            signal.raise_signal(signal.SIGTERM)
            return address

    monkeypatch.setattr("jicofo_reservation_stub.__main__.Server", StoppedAtOnce)
    assert main(flags.split()) == 0
    assert re.fullmatch(f"listening on {line}\n", capsys.readouterr().out)


def help_text(capsys: pytest.CaptureFixture[str]) -> str:
    """Return the output of --help."""
    with pytest.raises(SystemExit, match=r"^0$"):
        main(["--help"])
    return capsys.readouterr().out


def test_help_documents_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    """The help has one line for each exit code."""
    codes = help_text(capsys).partition("exit codes:")[2]
    assert re.findall(r"(?m)^  (\d)  \w", codes) == ["0", "2", "3"]


def test_readme_lists_the_flags(capsys: pytest.CaptureFixture[str]) -> None:
    """The table of the README has every flag of the command, and no other flag."""
    in_help = set(re.findall(r"(?m)^  (--[a-z-]+)", help_text(capsys)))
    in_readme = set(re.findall(r"(?m)^\| `(--[a-z-]+)", README.read_text(encoding="utf-8")))
    assert in_readme == in_help


AS_A_MODULE = ("-m", "jicofo_reservation_stub")
WITH_SIGNALS_ELSEWHERE = (
    "-c",
    """
import signal, threading
threading.Thread(target=threading.Event().wait, daemon=True).start()
signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGINT))
from jicofo_reservation_stub.__main__ import run
run()
""",
)
"""The system delivers signals to another thread, so a signal interrupts no wait of the main thread.
A signal that arrives just before the main thread waits has the same effect, but only by chance."""


@pytest.mark.parametrize("program", [AS_A_MODULE, WITH_SIGNALS_ELSEWHERE])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_as_a_process(number: signal.Signals, program: tuple[str, ...]) -> None:
    """As a process, the stub prints its port in the first line and exits with 0 after a signal."""
    process = subprocess.Popen(
        [sys.executable, *program, "--listen", "127.0.0.1:0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    with process:
        try:
            assert process.stdout is not None
            address = process.stdout.readline().split()[2]
            with grpc.insecure_channel(address, CHANNEL_OPTIONS) as channel:
                granted = create(channel)
            process.send_signal(number)
            rest, log = process.communicate(timeout=20)
        finally:
            process.kill()
    assert process.returncode == 0
    assert rest == ""
    # The core of gRPC may write log lines too.
    (line,) = [line for line in log.splitlines() if "jicofo_reservation_stub" in line]
    assert line.endswith(
        "INFO jicofo_reservation_stub.service: incident='inc-17' create room='board': "
        f"granted id={granted.conference.id}"
    )
