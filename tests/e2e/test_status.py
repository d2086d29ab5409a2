"""The status: the page, the JSON and the command name what is wrong with a real proxy."""

import http.client
import http.server
import json
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from jicofo_reservation_proxy.admin.server import AdminServer
from jicofo_reservation_proxy.app import Proxy
from jicofo_reservation_proxy.commands import main as main_module
from jicofo_reservation_proxy.gen.jicofo.reservation.v1 import reservation_pb2 as pb
from jicofo_reservation_proxy.settings.sources import Source

from tests.unit.ledgers import eventually, failing_disk

from .http2 import answering
from .support import (
    PROSODY,
    Client,
    Context,
    Script,
    granting,
    serving_grpc,
    serving_http,
    settings,
)
from .tls import Authority

HOSTILE = "<script>alert(1)</script>\"'&\x1b[31m"
TOKEN = "tok_en-1234567890abcdef"


class Running:
    """A proxy with its admin listener."""

    def __init__(self, proxy: Proxy, port: int, admin_port: int) -> None:
        self.proxy = proxy
        self.client = Client(port, PROSODY)
        self.port = port
        self.admin_port = admin_port

    def ask(
        self, path: str, method: str = "GET", headers: Mapping[str, str] | None = None
    ) -> tuple[int, str]:
        """Return the status and the body of an answer of the admin listener."""
        connection = http.client.HTTPConnection("127.0.0.1", self.admin_port, timeout=30)
        try:
            connection.request(method, path, headers=dict(headers or {}))
            answer = connection.getresponse()
            self.headers = answer.headers
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def status(self) -> dict[str, Any]:
        """Return the status as JSON."""
        code, body = self.ask("/api/status")
        assert code == 200
        found: dict[str, Any] = json.loads(body)
        return found


@contextmanager
def running(state_dir: Path, target: str, **values: object) -> Iterator[Running]:
    """Run a proxy with its admin listener."""
    values = {"backends": {"default": {"target": target}}, "admin_listen": "127.0.0.1:0"} | values
    with Proxy(settings(state_dir, **values)) as proxy, serving_http(proxy) as port:
        admin = AdminServer(proxy)
        try:
            yield Running(proxy, port, int(admin.effective_port))
        finally:
            admin.stop()


def _refusing_deletes() -> Script:
    backend = granting("7")

    def delete(_: pb.DeleteConferenceRequest, context: Context) -> pb.DeleteConferenceResponse:
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "the calendar is locked")

    backend.delete = delete
    return backend


def test_all_is_well(tmp_path: Path) -> None:
    """With a backend that answers, nothing is wrong, and the page shows the request."""
    with serving_grpc(granting("7")) as target, running(tmp_path, target) as found:
        assert found.client.create("board").status == 200
        status = found.status()
        assert (status["is_well"], status["summary"]) == (True, "All is well.")
        (request,) = status["requests"]
        assert (request["room"], request["outcome"], request["status"]) == (
            "board",
            "reservation",
            200,
        )
        assert request["reason"] == (
            "The backend granted the room, or the client may join its conference."
        )
        assert status["backends"][0]["target"] == target
        assert {"key": "state", "value": "disk", "origin": "default"} in status["settings"]
        code, page = found.ask("/")
        assert code == 200
        assert "✓ All is well" in page
        assert "board" in page


def test_the_page_has_strict_headers(tmp_path: Path) -> None:
    """The page allows no inline script, no other site, no frame and no copy in a cache."""
    with serving_grpc(granting("7")) as target, running(tmp_path, target) as found:
        found.ask("/")
        policy = found.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert found.headers["X-Content-Type-Options"] == "nosniff"
        assert found.headers["Referrer-Policy"] == "no-referrer"
        assert found.headers["Cache-Control"] == "no-store"
        for path in ("/status.css", "/status.js"):
            assert found.ask(path)[0] == 200


def test_an_http_server_in_place_of_the_backend_is_named(tmp_path: Path) -> None:
    """If an HTTP server answers 404 on the target, the first sentence of the status says so."""
    with answering(404) as target, running(tmp_path, target) as found:
        assert found.client.create("board").status == 502
        status = found.status()
        assert not status["is_well"]
        what = "An HTTP server answered 404 in place of the gRPC backend: check the target"
        assert f"backends.default: {what}" in status["summary"]
        assert not status["backends"][0]["is_well"]
        assert what in found.ask("/")[1]


