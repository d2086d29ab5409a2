"""The control socket: who can use it, what it answers, and what it survives."""

import socket
import stat
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from jicofo_reservation_proxy.admin import control_socket
from jicofo_reservation_proxy.admin.control_socket import SOCKET_NAME, ControlSocket, ask
from jicofo_reservation_proxy.errors import StateError

from tests.unit.ledgers import LONG_SECONDS


def fail(_: str) -> bytes:
    """Fail as a command on a failing disk does."""
    raise StateError("the disk is full")


def crash(_: str) -> bytes:
    """Fail as a bug does."""
    raise ZeroDivisionError


COMMANDS = {
    "echo": lambda argument: b"one\ntwo" + argument.encode(),
    "large": lambda _: b"x" * 5_000_000,
    "fail": fail,
    "crash": crash,
}


@pytest.fixture
def state_dir(tmp_path: Path) -> Iterator[Path]:
    """Return a state directory with a control socket."""
    with closing(ControlSocket(tmp_path, COMMANDS)):
        yield tmp_path


def test_a_command(state_dir: Path) -> None:
    """The client gets the result of a command, also a large one."""
    assert ask(state_dir, "echo") == b"one\ntwo"
    assert ask(state_dir, "echo a b") == b"one\ntwoa b"
    assert ask(state_dir, "large") == b"x" * 5_000_000


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("fail", "the disk is full"),
        ("nope", "this proxy has no command 'nope'"),
        ("", "this proxy has no command ''"),
        ("x" * 99, f"this proxy has no command '{'x' * 99}'"),
        ("crash", "a fault of the proxy; its log has the details"),
    ],
)
def test_a_command_that_fails(state_dir: Path, command: str, message: str) -> None:
    """The client gets a message, and the next command works."""
    with pytest.raises(StateError) as caught:
        ask(state_dir, command)
    assert str(caught.value) == message
    assert ask(state_dir, "echo") == b"one\ntwo"


def test_only_the_user_of_the_proxy_can_use_the_socket(
    state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file has mode 0600, and the proxy answers no other user."""
    assert stat.S_IMODE((state_dir / SOCKET_NAME).stat().st_mode) == 0o600
    monkeypatch.setattr(control_socket, "_peer_user", lambda _: 4711)
    with pytest.raises(StateError, match="run this command as the user of the proxy"):
        ask(state_dir, "echo")


def test_a_client_that_sends_nothing_delays_others_for_a_limited_time(
    state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proxy waits for a silent client only for `WAIT_SECONDS`, and then serves the next one."""
    monkeypatch.setattr(control_socket, "WAIT_SECONDS", 0.05)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.connect(str(state_dir / SOCKET_NAME))
        assert ask(state_dir, "echo") == b"one\ntwo"


def test_clients_that_leave_early(state_dir: Path) -> None:
    """After a client has closed its connection early, the proxy serves the next client."""
    for sent in (b"", b"ec", b"large\n"):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(state_dir / SOCKET_NAME))
            client.sendall(sent)
    assert ask(state_dir, "echo") == b"one\ntwo"


def test_without_a_proxy(tmp_path: Path) -> None:
    """The message names the socket and what to do."""
    with pytest.raises(StateError) as caught:
        ask(tmp_path, "echo")
    assert str(caught.value) == (
        f"{tmp_path / SOCKET_NAME}: wanted an answer of the running proxy, got: No such file or "
        "directory; run this command as the user of the proxy"
    )


def test_the_socket_of_a_killed_process_is_replaced(tmp_path: Path) -> None:
    """A socket file on which no process listens is replaced. `close` removes the new file."""
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(tmp_path / SOCKET_NAME))
    with closing(ControlSocket(tmp_path, COMMANDS)):
        assert ask(tmp_path, "echo") == b"one\ntwo"
    assert list(tmp_path.iterdir()) == []


def test_a_long_path(tmp_path: Path) -> None:
    """The path of a state directory may be longer than the address of a Unix socket."""
    long = tmp_path / ("d" * 120) / ("e" * 120)
    long.mkdir(parents=True)
    with closing(ControlSocket(long, COMMANDS)):
        assert ask(long, "echo") == b"one\ntwo"


def test_a_directory_that_is_missing(tmp_path: Path) -> None:
    """The error names the socket."""
    with pytest.raises(StateError, match=f"{SOCKET_NAME}: cannot create the control socket: No s"):
        ControlSocket(tmp_path / "missing", COMMANDS)


def test_the_end_does_not_wait_for_a_client(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`close` does not wait for a command that hangs."""
    monkeypatch.setattr(control_socket, "WAIT_SECONDS", 0.05)
    begun, goes_on = threading.Event(), threading.Event()

    def hang(_: str) -> bytes:
        begun.set()
        assert goes_on.wait(LONG_SECONDS)
        return b""

    control = ControlSocket(tmp_path, {"hang": hang})
    asking = threading.Thread(target=lambda: ask(tmp_path, "hang"))
    asking.start()
    assert begun.wait(LONG_SECONDS)
    control.close()
    goes_on.set()
    asking.join(LONG_SECONDS)
    control._thread.join(LONG_SECONDS)
