"""The control socket: commands of this program ask the running proxy, over a Unix socket.

The proxy locks its ledger, so no other process can read it. The socket is in the state directory,
and only the user of the proxy and root can use it.

A request is one line: the name of a command, and its argument if it has one. The answer is a line,
`ok` or `error: …`, and then the result until the end of the connection.
"""

import logging
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from jicofo_reservation_proxy.errors import StateError

SOCKET_NAME = "control.sock"

MAX_COMMAND_BYTES = 1000
WAIT_SECONDS = 5.0
"""How long the proxy waits for each step of a client, which it serves one at a time."""

ANSWER_SECONDS = 60.0
"""How long a client waits for each part of the answer."""

_POLL_SECONDS = 0.2

logger = logging.getLogger(__name__)


class ControlSocket:
    """Answers commands until `close`. `commands` maps a name to the function for its argument.

    A command may raise `StateError`. The constructor raises `StateError` if it cannot listen.
    """

    def __init__(self, state_dir: Path, commands: Mapping[str, Callable[[str], bytes]]) -> None:
        self._file = state_dir / SOCKET_NAME
        self._commands = commands
        self._is_closed = threading.Event()
        self._listener = _listen(self._file)
        self._thread = threading.Thread(target=self._run, name="control", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening, and remove the socket."""
        self._is_closed.set()
        self._thread.join(WAIT_SECONDS)
        self._listener.close()
        self._file.unlink(missing_ok=True)

    def _run(self) -> None:
        while not self._is_closed.is_set():
            try:
                connection, _ = self._listener.accept()
            except TimeoutError:
                continue
            with closing(connection), suppress(OSError):  # the client is gone or too slow
                connection.settimeout(WAIT_SECONDS)
                self._answer(connection)

    def _answer(self, connection: socket.socket) -> None:
        if _peer_user(connection) not in {0, os.geteuid()}:
            return
        name, _, argument = _read_line(connection).partition(" ")
        command = self._commands.get(name)
        if command is None:
            connection.sendall(f"error: this proxy has no command {name!r}\n".encode())
            return
        try:
            result = command(argument)
        except StateError as error:
            connection.sendall(f"error: {error}\n".encode())
        except Exception:  # a bug in a command must not end the thread
            logger.exception("a fault of the proxy in the command %s", name)
            connection.sendall(b"error: a fault of the proxy; its log has the details\n")
        else:
            connection.sendall(b"ok\n" + result)


def ask(state_dir: Path, command: str) -> bytes:
    """Return the result of a command of the proxy that uses a state directory.

    Raises `StateError` if no proxy answers, or if the command fails.
    """
    try:
        with _connected(state_dir / SOCKET_NAME) as connection:
            connection.sendall(f"{command}\n".encode())
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
    except OSError as error:
        raise StateError(
            f"{state_dir / SOCKET_NAME}: wanted an answer of the running proxy, got: "
            f"{error.strerror or error}; run this command as the user of the proxy"
        ) from error
    status, _, result = answer.partition(b"\n")
    if status != b"ok":
        raise StateError(status.decode(errors="replace").removeprefix("error: ") or "no answer")
    return result


def _listen(file: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    try:
        # The socket's file gets this mode when it is created, before anyone can connect.
        os.fchmod(listener.fileno(), 0o600)
        file.unlink(missing_ok=True)
        with _short(file) as path:
            listener.bind(path)
        listener.listen()
        listener.settimeout(_POLL_SECONDS)
    except OSError as error:
        listener.close()
        raise StateError(f"{file}: cannot create the control socket: {error.strerror}") from error
    return listener


@contextmanager
def _connected(file: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as connection, _short(file) as path:
        connection.settimeout(ANSWER_SECONDS)
        connection.connect(path)
        yield connection


@contextmanager
def _short(file: Path) -> Iterator[str]:
    """Yield a path with at most 107 bytes, the limit for the address of a Unix socket."""
    directory = os.open(file.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{file.name}"
    finally:
        os.close(directory)


def _peer_user(connection: socket.socket) -> int:
    """Return the user id of the process at the other end (unix(7), SO_PEERCRED)."""
    found = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _, user, _ = struct.unpack("3i", found)
    return int(user)


def _read_line(connection: socket.socket) -> str:
    received = b""
    while b"\n" not in received and len(received) < MAX_COMMAND_BYTES:
        chunk = connection.recv(MAX_COMMAND_BYTES)
        if not chunk:
            break
        received += chunk
    return received.partition(b"\n")[0].decode("ascii", errors="replace")