@pytest.mark.parametrize(
    ("speaks_tls", "wants_tls", "sentence"),
    [
        (False, True, "does not speak TLS on this port: remove tls"),
        (True, False, "If it wants TLS, set tls."),
        (True, True, "The certificate of the backend is not accepted: check tls.ca_file"),
    ],
)
def test_a_mistake_with_tls_is_named(
    tmp_path: Path, speaks_tls: bool, wants_tls: bool, sentence: str
) -> None:
    """The status says what is wrong between a proxy and a backend, one of which speaks TLS."""
    credentials = Authority(tmp_path / "ca").server() if speaks_tls else None
    tls = {"tls": {"ca_file": str(Authority(tmp_path / "other").ca_file)}} if wants_tls else {}
    with serving_grpc(granting(), credentials) as target:
        backend = {"default": {"target": target} | tls}
        with running(tmp_path / "state", target, backends=backend) as found:
            assert found.client.create("board").status == 503
            assert sentence in found.status()["summary"]


def test_an_http_1_server_in_place_of_the_backend_is_named(tmp_path: Path) -> None:
    """The status says that the target speaks HTTP/1."""
    with (
        http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as server,
        running(tmp_path, f"127.0.0.1:{server.server_address[1]}") as found,
    ):
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            assert found.client.create("board").status == 503
            assert "an HTTP/1 server answers there" in found.status()["summary"]
            assert "begin the target with http://" in found.status()["summary"]
        finally:
            server.shutdown()
            thread.join()


def test_a_wrong_token_at_the_door_is_named(tmp_path: Path) -> None:
    """A request without a valid token is a problem, with its peer; no token is on the page."""
    file = tmp_path / "tokens"
    file.write_text(f"{TOKEN}\n")
    file.chmod(0o600)
    state = tmp_path / "state"
    with (
        serving_grpc(granting("7")) as target,
        running(state, target, client_token_file=file) as found,
    ):
        wrong = {"Authorization": "Bearer wrong-token-0123456789"}
        assert found.client.send("GET", "/conference/7", b"", wrong).status == 401
        status = found.status()
        assert "A request came without a valid client token" in status["summary"]
        (refusal,) = status["refusals"]
        assert (refusal["kind"], refusal["number"], refusal["peer"]) == ("token", 1, "127.0.0.1")
        page = found.ask("/")[1]
        assert "wrong-token" not in page
        assert TOKEN not in page


def test_tls_to_the_plain_port_is_named(tmp_path: Path) -> None:
    """If Prosody's base URL begins with https://, the status says what to change."""
    with serving_grpc(granting("7")) as target, running(tmp_path, target) as found:
        with socket.create_connection(("127.0.0.1", found.port)) as connection:
            connection.sendall(b"\x16\x03\x01\x00\xf4\x01\x00\x00\xf0\x03\x03" + bytes(240))
            connection.settimeout(30)
            while connection.recv(4096):
                pass
        assert "begins with https://" in found.status()["summary"]


def test_deletions_that_pile_up_are_named(tmp_path: Path) -> None:
    """Deletions that the backend refuses are listed with their attempts and the reason."""
    with serving_grpc(_refusing_deletes()) as target, running(tmp_path, target) as found:
        created = found.client.create("board")
        assert found.client.delete(created.json["id"]).status == 200
        eventually(lambda: found.status()["deletions"][0]["attempts"] > 0)
        status = found.status()
        assert "1 deletion is pending, so the rooms stay held" in status["summary"]
        (deletion,) = status["deletions"]
        assert (deletion["room"], deletion["backend"]) == ("board", "default")
        assert "the calendar is locked" in deletion["reason"]


def test_a_ledger_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """If the ledger fails, the status says so, and what to check."""
    with serving_grpc(granting("7")) as target, running(tmp_path, target) as found:
        found.proxy.health.component("ledger").fail("database or disk is full", "test")
        summary = found.status()["summary"]
        assert summary.startswith("ledger: The ledger cannot be read or written: check the disk")
        assert "database or disk is full" in summary


