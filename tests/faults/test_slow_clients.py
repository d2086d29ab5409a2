"""Clients that open connections and send almost nothing do not lock out the others."""

import resource
import select
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from jicofo_reservation_proxy.http.connections import HEAD_SECONDS

from tests.e2e.support import TIMEOUT_SECONDS

from .processes import Proxy, Stage, until
from .timing import MARGIN_SECONDS, timed

CONNECTIONS = 700
FILES = 1024


@pytest.fixture(autouse=True)
def _enough_files() -> Iterator[None]:
    """Let this process open more files than the proxy."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2 * CONNECTIONS:
        # Without root, a process cannot raise its hard limit, and the clients need these files.
        pytest.skip(f"this test needs {2 * CONNECTIONS} open files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2 * CONNECTIONS), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@contextmanager
def _connections(proxy: Proxy, sent: bytes) -> Iterator[list[socket.socket]]:
    with ExitStack() as stack:
        opened = []
        for _ in range(CONNECTIONS):
            address = ("127.0.0.1", proxy.port)
            connection = stack.enter_context(socket.create_connection(address, TIMEOUT_SECONDS))
            connection.sendall(sent)
            opened.append(connection)
        yield opened


def _are_closed(connections: list[socket.socket]) -> bool:
    """Return whether the proxy has closed all connections; read what it sent before."""
    poll = select.poll()
    for connection in connections:
        poll.register(connection, select.POLLIN)
    ready = {number for number, _ in poll.poll(0)}
    return len(ready) == len(connections)


@pytest.mark.parametrize("sent", [b"P", b""])
def test_idle_connections_do_not_lock_out_a_client(
    stage: Stage, figures: list[str], sent: bytes
) -> None:
    """700 connections with a byte or nothing: a POST is answered at once; all are soon closed.

    At the usual limit of 1,024 files, the proxy keeps at most 512 connections.
    """
    backend, proxy = stage.pair()
    proxy.kill()
    proxy.limit_files(FILES)
    proxy.start()
    with _connections(proxy, sent) as opened:
        reply, seconds = timed(proxy.client().create)
        assert reply.status == 200
        assert seconds < MARGIN_SECONDS
        _, closing = timed(lambda: until(lambda: _are_closed(opened), "all are closed"))
        assert closing < HEAD_SECONDS + 5 + MARGIN_SECONDS
    assert proxy.client().create("other").status == 200
    assert not backend.has_ended
    figures.append(
        f"{CONNECTIONS} connections with {len(sent)} bytes: a POST took {seconds * 1000:.0f} ms, "
        f"all were closed after {closing:.1f} s"
    )


def test_the_proxy_raises_its_limit_for_files(stage: Stage) -> None:
    """The soft limit becomes the hard one, so that more connections are possible."""
    _, proxy = stage.pair()
    soft, hard = resource.prlimit(proxy.pid, resource.RLIMIT_NOFILE)
    assert soft == hard
