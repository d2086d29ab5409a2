"""Which modules the proxy loads, and when: a new import on the way to the first answer is seen.

Time and memory cannot be tested on a busy machine. Most of both goes into imports, which can.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from jicofo_reservation_proxy.gen.jicofo.reservation.v1 import reservation_pb2 as pb

from .otlp import receiving
from .support import (
    CURL,
    JICOFO,
    PROSODY,
    TIMEOUT_SECONDS,
    Client,
    Context,
    Script,
    conference,
    exchange,
    granting,
    serving_grpc,
)

PROGRAM = """
import sys
from jicofo_reservation_proxy.__main__ import run

class Reporter:
    @staticmethod
    def find_spec(name, path=None, target=None):
        print("import", name, file=sys.stderr, flush=True)

sys.meta_path.insert(0, Reporter)
run()
"""
"""The command, with a finder that finds no module, but prints the name of each one in the log."""

NOT_NEEDED = {
    "a tool": [
        "jicofo_reservation_proxy.commands.call",
        "jicofo_reservation_proxy.commands.check",
        "jicofo_reservation_proxy.commands.conformance",
        "jicofo_reservation_proxy.commands.ledger",
        "jicofo_reservation_proxy.commands.simulate",
        "jicofo_reservation_proxy.conformance",
        "jicofo_reservation_proxy.simulation",
        "cattr",
        "cattrs",
        "attr",
        "attrs",
    ],
    "a settings file": ["jicofo_reservation_proxy.settings.toml_file", "tomllib"],
    "a regular expression": ["re2"],
    "the built-in stub": [
        "jicofo_reservation_proxy.backends.grpc.in_process_backend",
        "jicofo_reservation_stub",
    ],
    "an HTTP backend": ["jicofo_reservation_proxy.backends.http", "urllib3"],
    "a denial with details": ["google.rpc"],
    "traces": ["jicofo_reservation_proxy.observability.opentelemetry_tracer", "opentelemetry"],
}
"""The modules that a proxy with a plain backend never loads, by what needs them."""


class Started:
    """A proxy that listens; `imported` holds the modules that it loaded before."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self._log = iter(process.stderr or ())
        self.imported = set()
        for line in self._log:
            if port := re.search(r"listening on http://127\.0\.0\.1:([0-9]+)", line):
                self.port = int(port[1])
                return
            self.imported.add(line.removeprefix("import ").strip())
        raise AssertionError(f"the proxy did not start: {self.imported}")

    def end(self) -> set[str]:
        """Stop the proxy; return the modules that it loaded since it listened."""
        self._process.terminate()
        rest = "".join(self._log)
        assert self._process.wait(TIMEOUT_SECONDS) == 0
        return set(re.findall(r"import ([\w.]+)", rest))


@contextmanager
def started(state_dir: Path, *flags: str, **environ: str) -> Iterator[Started]:
    """Run `serve` with these flags, without the settings of this machine and without coverage.

    `environ` has more variables for it. A measurement of coverage would load modules of its own.
    """
    not_ours = ("JICOFO_", "COVERAGE_", "OTEL_")
    ours = {name: text for name, text in os.environ.items() if not name.startswith(not_ours)}
    ours["JICOFO_RESERVATION_PROXY_DRAIN_WITHIN"] = "0s"
    ours["JICOFO_RESERVATION_PROXY_ADMIN_LISTEN"] = "127.0.0.1:0"
    ours |= environ
    command = ["serve", "--listen", "127.0.0.1:0", "--state-dir", str(state_dir), *flags]
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *command],
        stderr=subprocess.PIPE,
        text=True,
        env=ours,
    ) as process:
        try:
            yield Started(process)
        finally:
            process.kill()


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    """Return the path of a state directory, which the proxy makes."""
    return tmp_path / "state"


def test_a_proxy_loads_only_what_it_needs(state_dir: Path) -> None:
    """Up to the first answer, `serve` loads nothing for tools and for settings that are not set."""
    with serving_grpc(granting()) as target, started(state_dir, "--target", target) as proxy:
        assert Client(proxy.port).create().status == 200
        loaded = proxy.imported | proxy.end()
    assert {"flask", "grpc", "jicofo_reservation_proxy.app"} <= loaded
    too_many = {why: loaded.intersection(names) for why, names in NOT_NEEDED.items()}
    assert not any(too_many.values()), too_many


