"""Traces: real spans of a real proxy, which a real OTLP receiver gets."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from jicofo_reservation_proxy.app import create_app
from jicofo_reservation_proxy.gen.jicofo.reservation.v1 import reservation_pb2 as pb
from jicofo_reservation_proxy.observability.throttle import SECONDS_BETWEEN_LINES
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from .otlp import attributes, receiving
from .support import (
    PROSODY,
    START,
    TIMEOUT_SECONDS,
    Client,
    Context,
    Script,
    conference,
    free_port,
    granting,
    granting_all,
    read_reply,
    serving_grpc,
    settings,
)

INCIDENT = "jicofo_reservation_proxy.incident_id"
OUTCOME = "jicofo_reservation_proxy.outcome"
SERVICE = "jicofo.reservation.v1.ReservationService"
TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"
SWITCHES = ("JICOFO_", "OTEL_", "COVERAGE_")


@dataclass
class Running:
    """A proxy in a process of its own. `log` has the lines so far, and all of them after `stop`."""

    process: "subprocess.Popen[str]"
    client: Client
    log: list[str]
    reader: threading.Thread

    def stop(self) -> None:
        """Stop the proxy gracefully."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(TIMEOUT_SECONDS) == 0
        self.reader.join(TIMEOUT_SECONDS)

    def incidents(self, operation: str) -> list[str]:
        """Return the incident ids of the log lines of an operation."""
        pattern = rf"(?:INFO|ERROR|WARNING) {operation} .* incident=(\w+)"
        return re.findall(pattern, "\n".join(self.log))


@contextmanager
def proxy(
    tmp_path: Path, target: str, environ: dict[str, str], *program: str, **values: str
) -> Iterator[Running]:
    """Run `serve` with these variables; `values` are settings of the backend `default`."""
    file = tmp_path / "settings.toml"
    lines = [f'{key} = "{value}"' for key, value in (values | {"target": target}).items()]
    file.write_text("\n".join(["[backends.default]", *lines]), "utf-8")
    ours = {name: text for name, text in os.environ.items() if not name.startswith(SWITCHES)}
    flags = ["--config", str(file), "--listen", "127.0.0.1:0", "--state-dir", str(tmp_path / "s")]
    ours["JICOFO_RESERVATION_PROXY_ADMIN_LISTEN"] = "127.0.0.1:0"
    quick = {"OTEL_BSP_SCHEDULE_DELAY": "50", "OTEL_EXPORTER_OTLP_TIMEOUT": "5"}
    with subprocess.Popen(
        [sys.executable, *(program or ("-m", "jicofo_reservation_proxy")), "serve", *flags],
        env=ours | quick | environ,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        stderr, log = process.stderr, []
        assert stderr
        for line in stderr:
            log.append(line)
            if found := re.search(r"listening on http://127\.0\.0\.1:([0-9]+)", line):
                break
        else:
            raise AssertionError(log)
        reader = threading.Thread(target=lambda: log.extend(stderr))
        reader.start()
        try:
            yield Running(process, Client(int(found[1])), log, reader)
        finally:
            process.kill()
            reader.join()


def by_name(spans: list[Span], name: str) -> Span:
    """Return the only span with a name."""
    (found,) = [span for span in spans if span.name == name]
    return found


def named(metadata: Mapping[str, str | bytes]) -> tuple[bytes, bytes]:
    """Return the ids of the trace and of the span that the metadata of a call name."""
    _, trace_id, span_id, flags = str(metadata["traceparent"]).split("-")
    assert int(flags, 16) & 1  # the trace is sampled
    return bytes.fromhex(trace_id), bytes.fromhex(span_id)


def ids(span: Span) -> tuple[bytes, bytes]:
    """Return the ids of the trace and of the span."""
    return span.trace_id, span.span_id


def test_a_request_and_its_call_are_one_trace(tmp_path: Path) -> None:
    """The call is a child of the request, and the backend gets the call's `traceparent`.

    Both spans have the incident id of the log line. The second request takes the fast path.
    """
    backend = granting_all()
    with receiving() as (receiver, endpoint), serving_grpc(backend) as target:
        on = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}
        with proxy(tmp_path, target, on) as running:
            assert running.client.create("board").status == 200
            assert running.client.create("hallo").status == 200
            spans = receiver.wait(*2 * ["POST /conference", f"{SERVICE}/CreateConference"])
            running.stop()
    posts = [span for span in spans if span.name == "POST /conference"]
    calls = [span for span in spans if span.name == f"{SERVICE}/CreateConference"]
    incidents = running.incidents("create")
    assert len(set(incidents)) == 2
    for post, call, incident, metadata in zip(
        posts, calls, incidents, backend.metadata, strict=True
    ):
        assert (post.kind, call.kind) == (Span.SPAN_KIND_SERVER, Span.SPAN_KIND_CLIENT)
        assert not post.parent_span_id
        assert call.parent_span_id == post.span_id
        assert call.trace_id == post.trace_id
        assert named(metadata) == ids(call)
        assert "tracestate" not in metadata
        assert metadata["x-incident-id"] == incident
        assert attributes(post) == {
            "http.request.method": "POST",
            "http.route": "/conference",
            "http.response.status_code": 200,
            INCIDENT: incident,
            OUTCOME: "reservation",
            "jicofo_reservation_proxy.client": "jicofo",
            "jicofo_reservation_proxy.backend": "default",
        }
        assert attributes(call) == {
            "rpc.system": "grpc",
            "rpc.service": SERVICE,
            "rpc.method": "CreateConference",
            "rpc.grpc.status_code": 0,
            "jicofo_reservation_proxy.backend": "default",
            INCIDENT: incident,
        }
        assert post.status.code == call.status.code == Status.STATUS_CODE_UNSET
    assert posts[0].trace_id != posts[1].trace_id
    assert receiver.services == {"jicofo-reservation-proxy"}
    assert "board" not in str(spans)
    assert "juliet" not in str(spans)


