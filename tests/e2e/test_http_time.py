"""Bounded time: whatever an HTTP backend or a name server does, the client is answered."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from jicofo_reservation_proxy.app import Proxy
from jicofo_reservation_proxy.backends.circuit_breaker import FAILURES, OPEN_SECONDS

from tests.faults.processes import until

from .http_support import (
    Answer,
    HttpScript,
    Received,
    backend,
    resolve,
    running_http,
    serving,
)
from .support import Client, free_port, running, serving_http, settings
from .tls import SERVER_NAME, Authority

WITHIN = "500ms"
"""The deadline of a call in these tests."""

LATEST_SECONDS = 10.0
"""When an answer is too late: long after the deadline, also on a busy machine, and long before the
backends of these tests would answer."""

PAUSE_SECONDS = 0.02
"""The time between two bytes of a slow backend: far below any time-out of a single read."""


def dripping(script: HttpScript, head: bytes, drop: bytes) -> Callable[[Received], Answer]:
    """Return a handler that sends a head, and then a few bytes again and again."""

    def create(_: Received) -> Iterator[bytes]:
        yield head
        while not script.stopping.wait(PAUSE_SECONDS):
            yield drop

    return create


SLOW = {
    "no byte": (b"", b""),
    "the status line": (b"HTTP/1.1 200", b" "),
    "headers": (b"HTTP/1.1 200 OK\r\nX: ", b"v"),
    "the body": (b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n{", b" "),
    "the body until the end": (b"HTTP/1.1 200 OK\r\n\r\n{", b" "),
    "the size of a chunk": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"0"),
    "chunks": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    "trailers": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n",
        b"X: v\r\n",
    ),
    "interim answers": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "early hints": (b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"),
}


@contextmanager
def in_time() -> Iterator[None]:
    """Fail if something takes too long."""
    started = time.monotonic()
    yield
    assert time.monotonic() - started < LATEST_SECONDS


@pytest.mark.parametrize(("head", "drop"), SLOW.values(), ids=SLOW)
@pytest.mark.parametrize("secure", [False, True], ids=["plain", "TLS"])
def test_a_slow_answer_is_given_up_at_the_deadline(
    tmp_path: Path, head: bytes, drop: bytes, *, secure: bool
) -> None:
    """The client gets 504; the connection is closed; the POST is not repeated."""
    script, values = HttpScript(), {}
    script.create = dripping(script, head, drop)
    context = None
    if secure:
        authority = Authority(tmp_path / "ca")
        context = authority.server_context(SERVER_NAME)
        values = {"tls": {"ca_file": str(authority.ca_file), "server_name": SERVER_NAME}}
    with running_http(tmp_path, script, context, answer_within=WITHIN, **values) as running:
        with in_time():
            assert running.client.create().status == 504
        assert len(script.of("POST")) == 1
        if drop:
            until(lambda: script.open_connections == 0, "the connection is closed")
        script.create = script.create_in_book
        assert running.client.create("hallo").status == 200


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_a_slow_get_or_delete_delays_no_client(tmp_path: Path, method: str) -> None:
    """A GET is answered from the ledger, and a DELETE at once; it stays pending."""
    script = HttpScript()
    with running_http(tmp_path, script, answer_within=WITHIN) as running:
        public_id = running.client.create().json["id"]
        script.get = script.delete = script.hang
        send = running.client.get if method == "GET" else running.client.delete
        with in_time():
            assert send(public_id).status == 200
        script.wait(method)
        assert running.client.create("hallo").status == 200


def test_slow_calls_leak_neither_threads_nor_sockets(tmp_path: Path) -> None:
    """After many calls that took too long, there are as many threads and sockets as before."""
    script = HttpScript()
    script.create = dripping(script, *SLOW["headers"])
    with running_http(
        tmp_path, script, answer_within="100ms", of_proxy={"respond_within": "300ms"}
    ) as running:
        running.client.create()
        until(lambda: script.open_connections == 0, "no open connection")
        before = _threads(), _sockets()
        for number in range(20):
            assert running.client.create(f"room{number}").status in {503, 504}
        until(lambda: script.open_connections == 0, "no open connection")
        until(lambda: (_threads(), _sockets()) == before, "no more threads and sockets")


def _threads() -> set[str]:
    """Return the names of the threads, except those that answer requests: their number varies."""
    names = {thread.name for thread in threading.enumerate()}
    return {name for name in names if not name.startswith("request-")}


def _sockets() -> int:
    found = 0
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found += str(entry.readlink()).startswith("socket:")
        except FileNotFoundError:
            continue
    return found


def test_other_rooms_go_on_while_some_hang(tmp_path: Path) -> None:
    """Rooms whose calls hang delay no other room."""
    script = HttpScript()

    def create(request: Received) -> Answer:
        is_hanging = request.fields["name"].startswith("slow")
        return script.hang(request) if is_hanging else script.create_in_book(request)

    script.create = create
    with running_http(tmp_path, script, answer_within="15s") as running:
        client = running.client
        slow = [
            threading.Thread(target=client.create, args=(f"slow{number}",)) for number in range(4)
        ]
        for thread in slow:
            thread.start()
        script.wait("POST", 4)
        for number in range(20):
            assert client.create(f"room{number}").status == 200
        script.stopping.set()
        for thread in slow:
            thread.join()


def test_the_circuit_opens_and_closes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """After a few slow calls the backend is not asked; a trial call shows that it is well again."""
    now = [0.0]
    monkeypatch.setattr("circuitbreaker.monotonic", lambda: now[0])
    script = HttpScript()
    script.create = dripping(script, *SLOW["the body"])
    with running_http(tmp_path, script, answer_within="100ms") as running:
        for number in range(FAILURES):
            assert running.client.create(f"room{number}").status == 504
        assert running.client.create("refused").status == 503
        assert len(script.of("POST")) == FAILURES
        assert "the circuit is open" in caplog.text
        script.create = script.create_in_book

        def is_well_again() -> bool:
            now[0] += OPEN_SECONDS
            return running.client.create("again").status == 200

        until(is_well_again, "a closed circuit")


# Connections and handshakes


@contextmanager
def accepting(then: Callable[[socket.socket, threading.Event], None]) -> Iterator[int]:
    """Accept connections and do something with each; yield the port."""
    stopping = threading.Event()
    threads: list[threading.Thread] = []

    def handle(accepted: socket.socket) -> None:
        with accepted, suppress(OSError):
            then(accepted, stopping)

    def accept() -> None:
        while True:
            try:
                accepted, _ = listener.accept()
            except OSError:
                return
            threads.append(threading.Thread(target=handle, args=(accepted,)))
            threads[-1].start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            stopping.set()
            listener.shutdown(socket.SHUT_RDWR)
            for each in (thread, *threads):
                each.join()


def silent(_: socket.socket, stopping: threading.Event) -> None:
    """Read and send nothing."""
    stopping.wait()


def slow_handshake(accepted: socket.socket, stopping: threading.Event) -> None:
    """Send the beginning of a TLS handshake, one byte at a time."""
    accepted.recv(65536)
    record = b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc"  # a ServerHello of 16 KiB
    while not stopping.wait(PAUSE_SECONDS):
        accepted.sendall(record[:1] or b"\0")
        record = record[1:]


@pytest.mark.parametrize(
    ("scheme", "then"),
    [("http", silent), ("https", silent), ("https", slow_handshake)],
    ids=["http, silent", "https, silent", "https, slow"],
)
def test_a_server_that_only_accepts(
    tmp_path: Path, scheme: str, then: Callable[[socket.socket, threading.Event], None]
) -> None:
    """A server that accepts connections and does not speak is given up at the deadline."""
    with accepting(then) as port:
        default = backend(f"{scheme}://127.0.0.1:{port}", answer_within=WITHIN)
        with running(tmp_path, backends={"default": default}) as client, in_time():
            assert client.create().status == 504


@contextmanager
def dead_port(host: str, port: int) -> Iterator[None]:
    """Let connections to an address hang: the queue of its listener is full."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server((host, port), backlog=0))
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.settimeout(0)
            waiting.connect_ex(listener.getsockname())
        yield


