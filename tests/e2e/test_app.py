"""The WSGI application: under other servers, and with a backend in the same process."""

import io
import math
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from jicofo_reservation_proxy.admin.control_socket import SOCKET_NAME
from jicofo_reservation_proxy.app import EXTENSION, Proxy, create_app
from jicofo_reservation_proxy.errors import CredentialsError, SettingsError, StateError
from jicofo_reservation_proxy.http.wsgi import FORKED
from jicofo_reservation_proxy.ledger.sqlite_ledger import SqliteLedger

from .support import JICOFO, START, TIMEOUT_SECONDS, Client, granting, running, settings

FORM = f"name=testroom&start_time={START}"
TYPE = "application/x-www-form-urlencoded"


def test_create_app_serves_a_servicer_of_this_process(tmp_path: Path) -> None:
    """The proxy calls a servicer of its own process over a real gRPC channel."""
    backend = granting()
    app = create_app(settings(tmp_path), backend)
    try:
        client = app.test_client()
        reply = client.post(
            "/conference", data=FORM, content_type=TYPE, headers={"User-Agent": JICOFO}
        )
        assert (reply.status_code, reply.get_json()["id"]) == (200, 364758328)
        assert client.delete("/conference/364758328").status_code == 200
    finally:
        app.extensions[EXTENSION].close()
    assert [request.room.raw for request in backend.creates] == ["testroom"]
    assert backend.metadata[0]["x-incident-id"]


def test_a_servicer_replaces_all_backends_of_the_settings(tmp_path: Path) -> None:
    """With a servicer the proxy ignores the backends and the routes of the settings."""
    configured = settings(
        tmp_path, backends={"other": {"target": "unix:/x"}}, routes=[{"backend": "other"}]
    )
    with Proxy(configured, granting()) as proxy:
        reply = proxy.flask.test_client().post("/conference", data=FORM, content_type=TYPE)
        assert reply.status_code == 200


def test_create_app_accepts_every_name_as_host(tmp_path: Path) -> None:
    """Another server listens, perhaps not on `listen`; a web page and other names are refused."""
    for hosts, status in (([], 200), (["other.example.com"], 403)):
        app = create_app(settings(tmp_path, allowed_hosts=hosts), granting())
        try:
            for headers, expected in (
                ({"Host": "proxy.example.com"}, status),
                ({"Origin": "null"}, 403),
            ):
                reply = app.test_client().post(
                    "/conference", data=FORM, content_type=TYPE, headers=headers
                )
                assert reply.status_code == expected
        finally:
            app.extensions[EXTENSION].close()


def test_create_app_reads_its_settings_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without an argument `create_app` reads the environment; it refuses wrong settings."""
    monkeypatch.setenv("JICOFO_RESERVATION_PROXY_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("JICOFO_RESERVATION_PROXY_THREADS", "3")
    app = create_app()
    proxy = app.extensions[EXTENSION]
    proxy.close()
    assert (proxy.settings.state_dir, proxy.settings.threads) == (tmp_path, 3)
    monkeypatch.setenv("JICOFO_RESERVATION_PROXY_THREADS", "none")
    with pytest.raises(SettingsError, match="threads"):
        create_app()


def test_create_app_reads_the_file_that_the_environment_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`create_app` finds the TOML file by the same variable as the command line does."""
    file = tmp_path / "settings.toml"
    file.write_text(f'state_dir = "{tmp_path}"\nthreads = 5\n')
    monkeypatch.setenv("JICOFO_RESERVATION_PROXY_CONFIG", str(file))
    proxy = create_app().extensions[EXTENSION]
    proxy.close()
    assert proxy.settings.threads == 5


def test_the_stub_serves_when_no_backend_is_set(tmp_path: Path) -> None:
    """Without a backend in the settings the stub grants a room, remembers it, and frees it."""
    with running(tmp_path) as client:
        first = client.create()
        assert first.status == 200
        assert client.create(mail_owner="romeo@example.com").status == 403
        assert client.get(first.json["id"]).json["mail_owner"] == "juliet@example.com"
        assert client.delete(first.json["id"]).status == 200
        assert client.create(mail_owner="romeo@example.com").status == 200


