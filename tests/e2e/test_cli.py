"""The command line: tests call `main(argv)` directly or run the real command as a process."""

import errno
import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest
from jicofo_reservation_proxy import __version__
from jicofo_reservation_proxy.commands import main as cli
from jicofo_reservation_proxy.gen.jicofo.reservation.v1 import reservation_pb2 as pb
from jicofo_reservation_proxy.http.server import Server
from jicofo_reservation_proxy.ledger.sqlite_database import Database

from tests.unit.ledgers import eventually, stored

from .http2 import answering
from .support import (
    PROSODY,
    START,
    TIMEOUT_SECONDS,
    Client,
    Context,
    Script,
    conference,
    exchange,
    free_port,
    granting,
    read_reply,
    running,
    serving_grpc,
)

COMMAND = [sys.executable, "-m", "jicofo_reservation_proxy"]


@pytest.fixture(autouse=True)
def _own_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the machine's settings; set a state directory and an address for the test."""
    for name in os.environ:
        if name.startswith("JICOFO_RESERVATION_PROXY_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("JICOFO_RESERVATION_PROXY_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("JICOFO_RESERVATION_PROXY_LISTEN", f"127.0.0.1:{free_port()}")
    monkeypatch.setenv("JICOFO_RESERVATION_PROXY_ADMIN_LISTEN", '""')


@pytest.fixture
def out(capsys: pytest.CaptureFixture[str]) -> "Output":
    """Return the output of commands."""
    return Output(capsys)


class Output:
    """Runs commands and returns their output."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def of(self, *argv: str) -> tuple[int, str, str]:
        """Run a command; return its exit code, its standard output and its standard error."""
        try:
            code = cli.main(argv)
        except SystemExit as exit_:
            code = int(exit_.code or 0)
        printed = self._capsys.readouterr()
        return code, printed.out, printed.err


@pytest.mark.parametrize(
    "argv", [["--help"], ["serve", "-h"], ["check", "-h"], ["call", "-h"], ["ledger", "-h"]]
)
def test_the_help_explains_settings_and_exit_codes(out: Output, argv: list[str]) -> None:
    """The help of each command explains where settings come from, and the exit codes."""
    code, text, _ = out.of(*argv)
    assert code == 0
    assert "exit codes:" in text
    assert "JICOFO_RESERVATION_PROXY_BACKENDS__DEFAULT__TARGET" in text


@pytest.mark.parametrize("command", ["conformance", "simulate"])
def test_the_help_of_a_tool_explains_exit_codes_only(out: Output, command: str) -> None:
    """The help of a tool lists the exit codes but no settings: a tool reads no settings."""
    code, text, _ = out.of(command, "--help")
    assert code == 0
    assert "exit codes:" in text
    assert "JICOFO_RESERVATION_PROXY_" not in text


def test_version(out: Output) -> None:
    """`--version` prints the version."""
    assert out.of("--version") == (0, f"{__version__}\n", "")


def test_a_wrong_command_line_exits_with_2(out: Output) -> None:
    """A wrong command line prints argparse's message and exits with 2."""
    code, _, errors = out.of("call", "burn", "x")
    assert code == 2
    assert "invalid choice: 'burn'" in errors


def test_wrong_settings_exit_with_3_and_every_fault(out: Output, tmp_path: Path) -> None:
    """For each wrong setting, the error shows the key, the wanted value and the given value."""
    file = tmp_path / "settings.toml"
    file.write_text('threads = 0\n[backends.default]\ntarget = "a b"\n')
    code, text, errors = out.of("serve", "--config", str(file), "--listen", "nowhere")
    assert (code, text) == (3, "")
    assert errors == (
        "jicofo-reservation-proxy: cannot start\n"
        "  listen: wanted HOST:PORT, such as 127.0.0.1:7777 or [::1]:7777, got 'nowhere' "
        "(from the command line)\n"
        f"  threads: wanted a whole number from 1 to 1000, got 0 ({file}, line 1)\n"
        "  backends.default.target: wanted a URL such as "
        "https://reservations.example.com/api/v1, or a gRPC target such as "
        f"dns:///reservations.example.com:50051, without spaces, got 'a b' ({file}, line 3)\n"
    )


def test_unusable_credentials_exit_with_4(
    out: Output, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`serve` exits with 4 if the file of an API key is missing; the error names the file."""
    missing = tmp_path / "missing"
    monkeypatch.setenv(
        "JICOFO_RESERVATION_PROXY_BACKENDS__DEFAULT__AUTH__API_KEY_FILE", str(missing)
    )
    code, _, errors = out.of("serve", "--target", "unix:/x")
    assert code == 4
    assert f"backends.default.auth.api_key_file: cannot read {missing}" in errors


def test_an_unusable_state_directory_exits_with_5(out: Output, tmp_path: Path) -> None:
    """`serve` exits with 5 if `state_dir` is a file."""
    (tmp_path / "file").write_text("")
    code, _, errors = out.of("serve", "--state-dir", str(tmp_path / "file"))
    assert code == 5
    assert "state_dir: wanted a writable directory" in errors


def test_an_address_in_use_exits_with_6(out: Output) -> None:
    """`serve` exits with 6 if its address is in use; the error names the address."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        code, _, errors = out.of("serve", "--listen", address)
    assert code == 6
    assert f"listen: cannot use {address}: Address already in use" in errors


def test_an_unknown_host_exits_with_6(out: Output) -> None:
    """`serve` resolves the host of `listen` at the start, and exits with 6 if it is unknown."""
    code, _, errors = out.of("serve", "--listen", "no.such.host.invalid:0")
    assert code == 6
    assert "listen: cannot use no.such.host.invalid:0: " in errors


def test_check_of_a_good_backend_exits_with_0(out: Output) -> None:
    """`check` exits with 0 if the backend answers NOT_FOUND to the probe."""

    def missing(_: object, context: Context) -> pb.GetConferenceResponse:
        context.abort(grpc.StatusCode.NOT_FOUND, "no such conference")
        raise AssertionError

    backend = granting()
    backend.get = missing
    with serving_grpc(backend) as target:
        code, text, _ = out.of("check", "--target", target)
    assert code == 0
    listen = os.environ["JICOFO_RESERVATION_PROXY_LISTEN"]
    assert text.startswith(
        "settings: ok, no file\n"
        f"listen: ok, {listen} is free\n"
        "respond_within: 9s; Prosody's reservations_api_timeout must be at least 10\n"
        "state_dir: ok, "
    )
    assert re.search(r"^backends\.default: ok, answered in [0-9]+ ms$", text, re.MULTILINE)


def test_check_of_a_backend_without_get_exits_with_0(out: Output) -> None:
    """`check` exits with 0 if the backend does not implement GetConference."""
    with serving_grpc(granting()) as target:
        code, text, _ = out.of("check", "--target", target)
    assert code == 0
    assert "backends.default: ok, it answered UNIMPLEMENTED (no GetConference here)" in text


def test_check_of_a_target_that_is_no_grpc_server_exits_with_7(out: Output) -> None:
    """`check` exits with 7 after an HTTP 404, although gRPC reports it as UNIMPLEMENTED."""
    with answering(404) as target:
        code, text, _ = out.of("check", "--target", target)
    assert code == 7
    assert (
        "backends.default: wanted an answer of a gRPC server, got one of an HTTP server (Received "
        "http2 header with status: 404); check the target, and the routes of the ingress before it"
    ) in text


def test_check_without_a_backend_names_the_built_in_stub(out: Output) -> None:
    """`check` says that the proxy uses the built-in stub if no backend is set."""
    code, text, _ = out.of("check")
    assert code == 0
    assert "backends: none is set; the proxy uses the built-in stub" in text


def test_check_prints_faults_last_and_says_what_to_do(out: Output, tmp_path: Path) -> None:
    """What is right comes first, then the warnings, then the faults; each has a next step."""
    file = tmp_path / "settings.toml"
    with socket.socket() as other, serving_grpc(granting()) as target:
        other.bind(("127.0.0.1", 0))
        other.listen()
        file.write_text(
            f"""
            listen = "127.0.0.1:{other.getsockname()[1]}"
            [backends.a]
            target = "127.0.0.1:1"
            [backends.b]
            target = "{target}"
            [[routes]]
            room = "*"
            backend = "a"
            [[routes]]
            backend = "b"
            """
        )
        os.environ.pop("JICOFO_RESERVATION_PROXY_LISTEN")
        code, text, _ = out.of("check", "--config", str(file))
    assert code == 7
    lines = text.splitlines()
    assert [line.partition(" ")[0] for line in lines] == [
        "settings:",
        "respond_within:",
        "state_dir:",
        "backends.b:",
        "warning:",
        "fault:",
        "fault:",
    ]
    assert lines[4].startswith("warning: routes.0: it matches every room")
    assert lines[4].endswith("move it to the end")
    assert "another program uses 127.0.0.1:" in lines[5]
    assert "its state directory is not the one above" in lines[5]
    assert lines[6].startswith("fault: backends.a: unreachable after ")
    assert lines[6].endswith("; start the backend, or correct its target or its tls")


def test_check_without_a_state_directory_cannot_know_who_listens(
    out: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `state = "memory"`, no lock tells whether this proxy runs."""
    monkeypatch.setenv("JICOFO_RESERVATION_PROXY_STATE", "memory")
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        code, text, _ = out.of("check", "--listen", f"127.0.0.1:{other.getsockname()[1]}")
    assert code == 0
    assert "warning: listen: a program uses 127.0.0.1:" in text


def test_check_of_the_admin_listener(out: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    """A configured address that is taken is a fault; a free one is fine."""
    name = "JICOFO_RESERVATION_PROXY_ADMIN_LISTEN"
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = f"127.0.0.1:{other.getsockname()[1]}"
        monkeypatch.setenv(name, taken)
        code, text, _ = out.of("check")
    assert code == 6
    assert f"fault: admin_listen: cannot use {taken}: another program uses it" in text
    monkeypatch.setenv(name, "127.0.0.1:0")
    code, text, _ = out.of("check")
    assert code == 0
    assert "\nadmin_listen: ok, 127.0.0.1:0 is free\n" in text


def test_check_of_a_default_admin_listener_that_is_taken(
    out: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The default address is a warning: a second proxy on this machine has it already."""
    monkeypatch.delenv("JICOFO_RESERVATION_PROXY_ADMIN_LISTEN")
    taken = OSError(errno.EADDRINUSE, "Address already in use")
    monkeypatch.setattr(
        "jicofo_reservation_proxy.commands.check.why_not_free",
        lambda listen: taken if listen.endswith(":9777") else None,
    )
    code, text, _ = out.of("check")
    assert code == 0
    assert "warning: admin_listen: cannot use 127.0.0.1:9777: another program uses it" in text


def test_check_of_an_address_of_another_machine_exits_with_6(out: Output) -> None:
    """`check` says that the proxy could not listen."""
    for listen in ("192.0.2.1:7777", "nobody.invalid:7777"):
        code, text, _ = out.of("check", "--listen", listen)
        assert code == 6
        assert f"fault: listen: cannot use {listen}: " in text


def test_check_reports_every_kind_of_fault(
    out: Output, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault of the state directory or of a credential does not end `check` at once."""
    (tmp_path / "state").write_text("a file")
    monkeypatch.setenv("JICOFO_RESERVATION_PROXY_CLIENT_TOKEN_FILE", str(tmp_path / "missing.txt"))
    monkeypatch.setenv("JICOFO_RESERVATION_PROXI_LISTEN", "x")
    code, text, _ = out.of("check", "--listen", "0.0.0.0:0", "--target", "127.0.0.1:1")
    assert code == 5
    assert "fault: state_dir: " in text
    assert f"fault: client_token_file: cannot read {tmp_path}/missing.txt: No such file" in text
    assert "warning: $JICOFO_RESERVATION_PROXI_LISTEN is not a variable of a setting" in text
    monkeypatch.delenv("JICOFO_RESERVATION_PROXY_CLIENT_TOKEN_FILE")
    text = out.of("check", "--listen", "0.0.0.0:0", "--target", "127.0.0.1:1")[1]
    assert "warning: listen: everyone who can reach 0.0.0.0:0" in text
    assert "fault: backends.default: unreachable" in text


def test_the_first_line_of_the_log_says_what_runs(tmp_path: Path) -> None:
    """It has the version, the settings file, the state directory and the address."""
    file = tmp_path / "settings.toml"
    file.write_text("threads = 8\n")
    with _serving("--config", str(file), "--state-dir", str(tmp_path / "s")) as proxy:
        pass
    assert proxy.log[0].partition(" INFO ")[2] == (
        f"jicofo-reservation-proxy {__version__} starts; settings: {file}, state: {tmp_path}/s, "
        "address: 127.0.0.1:0\n"
    )


def test_check_of_refused_credentials_exits_with_4(out: Output) -> None:
    """`check` exits with 4 if the backend answers UNAUTHENTICATED."""

    def refuse(_: object, context: Context) -> pb.GetConferenceResponse:
        context.abort(grpc.StatusCode.UNAUTHENTICATED, "no key")
        raise AssertionError

    backend = granting()
    backend.get = refuse
    with serving_grpc(backend) as target:
        code, text, _ = out.of("check", "--target", target)
    assert code == 4
    assert re.search(
        r"backends\.default: unauthorized after [0-9]+ ms: UNAUTHENTICATED no key", text
    )


def test_check_of_an_unreachable_backend_exits_with_7(out: Output) -> None:
    """`check` prints gRPC's reason for an unreachable backend."""
    code, text, _ = out.of("check", "--target", "127.0.0.1:1")
    assert code == 7
    assert "backends.default: unreachable after " in text
    assert "Connection refused" in text


def test_call_creates_gets_and_deletes(out: Output) -> None:
    """`call` sends each kind of request, and `--as` sets the client. `call create` prints JSON."""
    backend = granting()
    backend.get = lambda _, __: pb.GetConferenceResponse(conference=conference(backend.creates[0]))
    with serving_grpc(backend) as target:
        flags = ("--target", target, "--as", "jicofo")
        code, text, _ = out.of(
            "call", "create", "room", "--owner", "a@example.com", "--start-time", START, *flags
        )
        assert code == 0
        status, _, body = text.partition("\n")
        assert status == "200 OK"
        assert json.loads(body) == {
            "id": 364758328,
            "name": "room",
            "mail_owner": "a@example.com",
            "start_time": START,
            "duration": 3155760000,
        }
        code, text, _ = out.of("call", "get", "364758328", *flags)
        assert code == 0
        assert text.startswith("200 OK\n")
        assert '"id": 364758328' in text
        code, text, _ = out.of("call", "delete", "default.364758328", "--target", target)
        assert (code, text) == (0, "200 OK\n{}\n")
    (request,) = backend.creates
    assert request.client == pb.CLIENT_JICOFO
    assert [request.conference_id for request in backend.deletes] == ["364758328"]


def test_call_of_a_denied_room_exits_with_8(out: Output) -> None:
    """`call` prints the 403 with the backend's sentence, and exits with 8."""
    denial = pb.CreateConferenceResponse(denial=pb.Denial(message="No."))
    with serving_grpc(Script(lambda _, __: denial)) as target:
        code, text, _ = out.of("call", "create", "room", "--target", target)
    assert code == 8
    assert text == '403 Forbidden\n{\n  "message": "No."\n}\n'


def test_call_to_an_unreachable_backend_exits_with_7(out: Output) -> None:
    """`call` exits with 7, and its log on standard error contains the gRPC status."""
    code, text, errors = out.of("call", "create", "room", "--target", "127.0.0.1:1")
    assert code == 7
    assert text.startswith("503 Service Unavailable\n")
    assert "code=UNAVAILABLE" in errors


def test_call_of_a_delete_that_is_not_delivered_exits_with_7(out: Output) -> None:
    """`call` prints 200 as a client gets it, and exits with 7 because the deletion is pending."""
    code, text, errors = out.of("call", "delete", "1", "--target", "127.0.0.1:1")
    assert code == 7
    assert text == "200 OK\n{}\n"
    assert "deletion pending" in errors


def test_call_sends_the_request_to_the_running_proxy(out: Output, tmp_path: Path) -> None:
    """`call` sends the request to the proxy at `listen`, even if both use one state directory."""
    state_dir = ("--state-dir", str(tmp_path / "state"))
    with _serving(*state_dir) as proxy:
        flags = (*state_dir, "--listen", f"127.0.0.1:{proxy.port}")
        code, text, errors = out.of("call", "create", "room", *flags)
        assert (code, text.partition("\n")[0]) == (0, "200 OK")
        assert errors == f"sending the request to the running proxy at 127.0.0.1:{proxy.port}\n"
        public_id = json.loads(text.partition("\n")[2])["id"]
        assert out.of("call", "get", public_id, *flags)[0] == 0
        assert out.of("call", "get", "default.nobody", *flags)[0] == 8
        assert out.of("call", "delete", public_id, *flags)[0] == 0
        assert "warning: listen: nothing listens on " in out.of("check", *state_dir)[1]
        checked = out.of("check", *flags)[1]
        assert "in use by a running proxy" in checked
        assert f"listen: ok, 127.0.0.1:{proxy.port}, in use by the running proxy" in checked


def test_call_with_a_wrong_address_of_the_running_proxy_exits_with_6(
    out: Output, tmp_path: Path
) -> None:
    """`call` exits with 6 if no proxy listens at `listen`; the error names the address."""
    state_dir = ("--state-dir", str(tmp_path / "state"))
    with _serving(*state_dir):
        code, _, errors = out.of("call", "get", "x", *state_dir, "--listen", "127.0.0.1:1")
    assert code == 6
    assert "wanted the address of the running proxy that uses " in errors
    assert "got 127.0.0.1:1, which accepts no connection; give the address of that proxy" in errors
    assert "with --listen" in errors


def test_call_uses_a_running_proxy_with_another_state_directory(
    out: Output, tmp_path: Path
) -> None:
    """`call` uses the proxy that listens at `listen`, and creates no state directory."""
    with _serving("--state-dir", str(tmp_path / "its own")) as proxy:
        listen = ("--listen", f"127.0.0.1:{proxy.port}")
        code, text, errors = out.of("call", "create", "room", "--as", "jicofo", *listen)
        assert code == 0
        assert errors == f"sending the request to the running proxy at 127.0.0.1:{proxy.port}\n"
        public_id = str(json.loads(text.partition("\n")[2])["id"])
        assert out.of("call", "get", public_id, "--as", "jicofo", *listen)[0] == 0
    assert not (tmp_path / "state").exists()


def test_call_with_target_starts_a_temporary_proxy(out: Output, tmp_path: Path) -> None:
    """With --target, `call` does not use the running proxy: a temporary proxy calls the backend."""
    backend = granting()
    with (
        _serving("--state-dir", str(tmp_path / "its own")) as proxy,
        serving_grpc(backend) as target,
    ):
        flags = ("--listen", f"127.0.0.1:{proxy.port}", "--target", target)
        code, _, errors = out.of("call", "create", "room", *flags)
    assert (code, len(backend.creates)) == (0, 1)
    assert errors.startswith(
        f"starting a temporary proxy for this request; backends: default at {target}\n"
    )


def test_call_with_target_and_a_state_directory_in_use_exits_with_5(
    out: Output, tmp_path: Path
) -> None:
    """`call` exits with 5, because a temporary proxy cannot read the aliases of a running proxy."""
    backend = granting()
    state_dir = ("--state-dir", str(tmp_path / "state"))
    with _serving(*state_dir) as proxy, serving_grpc(backend) as target:
        flags = (*state_dir, "--listen", f"127.0.0.1:{proxy.port}", "--target", target)
        code, _, errors = out.of("call", "delete", "90000000000001", *flags)
    assert (code, backend.deletes) == (5, [])
    assert f", used by process {proxy.process.pid};" in errors


def test_call_with_port_0_starts_a_temporary_proxy(out: Output) -> None:
    """No proxy can listen at port 0, so `call` starts a temporary proxy."""
    code, _, errors = out.of("call", "create", "room", "--listen", "127.0.0.1:0")
    assert code == 0
    assert "starting a temporary proxy for this request" in errors


@pytest.mark.parametrize("body", [b"[1, null]", b'"no proxy"', b"<html></html>", b""])
def test_call_of_another_kind_of_server_exits_with_6(out: Output, body: bytes) -> None:
    """`call` exits with 6 if the body of the answer is not a JSON object: no proxy sends that."""
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    with _answering(answer) as listen:
        code, text, errors = out.of("call", "get", "x", "--listen", listen)
    assert (code, text) == (6, "")
    assert f"wanted a reservation proxy at {listen}, got no valid answer (" in errors


def test_call_without_a_running_proxy_and_a_backend_uses_the_stub(
    out: Output, tmp_path: Path
) -> None:
    """`call` uses the built-in stub and creates no state directory.

    The stub's conferences end with the command.
    """
    code, text, errors = out.of("call", "create", "room")
    assert (code, text.partition("\n")[0]) == (0, "200 OK")
    assert "backends: the built-in stub, which grants every room\n" in errors
    assert not (tmp_path / "state").exists()


def test_call_of_a_server_that_closes_the_connection_exits_with_6(out: Output) -> None:
    """The error names the address, and the flags for another proxy or backend."""
    with _answering(b"") as listen:
        code, _, errors = out.of("call", "get", "x", "--listen", listen)
    assert code == 6
    assert f"wanted a reservation proxy at {listen}, got no valid answer (" in errors
    assert "give the address of the proxy with --listen, or a backend with --target" in errors


@contextmanager
def _answering(answer: bytes) -> Iterator[str]:
    """Listen for one connection, send the answer, and close it; yield the address."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection = server.accept()[0]
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        thread.join()


def test_a_second_proxy_on_a_state_directory_exits_with_5(out: Output, tmp_path: Path) -> None:
    """`serve` exits with 5 if another process uses the state directory; the error names it."""
    state_dir = ("--state-dir", str(tmp_path / "state"))
    with _serving(*state_dir) as proxy:
        code, _, errors = out.of("serve", *state_dir, "--listen", "127.0.0.1:0")
    assert code == 5
    assert f", used by process {proxy.process.pid}; stop that process" in errors


@pytest.mark.parametrize(
    ("argv", "code"), [([], 0), (["serve"], 0), (["check"], 0), (["conformance"], 130)]
)
def test_sigterm_before_the_command_is_loaded(argv: list[str], code: int) -> None:
    """SIGTERM before the command is loaded ends a tool with 130, and other commands with 0."""
    program = (
        "import signal, sys; import jicofo_reservation_proxy.__main__;"
        " signal.raise_signal(signal.SIGTERM); print('still running')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *argv], capture_output=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (code, b"", b"")


def test_the_tools_of_both_modules_are_the_same() -> None:
    """`__main__` handles SIGTERM before it imports the commands, so it repeats the names."""
    program = (
        "from jicofo_reservation_proxy.__main__ import TOOLS;"
        "from jicofo_reservation_proxy.__main__ import OTHERS;"
        "from jicofo_reservation_proxy.commands.main import _COMMANDS, _TOOLS;"
        "assert TOOLS == _TOOLS; assert {*OTHERS, 'serve'} == set(_COMMANDS)"
    )
    subprocess.run([sys.executable, "-c", program], timeout=60, check=True)


def test_ledger_lists_conferences_and_pending_deletions(out: Output) -> None:
    """`ledger` prints a table; an argument limits the table to one state."""
    assert out.of("ledger")[0] == 5
    with serving_grpc(granting(duration={"seconds": 60})) as target:
        assert out.of("call", "create", "board", "--start-time", START, "--target", target)[0] == 0
    assert out.of("call", "delete", "default.7", "--target", "127.0.0.1:1")[0] == 7
    code, text, _ = out.of("ledger")
    head, *rows = [line.split() for line in text.splitlines()]
    assert code == 0
    assert head == ["STATE", "ID", "ROOM", "ENDS", "OVER", "REASON"]
    opened = ["open", "default.364758328", "board", "2048-04-20T17:56:12.000Z", "-", "-"]
    assert opened in rows
    (ended,) = [row for row in rows if row[0] == "pending"]
    assert (ended[1], ended[2], ended[5]) == ("default.7", "-", "ended")
    assert len(out.of("ledger", "pending")[1].splitlines()) == 2
    assert len(out.of("ledger", "abandoned")[1].splitlines()) == 1


def test_ledger_asks_the_running_proxy(out: Output, tmp_path: Path) -> None:
    """While a proxy uses the ledger, `ledger` shows its conferences, also new ones."""
    with running(tmp_path / "state", granting("7")) as client:
        assert client.create("board").status == 200
        code, text, _ = out.of("ledger", "open")
        assert code == 0
        assert text.splitlines()[1].split()[:3] == ["open", "default.7", "board"]


@pytest.mark.parametrize("is_running", [True, False])
def test_ledger_backup_makes_a_ledger_that_a_proxy_can_use(
    out: Output, tmp_path: Path, *, is_running: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`ledger backup` also works while a proxy runs. Only the user of the copy can read it."""
    restored = tmp_path / "restored"
    restored.mkdir(mode=0o700)
    file = restored / "ledger.sqlite3"
    with ExitStack() as stack:
        client = stack.enter_context(running(tmp_path / "state", granting("7")))
        assert client.create("board").status == 200
        eventually(lambda: len(stored(tmp_path / "state")) == 1)
        if not is_running:
            stack.close()
        code, text, _ = out.of("ledger", "backup", str(file))
    assert code == 0
    assert text.startswith(f"{file}: ")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    monkeypatch.setenv("JICOFO_RESERVATION_PROXY_STATE_DIR", str(restored))
    assert "default.7" in out.of("ledger", "open")[1]
    code, _, errors = out.of("ledger", "backup", str(file))
    assert code == 5
    assert f"{file}: cannot write the copy of the ledger: File exists; name a new file" in errors


@pytest.mark.parametrize("is_running", [True, False])
def test_ledger_retry_makes_an_abandoned_deletion_pending(
    out: Output, tmp_path: Path, *, is_running: bool
) -> None:
    """`ledger retry ID` makes the proxy deliver an abandoned deletion again."""
    backend = granting("7")
    with running(tmp_path / "state", backend) as client:
        assert client.create("board").status == 200
    with closing(Database(tmp_path / "state")) as database, database.transaction() as connection:
        connection.execute("UPDATE conference SET state = 'dead', over_at_ms = 5, reason = 'ended'")
    assert "default.7" in out.of("ledger", "abandoned")[1]
    with ExitStack() as stack:
        if is_running:
            stack.enter_context(running(tmp_path / "state", backend))
        assert out.of("ledger", "retry", "default.8")[0] == 5
        assert out.of("ledger", "retry", "default.7", "--yes")[:2] == (0, "default.7: pending\n")
        code, _, errors = out.of("ledger", "retry", "default.7", "--yes")
        assert code == 5
        assert "wanted the id of an abandoned deletion, as `ledger abandoned` shows it" in errors
        if not is_running:
            stack.enter_context(running(tmp_path / "state", backend))
        eventually(lambda: bool(backend.deletes))


@pytest.mark.parametrize("argv", [["backup"], ["retry"], ["open", "file"]])
def test_ledger_with_a_wrong_command_line_exits_with_2(out: Output, argv: list[str]) -> None:
    """`backup` needs a file, `retry` needs an id, and a state takes no further argument."""
    assert out.of("ledger", *argv)[0] == 2


def test_a_ledger_in_memory_gives_a_warning(
    out: Output, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With `state = "memory"`, the proxy logs a warning and creates no state directory."""
    monkeypatch.setenv("JICOFO_RESERVATION_PROXY_STATE", "memory")
    code, _, errors = out.of("call", "delete", "1")
    assert code == 0
    assert 'state = "memory": pending deletions will be lost at the next restart' in errors
    assert "state_dir: ok, not used" in out.of("check")[1]
    assert not (tmp_path / "state").exists()


def test_ctrl_c_during_a_command_exits_with_130(
    out: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After Ctrl-C during a call to a backend, `check` exits with 130 and prints no traceback."""

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("jicofo_reservation_proxy.commands.check.probe", interrupt)
    code, _, errors = out.of("check", "--target", "127.0.0.1:1")
    assert (code, errors) == (130, "")


def test_ctrl_c_while_a_command_loads_exits_with_130(
    out: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After Ctrl-C while it loads, a command exits with 130 and prints no traceback."""

    def interrupt(_: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("jicofo_reservation_proxy.commands.main.import_module", interrupt)
    assert out.of("serve") == (130, "", "")


def test_a_closed_output_pipe_exits_with_141() -> None:
    """A command with a closed output pipe, as in `check | head -1`, prints no traceback."""
    read_end, write_end = os.pipe()
    os.close(read_end)
    with subprocess.Popen(
        [*COMMAND, "check"], stdout=write_end, stderr=subprocess.PIPE, text=True
    ) as process:
        os.close(write_end)
        errors = process.communicate(timeout=TIMEOUT_SECONDS)[1]
    assert (process.returncode, errors) == (141, "")


def test_serve_answers_and_drains_on_sigterm() -> None:
    """After SIGTERM `serve` finishes requests in flight, refuses connections, and exits with 0."""
    arrived, release = threading.Event(), threading.Event()

    def slow(request: pb.CreateConferenceRequest, _: Context) -> pb.CreateConferenceResponse:
        arrived.set()
        assert release.wait(TIMEOUT_SECONDS)
        return pb.CreateConferenceResponse(conference=conference(request))

    with serving_grpc(Script(slow)) as target, _serving("--target", target) as proxy:
        form = f"name=testroom&start_time={START}".encode()
        head = (
            "POST /conference HTTP/1.1\r\nHost: localhost\r\n"
            "Content-Type: application/x-www-form-urlencoded\r\n"
            f"User-Agent: {PROSODY}\r\nContent-Length: {len(form)}\r\n\r\n"
        )
        with (
            socket.create_connection(("127.0.0.1", proxy.port), TIMEOUT_SECONDS) as connection,
            socket.create_connection(("127.0.0.1", proxy.port), TIMEOUT_SECONDS) as idle,
        ):
            connection.sendall(head.encode() + form)
            assert arrived.wait(TIMEOUT_SECONDS)
            proxy.process.send_signal(signal.SIGTERM)
            proxy.wait_for_line("stopping: finishing the requests in flight")
            with pytest.raises(OSError, match="refused"):
                exchange(proxy.port, b"")
            release.set()
            assert read_reply(connection).status == 200
            assert proxy.process.wait(TIMEOUT_SECONDS) == 0
            assert idle.recv(1) == b""


def test_a_signal_during_the_start_ends_the_proxy_cleanly(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """`serve` exits with 0 if SIGTERM arrives before the proxy listens."""

    def interrupted(*arguments: object) -> Server:
        signal.raise_signal(signal.SIGTERM)
        return Server(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr("jicofo_reservation_proxy.commands.serve.Server", interrupted)
    assert cli.main(["--listen", "127.0.0.1:0", "--state-dir", str(tmp_path)]) == 0


def test_sighup_reloads_the_settings_file(tmp_path: Path) -> None:
    """`serve` uses the changed file, and keeps serving; a wrong file is one line of the log."""
    file = tmp_path / "settings.toml"
    file.write_text("threads = 8\n")
    with _serving("--config", str(file)) as proxy:
        file.write_text('path_prefix = "/api"\n')
        proxy.process.send_signal(signal.SIGHUP)
        line = proxy.wait_for_line("the settings were reloaded: ")
        assert "path_prefix has changed; threads has changed" in line
        assert Client(proxy.port).create().status == 404
        file.write_text("threads = 0\n")
        proxy.process.send_signal(signal.SIGHUP)
        line = proxy.wait_for_line("the reload failed")
        assert f"got 0 ({file}, line 1)" in line
        assert Client(proxy.port).send("DELETE", "/api/conference/1").status == 200
        proxy.process.send_signal(signal.SIGTERM)
        proxy.rest_of_log()
    assert proxy.process.returncode == 0


def test_sighup_during_the_drain_is_ignored(tmp_path: Path) -> None:
    """A signal during the graceful shutdown changes nothing and does not end the process."""
    release = threading.Event()

    def create(request: pb.CreateConferenceRequest, _: Context) -> pb.CreateConferenceResponse:
        assert release.wait(TIMEOUT_SECONDS)
        return pb.CreateConferenceResponse(conference=conference(request))

    file = tmp_path / "settings.toml"
    file.write_text("")
    backend = Script(create)
    with (
        serving_grpc(backend) as target,
        _serving("--config", str(file), "--target", target) as proxy,
    ):
        waiting = threading.Thread(target=lambda: Client(proxy.port).create())
        waiting.start()
        eventually(lambda: backend.creates)
        proxy.process.send_signal(signal.SIGTERM)
        proxy.wait_for_line("stopping: ")
        proxy.process.send_signal(signal.SIGHUP)
        release.set()
        waiting.join()
        assert not [line for line in proxy.rest_of_log() if "reload" in line]
    assert proxy.process.returncode == 0


def test_reload_prints_what_has_changed(out: Output, tmp_path: Path) -> None:
    """The command lets the running proxy reload; it prints faults, and exits with 3."""
    file = tmp_path / "settings.toml"
    file.write_text("threads = 8\n")
    with _serving("--config", str(file)):
        assert out.of("reload") == (0, "nothing has changed\n", "")
        file.write_text("threads = 9\n")
        assert out.of("reload") == (0, "threads has changed\n", "")
        file.write_text("threads = 0\n")
        code, text, errors = out.of("reload")
        assert (code, text) == (3, "")
        assert errors.startswith("threads: wanted a whole number from 1 to 1000, got 0")


@pytest.mark.parametrize("text", ["threads = 0\nstate_dir = 'STATE'\n", "no toml"])
def test_a_broken_file_hides_no_running_proxy(out: Output, tmp_path: Path, text: str) -> None:
    """`reload`, `status` and `ledger` reach the proxy, whose log has the faults of the file."""
    state = str(tmp_path / "state")
    file = tmp_path / "settings.toml"
    file.write_text("")
    with _serving("--config", str(file)) as proxy:
        file.write_text(text.replace("STATE", state))
        code, _, errors = out.of("reload", "--config", str(file))
        assert code == 3
        assert "settings.toml" in errors
        assert "the reload failed" in proxy.wait_for_line("the reload failed")
        code, status, _ = out.of("status", "--config", str(file))
        assert code == 9
        assert "reload failed" in status
        assert out.of("ledger", "--config", str(file))[0] == 0


def test_a_wrong_state_directory_is_reported_with_all_faults(out: Output, tmp_path: Path) -> None:
    """If the state directory itself is wrong, the command cannot find the proxy."""
    file = tmp_path / "settings.toml"
    file.write_text("threads = 0\n")
    code, _, errors = out.of("reload", "--config", str(file), "--state-dir", "")
    assert code == 3
    assert "cannot continue" in errors
    assert "threads: wanted" in errors
    assert "state_dir: wanted a path" in errors


def test_reload_without_a_running_proxy_exits_with_5(out: Output, tmp_path: Path) -> None:
    """The command says how to name the proxy."""
    code, _, errors = out.of("reload")
    assert code == 5
    assert f"got {tmp_path / 'state'}, which no proxy uses" in errors


def test_reload_names_the_fault_of_a_file_that_is_not_toml(out: Output, tmp_path: Path) -> None:
    """Such a file does not tell the state directory, and the command does not blame that."""
    file = tmp_path / "settings.toml"
    file.write_text("threads = \n")
    code, _, errors = out.of("reload", "--config", str(file))
    assert code == 3
    assert "wanted valid TOML" in errors


@pytest.mark.parametrize("command", ["serve", "ledger"])
def test_sighup_before_the_command_is_loaded(command: str) -> None:
    """SIGHUP before `serve` is loaded does nothing; another command ends."""
    program = (
        "import signal, sys; import jicofo_reservation_proxy.__main__;"
        " signal.raise_signal(signal.SIGHUP)"
    )
    done = subprocess.run([sys.executable, "-c", program, command], timeout=60, check=False)
    assert done.returncode == (0 if command == "serve" else -signal.SIGHUP)


def test_serve_stops_draining_after_drain_within(tmp_path: Path) -> None:
    """After `drain_within`, the process ends despite a hanging call, and the log reports that."""
    arrived, release = threading.Event(), threading.Event()

    def hang(_: object, __: Context) -> pb.CreateConferenceResponse:
        arrived.set()
        release.wait(TIMEOUT_SECONDS)
        return pb.CreateConferenceResponse()

    config = tmp_path / "settings.toml"
    config.write_text('drain_within = "0.2s"\n')
    with (
        serving_grpc(Script(hang)) as target,
        _serving("--target", target, "--config", str(config)) as proxy,
    ):
        caller = threading.Thread(target=_swallow, args=(proxy.port,))
        caller.start()
        assert arrived.wait(TIMEOUT_SECONDS)
        proxy.process.send_signal(signal.SIGTERM)
        assert any("1 requests are cut off" in line for line in proxy.rest_of_log())
        assert proxy.process.returncode == 0
        release.set()
        caller.join()


def test_ctrl_c_stops_the_proxy_with_exit_code_0() -> None:
    """Ctrl-C stops the proxy; the log contains the request and a last line, but no traceback."""
    with _serving("--log-format", "json") as proxy:
        assert Client(proxy.port).create().status == 200
        proxy.process.send_signal(signal.SIGINT)
        lines = [json.loads(line) for line in proxy.rest_of_log()]
    assert proxy.process.returncode == 0
    (request,) = [line for line in lines if line["message"] == "create"]
    assert (request["client"], request["room"], request["status"]) == ("jicofo", "testroom", 200)
    assert lines[-1]["message"] == "stopped"


def test_serve_is_the_default_command_and_creates_the_state_directory(tmp_path: Path) -> None:
    """Without a command, `serve` runs. Only its user can read the new state directory."""
    with _serving("--state-dir", str(tmp_path / "new" / "state"), command=()) as proxy:
        assert exchange(proxy.port, b"DELETE /conference/1 HTTP/1.1\r\n\r\n").status == 200
    state = tmp_path / "new" / "state"
    assert (state / "ledger.sqlite3").is_file()
    assert state.stat().st_mode & 0o077 == 0


def test_an_alias_survives_kill_9() -> None:
    """After SIGKILL, Jicofo's alias still resolves to its conference.

    The ledger may have lost the grant. Then the proxy sends a deletion without a holder and one
    with its holder.
    """
    backend = granting("not-a-number")
    with serving_grpc(backend) as target:
        with _serving("--target", target) as proxy:
            public_id = Client(proxy.port).create().json["id"]
            proxy.process.kill()
            proxy.process.wait(TIMEOUT_SECONDS)
        with _serving("--target", target) as proxy:
            assert Client(proxy.port).delete(public_id).status == 200
    assert {request.conference_id for request in backend.deletes} == {"not-a-number"}


def test_a_listen_address_that_is_not_loopback_gives_a_warning() -> None:
    """`serve` logs a warning if other machines can reach the proxy, and no token is needed."""
    with _serving("--listen", "0.0.0.0:0") as proxy:
        proxy.process.send_signal(signal.SIGTERM)
        proxy.rest_of_log()
    assert proxy.process.returncode == 0
    assert any("everyone who can reach 0.0.0.0:0 can create" in line for line in proxy.log)


@dataclass
class Serving:
    """A running process of the real command, with its port and its log up to now."""

    process: subprocess.Popen[str]
    port: int = 0
    log: list[str] = field(default_factory=list)

    def wait_for_line(self, text: str) -> str:
        """Read the log up to the line that contains this text; return that line."""
        assert self.process.stderr
        for line in self.process.stderr:
            self.log.append(line)
            if text in line:
                return line
        raise AssertionError(f"no line with {text!r} in {self.log}")

    def rest_of_log(self) -> list[str]:
        """Wait for the end of the process; return the log lines that were not read before."""
        rest = self.process.communicate(timeout=TIMEOUT_SECONDS)[1].splitlines()
        self.log += rest
        return rest


@contextmanager
def _serving(*flags: str, command: tuple[str, ...] = ("serve",)) -> Iterator[Serving]:
    """Run the real command; at the end, stop it if it still runs."""
    listen = () if "--listen" in flags else ("--listen", "127.0.0.1:0")
    with subprocess.Popen(
        [*COMMAND, *command, *listen, *flags], stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            proxy = Serving(process)
            port = re.search(r"http://[^ ,\"]*:([0-9]+)", proxy.wait_for_line("listening on http"))
            assert port
            proxy.port = int(port[1])
            yield proxy
        finally:
            if process.poll() is None:
                process.terminate()
                process.communicate(timeout=TIMEOUT_SECONDS)


def _swallow(port: int) -> None:
    """Send a request whose connection the proxy closes without an answer."""
    with pytest.raises(AssertionError, match="the connection was closed"):
        Client(port).create()
