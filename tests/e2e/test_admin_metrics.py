"""`/metrics`: the text that Prometheus scrapes, and what it says about a running proxy."""

import gzip
import http.client
import re
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from jicofo_reservation_proxy.admin.server import admin_listener
from jicofo_reservation_proxy.app import Proxy
from jicofo_reservation_proxy.backends.grpc.grpc_backend import GrpcBackend
from jicofo_reservation_proxy.gen.jicofo.reservation.v1 import reservation_pb2 as pb

from .support import (
    PROSODY,
    TIMEOUT_SECONDS,
    Client,
    Context,
    Script,
    backends,
    granting_all,
    serving_grpc,
    serving_http,
    settings,
)
from .tls import Authority

PREFIX = "jicofo_reservation_proxy_"
PAGE = Path(__file__).parents[2] / "docs/operations.md"
OPENMETRICS = "application/openmetrics-text; version=1.0.0"


@dataclass
class Observed:
    """A proxy with its two listeners."""

    proxy: Proxy
    client: Client
    admin_port: int

    def ask(self, **headers: str) -> tuple[http.client.HTTPMessage, bytes]:
        """Return the headers and the body of the metrics."""
        address = ("127.0.0.1", self.admin_port, TIMEOUT_SECONDS)
        with closing(http.client.HTTPConnection(*address)) as asking:
            names = {name.replace("_", "-"): value for name, value in headers.items()}
            asking.request("GET", "/metrics", headers=names)
            answer = asking.getresponse()
            assert answer.status == 200
            return answer.headers, answer.read()

    def value(self, sample: str) -> float | None:
        """Return the value of a sample; `None` if there is no such sample."""
        text = self.ask()[1].decode()
        found = re.search(rf"^{PREFIX}{re.escape(sample)} (.*)$", text, re.MULTILINE)
        return float(found[1]) if found else None


@contextmanager
def observed(tmp_path: Path, backend: Script, **values: object) -> Iterator[Observed]:
    """Run a proxy with this backend, and both of its listeners."""
    with ExitStack() as stack:
        values["backends"] = backends(default=stack.enter_context(serving_grpc(backend)))
        made = settings(tmp_path, admin_listen="127.0.0.1:0", **values)
        proxy = stack.enter_context(Proxy(made))
        admin = stack.enter_context(admin_listener(proxy, is_configured=True))
        assert admin
        client = Client(stack.enter_context(serving_http(proxy)), PROSODY)
        yield Observed(proxy, client, admin.effective_port)


@pytest.fixture
def seen(tmp_path: Path) -> Iterator[Observed]:
    """Return a proxy whose backend grants all rooms."""
    with observed(tmp_path, granting_all(), metrics_tenants=["acme"]) as found:
        yield found


def test_the_format_depends_on_accept(seen: Observed) -> None:
    """Prometheus gets its text by default; OpenMetrics for a client that accepts it."""
    headers, body = seen.ask()
    assert headers["Content-Type"].startswith("text/plain; version=")
    assert b"# EOF" not in body
    headers, body = seen.ask(Accept=OPENMETRICS)
    assert headers["Content-Type"].startswith("application/openmetrics-text")
    assert body.endswith(b"# EOF\n")


def test_the_text_is_compressed_on_request(seen: Observed) -> None:
    """With `Accept-Encoding: gzip`, as Prometheus sends it."""
    headers, body = seen.ask(Accept_Encoding="gzip")
    assert headers["Content-Encoding"] == "gzip"
    assert f"{PREFIX}build_info".encode() in gzip.decompress(body)
    headers, body = seen.ask(Accept_Encoding="identity")
    assert headers["Content-Encoding"] is None
    assert f"{PREFIX}build_info".encode() in body


def test_a_backend_is_seen_from_its_first_call(seen: Observed) -> None:
    """Before that, nothing is known: there is no sample."""
    sample = 'backend_reachable{backend="default"}'
    assert seen.value(sample) is None
    assert seen.value('backend_last_success_timestamp_seconds{backend="default"}') is None
    assert seen.client.create("board").status == 200
    assert seen.value(sample) == 1
    assert seen.value('backend_calls_in_flight{backend="default"}') == 0
    assert seen.value('backend_circuit_open{backend="default"}') == 0
    assert seen.value('backend_last_success_timestamp_seconds{backend="default"}')


def test_a_call_in_flight_is_counted(tmp_path: Path) -> None:
    """While the backend thinks, its call is in flight."""
    begun, may_end = threading.Event(), threading.Event()
    backend = granting_all()
    grant = backend.create

    def slow(request: pb.CreateConferenceRequest, context: Context) -> pb.CreateConferenceResponse:
        begun.set()
        assert may_end.wait(TIMEOUT_SECONDS)
        return grant(request, context)

    backend.create = slow
    with observed(tmp_path, backend) as seen:
        thread = threading.Thread(target=lambda: seen.client.create("board"))
        thread.start()
        assert begun.wait(TIMEOUT_SECONDS)
        try:
            assert seen.value('backend_calls_in_flight{backend="default"}') == 1
            assert (seen.value("connections") or 0) >= 0
        finally:
            may_end.set()
            thread.join()