def test_get_and_a_delivery_have_spans(tmp_path: Path) -> None:
    """A GET has a span. The delivery of a deletion is a trace of its own, with all its calls."""
    backend = granting()
    with receiving() as (receiver, endpoint), serving_grpc(backend) as target:
        on = {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{endpoint}/v1/traces"}
        with proxy(tmp_path, target, on) as running:
            public_id = running.client.create().json["id"]
            assert running.client.get(public_id).status == 200
            assert running.client.delete(public_id).status == 200
            spans = receiver.wait("deliver deletion", "GET /conference/{id}")
            spans = receiver.wait("DELETE /conference/{id}")
            running.stop()
    delivery = by_name(spans, "deliver deletion")
    deleted = by_name(spans, f"{SERVICE}/DeleteConference")
    got = by_name(spans, "GET /conference/{id}")
    children = [span for span in spans if span.parent_span_id == delivery.span_id]
    assert not delivery.parent_span_id
    assert [span.name for span in children] == [
        f"{SERVICE}/GetConference",
        f"{SERVICE}/DeleteConference",
    ]
    assert {attributes(span)[INCIDENT] for span in (delivery, *children)} == set(
        running.incidents("deletion delivered")
    )
    assert attributes(deleted)["rpc.grpc.status_code"] == 0
    assert attributes(got)[INCIDENT] == running.incidents("get")[0]
    assert attributes(got)["http.route"] == "/conference/{id}"
    assert ids(deleted) in [named(metadata) for metadata in backend.metadata]
    assert str(public_id) not in str(spans)


def test_a_fault_is_an_error(tmp_path: Path) -> None:
    """Both spans of a fault are errors; the incident id is that of the sentence for the user.

    The text of the backend is in no span.
    """

    def fail(_: pb.CreateConferenceRequest, context: Context) -> pb.CreateConferenceResponse:
        context.abort(grpc.StatusCode.INTERNAL, "a secret of the backend")

    with receiving() as (receiver, endpoint), serving_grpc(Script(fail)) as target:
        on = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}
        with proxy(tmp_path, target, on) as running:
            reply = running.client.create()
            spans = receiver.wait("POST /conference", f"{SERVICE}/CreateConference")
            running.stop()
    post, call = spans
    assert reply.status == 502
    assert f"incident {attributes(post)[INCIDENT]}" in reply.json["message"]
    assert attributes(post)["http.response.status_code"] == 502
    assert attributes(post)[OUTCOME] == "fault"
    assert attributes(post)["error.type"] == "broken"
    assert attributes(call)["rpc.grpc.status_code"] == 13
    assert attributes(call)["error.type"] == "INTERNAL"
    assert post.status.code == call.status.code == Status.STATUS_CODE_ERROR
    assert "secret" not in str(spans)


