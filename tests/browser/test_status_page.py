"""The status page in a real browser: it refreshes itself, and everybody can read it."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.http2 import answering
from tests.e2e.support import granting_all, serving_grpc
from tests.e2e.test_status import Running, running

from .devtools import Page, open_page
from .test_pages import BROWSERS

HOSTILE = "<img src=x onerror=document.title='owned'><script>document.title='owned'</script>\"'"
AXE_VARIABLE = "AXE"
"""The environment variable with the path of axe.min.js, which `make test-browser` downloads."""

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def browser() -> str:
    """Return the command of a browser; skip the tests on a machine without one."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        # `make test-browser` checks for Chromium first; plain pytest may run without one.
        pytest.skip("there is no Chromium")
    return found


@contextmanager
def _page_with_problems(browser: str, tmp_path: Path) -> Iterator[tuple[Running, Page]]:
    """Open the page of a proxy with a hostile room, and with a backend that is no backend."""
    routes = [{"room": "tickets", "backend": "tickets"}]
    with serving_grpc(granting_all()) as target, answering(404) as wrong:
        backends = {"default": {"target": target}, "tickets": {"target": wrong}}
        state = tmp_path / "state"
        with running(state, target, backends=backends, routes=routes) as found:
            found.client.create(HOSTILE)
            found.client.create("tickets")
            with open_page(browser, tmp_path / "profile") as page:
                yield found, page.visit(f"http://127.0.0.1:{found.admin_port}/")


def test_hostile_names_are_text(browser: str, tmp_path: Path) -> None:
    """A hostile name of a room is shown as text, also after a refresh; its script never runs."""
    with _page_with_problems(browser, tmp_path) as (found, page):
        for _ in range(2):
            shown = page.run("document.body.innerText")
            assert "onerror=" in shown
            assert "An HTTP server answered 404" in shown
            assert page.run("document.title").startswith("Failing")
            assert page.run("document.querySelectorAll('main img, main script').length") == 0
            found.client.create(f"2{HOSTILE}")
            page.run("refresh().then(() => true)")


def test_a_refresh_keeps_what_the_reader_does(browser: str, tmp_path: Path) -> None:
    """A refresh shows new requests; focus and open details stay as they are."""
    with _page_with_problems(browser, tmp_path) as (found, page):
        page.run("document.getElementById('settings-details').open = true")
        page.run("document.getElementById('requests-rows').focus()")
        found.client.create("newroom")
        page.run("refresh().then(() => true)")
        assert "newroom" in page.run("document.body.innerText")
        assert page.run("document.getElementById('settings-details').open")
        assert page.run("document.activeElement.id") == "requests-rows"


def test_the_page_says_that_the_proxy_is_gone(browser: str, tmp_path: Path) -> None:
    """If the proxy does not answer, the page says so, and keeps what it shows."""
    with serving_grpc(granting_all()) as target, open_page(browser, tmp_path / "profile") as page:
        with running(tmp_path / "state", target) as found:
            page.visit(f"http://127.0.0.1:{found.admin_port}/")
        page.run("refresh().then(() => true)")
        assert "does not answer any more" in page.run("document.getElementById('lost').innerText")
        assert "Backends" in page.run("document.body.innerText")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 375])
def test_axe_finds_nothing_serious(browser: str, tmp_path: Path, scheme: str, width: int) -> None:
    """axe-core finds nothing serious, and a phone shows the page without scrolling sideways."""
    axe = os.environ.get(AXE_VARIABLE, "")
    if not axe:
        # Only `make test-browser` downloads axe-core; plain pytest may run without it.
        pytest.skip("axe-core is not there: `make test-browser` downloads it")
    with _page_with_problems(browser, tmp_path) as (_, page):
        page.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=800,
            deviceScaleFactor=1,
            mobile=False,
        )
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        page.call("Emulation.setEmulatedMedia", features=features)
        page.run("document.getElementById('settings-details').open = true")
        assert page.run("matchMedia('(prefers-color-scheme: dark)').matches") == (scheme == "dark")
        page.run(Path(axe).read_text() + "; true")
        found = page.run("axe.run().then((found) => found.violations)")
        serious = [each for each in found if each["impact"] in {"serious", "critical"}]
        assert not serious
        assert page.run("document.documentElement.scrollWidth") <= width
