"""Operations with HTTP backends: fallback grants, commands, status, metrics, traces, reload."""

import json
import os
import re
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from jicofo_reservation_proxy.admin.server import AdminServer
from jicofo_reservation_proxy.app import Proxy
from jicofo_reservation_proxy.commands import main as command
from jicofo_reservation_proxy.ledger.records import RecordState

from tests.faults.processes import until
from tests.unit.ledgers import stored

from .http_support import (
    Closing,
    HttpScript,
    Received,
    answered,
    backend,
    running_http,
    serving,
)
from .otlp import attributes, receiving
from .support import (
    PATIENT,
    PROSODY,
    START,
    Client,
    exchange,
    free_port,
    granting_all,
    running,
    serving_grpc,
    serving_http,
    settings,
)
from .test_reload import reloading
from .test_tracing import by_name, proxy


@pytest.fixture(autouse=True)
def _own_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the machine's settings; set a state directory and an address for the commands."""
    for name in os.environ:
        if name.startswith("JICOFO_RESERVATION_PROXY_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("JICOFO_RESERVATION_PROXY_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("JICOFO_RESERVATION_PROXY_LISTEN", f"127.0.0.1:{free_port()}")
    monkeypatch.setenv("JICOFO_RESERVATION_PROXY_ADMIN_LISTEN", '""')


# Fallback grants


def test_a_fallback_grant_while_the_backend_is_down(tmp_path: Path) -> None:
    """With `when_unreachable = "allow"` a room opens without its backend, and needs no DELETE."""
    script, port = HttpScript(), free_port()
    allowed = backend(f"http://127.0.0.1:{port}", answer_within="1s", when_unreachable="allow")
    with running(tmp_path, backends={"default": allowed}) as client:
        granted = client.create("board")
        assert granted.status == 200
        assert client.create("board").json["id"] == granted.json["id"]
        assert client.delete(granted.json["id"]).status == 200
        with serving(script, port=port):
            assert client.create("hallo").status == 200
    assert [request.method for request in script.requests] == ["POST"]


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (answered(503), 200),
        (answered(504), 200),
        (answered(500), 502),
        (answered(401), 502),
        (answered(404, b"<html>"), 502),
        (answered(302), 502),
        (answered(403, {"message": "no"}), 403),
        (b"garbage\r\n\r\n", 502),
    ],
    ids=["503", "504", "500", "401", "404", "302", "403", "garbage"],
)
def test_an_answer_is_no_reason_for_a_fallback_grant(
    tmp_path: Path, answer: bytes, status: int
) -> None:
    """Only a backend that is not reached, or is too slow, is replaced."""
    script = HttpScript(lambda _: answer)
    with running_http(tmp_path, script, when_unreachable="allow") as running:
        assert running.client.create().status == status


def test_a_room_with_an_unknown_deletion_gets_a_fallback_grant(tmp_path: Path) -> None:
    """A room whose deletion was lost is like a room of a lost backend."""
    script = HttpScript()
    with running_http(tmp_path, script, when_unreachable="allow", answer_within="1s") as running:
        public_id = running.client.create("room").json["id"]
        script.delete = script.hang
        assert running.client.delete(public_id).status == 200
        script.wait("DELETE")
        assert running.client.create("room").status == 200
        assert len(script.of("POST")) == 1


# Commands