def test_a_wrong_request_has_a_span_without_a_call(tmp_path: Path) -> None:
    """A mistake of the client is no error of the server, and calls no backend."""
    with receiving() as (receiver, endpoint), serving_grpc(granting()) as target:
        on = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}
        with proxy(tmp_path, target, on) as running:
            assert running.client.create(start_time="soon").status == 400
            (post,) = receiver.wait("POST /conference")
    assert attributes(post)[OUTCOME] == "badinput"
    assert attributes(post)["http.response.status_code"] == 400
    assert post.status.code == Status.STATUS_CODE_UNSET


def test_a_fallback_grant_names_its_source(tmp_path: Path) -> None:
    """The span of a fallback grant says so. Its call failed, and has an event for each retry."""
    with receiving() as (receiver, endpoint):
        on = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}
        target = f"127.0.0.1:{free_port()}"
        with proxy(tmp_path, target, on, when_unreachable="allow") as running:
            assert running.client.create().status == 200
            post, call = receiver.wait("POST /conference", f"{SERVICE}/CreateConference")
    assert attributes(post)["jicofo_reservation_proxy.source"] == "fallback_grant"
    assert attributes(post)[OUTCOME] == "reservation"
    assert post.status.code == Status.STATUS_CODE_UNSET
    assert attributes(call)["rpc.grpc.status_code"] == 14
    assert call.status.code == Status.STATUS_CODE_ERROR
    assert {event.name for event in call.events} == {"retry"}


def test_each_retry_has_the_traceparent(tmp_path: Path) -> None:
    """A retry is an event of its call, and the backend gets the same `traceparent` again."""

    def create(
        request: pb.CreateConferenceRequest, context: Context
    ) -> pb.CreateConferenceResponse:
        if len(backend.creates) < 3:
            context.abort(grpc.StatusCode.UNAVAILABLE, "not yet")
        return pb.CreateConferenceResponse(conference=conference(request))

    backend = Script(create)
    with receiving() as (receiver, endpoint), serving_grpc(backend) as target:
        on = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}
        with proxy(tmp_path, target, on, answer_within="15s") as running:
            assert running.client.create().status == 200
            _, call = receiver.wait("POST /conference", f"{SERVICE}/CreateConference")
    assert [event.name for event in call.events] == ["retry", "retry"]
    assert [named(metadata) for metadata in backend.metadata] == 3 * [ids(call)]


def test_the_span_of_a_reverse_proxy_is_the_parent(tmp_path: Path) -> None:
    """`traceparent` and `tracestate` of a request are honoured in each request of a connection.

    An invalid `traceparent` counts as none. A head with one never takes the fast path.
    """
    backend = granting()
    heads = [
        {"traceparent": PARENT, "tracestate": "congo=t61rcWkgMzE"},
        {"traceparent": PARENT.replace("0af7", "1af7")},
        {"traceparent": PARENT.replace("0af7", "1af7")},
        {"traceparent": "nonsense"},
        {},
    ]
    with receiving() as (receiver, endpoint), serving_grpc(backend) as target:
        on = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}
        with proxy(tmp_path, target, on) as running:
            address = ("127.0.0.1", running.client.port)
            with socket.create_connection(address, TIMEOUT_SECONDS) as connection:
                for head in heads:
                    connection.sendall(_get(head))
                    assert read_reply(connection).status == 502
            spans = receiver.wait(*5 * ["GET /conference/{id}"])
    gets = [span for span in spans if span.name == "GET /conference/{id}"]
    traces = [span.trace_id.hex() for span in gets]
    assert traces[:3] == [TRACE, TRACE.replace("0af7", "1af7"), TRACE.replace("0af7", "1af7")]
    assert [span.parent_span_id.hex() for span in gets] == [*3 * ["b7ad6b7169203331"], "", ""]
    assert len(set(traces)) == 4
    assert backend.metadata[0]["tracestate"] == "congo=t61rcWkgMzE"
    assert str(backend.metadata[0]["traceparent"]).startswith(f"00-{TRACE}-")
    assert "tracestate" not in backend.metadata[1]


