"""Connections to HTTP backends: kept ones, repeated requests, proxies of the environment."""

import base64
import io
import select
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from jicofo_reservation_proxy.app import Proxy
from jicofo_reservation_proxy.backends.http import kept_connections
from jicofo_reservation_proxy.errors import CredentialsError

from tests.faults.processes import until

from .http_support import (
    RESET,
    Answer,
    Closing,
    Handler,
    HttpScript,
    Received,
    answered,
    backend,
    resolve,
    running_http,
    serving,
)
from .support import JICOFO, PROSODY, Client, free_port, running, serving_http, settings
from .tls import SERVER_NAME, Authority

NAME = "rooms.example.com"


def first(answer: object, then: Handler, times: int = 1) -> Handler:
    """Return a handler that answers the first requests in another way."""
    left = [times]

    def handle(request: Received) -> Answer:
        if left[0]:
            left[0] -= 1
            return answer
        return then(request)

    return handle


# Kept connections


@pytest.fixture
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep idle connections for as long as a test takes."""
    monkeypatch.setattr(kept_connections, "MAX_IDLE_SECONDS", 60.0)


@pytest.mark.usefixtures("_patient")
@pytest.mark.parametrize("secure", [False, True], ids=["plain", "TLS"])
def test_one_connection_serves_many_requests(tmp_path: Path, *, secure: bool) -> None:
    """Requests one after the other use the same connection."""
    script, authority = HttpScript(), Authority(tmp_path / "ca")
    context = authority.server_context() if secure else None
    tls = {"tls": {"ca_file": str(authority.ca_file), "server_name": SERVER_NAME}}
    with running_http(tmp_path, script, context, **(tls if secure else {})) as running:
        for number in range(20):
            assert running.client.create(f"room{number}").status == 200
    assert script.connections == 1
    assert {request.headers.get("connection", "keep-alive") for request in script.requests} == {
        "keep-alive"
    }


@pytest.mark.usefixtures("_patient")
def test_bytes_after_an_answer_are_not_the_next_answer(tmp_path: Path) -> None:
    """A connection over TLS with decrypted bytes after the answer is not used again."""
    script, authority = HttpScript(), Authority(tmp_path / "ca")

    def create(request: Received) -> bytes:
        answer = script.create_in_book(request)
        if request.fields["name"] != "first":
            return answer
        # http.client reads 8 KiB at a time, and drops what it has read after the answer.
        return answer.ljust(io.DEFAULT_BUFFER_SIZE) + answered(200, {"id": 666})

    script.create = create
    tls = {"ca_file": str(authority.ca_file), "server_name": SERVER_NAME}
    with running_http(tmp_path, script, authority.server_context(), tls=tls) as running:
        assert running.client.create("first").json["id"] == 1001
        assert running.client.create("second").json["id"] == 1002


def test_an_idle_connection_is_not_used_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that was idle for too long is closed, and another one is opened."""
    assert kept_connections.MAX_IDLE_SECONDS == 1.0
    monkeypatch.setattr(kept_connections, "MAX_IDLE_SECONDS", 0.0)
    script = HttpScript()
    with running_http(tmp_path, script) as running:
        for number in range(3):
            assert running.client.create(f"room{number}").status == 200
        until(lambda: script.open_connections == 1, "the idle connections are closed")
    assert [request.connection for request in script.of("POST")] == [1, 2, 3]


@pytest.mark.usefixtures("_patient")
def test_a_server_that_closes_after_each_answer(tmp_path: Path) -> None:
    """No request fails if the server closes each connection, without saying so."""
    script = HttpScript()
    script.create = lambda request: Closing(script.create_in_book(request))
    with running_http(tmp_path, script) as running:
        for number in range(5):
            assert running.client.create(f"room{number}").status == 200
            until(lambda: script.open_connections == 0, "the connection is closed")
    assert [request.connection for request in script.of("POST")] == [1, 2, 3, 4, 5]


def test_a_server_that_announces_the_close(tmp_path: Path) -> None:
    """After `Connection: close` the proxy sends nothing on this connection."""
    script = HttpScript()
    closing = {"Connection": "close"}
    script.create = lambda request: answered(
        200, script.create_in_book(request).partition(b"\r\n\r\n")[2], closing
    )
    with running_http(tmp_path, script) as running:
        for number in range(5):
            assert running.client.create(f"room{number}").status == 200
    assert [request.connection for request in script.of("POST")] == [1, 2, 3, 4, 5]