def test_a_proxy_loads_what_its_settings_need(state_dir: Path, tmp_path: Path) -> None:
    """The parser of a settings file, the built-in stub and regular expressions load on demand."""
    file = tmp_path / "settings.toml"
    file.write_text('log_level = "info"\n', "utf-8")
    with started(state_dir, "--config", str(file)) as proxy:
        needed = {*NOT_NEEDED["a settings file"], *NOT_NEEDED["the built-in stub"]}
        assert needed - proxy.imported == set()
        assert Client(proxy.port).create().status == 200
        assert proxy.end() == set()


def test_no_request_loads_a_module(state_dir: Path) -> None:
    """Everything that requests need, also wrong and failed ones, is loaded before the first one.

    Otherwise a request would fail when the process has no file descriptor left, and the first
    request would be slow.
    """
    with started(state_dir, "--target", "127.0.0.1:1") as proxy:
        client = Client(proxy.port)
        assert client.create().status == 503
        assert client.get("default.7").status == 503
        for kind in (JICOFO, PROSODY, CURL):
            client = Client(proxy.port, kind)
            assert client.create("\u2028").status == 400
            assert client.delete("default.7").status == 200
            assert client.send("PUT", "/conference", b"").status == 405
            assert client.send("GET", "/").status == 404
        assert exchange(proxy.port, b"no HTTP\r\n\r\n").status == 400
        assert proxy.end() == set()


@pytest.mark.parametrize("target", ["http://127.0.0.1:1", "http://localhost:1"])
def test_a_proxy_with_http_backends_alone_loads_no_grpc(state_dir: Path, target: str) -> None:
    """A proxy with an HTTP backend loads urllib3, and neither gRPC nor the messages of protobuf.

    A request loads nothing more, whether the backend can be reached or not.
    """
    with started(state_dir, "--target", target) as proxy:
        assert "urllib3" in proxy.imported
        assert proxy.imported.isdisjoint({"grpc", "google.protobuf"})
        client = Client(proxy.port)
        assert client.create().status == 503
        assert client.get("default.7").status == 503
        assert client.delete("default.7").status == 200
        assert proxy.end() == set()


def test_no_request_with_traces_loads_a_module(state_dir: Path) -> None:
    """With traces, everything that spans need is loaded before the first request."""
    with receiving() as (receiver, endpoint), serving_grpc(granting()) as target:
        environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}
        with started(state_dir, "--target", target, **environ) as proxy:
            assert "opentelemetry" in proxy.imported
            assert Client(proxy.port).create().status == 200
            assert proxy.end() == set()
    assert receiver.spans


def test_only_a_denial_with_details_loads_the_types_of_details(state_dir: Path) -> None:
    """The types of a gRPC status with details are loaded with the first such status."""

    def deny(request: pb.CreateConferenceRequest, context: Context) -> pb.CreateConferenceResponse:
        if request.room.raw == "denied":
            context.set_trailing_metadata((("grpc-status-details-bin", b"\x08\x07"),))
            context.abort(grpc.StatusCode.PERMISSION_DENIED, "no")
        return pb.CreateConferenceResponse(conference=conference(request))

    with serving_grpc(Script(deny)) as target, started(state_dir, "--target", target) as proxy:
        client = Client(proxy.port)
        assert client.create("board").status == 200
        assert client.create("denied").status == 502
        loaded = proxy.end()
    assert "google.rpc.error_details_pb2" in loaded
    assert all(name.startswith("google.") for name in loaded), loaded


def test_the_garbage_collector_works_after_the_start() -> None:
    """While the modules load, the collector pauses. Then it works, and skips the modules."""
    program = (
        "import atexit, gc; from jicofo_reservation_proxy.__main__ import run;"
        " atexit.register(lambda: print(gc.isenabled(), gc.get_freeze_count() > 10_000)); run()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "serve", "--help"],
        capture_output=True,
        timeout=TIMEOUT_SECONDS,
        check=True,
        text=True,
    )
    assert done.stdout.splitlines()[-1] == "True True"