def _get(headers: Mapping[str, str]) -> bytes:
    lines = ["GET /conference/default.7 HTTP/1.1", "Host: localhost", f"User-Agent: {PROSODY}"]
    lines += [f"{name}: {text}" for name, text in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()


def test_a_bug_has_the_incident_id_of_the_answer(tmp_path: Path) -> None:
    """The span of a request that fails in the proxy has the incident id of the answer and the log.

    The log shows the traceback of the bug.
    """
    bug = (
        "from jicofo_reservation_proxy.reservations.use_cases import UseCases;"
        "from jicofo_reservation_proxy.__main__ import run;"
        "UseCases.create = None; run()"
    )
    with receiving() as (receiver, endpoint), serving_grpc(granting()) as target:
        on = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}
        with proxy(tmp_path, target, on, "-c", bug) as running:
            replies = [running.client.create() for _ in range(2)]
            spans = receiver.wait(*2 * ["POST /conference"])
            running.stop()
    for reply, span in zip(replies, spans, strict=True):
        incident = attributes(span)[INCIDENT]
        assert reply.status == attributes(span)["http.response.status_code"] == 500
        assert f"incident {incident}" in reply.json["message"]
        (line,) = [line for line in running.log if incident in line]
        assert "TypeError" in line
        assert "TracedError" not in line
        assert span.status.code == Status.STATUS_CODE_ERROR
        assert attributes(span)["error.type"] == "internal"


def test_the_standard_variables_choose_name_and_sampler(tmp_path: Path) -> None:
    """OTEL_SERVICE_NAME names the service. What the sampler leaves out is not exported.

    The backend still gets a `traceparent`, which says that the trace is not sampled.
    """
    backend = granting()
    with receiving() as (receiver, endpoint), serving_grpc(backend) as target:
        on = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_TRACES_EXPORTER": "otlp"}
        on |= {"OTEL_SERVICE_NAME": "rooms", "OTEL_TRACES_SAMPLER": "parentbased_always_off"}
        with proxy(tmp_path, target, on) as running:
            assert running.client.create().status == 200
            headers = {"traceparent": PARENT}
            assert running.client.send("GET", "/conference/7", headers=headers).status == 502
            spans = receiver.wait("GET /conference/{id}")
            running.stop()
    assert {span.trace_id.hex() for span in spans} == {TRACE}
    assert receiver.services == {"rooms"}
    flags = str(backend.metadata[0]["traceparent"]).rpartition("-")[2]
    assert int(flags, 16) & 1 == 0


def test_the_shutdown_exports_what_is_left(tmp_path: Path) -> None:
    """A graceful shutdown exports the spans that still wait."""
    with receiving() as (receiver, endpoint), serving_grpc(granting()) as target:
        on = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_BSP_SCHEDULE_DELAY": "3600000"}
        with proxy(tmp_path, target, on) as running:
            assert running.client.create().status == 200
            assert not receiver.spans
            running.stop()
    assert len(receiver.spans) == 2


def test_the_shutdown_does_not_repeat_an_export_that_fails(tmp_path: Path) -> None:
    """A collector that refuses the last spans is asked once, so the shutdown is not slow."""
    with receiving(503) as (receiver, endpoint), serving_grpc(granting()) as target:
        on = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_BSP_SCHEDULE_DELAY": "3600000"}
        with proxy(tmp_path, target, on) as running:
            assert running.client.create().status == 200
            running.stop()
    assert len(receiver.spans) == 2


@pytest.mark.parametrize("is_hanging", [False, True], ids=["refuses", "hangs"])
def test_a_collector_that_is_down_disturbs_nothing(tmp_path: Path, *, is_hanging: bool) -> None:
    """Requests are answered, the proxy stops, and the log has one line a minute about it."""
    began = time.monotonic()
    with socket.socket() as collector, serving_grpc(granting_all()) as target:
        collector.bind(("127.0.0.1", 0))
        if is_hanging:
            collector.listen()
        on = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.getsockname()[1]}",
            "OTEL_EXPORTER_OTLP_TIMEOUT": "1",
            "OTEL_BSP_MAX_QUEUE_SIZE": "4",
            "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "4",
        }
        with proxy(tmp_path, target, on) as running:
            assert {running.client.create(f"room{n}").status for n in range(30)} == {200}
            _until_logged(running, "cannot export all traces")
            assert {running.client.create(f"hall{n}").status for n in range(30)} == {200}
            running.stop()
    warnings = [line for line in running.log if " WARNING " in line or " ERROR " in line]
    assert all("cannot export all traces" in line for line in warnings), warnings
    assert 1 <= len(warnings) <= 1 + (time.monotonic() - began) // SECONDS_BETWEEN_LINES