def test_the_in_flight_limit_limits_connections(tmp_path: Path) -> None:
    """More requests than `in_flight` are refused at once, and need no connection."""
    script = HttpScript()
    script.create = script.hang
    with running_http(tmp_path, script, in_flight=2) as running:
        statuses: list[int] = []

        def create(number: int) -> None:
            statuses.append(running.client.create(f"room{number}").status)

        waiting = [threading.Thread(target=create, args=(number,)) for number in range(2)]
        for thread in waiting:
            thread.start()
        script.wait("POST", 2)
        for number in range(2, 6):
            assert running.client.create(f"room{number}").status == 503
        assert script.most_connections == 2
        script.stopping.set()
        for thread in waiting:
            thread.join()
    assert statuses == [503, 503]


def test_every_request_is_whole(tmp_path: Path) -> None:
    """Each header is there once; a POST has a length, and a GET or DELETE has no body."""
    script = HttpScript()
    with running_http(tmp_path, script, metadata={"x-tenant": "acme"}) as running:
        prosody = Client(running.client.port, PROSODY)
        prosody.create()
        prosody.delete(prosody.create().json["id"])
        script.wait("DELETE")
    for request in script.requests:
        assert len(set(request.names)) == len(request.names)
        assert request.headers["accept"] == "application/json"
        assert request.headers["accept-encoding"] == "identity"
        assert request.headers["x-tenant"] == "acme"
        assert request.headers["user-agent"].startswith("jicofo-reservation-proxy/")
        assert request.headers["x-incident-id"]
        assert ("idempotency-key" in request.headers) == (request.method == "POST")
        assert bool(request.body) == (request.method == "POST")
        assert "transfer-encoding" not in request.headers
    assert len(script.of("GET")) == 1


# Repeated requests