def test_a_body_that_ends_early_is_refused(tmp_path: Path) -> None:
    """The proxy refuses a form that is cut off, because its room name may be incomplete.

    The proxy's own server never passes on such a form, but another WSGI server may.
    """
    environ = {
        "PATH_INFO": "/conference",
        "REQUEST_METHOD": "POST",
        "CONTENT_TYPE": TYPE,
        "CONTENT_LENGTH": str(len(FORM) + 1),
        "wsgi.input": io.BytesIO(FORM.encode()),
    }
    statuses: list[str] = []
    backend = granting()
    with Proxy(settings(tmp_path), backend) as proxy:
        body = proxy.flask.wsgi_app(environ, lambda status, _: statuses.append(status))  # type: ignore[arg-type]
    assert statuses == ["400 Bad Request"]
    assert b"".join(body) == b'{"message": "The body is shorter than its Content-Length."}'
    assert backend.creates == []


def test_a_proxy_can_be_closed_twice(tmp_path: Path) -> None:
    """A second `close` does nothing.

    The caller of `create_app` closes the proxy, and the interpreter closes it again when it exits.
    """
    proxy = Proxy(settings(tmp_path), granting())
    proxy.close()
    proxy.close()


def test_a_failed_start_leaves_nothing_open(tmp_path: Path) -> None:
    """A proxy that cannot start closes what it has opened (tests/conftest.py checks for leaks)."""
    not_a_directory = tmp_path / "file"
    not_a_directory.write_text("")
    with pytest.raises(StateError, match="state_dir: wanted a writable directory"):
        Proxy(settings(not_a_directory), granting())
    auth = {"api_key_file": str(tmp_path / "missing")}
    backends = {"a": {"target": "unix:/a"}, "b": {"target": "unix:/b", "auth": auth}}
    with pytest.raises(CredentialsError, match=r"backends\.b\.auth\.api_key_file: cannot read"):
        Proxy(settings(tmp_path, backends=backends, routes=[{"backend": "a"}]))


def test_an_unusable_ledger_is_answered_503(tmp_path: Path) -> None:
    """If the proxy cannot store an alias, it does not grant the room.

    A DELETE is 200 if the backend accepts the deletion at once, or if the alias is unknown.
    """
    with Proxy(settings(tmp_path), granting("no-number")) as proxy:
        client = proxy.flask.test_client()
        assert isinstance(proxy.ledger, SqliteLedger)
        proxy.ledger._database.close()
        headers = {"User-Agent": JICOFO}
        reply = client.post("/conference", data=FORM, content_type=TYPE, headers=headers)
        assert reply.status_code == 503
        assert client.get("/conference/90000000000001").status_code == 404
        assert client.delete("/conference/90000000000001").status_code == 200
        assert client.delete("/conference/default.other").status_code == 200


def test_a_state_directory_without_sockets_is_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """If the proxy cannot create its control socket, it logs a warning and serves."""
    (tmp_path / SOCKET_NAME).mkdir()
    with running(tmp_path, granting()) as client:
        assert client.create().status == 200
    assert "the command ledger does not work while the proxy runs" in caplog.text


@pytest.mark.parametrize(("drain", "most"), [("20s", 19.0), ("5s", 4.0), ("1s", 0.8), ("0s", 0.0)])
def test_a_part_of_the_drain_is_left_for_closing_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, drain: str, most: float
) -> None:
    """The deliveries stop before `drain_within` is over. The rest is for closing the files."""
    given: list[float] = []
    with Proxy(settings(tmp_path, drain_within=drain)) as proxy:
        stop = proxy.delivery.stop

        def note_and_stop(within_seconds: float) -> None:
            given.append(within_seconds)
            stop(within_seconds)

        monkeypatch.setattr(proxy.delivery, "stop", note_and_stop)
    assert most / 2 <= given[0] <= most