def test_a_fault_of_the_ledger_is_over_when_it_can_be_written(tmp_path: Path) -> None:
    """Requests that failed before do not keep the problem on the page."""
    with serving_grpc(_refusing_deletes()) as target, running(tmp_path, target) as found:
        ledger = found.proxy.ledger
        with failing_disk(ledger):  # type: ignore[arg-type]
            created = found.client.create("board")
            assert found.client.delete(created.json["id"]).status == 503
            assert "ledger: " in found.status()["summary"]
        eventually(lambda: "ledger: " not in found.status()["summary"])


def test_deletions_of_a_backend_that_is_not_in_the_settings_are_named(tmp_path: Path) -> None:
    """Nobody delivers them, so the status is not well, and it lists them."""
    with serving_grpc(_refusing_deletes()) as target:
        old = {"backends": {"old": {"target": target}}, "drain_within": "2s"}
        with running(tmp_path, target, **old) as found:
            created = found.client.create("board")
            assert found.client.delete(created.json["id"]).status == 200
        with running(tmp_path, target) as found:
            status = found.status()
            assert status["summary"].startswith(
                "backends.old: 1 deletion is pending, and the backend is not in the settings: add "
                "it again, or abandon them (ledger abandon ID)."
            )
            assert [each["id"] for each in status["deletions"]] == ["old.7"]
            assert "old.7" in found.ask("/")[1]


@pytest.mark.parametrize("is_masked", [True, False])
def test_a_backend_that_is_lost_without_a_request_has_advice(
    tmp_path: Path, is_masked: bool
) -> None:
    """At night no request fails: the call to an idle backend finds that it is lost."""
    with running(tmp_path, "127.0.0.1:1", mask_rooms=is_masked) as found:
        backend = found.proxy.backends["default"]
        backend._calls._status._begun_at = -1e9  # type: ignore[attr-defined]
        eventually(lambda: found.status()["backends"][0]["state"] == "lost")
        status = found.status()
        sentence = "The backend cannot be reached: check that it runs, and the target."
        assert f"backends.default: {sentence}" in status["summary"]
        assert sentence in status["backends"][0]["reason"]
        assert ("UNAVAILABLE" in status["summary"]) is not is_masked


def test_a_failed_reload_is_one_problem(tmp_path: Path) -> None:
    """The faults of the settings are listed once."""
    with serving_grpc(granting("7")) as target, running(tmp_path, target) as found:
        found.proxy.reloader._source = Source(tmp_path / "missing.toml", {})
        assert found.proxy.reloader.reload().faults
        (problem,) = found.status()["problems"]
        assert problem["what"].startswith("The last reload failed")


def test_hostile_names_are_escaped(tmp_path: Path) -> None:
    """What a client chooses is text on the page, and has no control characters."""
    with serving_grpc(granting("7")) as target, running(tmp_path, target) as found:
        found.client.create(HOSTILE)
        found.client.create("<b>bold</b>")
        page = found.ask("/")[1]
        assert "<b>bold" not in page
        assert "<script>alert" not in page
        assert "&lt;b&gt;bold&lt;/b&gt;" in page


def test_masked_rooms_are_nowhere(tmp_path: Path) -> None:
    """With `mask_rooms`, neither page nor JSON has a room, an owner, an id or a backend's text."""
    with (
        serving_grpc(_refusing_deletes()) as target,
        running(tmp_path, target, mask_rooms=True) as found,
    ):
        created = found.client.create("secretroom")
        assert found.client.delete(created.json["id"]).status == 200
        eventually(lambda: found.status()["deletions"][0]["attempts"] > 0)
        texts = found.ask("/")[1] + found.ask("/api/status")[1]
        for secret in ("secretroom", "juliet", created.json["id"], "default.7", "calendar"):
            assert secret not in texts
        status = found.status()
        assert status["requests"][-1]["room"] == status["deletions"][0]["room"]


