"""Chromium without a window, driven over the pipe of its DevTools protocol."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from tests.unit.ledgers import eventually

_START = """
import fcntl, os, sys
reads, writes = (fcntl.fcntl(int(each), fcntl.F_DUPFD, 10) for each in sys.argv[1:3])
os.dup2(reads, 3)
os.dup2(writes, 4)
os.execvp(sys.argv[3], sys.argv[3:])
"""
"""The browser reads commands from the file descriptor 3, and writes to 4."""


class Page:
    """One page. `call` sends a command of the protocol and returns its result."""

    def __init__(self, to_browser: int, from_browser: int) -> None:
        self._to = to_browser
        self._from = from_browser
        self._data = b""
        self._number = 0
        self._session = ""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]

    def call(self, method: str, **parameters: object) -> Any:  # noqa: ANN401 - any JSON
        """Send a command, and wait for its result."""
        self._number += 1
        message: dict[str, object] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            found = self._read()
            if found.get("id") == self._number:
                assert "error" not in found, found
                return found["result"]

    def visit(self, url: str) -> Self:
        """Open a URL, and wait until the page is complete."""
        self.call("Page.navigate", url=url)
        is_complete = "document.readyState === 'complete' && location.href !== 'about:blank'"
        eventually(lambda: self.run(is_complete))
        return self

    def run(self, script: str) -> Any:  # noqa: ANN401 - any JSON
        """Run a script in the page, and return its value, also of a promise."""
        found = self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def _read(self) -> Any:  # noqa: ANN401 - any JSON
        while b"\0" not in self._data:
            chunk = os.read(self._from, 1 << 20)
            assert chunk, "the browser has ended"
            self._data += chunk
        message, _, self._data = self._data.partition(b"\0")
        return json.loads(message)


@contextmanager
def open_page(browser: str, profile: Path) -> Iterator[Page]:
    """Run a browser with one page."""
    flags = ["--headless", "--disable-gpu", f"--user-data-dir={profile}", "--remote-debugging-pipe"]
    if os.geteuid() == 0:
        flags.append("--no-sandbox")
    browser_in, to_browser = os.pipe()
    from_browser, browser_out = os.pipe()

    command = [sys.executable, "-c", _START, str(browser_in), str(browser_out), browser, *flags]
    try:
        with subprocess.Popen(
            command,
            pass_fds=(browser_in, browser_out),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process:
            os.close(browser_in)
            os.close(browser_out)
            try:
                yield Page(to_browser, from_browser)
            finally:
                process.terminate()
    finally:
        os.close(to_browser)
        os.close(from_browser)