def test_directories_of_killed_processes_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next start removes the directory that a killed proxy left, and no other directory."""
    with tempfile.TemporaryDirectory(prefix="t") as short:  # the path of a socket is short
        temporary = Path(short)
        monkeypatch.setattr("tempfile.tempdir", short)
        ended = subprocess.Popen([sys.executable, "-c", ""])
        ended.wait()
        names = [f"reservations-{number}-abc" for number in (ended.pid, 1, "x")]
        for name in (*names, "other"):
            (temporary / name).mkdir()
        with Proxy(settings(tmp_path / "state")):
            left = {entry.name for entry in temporary.iterdir()}
            assert left > {*names[1:], "other"}
            assert names[0] not in left
        assert {entry.name for entry in temporary.iterdir()} == {*names[1:], "other"}


FORKING = """
import os, sys
from pathlib import Path
from jicofo_reservation_proxy.app import create_app
from jicofo_reservation_proxy.settings.validation import validate

backends = {"default": {"target": "127.0.0.1:1"}}
given = {"state_dir": sys.argv[1], "drain_within": "0s", "backends": backends}
app = create_app(validate(given))
if os.fork() == 0:
    client = app.test_client()
    posted = [client.post("/conference", data={"name": "a"}) for _ in range(2)]
    answers = [*posted, client.get("/conference/1"), client.delete("/conference/1")]
    print([answer.status_code for answer in answers], answers[0].json["message"], flush=True)
    app.extensions["jicofo_reservation_proxy"].close()
    os._exit(0)  # gRPC's own clean-up may hang after a fork
os.wait()
print(app.test_client().delete("/conference/1").status_code)
"""


def test_after_a_fork_every_request_is_answered_503(tmp_path: Path) -> None:
    """The forked process logs the cause and the remedy once. Its parent still works."""
    done = subprocess.run(
        [sys.executable, "-c", FORKING, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=True,
    )
    child, parent = done.stdout.splitlines()
    assert child.startswith("[503, 503, 503, 503] The reservation system has a problem.")
    assert parent == "200"
    assert done.stderr.count(FORKED) == 1


def test_metrics_of_an_unreadable_ledger_are_nan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The metrics of the ledger are NaN when the proxy cannot read the ledger."""

    def fail(_: object) -> None:
        raise StateError("the store is unreachable")

    with Proxy(settings(tmp_path), granting()) as proxy:
        monkeypatch.setattr(SqliteLedger, "counts", property(fail))
        name = "jicofo_reservation_proxy_conferences"
        value = proxy.metrics.registry.get_sample_value(name, {"state": "open"})
        assert value is not None
        assert math.isnan(value)
        monkeypatch.undo()


def test_metrics_count_what_happened(tmp_path: Path) -> None:
    """The proxy counts requests by outcome and calls by code; rooms and ids are not labels."""
    with Proxy(settings(tmp_path), granting()) as proxy:
        client = proxy.flask.test_client()
        headers = {"User-Agent": JICOFO}
        client.post("/conference", data=FORM, content_type=TYPE, headers=headers, buffered=True)
        client.post("/conference", data="", content_type=TYPE, buffered=True)
        client.get("/conference/1", buffered=True)
        value = proxy.metrics.registry.get_sample_value
        prefix = "jicofo_reservation_proxy_"
        labels = {"operation": "create", "client": "jicofo", "outcome": "reservation"}
        assert value(f"{prefix}requests_total", labels | {"status": "200"}) == 1
        labels = {"operation": "create", "client": "unknown", "outcome": "badinput"}
        assert value(f"{prefix}requests_total", labels | {"status": "400"}) == 1
        calls = {"backend": "default", "operation": "get", "code": "UNIMPLEMENTED"}
        assert value(f"{prefix}backend_calls_total", calls) == 1
        assert value(f"{prefix}request_seconds_count", {"operation": "create"}) == 2


def test_several_proxies_can_run_in_one_process(tmp_path: Path) -> None:
    """Each proxy in a process has its own metrics, channels and state."""
    with running(tmp_path / "a") as first, running(tmp_path / "b") as second:
        assert first.create().status == second.create().status == 200
        assert Client(second.port).create(mail_owner="romeo@example.com").status == 403