def test_a_deletion_is_abandoned_with_a_token(tmp_path: Path) -> None:
    """Over the admin listener, an action needs a token and a deletion in the right state."""
    file = tmp_path / "tokens"
    file.write_text(f"{TOKEN}\n")
    file.chmod(0o600)
    with ExitStack() as stack:
        target = stack.enter_context(serving_grpc(_refusing_deletes()))
        state = tmp_path / "state"
        found = stack.enter_context(running(state, target, admin_token_file=file))
        created = found.client.create("board")
        assert found.client.delete(created.json["id"]).status == 200
        bearer = {"Authorization": f"Bearer {TOKEN}"}
        path = "/api/ledger/default.7"
        assert found.ask(f"{path}/abandon", "POST")[0] == 401
        wrong = {"Authorization": "Bearer wrong"}
        assert found.ask(f"{path}/abandon", "POST", wrong)[0] == 401
        assert found.ask("/api/ledger/default.8/abandon", "POST", bearer)[0] == 404
        code, text = found.ask(f"{path}/retry", "POST", bearer)
        assert code == 409
        assert "wanted a deletion that is abandoned, got one that is pending" in text
        assert found.ask(f"{path}/abandon", "POST", bearer)[0] == 200
        assert found.status()["conferences"]["abandoned"] == 1
        assert found.ask(f"{path}/abandon", "POST", bearer)[0] == 409
        assert found.ask(f"{path}/retry", "POST", bearer)[0] == 200
        assert found.status()["conferences"] == {"open": 0, "pending": 1, "abandoned": 0}


def test_without_a_token_file_nothing_can_be_changed(tmp_path: Path) -> None:
    """Without `admin_token_file` an action is refused, and the answer names the setting."""
    with serving_grpc(granting("7")) as target, running(tmp_path, target) as found:
        code, text = found.ask("/api/ledger/default.7/abandon", "POST")
        assert code == 403
        assert "set admin_token_file" in text


def test_the_command_shows_the_status(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`status` prints what is wrong, and exits with 9; if all is well, it exits with 0."""
    monkeypatch.setenv("JICOFO_RESERVATION_PROXY_STATE_DIR", str(tmp_path))
    with serving_grpc(_refusing_deletes()) as target, running(tmp_path, target) as found:
        created = found.client.create("board")
        assert main_module.main(["status"]) == 0
        assert "All is well." in capsys.readouterr().out
        assert found.client.delete(created.json["id"]).status == 200
        eventually(lambda: found.status()["deletions"][0]["attempts"] > 0)
        assert main_module.main(["status"]) == 9
        text = capsys.readouterr().out
        assert "1 deletion is pending" in text
        assert "\x1b" not in text
        assert main_module.main(["status", "--json"]) == 9
        assert json.loads(capsys.readouterr().out)["is_well"] is False


def test_the_command_asks_the_admin_listener(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """If no proxy uses the state directory, `status` asks `admin_listen`; if none answers: 5."""
    monkeypatch.setenv("JICOFO_RESERVATION_PROXY_STATE_DIR", str(tmp_path / "other"))
    with serving_grpc(granting("7")) as target, running(tmp_path, target) as found:
        address = f"127.0.0.1:{found.admin_port}"
        monkeypatch.setenv("JICOFO_RESERVATION_PROXY_ADMIN_LISTEN", address)
        assert main_module.main(["status"]) == 0
    capsys.readouterr()
    assert main_module.main(["status"]) == 5
    assert "no proxy runs" in capsys.readouterr().err


@pytest.mark.parametrize("is_running", [True, False])
def test_the_command_abandons_a_deletion(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    *,
    is_running: bool,
) -> None:
    """`ledger abandon` asks first, needs a pending deletion, and is durable."""
    monkeypatch.setenv("JICOFO_RESERVATION_PROXY_STATE_DIR", str(tmp_path))
    with serving_grpc(_refusing_deletes()) as target, ExitStack() as stack:
        found = stack.enter_context(running(tmp_path, target, drain_within="1s"))
        created = found.client.create("board")
        assert main_module.main(["ledger", "abandon", "default.7", "--yes"]) == 5
        assert found.client.delete(created.json["id"]).status == 200
        if not is_running:
            stack.pop_all().close()
        capsys.readouterr()
        monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
        assert main_module.main(["ledger", "abandon", "default.7"]) == 2
        captured = capsys.readouterr()
        assert "room board, backend default, pending" in captured.out
        assert "add --yes" in captured.err
        monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
        monkeypatch.setattr("builtins.input", lambda _: "n")
        assert main_module.main(["ledger", "abandon", "default.7"]) == 0
        assert "Nothing was changed" in capsys.readouterr().out
        monkeypatch.setattr("builtins.input", lambda _: "y")
        assert main_module.main(["ledger", "abandon", "default.7"]) == 0
        assert "default.7: abandoned" in capsys.readouterr().out
        stack.close()
    assert main_module.main(["ledger", "abandoned"]) == 0
    assert "default.7" in capsys.readouterr().out