def test_a_connection_that_hangs(tmp_path: Path) -> None:
    """An address that answers nothing is given up at the deadline."""
    port = free_port()
    with dead_port("127.0.0.1", port):
        default = backend(f"http://127.0.0.1:{port}", answer_within=WITHIN)
        with running(tmp_path, backends={"default": default}) as client, in_time():
            assert client.create().status == 504


@pytest.mark.parametrize("dead", ["refuses", "hangs"])
def test_one_dead_address_of_several(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dead: str
) -> None:
    """If the first address of a name is dead, the next one is used."""
    script = HttpScript()
    resolve(monkeypatch, "rooms.example.com", "127.0.0.2", "127.0.0.1")
    with ExitStack() as stack:
        target = stack.enter_context(serving(script))
        port = int(target.rpartition(":")[2])
        if dead == "hangs":
            stack.enter_context(dead_port("127.0.0.2", port))
        default = backend(f"http://rooms.example.com:{port}", answer_within="4s")
        client = stack.enter_context(running(tmp_path, backends={"default": default}))
        assert client.create().status == 200


def test_a_dead_address_is_not_tried_first_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the first call waits for an address that hangs; it is tried last afterwards."""
    monkeypatch.setattr(
        "jicofo_reservation_proxy.backends.http.kept_connections.MAX_IDLE_SECONDS", 0.0
    )
    script = HttpScript()
    resolve(monkeypatch, "rooms.example.com", "127.0.0.2", "127.0.0.1")
    with ExitStack() as stack:
        port = int(stack.enter_context(serving(script)).rpartition(":")[2])
        stack.enter_context(dead_port("127.0.0.2", port))
        default = backend(f"http://rooms.example.com:{port}", answer_within="10s")
        client = stack.enter_context(running(tmp_path, backends={"default": default}))
        assert client.create().status == 200  # waits for 5 s, half of the deadline
        started = time.monotonic()
        for number in range(3):
            assert client.create(f"room{number}").status == 200
        assert time.monotonic() - started < 10
        assert script.connections == 4


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_name_server_that_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    """A look-up that hangs is given up at the deadline; another backend goes on meanwhile."""
    answers, script = threading.Event(), HttpScript()
    resolve(monkeypatch, "rooms.example.com", answers.wait)
    with ExitStack() as stack:
        target = stack.enter_context(serving(script))
        stack.callback(answers.set)
        own = settings(
            tmp_path / "state",
            backends={
                "hanging": backend(f"{scheme}://rooms.example.com:1", answer_within=WITHIN),
                "well": backend(target),
            },
            routes=[{"tenant": "acme", "backend": "hanging"}, {"backend": "well"}],
        )
        proxy = stack.enter_context(Proxy(own))
        client = Client(stack.enter_context(serving_http(proxy)))
        for _ in range(FAILURES - 1):
            with in_time():
                assert client.create("[acme]board").status == 504
        assert client.create("board").status == 200
        assert len([each for each in threading.enumerate() if each.name == "name-look-up"]) == 1


def test_a_name_server_that_hangs_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the name server hangs, the known addresses are used."""
    for name in ("kept_connections.MAX_IDLE_SECONDS", "name_lookups.KEEP_SECONDS"):
        monkeypatch.setattr(f"jicofo_reservation_proxy.backends.http.{name}", 0.0)
    is_hanging, answers = threading.Event(), threading.Event()
    script = HttpScript()

    def wait() -> bool:
        return is_hanging.is_set() and answers.wait()

    resolve(monkeypatch, "rooms.example.com", "127.0.0.1", wait)
    with serving(script) as target:
        named = target.replace("127.0.0.1", "rooms.example.com")
        with running(tmp_path, backends={"default": backend(named)}) as client:
            try:
                assert client.create("before").status == 200
                is_hanging.set()
                with in_time():
                    assert client.create("meanwhile").status == 200
            finally:
                answers.set()
            assert client.create("after").status == 200


def test_a_name_that_does_not_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name without an address is an unreachable backend."""

    def fail() -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    resolve(monkeypatch, "rooms.example.com", fail)
    default = backend("http://rooms.example.com:8080", answer_within="1s")
    with running(tmp_path, backends={"default": default}) as client:
        assert client.create().status == 503
