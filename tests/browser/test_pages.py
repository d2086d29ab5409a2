"""A page of another site, in a real browser, cannot open, read or delete a room."""

import http.server
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.support import PROSODY, TIMEOUT_SECONDS, Client, Script, granting, running

PAGE = Path(__file__).with_name("page.html").read_text()
SITE = "site.example.com"
PASSWORD = "correct-horse"

pytestmark = pytest.mark.browser

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


class _Handler(http.server.BaseHTTPRequestHandler):
    """Sends the page, and records all other requests."""

    server: "_Site"
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Send the page."""
        if self.path == "/":
            self._send(self.server.page, "text/html")
        else:
            self._record()

    def _record(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.recorded.append(f"{self.command} {self.path}")
        self._send(b"{}", "application/json")
        if self.path == "/done":
            self.server.result = body.decode()
            self.server.is_done.set()

    do_POST = do_DELETE = do_OPTIONS = _record  # noqa: N815 - http.server's names

    def _send(self, body: bytes, content_type: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


class _Site(http.server.ThreadingHTTPServer):
    """A web site. `result` is what its page has read, when `is_done` is set."""

    def __init__(self, base: str, public_id: str) -> None:
        self.page = PAGE.replace("BASE", base).replace("READ", public_id).encode()
        self.recorded: list[str] = []
        self.result = ""
        self.is_done = threading.Event()
        super().__init__(("127.0.0.1", 0), _Handler)


@contextmanager
def _site(base: str = "", public_id: str = "x") -> Iterator[_Site]:
    with _Site(base, public_id) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def browser() -> str:
    """Return the command of a browser; skip the tests on a machine without one."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        # `make test-browser` checks for Chromium first; plain pytest may run without one.
        pytest.skip("there is no Chromium")
    return found


def _visit(browser: str, host: str, site: _Site, profile: Path) -> str:
    """Open the page of a site in a browser; return what the page has read."""
    flags = ["--headless", "--disable-gpu", f"--user-data-dir={profile}"]
    if os.geteuid() == 0:
        flags.append("--no-sandbox")
    resolver = f"--host-resolver-rules=MAP {SITE} 127.0.0.1"
    url = f"http://{host}:{site.server_address[1]}/"
    with subprocess.Popen(
        [browser, *flags, resolver, url], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            assert site.is_done.wait(TIMEOUT_SECONDS)
        finally:
            process.terminate()
    return site.result


@contextmanager
def _proxy_with_a_room(tmp_path: Path) -> Iterator[tuple[Client, Script, str]]:
    """Run a proxy that has granted one room with a password; yield the id of the room too."""
    backend = granting(password=PASSWORD)
    with running(tmp_path, backend) as proxy:
        client = Client(proxy.port, PROSODY)
        created = client.create("board")
        assert created.json["password"] == PASSWORD
        yield client, backend, created.json["id"]


def test_the_page_reaches_a_server_without_a_front_door(browser: str, tmp_path: Path) -> None:
    """The page can do what it tries: a server that trusts its network gets all the requests."""
    with _site() as victim:
        base = f"http://127.0.0.1:{victim.server_address[1]}"
        with _site(base) as site:
            _visit(browser, SITE, site, tmp_path)
        assert victim.recorded.count("POST /conference") >= 3
        assert victim.recorded.count("GET /conference/x") >= 3


def _attack(browser: str, tmp_path: Path, page_host: str, proxy_host: str) -> None:
    """Let a page of one host use the proxy under the name of another; nothing may come of it."""
    with _proxy_with_a_room(tmp_path / "state") as (client, backend, public_id):
        with _site(f"http://{proxy_host}:{client.port}", public_id) as site:
            result = _visit(browser, page_host, site, tmp_path)
        assert PASSWORD not in result
        assert len(backend.creates) == 1
        assert client.get(public_id).status == 200, "the room is not deleted"


@pytest.mark.parametrize("origin", ["127.0.0.1", SITE])
def test_a_page_of_another_site_is_refused(browser: str, tmp_path: Path, origin: str) -> None:
    """The backend gets no request, and the page reads nothing."""
    _attack(browser, tmp_path, origin, "127.0.0.1")


def test_dns_rebinding_is_refused(
    browser: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A page whose own name leads to the proxy is of the same origin, but has another Host."""
    _attack(browser, tmp_path, SITE, SITE)
    assert any("allowed_hosts" in line for line in caplog.messages)
