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


class _Site(http.server.BaseHTTPRequestHandler):
    """A web site with the page. It records the requests to other paths, and answers them."""

    protocol_version = "HTTP/1.1"
    page = ""

    def do_GET(self) -> None:
        """Send the page."""
        if self.path == "/":
            self._send(self.page.encode(), "text/html")
        else:
            self._record()

    def _record(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.recorded.append(f"{self.command} {self.path}")  # type: ignore[attr-defined]
        self._send(b"{}", "application/json")

    do_POST = do_DELETE = do_OPTIONS = _record  # noqa: N815 - http.server's names

    def _send(self, body: bytes, content_type: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@contextmanager
def _site(base: str = "", public_id: str = "x") -> Iterator[http.server.ThreadingHTTPServer]:
    page = PAGE.replace("BASE", base).replace("READ", public_id)
    handler = type("_Handler", (_Site,), {"page": page})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.recorded = []  # type: ignore[attr-defined]
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
        pytest.skip("there is no Chromium")
    return found


def _open(browser: str, url: str, profile: Path) -> str:
    """Return the document of a page after its script has ended."""
    flags = ["--headless", "--disable-gpu", f"--user-data-dir={profile}"]
    if os.geteuid() == 0:
        flags.append("--no-sandbox")
    done = subprocess.run(
        [
            browser,
            *flags,
            f"--host-resolver-rules=MAP {SITE} 127.0.0.1",
            "--timeout=10000",
            "--virtual-time-budget=10000",
            "--dump-dom",
            url,
        ],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=True,
    )
    assert "<title>done</title>" in done.stdout, done.stdout + done.stderr
    return done.stdout


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
            _open(browser, f"http://{SITE}:{site.server_address[1]}/", tmp_path)
        recorded = victim.recorded  # type: ignore[attr-defined]
    assert recorded.count("POST /conference") >= 3
    assert recorded.count("GET /conference/x") >= 3


@pytest.mark.parametrize("origin", ["127.0.0.1", SITE])
def test_a_page_of_another_site_is_refused(browser: str, tmp_path: Path, origin: str) -> None:
    """The backend gets no request, and the page reads nothing."""
    with _proxy_with_a_room(tmp_path / "state") as (client, backend, public_id):
        base = f"http://127.0.0.1:{client.port}"
        with _site(base, public_id) as site:
            document = _open(browser, f"http://{origin}:{site.server_address[1]}/", tmp_path)
        assert PASSWORD not in document
        assert len(backend.creates) == 1
        assert client.get(public_id).status == 200, "the room is not deleted"


def test_dns_rebinding_is_refused(
    browser: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A page whose own name leads to the proxy is of the same origin, but has another Host."""
    with _proxy_with_a_room(tmp_path / "state") as (client, backend, public_id):
        base = f"http://{SITE}:{client.port}"
        with _site(base, public_id) as site:
            document = _open(browser, f"http://{SITE}:{site.server_address[1]}/", tmp_path)
        assert PASSWORD not in document
        assert len(backend.creates) == 1
        assert client.get(public_id).status == 200, "the room is not deleted"
    assert any("allowed_hosts" in line for line in caplog.messages)