def test_pending_deletions_and_the_oldest_one(tmp_path: Path) -> None:
    """While the backend acknowledges no deletion, the proxy says how many wait, and since when."""
    backend = granting_all()

    def refuse(_: pb.DeleteConferenceRequest, context: Context) -> pb.DeleteConferenceResponse:
        context.abort(grpc.StatusCode.INTERNAL, "no")

    backend.delete = refuse
    with observed(tmp_path, backend) as seen:
        oldest = 'oldest_pending_deletion_timestamp_seconds{backend="default"}'
        assert seen.value('pending_deletions{backend="default"}') == 0
        assert seen.value(oldest) is None
        ids = [seen.client.create(f"room{number}").json["id"] for number in range(3)]
        ended = [seen.client.delete(public_id).status for public_id in ids]
        assert ended == [200] * 3
        assert seen.value('pending_deletions{backend="default"}') == 3
        pending = seen.proxy.ledger.pending("default")
        assert seen.value(oldest) == min(record.over_at_ms or 0 for record in pending) / 1000
        assert seen.value('conferences{state="pending"}') == 3
        assert seen.value('ledger_records{table="conferences"}') == 3
        assert (seen.value("ledger_text_bytes") or 0) > 600
        assert (seen.value("ledger_write_seconds_count") or 0) >= 1


def test_a_component_that_fails(seen: Observed) -> None:
    """Each component has a sample; the ledger and the delivery are there from the start."""
    for name in ("ledger", "delivery", "backends.default", "backends.default.credentials"):
        assert seen.value(f'component_healthy{{component="{name}"}}') == 1, name
    seen.proxy.health.component("ledger").fail("disk full")
    assert seen.value('component_healthy{component="ledger"}') == 0


def test_an_outage_of_a_backend_is_two_lines(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says when the backend is lost and when it is back, once each."""
    backend, answers = granting_all(), [True]
    grant = backend.create

    def maybe(request: pb.CreateConferenceRequest, context: Context) -> pb.CreateConferenceResponse:
        if not answers[0]:
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "who are you")
        return grant(request, context)

    backend.create = maybe
    with observed(tmp_path, backend) as seen:
        for answers[0] in (True, False, False, True, True):
            seen.client.create("board")
            assert seen.value('backend_reachable{backend="default"}') == answers[0]
    lines = [line for line in caplog.messages if line.startswith("backends.default: ")]
    lost, back = lines
    assert lost == "backends.default: lost: UNAUTHENTICATED: who are you"
    assert re.fullmatch(r"backends\.default: back after \w+", back)


def test_a_probe_of_an_idle_backend_is_harmless(
    seen: Observed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proxy reads a conference that does not exist; any answer shows the backend."""
    (backend,) = seen.proxy.backends.values()
    assert isinstance(backend, GrpcBackend)
    backend.probe_if_idle()
    assert seen.value('backend_reachable{backend="default"}') is None, "not a minute yet"
    monkeypatch.setattr("jicofo_reservation_proxy.backends.backend_status.IDLE_SECONDS", 0.0)
    backend.probe_if_idle()
    assert seen.value('backend_reachable{backend="default"}') == 1
    code = "UNIMPLEMENTED"
    sample = f'backend_calls_total{{backend="default",code="{code}",operation="idle"}}'
    assert (seen.value(sample) or 0) >= 1


def test_tenants_are_counted_only_by_name(seen: Observed) -> None:
    """Tenants that the setting does not name share a label, so their number does not matter."""
    for room in ("[acme]board", "[other1]board", "[other2]board", "board"):
        assert seen.client.create(room).status == 200
    expected = {"acme": 1, "other": 2, "": 1}
    for tenant, number in expected.items():
        sample = f'tenant_creates_total{{outcome="reservation",tenant="{tenant}"}}'
        assert seen.value(sample) == number


def test_without_the_setting_there_is_no_tenant(tmp_path: Path) -> None:
    """By default, no label has the name of a tenant."""
    with observed(tmp_path, granting_all()) as seen:
        assert seen.client.create("[acme]board").status == 200
        assert b"acme" not in seen.ask()[1]


def test_build_settings_and_process(seen: Observed) -> None:
    """The version, the hash of the settings, the last reload and the process are there."""
    text = seen.ask()[1].decode()
    assert re.search(rf'{PREFIX}build_info{{python="[^"]+",version="[^"]+"}} 1.0\n', text)
    assert re.search(rf'{PREFIX}settings_info{{hash="[0-9a-f]{{12}}"}} 1.0\n', text)
    assert seen.value("settings_last_reload_successful") == 1
    assert seen.value("settings_last_reload_failure_timestamp_seconds") is None
    assert "\nprocess_resident_memory_bytes " in text
    assert "\nprocess_open_fds " in text


def test_the_end_of_certificates(tmp_path: Path) -> None:
    """The certificate of the listener and the authority of a backend have an end."""
    authority = Authority(tmp_path)
    cert_file, key_file = authority.server_files()
    listener = {"cert_file": str(cert_file), "key_file": str(key_file)}
    backend = {"target": "localhost:1", "tls": {"ca_file": str(authority.ca_file)}}
    made = settings(tmp_path / "state", listen_tls=listener, backends={"a": backend})
    with Proxy(made) as proxy:
        keys = [found.key for found in proxy.certificates]
    assert keys == ["listen_tls.cert_file", "backends.a.tls.ca_file"]


def _documented() -> dict[str, tuple[str, str]]:
    """Return the metrics in the table of the page: their types and labels."""
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| ([^|]*) \|", PAGE.read_text(), re.MULTILINE)
    return {name: (kind, ", ".join(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}


def test_the_page_lists_every_metric(seen: Observed) -> None:
    """The table in docs/operations.md has exactly the metrics of the registry."""
    found = {
        family.name + ("_total" if family.type == "counter" else ""): family.type
        for family in seen.proxy.metrics.registry.collect()
        if family.name.startswith(PREFIX)
    }
    documented = {name: kind for name, (kind, _) in _documented().items() if name in found}
    assert documented == found
    missing = {name for name in _documented() if name.startswith(PREFIX)} - set(found)
    assert not missing