class Commands:
    """Runs commands and returns what they print."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def of(self, *argv: str) -> tuple[int, str]:
        """Run a command; return its exit code and its output."""
        try:
            code = command.main(argv)
        except SystemExit as exit_:
            code = int(exit_.code or 0)
        printed = self._capsys.readouterr()
        return code, printed.out + printed.err


@pytest.fixture
def commands(capsys: pytest.CaptureFixture[str]) -> Commands:
    """Return the commands."""
    return Commands(capsys)


def test_check_accepts_a_backend_that_knows_404(commands: Commands) -> None:
    """`check` reads a conference that does not exist, and opens no room."""
    script = HttpScript()
    with serving(script) as target:
        code, text = commands.of("check", "--target", f"{target}/api")
    assert code == 0
    assert "backends.default: ok, answered in" in text
    (request,) = script.requests
    assert (request.method, request.target.rpartition("/")[0]) == ("GET", "/api/conference")


@pytest.mark.parametrize(
    ("answer", "code", "said"),
    [
        (answered(404, b"<html>nginx</html>"), 0, "wanted 404 with a JSON object"),
        (answered(405), 0, "ask for a room with the command call"),
        (answered(500), 0, "ask for a room with the command call"),
        (answered(401), 1, "401"),
        (answered(403), 1, "403"),
        (answered(503), 1, "503"),
        (Closing(b"\x15\x03\x01\x00\x02\x02\x16"), 1, "NOT_HTTP"),
    ],
    ids=["404 HTML", "405", "500", "401", "403", "503", "TLS"],
)
def test_what_check_says_about_other_answers(
    commands: Commands, answer: object, code: int, said: str
) -> None:
    """An answer that shows a fault makes `check` fail; one that shows nothing has a hint."""
    script = HttpScript()
    script.get = lambda _: answer
    with serving(script) as target:
        found, text = commands.of("check", "--target", target)
    assert said in text
    assert bool(found) == bool(code), text


def test_check_names_a_backend_that_is_down(commands: Commands) -> None:
    """`check` fails if nobody listens at the target."""
    code, text = commands.of("check", "--target", f"http://127.0.0.1:{free_port()}")
    assert code
    assert "unreachable" in text
    assert "NO_CONNECTION" in text


def test_call_creates_reads_and_deletes(commands: Commands) -> None:
    """`call` with a target of HTTP sends each kind of request."""
    script = HttpScript()
    with serving(script) as target:
        flags = ["--target", target, "--as", "prosody"]
        code, text = commands.of("call", "create", "room", "--start-time", START, *flags)
        assert code == 0
        named = re.search(r'"id": "(default\.1001\.[0-9]+)"', text)
        assert named, text
        public_id = named[1]
        assert commands.of("call", "get", public_id, *flags)[0] == 0
        code, text = commands.of("call", "delete", public_id, *flags)
        assert code == 0, text
    assert [request.method for request in script.requests] == ["POST", "GET", "DELETE"]
    assert not script.book


def test_call_shows_the_status_of_a_fault(commands: Commands) -> None:
    """The log of `call` has the HTTP status and what the answer was."""
    script = HttpScript(lambda _: answered(500, b"<html><pre>Traceback</pre></html>"))
    with serving(script) as target:
        code, text = commands.of("call", "create", "room", "--target", target)
    assert code
    assert "500" in text
    assert "an HTML page" in text
    assert "Traceback" not in text


# Status, metrics, traces


@contextmanager
def watched(tmp_path: Path, script: HttpScript, **values: object) -> Iterator[tuple[Client, int]]:
    """Run a proxy with its admin listener; yield a client, and the port of the listener."""
    with running_http(tmp_path, script, **values) as running:  # type: ignore[arg-type]
        admin = AdminServer(running.proxy)
        try:
            yield Client(running.client.port, PROSODY), int(admin.effective_port)
        finally:
            admin.stop()


def asked(port: int, path: str) -> str:
    """Return the body of an answer of the admin listener."""
    reply = exchange(port, f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    assert reply.status == 200
    return reply.body.decode()


ADMIN: dict[str, Any] = {"of_proxy": {"admin_listen": "127.0.0.1:0"}}


def test_the_status_names_an_http_backend_and_its_faults(tmp_path: Path) -> None:
    """The status has the URL, the state, the HTTP status of the last fault, and pending rooms."""
    script = HttpScript()
    with watched(tmp_path, script, **ADMIN) as (client, port):
        public_id = client.create("board").json["id"]
        status = json.loads(asked(port, "/api/status"))
        (found,) = status["backends"]
        assert found["target"].startswith("http://127.0.0.1:")
        assert (status["is_well"], found["state"]) == (True, "reachable")
        script.delete = lambda _: answered(500, {"message": "the calendar is locked"})
        assert client.delete(public_id).status == 200

        def told() -> str:
            return json.dumps(json.loads(asked(port, "/api/status"))["problems"])

        until(lambda: "the calendar is locked" in told(), "the status names the deletion")
        assert "1 deletion is pending" in told()
        script.create = script.delete = lambda _: answered(503)
        assert client.create("hallo").status == 503
        assert "cannot be reached" in told()
        (found,) = json.loads(asked(port, "/api/status"))["backends"]
        assert found["state"] == "lost"
        page = asked(port, "/")
        assert "http://127.0.0.1:" in page
        script.create = script.create_in_book
        assert client.create("hallo").status == 200
        assert json.loads(asked(port, "/api/status"))["backends"][0]["state"] == "reachable"


def test_metrics_count_the_statuses(tmp_path: Path) -> None:
    """The metrics of calls have HTTP statuses, or a word where there is none, as codes."""
    script = HttpScript()
    with watched(tmp_path, script, **ADMIN) as (client, port):
        assert client.create("one").status == 200
        for answer in (answered(500), b"garbage\r\n\r\n", answered(403, {"message": "no"})):
            script.create = lambda _, answer=answer: answer  # type: ignore[misc]
            client.create("two")
        metrics = asked(port, "/metrics")
    for code in ("200", "500", "NOT_HTTP", "403"):
        labels = f'{{backend="default",code="{code}",operation="create"}} 1.0'
        assert f"jicofo_reservation_proxy_backend_calls_total{labels}" in metrics


def test_a_request_and_its_http_call_are_one_trace(tmp_path: Path) -> None:
    """The call is a child of the request; the backend gets `traceparent` and the incident id."""
    script = HttpScript()
    with receiving() as (receiver, endpoint), serving(script) as target:
        on = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}
        with proxy(tmp_path, f"{target}/api", on) as running:
            created = running.client.create("board")
            assert created.status == 200
            spans = receiver.wait("POST /conference", "POST /api/conference")
            running.client.delete(created.json["id"])
            receiver.wait("DELETE /api/conference/{id}")
            running.stop()
    request, call = by_name(spans, "POST /conference"), by_name(spans, "POST /api/conference")
    assert call.parent_span_id == request.span_id
    assert call.trace_id == request.trace_id
    assert attributes(call)["http.response.status_code"] == 200
    sent = script.of("POST")[0].headers
    _, trace_id, span_id, _ = sent["traceparent"].split("-")
    assert (bytes.fromhex(trace_id), bytes.fromhex(span_id)) == (call.trace_id, call.span_id)
    assert sent["x-incident-id"] in running.incidents("create")
    assert all("traceparent" in each.headers for each in script.requests)


# Several backends, and reloads


def test_tenants_move_to_grpc_one_by_one(tmp_path: Path) -> None:
    """Routes send each tenant to its backend; a GET and a DELETE find the backend of the id."""
    old, new = HttpScript(), granting_all()
    with ExitStack() as stack:
        own = settings(
            tmp_path / "state",
            backends={
                "old": backend(stack.enter_context(serving(old))),
                "new": PATIENT | {"target": stack.enter_context(serving_grpc(new))},
            },
            routes=[{"tenant": "acme", "backend": "new"}, {"backend": "old"}],
        )
        whole = stack.enter_context(Proxy(own))
        port = stack.enter_context(serving_http(whole))
        for user_agent in (PROSODY, "Apache-HttpClient/4.5.13 (Java/17)"):
            client = Client(port, user_agent)
            ids = [client.create(name).json["id"] for name in ("[acme]board", "board")]
            assert ids[0] != ids[1]
            for public_id in ids:
                assert client.get(public_id).status == 200
                assert client.delete(public_id).status == 200
            until(lambda: not stored(tmp_path / "state"), "both deletions are delivered")
    assert (len(new.creates), len(new.deletes)) == (2, 2)
    assert [request.fields["name"] for request in old.of("POST")] == ["board", "board"]
    assert len(old.of("DELETE")) == 2


def test_a_reload_from_grpc_to_http_and_to_another_url(tmp_path: Path) -> None:
    """The backend is replaced while rooms are open; each deletion goes to the backend of then."""
    grpc, one, two = granting_all(), HttpScript(), HttpScript()
    with ExitStack() as stack:
        targets = [stack.enter_context(serving(script)) for script in (one, two)]
        found = stack.enter_context(reloading(tmp_path, grpc))
        client = found.prosody
        public_id = client.create("first").json["id"]
        assert found.reload(backends={"default": backend(targets[0])}).faults == ()
        assert client.create("second").status == 200
        assert (len(grpc.creates), len(one.of("POST"))) == (1, 1)
        assert found.reload(backends={"default": backend(f"{targets[1]}/api/v2")}).faults == ()
        assert client.create("third").status == 200
        assert [request.target for request in two.of("POST")] == ["/api/v2/conference"]
        assert client.delete(public_id).status == 200
        two.wait("DELETE")
        # A wrong URL changes nothing.
        wrong = found.reload(backends={"default": backend("http://user:hidden@127.0.0.1:1")})
        assert wrong.faults
        assert "hidden" not in str(wrong)
        assert client.create("fourth").status == 200
        assert len(two.of("POST")) == 2
        until(
            lambda: RecordState.PENDING not in {each.state for each in stored(tmp_path / "state")},
            "the deletion is delivered",
        )


def test_a_reload_fails_no_request_in_flight(tmp_path: Path) -> None:
    """A request that waits for the old URL is answered by it."""
    arrived, one, two = threading.Event(), HttpScript(), HttpScript()
    may_answer = threading.Event()

    def slow(request: Received) -> object:
        arrived.set()
        may_answer.wait(60)
        return one.create_in_book(request)

    one.create = slow
    statuses: list[int] = []
    with ExitStack() as stack:
        targets = [stack.enter_context(serving(script)) for script in (one, two)]
        found = stack.enter_context(reloading(tmp_path, backends={"default": backend(targets[0])}))
        caller = threading.Thread(
            target=lambda: statuses.append(found.jicofo.create("slow").status)
        )
        caller.start()
        assert arrived.wait(60)
        assert found.reload(backends={"default": backend(targets[1])}).faults == ()
        assert found.jicofo.create("quick").status == 200
        may_answer.set()
        caller.join()
    assert statuses == [200]
    assert len(two.of("POST")) == 1
