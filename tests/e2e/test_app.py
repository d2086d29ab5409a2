"""The WSGI application by itself, for other servers and with a backend in the same process."""

import io
import math
from pathlib import Path

import pytest
from jicofo_reservation_proxy.app import EXTENSION, Proxy, create_app
from jicofo_reservation_proxy.errors import CredentialsError, SettingsError, StateError
from jicofo_reservation_proxy.ledger.sqlite_ledger import SqliteLedger

from .support import JICOFO, START, Client, granting, running, settings

FORM = f"name=testroom&start_time={START}"
TYPE = "application/x-www-form-urlencoded"


def test_create_app_serves_a_servicer_of_this_process(tmp_path: Path) -> None:
    """A Python shop needs no second process: its class is called over a real channel."""
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


def test_a_servicer_takes_the_place_of_all_backends(tmp_path: Path) -> None:
    """Routes of the settings lead to backends that are not there then, so they do not count."""
    configured = settings(
        tmp_path, backends={"other": {"target": "unix:/x"}}, routes=[{"backend": "other"}]
    )
    with Proxy(configured, granting()) as proxy:
        reply = proxy.flask.test_client().post("/conference", data=FORM, content_type=TYPE)
        assert reply.status_code == 200


def test_create_app_takes_its_settings_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With no settings given, and wrong ones are refused."""
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
    """The same variable as on the command line names the TOML file."""
    file = tmp_path / "settings.toml"
    file.write_text(f'state_dir = "{tmp_path}"\nthreads = 5\n')
    monkeypatch.setenv("JICOFO_RESERVATION_PROXY_CONFIG", str(file))
    proxy = create_app().extensions[EXTENSION]
    proxy.close()
    assert proxy.settings.threads == 5


def test_the_stub_serves_where_no_backend_is_set(tmp_path: Path) -> None:
    """It grants, remembers, and frees the room again."""
    with running(tmp_path) as client:
        first = client.create()
        assert first.status == 200
        assert client.create(mail_owner="romeo@example.com").status == 403
        assert client.get(first.json["id"]).json["mail_owner"] == "juliet@example.com"
        assert client.delete(first.json["id"]).status == 200
        assert client.create(mail_owner="romeo@example.com").status == 200


def test_a_body_that_ends_early_is_refused(tmp_path: Path) -> None:
    """Half a form could name another room, so it is not looked at (a server other than ours)."""
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
    assert b"".join(body) == b'{"message": "The body ended early."}'
    assert backend.creates == []


def test_closing_twice_is_fine(tmp_path: Path) -> None:
    """As `create_app` does, once by its caller and once at the interpreter's end."""
    proxy = Proxy(settings(tmp_path), granting())
    proxy.close()
    proxy.close()


def test_a_start_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    """What was opened before the fault is closed again (the leak check of all tests sees it)."""
    not_a_directory = tmp_path / "file"
    not_a_directory.write_text("")
    with pytest.raises(StateError, match="state_dir: wanted a writable directory"):
        Proxy(settings(not_a_directory), granting())
    auth = {"api_key_file": str(tmp_path / "missing")}
    backends = {"a": {"target": "unix:/a"}, "b": {"target": "unix:/b", "auth": auth}}
    with pytest.raises(CredentialsError, match=r"backends\.b\.auth\.api_key_file: cannot read"):
        Proxy(settings(tmp_path, backends=backends, routes=[{"backend": "a"}]))


def test_a_ledger_that_cannot_be_written_is_a_fault_and_not_a_wrong_id(tmp_path: Path) -> None:
    """No alias, no grant. A DELETE is 200 only where the backend took it at once."""
    with Proxy(settings(tmp_path), granting("no-number")) as proxy:
        client = proxy.flask.test_client()
        assert isinstance(proxy.ledger, SqliteLedger)
        proxy.ledger._database.close()
        headers = {"User-Agent": JICOFO}
        reply = client.post("/conference", data=FORM, content_type=TYPE, headers=headers)
        assert reply.status_code == 503
        assert client.get("/conference/90000000000001").status_code == 503
        assert client.delete("/conference/90000000000001").status_code == 503
        assert client.delete("/conference/default.no-number").status_code == 200


def test_metrics_of_a_ledger_that_cannot_be_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its figures are no numbers, and all others are read as before."""

    def away(_: object) -> None:
        raise StateError("the store is away")

    with Proxy(settings(tmp_path), granting()) as proxy:
        monkeypatch.setattr(SqliteLedger, "counts", property(away))
        name = "jicofo_reservation_proxy_conferences"
        value = proxy.metrics.registry.get_sample_value(name, {"state": "open"})
        assert value is not None
        assert math.isnan(value)
        monkeypatch.undo()


def test_metrics_count_what_happened(tmp_path: Path) -> None:
    """Requests by outcome, calls by code; no room and no id is a label."""
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


def test_several_proxies_live_in_one_process(tmp_path: Path) -> None:
    """Each has its own metrics, channels and state."""
    with running(tmp_path / "a") as first, running(tmp_path / "b") as second:
        assert first.create().status == second.create().status == 200
        assert Client(second.port).create(mail_owner="romeo@example.com").status == 403
