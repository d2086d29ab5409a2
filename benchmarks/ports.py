"""Ports of contenders that do not print the port on which they listen."""

import socket
import time

from benchmarks.children import START_SECONDS, Child
from benchmarks.wire import HOST, Connection

RETRY_SECONDS = 0.001


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        port: int = listener.getsockname()[1]
        return port


def wait_until_open(child: Child, port: int) -> Connection:
    """Try to connect until the child listens; return the connection.

    Raises ChildError when the child ends, or does not listen within `START_SECONDS`.
    """
    deadline = time.perf_counter() + START_SECONDS
    while time.perf_counter() < deadline and child.process.poll() is None:
        try:
            return Connection(port)
        except ConnectionRefusedError:
            time.sleep(RETRY_SECONDS)
    raise child.failure("did not listen")
