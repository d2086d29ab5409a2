"""The admin listener: probes, and who may ask."""

import http.client
import logging
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from jicofo_reservation_proxy.admin.server import MAX_CONNECTIONS, AdminServer, admin_listener
from jicofo_reservation_proxy.app import Proxy, create_app
from jicofo_reservation_proxy.errors import ListenError

from .support import TIMEOUT_SECONDS, free_port, granting, serving_grpc, settings

LINK = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}


@dataclass
class Admin:
    """A client of an admin listener."""

    port: int

    def ask(
        self, path: str, method: str = "GET", headers: Mapping[str, str] | None = None
    ) -> tuple[int, str, http.client.HTTPMessage]:
        """Send a request; return the status, the body and the headers of the answer."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, TIMEOUT_SECONDS)) as asking:
            asking.request(method, path, headers=dict(headers or {}))
            answer = asking.getresponse()
            return answer.status, answer.read().decode(), answer.headers


@contextmanager
def admin_of(proxy: Proxy) -> Iterator[Admin]:
    """Run the admin listener of a proxy on a free port."""
    with admin_listener(proxy, is_configured=True) as server:
        assert server
        yield Admin(server.effective_port)


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[Proxy]:
    """Return a proxy whose admin listener has a free port."""
    with Proxy(settings(tmp_path, admin_listen="127.0.0.1:0")) as made:
        yield made


@pytest.fixture
def admin(proxy: Proxy) -> Iterator[Admin]:
    """Return a client of the admin listener of the proxy."""
    with admin_of(proxy) as found:
        yield found


def test_a_proxy_lives_as_long_as_it_answers(admin: Admin) -> None:
    """`/livez` is 200 also while the proxy is not ready."""
    assert admin.ask("/livez")[:2] == (200, "ok\n")


def test_a_proxy_is_ready_while_it_listens(proxy: Proxy, admin: Admin) -> None:
    """`/readyz` is 503 before the proxy listens, and when it stops."""
    assert admin.ask("/readyz")[0] == 503
    proxy.is_ready = lambda: True
    assert admin.ask("/readyz")[:2] == (200, "ok\n")
    proxy.is_ready = lambda: False
    status, body, _ = admin.ask("/readyz")
    assert (status, body) == (503, "readyz is false: the proxy starts or stops\n")


@pytest.mark.parametrize("path", ["/readyz", "/livez"])
def test_a_component_that_fails_changes_no_status(proxy: Proxy, admin: Admin, path: str) -> None:
    """`?verbose` names the component, its state, since when and why; the status stays 200."""
    proxy.is_ready = lambda: True
    proxy.health.component("somewhere").fail("no\nroute")
    status, body, _ = admin.ask(f"{path}?verbose")
    assert status == 200
    time = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
    assert re.search(rf"^\[-\]somewhere fails since {time}: no route$", body, re.MULTILINE)
    assert body.endswith(f"\n{path[1:]} check passed\n")
    proxy.health.component("somewhere").recover()
    assert re.search(
        rf"^\[\+\]somewhere ok since {time}$", admin.ask(f"{path}?verbose")[1], re.MULTILINE
    )


def test_probes_are_not_logged(admin: Admin, caplog: pytest.LogCaptureFixture) -> None:
    """A probe comes every few seconds, so it has no line in the log, also if it fails."""
    caplog.set_level(logging.DEBUG)
    caplog.clear()
    admin.ask("/livez")
    admin.ask("/readyz?verbose")
    assert not caplog.records


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [
        ("/nothing", "GET", 404),
        ("/livez", "POST", 405),
        ("/livez", "OPTIONS", 405),
        ("/conference", "POST", 404),
    ],
)
def test_other_requests_are_refused(admin: Admin, path: str, method: str, status: int) -> None:
    """The answer names the known paths; the reservation API is not among them."""
    got, body, headers = admin.ask(path, method)
    assert got == status
    assert "/livez" in body
    assert "/readyz" in body
    assert headers["Content-Type"].startswith("text/plain")


def test_head_is_answered_like_get(admin: Admin) -> None:
    """A probe may send HEAD."""
    assert admin.ask("/livez", "HEAD")[:2] == (200, "")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"}, 200),
        (LINK, 200),
        (LINK | {"Sec-Fetch-Site": "same-site"}, 200),
        (LINK | {"Sec-Fetch-Dest": "iframe"}, 403),
        (LINK | {"Sec-Fetch-Mode": "no-cors"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": "https://site.example.com"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1", "Sec-Fetch-Site": "same-origin"}, 403),
        ({"Host": "site.example.com"}, 403),
        ({"Host": "site.example.com", "Sec-Fetch-Site": "same-origin"}, 403),
        ({"Host": "localhost"}, 200),
        ({"Host": "[::1]:9777"}, 200),
    ],
)
def test_pages_of_other_sites_read_nothing(
    proxy: Proxy, admin: Admin, headers: dict[str, str], status: int
) -> None:
    """A link may lead to the admin listener; neither a script nor a frame may read it."""
    assert admin.ask("/livez", headers=headers)[0] == status
    found = [
        sample.value
        for sample in next(iter(proxy.metrics.admin_refusals.collect())).samples
        if sample.name.endswith("_total")
    ]
    assert found == ([1.0] if status == 403 else [])


def test_a_link_may_not_post(admin: Admin) -> None:
    """A form of another site is refused, before its method is looked at."""
    assert admin.ask("/livez", "POST", LINK)[0] == 403


def test_refusals_are_logged_once(admin: Admin, caplog: pytest.LogCaptureFixture) -> None:
    """A page that asks again and again fills no log."""
    for _ in range(5):
        admin.ask("/", headers={"Host": "site.example.com"})
    (line,) = [text for text in caplog.messages if "refused" in text]
    assert "allowed_hosts" in line


def test_an_allowed_name_is_answered(tmp_path: Path) -> None:
    """`allowed_hosts` holds for the admin listener too."""
    values = settings(tmp_path, admin_listen="127.0.0.1:0", allowed_hosts=["proxy.example.com"])
    with Proxy(values) as proxy, admin_of(proxy) as admin:
        assert admin.ask("/livez", headers={"Host": "proxy.example.com:9777"})[0] == 200
        assert admin.ask("/livez", headers={"Host": "other.example.com"})[0] == 403


def test_no_answer_is_stored_or_framed(admin: Admin) -> None:
    """Browsers keep no copy, and no other site can put the pages into a frame."""
    headers = admin.ask("/livez")[2]
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Frame-Options"] == "DENY"
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]


def test_a_fault_of_the_proxy_shows_no_stack_trace(
    proxy: Proxy, admin: Admin, caplog: pytest.LogCaptureFixture
) -> None:
    """The client gets one sentence, and the log the traceback."""

    def fail() -> bool:
        raise RuntimeError("a detail")

    proxy.is_ready = fail
    status, body, _ = admin.ask("/readyz")
    assert status == 500
    assert body == "500: a fault of the proxy; its log has the details\n"
    assert "a detail" in caplog.text


def test_a_request_that_is_not_http_gets_no_stack_trace(proxy: Proxy) -> None:
    """Bytes that are not HTTP get 400, and the listener goes on."""
    with admin_listener(proxy, is_configured=True) as server:
        assert server
        address = ("127.0.0.1", server.effective_port)
        with socket.create_connection(address, TIMEOUT_SECONDS) as connection:
            connection.sendall(b"\x16\x03\x01 \r\n\r\n")
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
        assert answer.startswith(b"HTTP/1.0 400")
        assert b"Traceback" not in answer
        assert Admin(server.effective_port).ask("/livez")[0] == 200


def test_connections_that_send_nothing_do_not_stop_the_front_door(proxy: Proxy) -> None:
    """The admin listener accepts a bounded number of connections, in a thread of its own."""
    with admin_listener(proxy, is_configured=True) as server:
        assert server
        address = ("127.0.0.1", server.effective_port)
        opened = [socket.create_connection(address, TIMEOUT_SECONDS) for _ in range(60)]
        assert len(server.active_channels) <= MAX_CONNECTIONS
        for connection in opened:
            connection.close()
        assert Admin(server.effective_port).ask("/livez")[0] == 200


def test_stop_ends_all_threads(proxy: Proxy) -> None:
    """Also an open connection does not keep a thread alive."""
    before = set(threading.enumerate())
    server = AdminServer(proxy)
    with socket.create_connection(("127.0.0.1", server.effective_port), TIMEOUT_SECONDS):
        server.stop()
    assert set(threading.enumerate()) == before
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.effective_port), TIMEOUT_SECONDS)


def test_a_configured_address_that_is_taken_is_an_error(tmp_path: Path) -> None:
    """The operator expects the listener there, so the proxy does not start without it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with Proxy(settings(tmp_path, admin_listen=address)) as proxy:
            listening = admin_listener(proxy, is_configured=True)
            with pytest.raises(ListenError, match=f"another program uses {address}"):
                listening.__enter__()