LOST: dict[str, object] = {
    "a reset": RESET,
    "nothing": Closing(),
    "half a head": Closing(b"HTTP/1.1 200 OK\r\nContent-"),
    "half a body": Closing(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"),
}
GATEWAY: dict[str, object] = {"502": answered(502), "503": answered(503, {"message": "starting"})}


@pytest.mark.parametrize("answer", (LOST | GATEWAY).values(), ids=LOST | GATEWAY)
@pytest.mark.parametrize("user_agent", [JICOFO, PROSODY])
def test_a_post_is_not_repeated(tmp_path: Path, answer: object, user_agent: str) -> None:
    """A POST of which a byte was sent is not sent again: the backend may have opened the room."""
    script = HttpScript()
    script.create = first(answer, script.create)
    with running_http(tmp_path, script) as running:
        assert Client(running.client.port, user_agent).create().status == 503
    assert len(script.of("POST")) == 1


@pytest.mark.parametrize("answer", (LOST | GATEWAY).values(), ids=LOST | GATEWAY)
def test_a_post_to_an_idempotent_backend_is_repeated(tmp_path: Path, answer: object) -> None:
    """With `idempotent = true` the POST is repeated, with the same key and the same body."""
    script = HttpScript()
    script.create = first(answer, script.create, times=2)
    with running_http(tmp_path, script, http={"idempotent": True}) as running:
        assert running.client.create("board").status == 200
        assert running.client.create("hallo").status == 200
    *repeated, other = script.of("POST")
    assert len(repeated) == 3
    assert len({(each.headers["idempotency-key"], each.body) for each in repeated}) == 1
    assert other.headers["idempotency-key"] != repeated[0].headers["idempotency-key"]


@pytest.mark.parametrize("status", [400, 408, 429, 500, 501, 504])
@pytest.mark.parametrize("http", [{}, {"idempotent": True}], ids=["default", "idempotent"])
def test_no_other_status_is_repeated(tmp_path: Path, status: int, http: dict[str, bool]) -> None:
    """After another status, neither a POST nor a GET is repeated within the request."""
    script = HttpScript()
    with running_http(tmp_path, script, http=http) as running:
        public_id = running.client.create().json["id"]
        script.create = script.get = lambda _: answered(status)
        assert running.client.create("other").status in {502, 503, 504}
        assert running.client.get(public_id).status == 200
    assert len(script.of("POST")) == 2
    assert len(script.of("GET")) == 1


@pytest.mark.parametrize("answer", (LOST | GATEWAY).values(), ids=LOST | GATEWAY)
def test_gets_and_deletes_are_repeated(tmp_path: Path, answer: object) -> None:
    """A GET and a DELETE whose answer was lost are repeated at once."""
    script = HttpScript()
    with running_http(tmp_path, script) as running:
        public_id = running.client.create().json["id"]
        script.get = first(answer, script.get)
        assert running.client.get(public_id).status == 200
        assert len(script.of("GET")) == 2
        script.delete = first(answer, script.delete)
        assert running.client.delete(public_id).status == 200
        until(lambda: not script.book, "the conference is gone")
        retries = running.proxy.metrics.retries
        for operation in ("get", "delete"):
            assert retries.labels("default", operation)._value.get() == 1
    assert len(script.of("DELETE")) == 2


def test_a_post_waits_for_a_backend_that_starts(tmp_path: Path) -> None:
    """While connections are refused, no byte is sent: the POST is tried again, and sent once."""
    script, port = HttpScript(), free_port()
    default = backend(f"http://127.0.0.1:{port}")
    statuses: list[int] = []
    with (
        Proxy(settings(tmp_path, backends={"default": default})) as proxy,
        serving_http(proxy) as listen,
    ):
        thread = threading.Thread(target=lambda: statuses.append(Client(listen).create().status))
        thread.start()
        until(proxy.metrics.retries.labels("default", "create")._value.get, "a retry")
        with serving(script, port=port):
            thread.join()
    assert statuses == [200]
    assert len(script.of("POST")) == 1


def test_a_client_that_repeats_its_post_has_the_same_key(tmp_path: Path) -> None:
    """Prosody repeats a POST after a 5xx; the backend can recognize that by the key."""
    script = HttpScript()
    script.create = first(RESET, script.create)
    with running_http(tmp_path, script) as running:
        prosody = Client(running.client.port, PROSODY)
        assert prosody.create().status == 503
        assert prosody.create().status == 200
        assert prosody.create("other").status == 200
    one, again, other = (request.headers["idempotency-key"] for request in script.of("POST"))
    assert one == again != other


# Proxies of the environment


@contextmanager
def tunneling(
    port: int, *, status: bytes = b"200 Connection established"
) -> Iterator[tuple[list[bytes], str]]:
    """Run an HTTP proxy that tunnels to a port; yield the heads that it gets, and its address."""
    heads: list[bytes] = []
    stopping = threading.Event()
    threads: list[threading.Thread] = []

    def tunnel(accepted: socket.socket) -> None:
        with accepted, suppress(OSError):
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                if not (byte := accepted.recv(1)):
                    return
                head += byte
            heads.append(head)
            accepted.sendall(b"HTTP/1.1 " + status + b"\r\nX-Proxy: yes\r\n\r\n")
            if not status.startswith(b"200"):
                return
            with socket.create_connection(("127.0.0.1", port)) as upstream:
                _relay(accepted, upstream, stopping)

    def accept() -> None:
        with suppress(OSError):
            while True:
                accepted, _ = listener.accept()
                threads.append(threading.Thread(target=tunnel, args=(accepted,)))
                threads[-1].start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield heads, f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            stopping.set()
            listener.shutdown(socket.SHUT_RDWR)
            for each in (thread, *threads):
                each.join()


def _relay(one: socket.socket, other: socket.socket, stopping: threading.Event) -> None:
    while not stopping.is_set():
        for readable in select.select([one, other], [], [], 0.05)[0]:
            if not (data := readable.recv(65536)):
                return
            (other if readable is one else one).sendall(data)


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the proxies of the machine that runs the tests."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "grpc_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def test_http_goes_through_the_proxy_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A forwarding proxy gets whole URLs, and its own credentials; the name is not looked up."""
    script = HttpScript()  # as the proxy
    with serving(script) as proxy_url:
        authority = proxy_url.partition("://")[2]
        monkeypatch.setenv("http_proxy", f"http://us%40er:p%3Aw@{authority}")
        default = backend(f"http://{NAME}:8080/api/v1")
        with running(tmp_path, backends={"default": default}) as client:
            assert client.create().status == 200
    (request,) = script.requests
    assert request.target == f"http://{NAME}:8080/api/v1/conference"
    assert request.headers["host"] == f"{NAME}:8080"
    expected = base64.b64encode(b"us@er:p:w").decode()
    assert request.headers["proxy-authorization"] == f"Basic {expected}"
    assert len(set(request.names)) == len(request.names)


@pytest.mark.parametrize("login", ["", "user:pw@"], ids=["open", "with credentials"])
def test_https_goes_through_a_tunnel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, login: str
) -> None:
    """The proxy of https gets CONNECT; TLS and the secret go through it, to the backend."""
    (tmp_path / "key").write_text("s3cret")
    script, authority = HttpScript(), Authority(tmp_path / "ca")
    with ExitStack() as stack:
        target = stack.enter_context(serving(script, authority.server_context(NAME)))
        port = int(target.rpartition(":")[2])
        heads, address = stack.enter_context(tunneling(port))
        monkeypatch.setenv("https_proxy", f"http://{login}{address}")
        default = backend(
            f"https://{NAME}:8443",
            tls={"ca_file": str(authority.ca_file)},
            auth={"api_key_file": str(tmp_path / "key")},
        )
        client = stack.enter_context(running(tmp_path, backends={"default": default}))
        assert client.create("board").status == 200
        assert client.create("hallo").status == 200
    assert all(head.startswith(b"CONNECT rooms.example.com:8443 HTTP/1.") for head in heads)
    assert all(b"s3cret" not in head for head in heads)
    assert all((b"proxy-authorization: basic" in head.lower()) == bool(login) for head in heads)
    assert [request.target for request in script.requests] == ["/conference"] * 2
    assert {request.headers["host"] for request in script.requests} == {f"{NAME}:8443"}
    assert all("proxy-authorization" not in request.headers for request in script.requests)
    assert set(script.server_names) == {NAME}


@pytest.mark.parametrize("status", [b"407 Proxy Authentication Required", b"502 Bad Gateway"])
def test_a_proxy_that_refuses_the_tunnel(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    status: bytes,
) -> None:
    """The backend is unreachable, and the log names the answer of the proxy, not its password."""
    with tunneling(1, status=status) as (_, address):
        monkeypatch.setenv("https_proxy", f"http://user:hidden@{address}")
        with running(tmp_path, backends={"default": backend(f"https://{NAME}")}) as client:
            assert client.create().status == 503
    assert status[:3].decode() in caplog.text
    assert "hidden" not in caplog.text


@pytest.mark.parametrize(
    "bypass", [NAME, f"localhost,.{NAME[6:]}", "localhost, example.com", "*", f"{NAME}:PORT"]
)
def test_no_proxy_names_hosts_without_a_proxy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bypass: str
) -> None:
    """A host in `no_proxy`, also with its port, is connected directly."""
    script, other = HttpScript(), HttpScript()
    resolve(monkeypatch, NAME, "127.0.0.1")
    with serving(script) as target, serving(other) as proxy_url:
        port = target.rpartition(":")[2]
        monkeypatch.setenv("http_proxy", proxy_url)
        monkeypatch.setenv("no_proxy", bypass.replace("PORT", port))
        default = backend(f"http://{NAME}:{port}")
        with running(tmp_path, backends={"default": default}) as client:
            assert client.create().status == 200
    assert len(script.requests) == 1
    assert not other.connections


def test_no_proxy_with_another_port_bypasses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A port in `no_proxy` is about this port only."""
    other = HttpScript()
    with serving(other) as proxy_url:
        monkeypatch.setenv("http_proxy", proxy_url)
        monkeypatch.setenv("no_proxy", f"{NAME}:81,other.example.com")
        with running(tmp_path, backends={"default": backend(f"http://{NAME}:82")}) as client:
            assert client.create().status == 200
    assert other.connections


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_target_on_this_machine_goes_through_no_proxy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    """The secret for a target on this machine stays there, whatever the environment says."""
    (tmp_path / "key").write_text("s3cret")
    script, other = HttpScript(), HttpScript()
    with serving(script) as target, serving(other) as proxy_url:
        for name in ("http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, proxy_url)
        default = backend(
            target.replace("127.0.0.1", host), auth={"api_key_file": str(tmp_path / "key")}
        )
        with running(tmp_path, backends={"default": default}) as client:
            assert client.create().status == 200
    assert not other.connections


@pytest.mark.parametrize(
    "value", ["https://proxy.example.com", "socks5://user:hidden@proxy.example.com", "http://"]
)
def test_a_proxy_of_another_kind_is_refused_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    """The error names the variable, and does not show its value."""
    monkeypatch.setenv("https_proxy", value)
    default = backend(f"https://{NAME}")
    with (
        pytest.raises(CredentialsError, match="the variable https_proxy") as caught,
        Proxy(settings(tmp_path, backends={"default": default})),
    ):
        pass
    assert "hidden" not in str(caught.value)