def _until_logged(running: Running, text: str) -> None:
    """Wait for a line of the log. It is read by another thread, which has no event for it."""
    waiting = threading.Event()
    for _ in range(int(TIMEOUT_SECONDS * 20)):
        if any(text in line for line in running.log):
            return
        waiting.wait(0.05)
    raise AssertionError(running.log)


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"OTEL_TRACES_EXPORTER": "none"},
        {"OTEL_SDK_DISABLED": "TRUE"},
    ],
)
def test_off_imports_nothing_and_sends_no_traceparent(
    tmp_path: Path, environ: dict[str, str]
) -> None:
    """Unless the operator asks for traces, OpenTelemetry is not imported; backends get no trace."""
    forbid = (
        "import sys; from jicofo_reservation_proxy.__main__ import run;"
        "sys.modules['opentelemetry'] = None; run()"
    )
    if environ:
        environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = "http://127.0.0.1:1"
    backend = granting()
    with serving_grpc(backend) as target, proxy(tmp_path, target, environ, "-c", forbid) as running:
        headers = {"traceparent": PARENT}
        assert running.client.send("GET", "/conference/7", headers=headers).status == 502
        running.client.create()
        running.stop()
    assert all("traceparent" not in metadata for metadata in backend.metadata)
    assert not [line for line in running.log if "traces" in line]


def test_without_the_extra_the_proxy_starts_and_says_what_to_install(tmp_path: Path) -> None:
    """A warning names the pip command, and rooms open nevertheless."""
    remove = (
        "import sys; from jicofo_reservation_proxy.__main__ import run;"
        "sys.modules['opentelemetry'] = None; run()"
    )
    on = {"OTEL_TRACES_EXPORTER": "otlp"}
    with (
        serving_grpc(granting()) as target,
        proxy(tmp_path, target, on, "-c", remove) as running,
    ):
        assert running.client.create().status == 200
        running.stop()
    (line,) = [line for line in running.log if " WARNING " in line]
    assert "pip install 'jicofo-reservation-proxy[otel]'" in line


FORKING = """
import os, sys, threading
from pathlib import Path
from jicofo_reservation_proxy.app import create_app
from jicofo_reservation_proxy.settings.validation import validate

app = create_app(validate({"state_dir": sys.argv[1], "drain_within": "1s"}))
if os.fork() == 0:
    exporters = [each for each in threading.enumerate() if "Otel" in each.name]
    for each in exporters:
        each.join(10)
    print([each.is_alive() for each in exporters], flush=True)
    os._exit(0)
os.wait()
print(app.test_client().post("/conference", data={"name": "a", "start_time": sys.argv[2]}).status)
"""


def test_a_forked_process_has_no_thread_and_its_parent_goes_on(tmp_path: Path) -> None:
    """After a fork the new process exports nothing, and its parent still exports its spans."""
    with receiving() as (receiver, endpoint):
        ours = {name: text for name, text in os.environ.items() if not name.startswith(SWITCHES)}
        done = subprocess.run(
            [sys.executable, "-c", FORKING, str(tmp_path / "s"), START],
            env=ours | {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint},
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
            check=True,
        )
    child, parent = done.stdout.splitlines()
    assert "True" not in child
    assert parent == "200 OK"
    assert {span.name for span in receiver.spans} >= {"POST /conference"}


def test_another_wsgi_server_has_traces_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`create_app` has the same spans, also for requests that Flask answers; it leaks no thread."""
    with receiving() as (receiver, endpoint):
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        app = create_app(settings(tmp_path), granting())
        try:
            client = app.test_client()
            for path in ("/conference/7", "/conference/7%20"):
                answer = client.get(path, headers={"traceparent": PARENT})
                assert answer.status_code in {404, 502}
            form = {"name": "board", "start_time": START}
            posted = client.post("/conference", data=form, headers={"traceparent": PARENT})
            assert posted.status_code == 200
            client.delete("/conference/7%20", headers={"traceparent": PARENT})
        finally:
            app.extensions["jicofo_reservation_proxy"].close()
    names = [span.name for span in receiver.spans if span.trace_id.hex() == TRACE]
    assert names.count("GET /conference/{id}") == 2
    assert names.count("POST /conference") == 1
    assert names.count("DELETE /conference/{id}") == 1