def test_a_default_address_that_is_taken_is_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A second proxy on the same machine runs without an admin listener."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with (
            Proxy(settings(tmp_path, admin_listen=address)) as proxy,
            admin_listener(proxy, is_configured=False) as listener,
        ):
            assert listener is None
    assert f"another program uses {address}" in caplog.text
    assert "runs without the admin listener" in caplog.text


def test_an_empty_address_switches_the_listener_off(tmp_path: Path) -> None:
    """There is no thread and no socket."""
    with (
        Proxy(settings(tmp_path, admin_listen="")) as proxy,
        admin_listener(proxy, is_configured=True) as listener,
    ):
        assert listener is None


def test_another_wsgi_server_has_no_admin_listener(tmp_path: Path) -> None:
    """`create_app` opens no port."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        app = create_app(settings(tmp_path, admin_listen=address))
        app.extensions["jicofo_reservation_proxy"].close()


def test_serve_answers_probes_until_it_has_stopped(tmp_path: Path) -> None:
    """While a request is finished, `/livez` is 200 and `/readyz` is 503; then both are gone."""
    begun, may_end = threading.Event(), threading.Event()
    backend = granting()
    grant = backend.create

    def slow(request, context):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        begun.set()
        assert may_end.wait(TIMEOUT_SECONDS)
        return grant(request, context)

    backend.create = slow
    ports = free_port(), free_port()
    with serving_grpc(backend) as target, _serving(tmp_path, target, *ports) as process:
        admin = Admin(ports[1])
        assert admin.ask("/readyz")[0] == 200
        reply = _create_in_a_thread(ports[0])
        assert begun.wait(TIMEOUT_SECONDS)
        process.terminate()
        _wait_for_line(process, "stopping")
        assert admin.ask("/readyz")[0] == 503
        assert admin.ask("/livez")[0] == 200
        may_end.set()
        reply.join()
        assert process.wait(TIMEOUT_SECONDS) == 0
        with pytest.raises(ConnectionRefusedError):
            admin.ask("/livez")


def _create_in_a_thread(port: int) -> threading.Thread:
    from .support import Client  # noqa: PLC0415 - of this test only

    thread = threading.Thread(target=lambda: Client(port).create())
    thread.start()
    return thread


@contextmanager
def _serving(
    state_dir: Path, target: str, port: int, admin_port: int
) -> Iterator[subprocess.Popen[str]]:
    """Run the real command `serve` with an admin listener."""
    prefix = "JICOFO_RESERVATION_PROXY_"
    environ = {name: text for name, text in os.environ.items() if not name.startswith(prefix)}
    environ[f"{prefix}ADMIN_LISTEN"] = f"127.0.0.1:{admin_port}"
    flags = ["--listen", f"127.0.0.1:{port}", "--target", target, "--state-dir", str(state_dir)]
    with subprocess.Popen(
        [sys.executable, "-m", "jicofo_reservation_proxy", "serve", *flags],
        stderr=subprocess.PIPE,
        text=True,
        env=environ,
    ) as process:
        try:
            _wait_for_line(process, "listening on")
            yield process
        finally:
            if process.poll() is None:
                process.kill()
                process.communicate()


def _wait_for_line(process: subprocess.Popen[str], text: str) -> None:
    assert process.stderr
    assert any(text in line for line in process.stderr), text
