"""The reload: other settings for later requests, and the same ledger, locks and backends."""

import dataclasses
import json
import logging
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from jicofo_reservation_proxy.admin.server import admin_listener
from jicofo_reservation_proxy.app import Proxy
from jicofo_reservation_proxy.backends import pool
from jicofo_reservation_proxy.gen.jicofo.reservation.v1 import reservation_pb2 as pb
from jicofo_reservation_proxy.ledger.records import RecordState
from jicofo_reservation_proxy.settings.reloader import ReloadResult
from jicofo_reservation_proxy.settings.schema import (
    AnswerFields,
    Auth,
    Backend,
    Http,
    ListenTls,
    Methods,
    RequestFields,
    Route,
    Settings,
    Tls,
)
from jicofo_reservation_proxy.settings.sources import Source

from tests.unit.ledgers import eventually

from .support import (
    JICOFO,
    PROSODY,
    TIMEOUT_SECONDS,
    Client,
    Context,
    Reply,
    Script,
    backends,
    conference,
    exchange,
    granting,
    granting_all,
    serving_grpc,
    serving_http,
)
from .tls import Authority

TOKEN = "a-token-of-the-tests-0123456789"


def toml(values: Mapping[str, object]) -> str:
    """Return values as TOML; tables are inline."""
    return "".join(f"{key} = {_toml(value)}\n" for key, value in values.items())


def _toml(value: object) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key} = {_toml(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(str(value) if isinstance(value, Path) else value)


@dataclass
class Running:
    """A proxy with a settings file on real sockets. `write` changes the file, `reload` uses it."""

    proxy: Proxy
    file: Path
    values: dict[str, object]
    port: int

    @property
    def jicofo(self) -> Client:
        """Jicofo."""
        return Client(self.port, JICOFO)

    @property
    def prosody(self) -> Client:
        """Prosody."""
        return Client(self.port, PROSODY)

    def write(self, **values: object) -> None:
        """Write the file with these values in addition; `None` removes a value."""
        merged = self.values | values
        self.values = {key: value for key, value in merged.items() if value is not None}
        self.file.write_text(toml(self.values), "utf-8")

    def reload(self, **values: object) -> ReloadResult:
        """Write the file, and reload it."""
        self.write(**values)
        return self.proxy.reloader.reload()


@contextmanager
def reloading(
    tmp_path: Path, servicer: Script | None = None, **values: object
) -> Iterator[Running]:
    """Run a proxy with a settings file; `servicer` becomes the backend named "default"."""
    with ExitStack() as stack:
        if servicer is not None:
            target = stack.enter_context(serving_grpc(servicer))
            values["backends"] = backends(default=target)
        file = tmp_path / "settings.toml"
        own = {"listen": "127.0.0.1:0", "state_dir": tmp_path / "state", "threads": 8}
        file.write_text(toml(own | values), "utf-8")
        source = Source(file, {})
        loaded = source.read()
        proxy = stack.enter_context(Proxy(loaded.settings, origins=loaded.origins, source=source))
        port = stack.enter_context(serving_http(proxy))
        yield Running(proxy, file, own | values, port)


# -- every key ----------------------------------------------------------------------------------


def _path_prefix(running: Running, _: Path) -> None:
    running.reload(path_prefix="/api/v1")
    assert running.jicofo.create().status == 404


def _allowed_hosts(running: Running, _: Path) -> None:
    request = b"DELETE /conference/1 HTTP/1.1\r\nHost: proxy.example.com\r\n\r\n"
    assert exchange(running.port, request).status == 403
    running.reload(allowed_hosts=["proxy.example.com"])
    assert exchange(running.port, request).status == 200


def _client_token_file(running: Running, folder: Path) -> None:
    (folder / "tokens.txt").write_text(TOKEN)
    running.reload(client_token_file=folder / "tokens.txt")
    assert running.jicofo.create().status == 401
    running.reload(client_token_file=None)
    assert running.jicofo.create().status == 200


def _client_token_header(running: Running, folder: Path) -> None:
    (folder / "tokens.txt").write_text(TOKEN)
    running.reload(client_token_file=folder / "tokens.txt", client_token_header="x-api-key")
    headers = {"X-Api-Key": TOKEN}
    assert running.jicofo.send("DELETE", "/conference/1", None, headers).status == 200


def _client(running: Running, _: Path) -> None:
    assert isinstance(running.prosody.create("a").json["id"], str)
    running.reload(client="jicofo")
    assert isinstance(running.prosody.create("b").json["id"], int)


def _conflicts(running: Running, _: Path) -> None:
    answers = iter(["board", "board"])

    def create(request: pb.CreateConferenceRequest, _: Context) -> pb.CreateConferenceResponse:
        held = pb.Conflict(conference=conference(request, next(answers)))
        return pb.CreateConferenceResponse(conflict=held)

    with serving_grpc(Script(create)) as target:
        running.reload(backends=backends(default=target))
        assert running.prosody.create("board").status == 200
        running.reload(conflicts="report")
        assert running.prosody.create("board").status == 409


def _guest_domains(running: Running, _: Path) -> None:
    backend = granting()
    with serving_grpc(backend) as target:
        running.reload(backends=backends(default=target), guest_domains=["example.com"])
        running.jicofo.create()
    assert backend.creates[0].owner.guest


def _respond_within(running: Running, _: Path) -> None:
    running.reload(respond_within="250ms")
    use_cases = running.proxy.front_door.door.handlers._use_cases
    assert use_cases._respond_within_seconds == 0.25


def _expire_after(running: Running, _: Path) -> None:
    running.reload(expire_after="2s")
    assert running.proxy.delivery._expiry._expire_after_ms == 2000


def _give_up_after(running: Running, _: Path) -> None:
    running.reload(give_up_after="2m")
    assert running.proxy.delivery._expiry._give_up_after_ms == 120_000
    assert running.proxy.delivery.withdrawals.give_up_after_ms == 120_000


def _threads(running: Running, _: Path) -> None:
    running.reload(threads=100)
    shared = running.proxy._shared
    assert (shared.in_flight._most_requests, shared.room_queue.max_in_all) == (100, 25)
    assert running.proxy.front_door.door.threads == 100


def _drain_within(running: Running, _: Path) -> None:
    running.reload(drain_within="3s")
    assert running.proxy.front_door.door.drain_seconds == 3.0


def _log_format(running: Running, _: Path) -> None:
    with _own_logging() as handler_of:
        running.reload(log_format="json")
        assert "JsonFormatter" in repr(handler_of())


def _log_level(running: Running, _: Path) -> None:
    with _own_logging():
        running.reload(log_level="error")
        assert logging.getLogger("jicofo_reservation_proxy").level == logging.ERROR


@contextmanager
def _own_logging() -> Iterator[Callable[[], object]]:
    """Restore the logging afterwards; yield a function that returns the formatter in use."""
    loggers = [logging.getLogger(), logging.getLogger("jicofo_reservation_proxy")]
    before = [(logger.level, list(logger.handlers)) for logger in loggers]
    try:
        yield lambda: logging.getLogger().handlers[0].formatter
    finally:
        for logger, (level, handlers) in zip(loggers, before, strict=True):
            logger.setLevel(level)
            logger.handlers[:] = handlers


def _backends(running: Running, _: Path) -> None:
    with serving_grpc(granting("77")) as target:
        running.reload(backends=backends(default=target))
        assert running.jicofo.create("other").json["id"] == 77


def _routes(running: Running, _: Path) -> None:
    with serving_grpc(granting("77")) as target:
        both = {**running.values["backends"], **backends(other=target)}  # type: ignore[dict-item]
        routes = [{"room": "exec", "backend": "other"}]
        running.reload(backends=both, routes=routes)
        assert running.prosody.create("exec").json["id"].startswith("other.77.")
        assert running.prosody.create("board").json["id"].startswith("default.")


def _listen_tls(running: Running, folder: Path) -> None:
    cert_file, key_file = Authority(folder).server_files("localhost")
    running.reload(listen_tls={"cert_file": cert_file, "key_file": key_file})
    assert running.proxy.front_door.door.tls is not None
    running.reload(listen_tls=None)
    assert running.jicofo.create().status == 200


def _read_at_each_use(running: Running, folder: Path) -> None:
    """Read the settings: the admin listener reads them at each use (test_admin_listener.py)."""
    (folder / "tokens.txt").write_text(TOKEN)
    running.reload(
        admin_token_file=folder / "tokens.txt", mask_rooms=True, metrics_tenants=["acme"]
    )
    found = running.proxy.settings
    assert found.admin_token_file == folder / "tokens.txt"
    assert (found.mask_rooms, found.metrics_tenants) == (True, ("acme",))


APPLIED: Mapping[str, Callable[[Running, Path], None]] = {
    "admin_token_file": _read_at_each_use,
    "mask_rooms": _read_at_each_use,
    "metrics_tenants": _read_at_each_use,
    "allowed_hosts": _allowed_hosts,
    "backends": _backends,
    "client": _client,
    "client_token_file": _client_token_file,
    "client_token_header": _client_token_header,
    "conflicts": _conflicts,
    "drain_within": _drain_within,
    "expire_after": _expire_after,
    "give_up_after": _give_up_after,
    "guest_domains": _guest_domains,
    "listen_tls": _listen_tls,
    "log_format": _log_format,
    "log_level": _log_level,
    "path_prefix": _path_prefix,
    "respond_within": _respond_within,
    "routes": _routes,
    "threads": _threads,
}

NEED_A_RESTART: Mapping[str, object] = {
    "admin_listen": "127.0.0.1:1",
    "listen": "127.0.0.1:1",
    "state": "memory",
    "state_dir": "/nowhere",
}
"""The keys that a reload does not apply, with another value for each."""


def test_every_key_has_a_test() -> None:
    """The column "applies at reload" of docs/settings.md is tested for every key."""
    at_reload = {
        setting.name: setting.metadata["at_reload"] for setting in dataclasses.fields(Settings)
    }
    assert {name for name, applies in at_reload.items() if applies} == set(APPLIED)
    assert {name for name, applies in at_reload.items() if not applies} == set(NEED_A_RESTART)


@pytest.mark.parametrize("key", APPLIED)
def test_a_reload_applies(tmp_path: Path, key: str) -> None:
    """After a reload, the proxy works as the new value says."""
    with reloading(tmp_path, granting_all()) as running:
        APPLIED[key](running, tmp_path)


@pytest.mark.parametrize("key", NEED_A_RESTART)
def test_a_reload_names_what_needs_a_restart(
    tmp_path: Path, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The log names the key; the old value stays, and all other keys are applied."""
    caplog.set_level(logging.INFO)
    with reloading(tmp_path, granting()) as running:
        before = getattr(running.proxy.settings, key)
        result = running.reload(**{key: NEED_A_RESTART[key]}, conflicts="report")
        assert result.notes == (
            "conflicts has changed",
            f"{key}: the new value applies after a restart",
        )
        assert getattr(running.proxy.settings, key) == before
        assert f"{key}: the new value applies after a restart" in caplog.text
        assert running.jicofo.create().status == 200


OTHER_VALUES: Mapping[type, Mapping[str, object]] = {
    Backend: {
        "target": "127.0.0.1:1",
        "answer_within": "1s",
        "in_flight": 5,
        "when_unreachable": "allow",
        "allow_for": "2h",
        "health_check": "off",
        "tls": {},
        "auth": {"header": "x-key"},
        "metadata": {"x-tenant": "acme"},
        "methods": {"get": "/a.B/Get"},
        "http": {"body": "json"},
    },
    Http: {
        "body": "json",
        "idempotent": True,
        "duration_unit": "minutes",
        "gone_statuses": [404],
        "create": "POST /rooms/{room}",
        "get": "",
        "delete": "POST /conference/{id}/end",
        "request_fields": {"name": "room"},
        "answer_fields": {"id": "data.id"},
        "extra_fields": {"source": "jitsi"},
    },
    RequestFields: {"name": "a", "mail_owner": "", "start_time": "b", "duration": "c"},
    AnswerFields: {
        setting.name: f"data.{setting.name}" for setting in dataclasses.fields(AnswerFields)
    },
    Methods: {"create": "/a.B/Create", "get": "/a.B/Get", "delete": ""},
    Auth: {
        "api_key_file": "{folder}/key.txt",
        "header": "x-key",
        "bearer_token_file": "{folder}/key.txt",
        "username": "juliet",
        "password_file": "{folder}/key.txt",
        "plugin": "tests.e2e.test_credentials:Plugin",
    },
    Tls: {
        "ca_file": "{folder}/ca.pem",
        "cert_file": "{folder}/cert.pem",
        "key_file": "{folder}/cert.key",
        "server_name": "other.example.com",
        "xds": True,
    },
}
"""For each table of a backend, another value for each key."""


def test_every_key_of_a_backend_has_another_value() -> None:
    """The test below changes every key of a backend."""
    for table, values in OTHER_VALUES.items():
        assert set(values) == {setting.name for setting in dataclasses.fields(table)}
        assert all(setting.metadata["at_reload"] for setting in dataclasses.fields(table))
    for table in (ListenTls, Route):
        assert all(setting.metadata["at_reload"] for setting in dataclasses.fields(table))


@pytest.mark.parametrize("key", OTHER_VALUES[Backend])
def test_a_changed_backend_is_a_new_backend(tmp_path: Path, key: str) -> None:
    """Any other value of a backend makes a new backend with a channel of its own."""
    with reloading(tmp_path, granting()) as running:
        before = running.proxy.backends.members["default"]
        default = running.values["backends"]["default"]  # type: ignore[index]
        changed = {key: OTHER_VALUES[Backend][key]}
        if key == "http":
            changed["target"] = "http://127.0.0.1:1"
        result = running.reload(backends={"default": default | changed})
        assert result.notes == ("backends.default has changed",)
        after = running.proxy.backends.members["default"]
        assert after.backend is not before.backend
        assert after.connection is not before.connection
        assert after.settings == running.proxy.settings.backends["default"]  # type: ignore[index]


# -- what stays ---------------------------------------------------------------------------------


def _kept(proxy: Proxy) -> Mapping[str, object]:
    """Return all objects that a reload must keep."""
    member = proxy.backends.members["default"]
    return {
        "ledger": proxy.ledger,
        "shared": proxy._shared,
        "locks": proxy._shared.store.locks,
        "aliases": proxy._shared.store.aliases,
        "delivery": proxy.delivery,
        "schedule": proxy.delivery._schedule,
        "in_flight": proxy._shared.in_flight,
        "an in-flight limit": proxy._shared.in_flight._backends["default"],
        "room_queue": proxy._shared.room_queue,
        "backend": member.backend,
        "circuit": member.backend._calls._circuit,  # type: ignore[attr-defined]
        "connection": member.connection,
        "gRPC channel": member.connection._opened.channel,  # type: ignore[attr-defined]
    }


def test_what_remembers_something_stays_the_same_object(tmp_path: Path) -> None:
    """A reload keeps locks, ledger, aliases, pending deletions, circuits and channels."""
    with (
        reloading(tmp_path, granting_all()) as running,
        serving_grpc(granting()) as other,
    ):
        before = _kept(running.proxy)
        both = {**running.values["backends"], **backends(other=other)}  # type: ignore[dict-item]
        running.reload(backends=both, routes=[{"room": "x", "backend": "other"}], threads=9)
        after = _kept(running.proxy)
        assert [name for name in before if before[name] is not after[name]] == []


def test_two_posts_for_one_room_exclude_each_other_across_a_reload(tmp_path: Path) -> None:
    """A POST after the reload waits for the POST before it; only one of two owners is granted."""
    backend, entered, release = granting(), threading.Event(), threading.Event()
    grant, taken = backend.create, threading.Lock()

    def create(request: pb.CreateConferenceRequest, context: Context) -> Any:  # noqa: ANN401
        if not taken.acquire(blocking=False):
            held = pb.Conflict(conference=conference(backend.creates[0]))
            return pb.CreateConferenceResponse(conflict=held)
        entered.set()
        assert release.wait(TIMEOUT_SECONDS)
        return grant(request, context)

    backend.create = create
    statuses: dict[str, int] = {}

    def post(owner: str) -> None:
        statuses[owner] = running.jicofo.create("board", mail_owner=owner).status

    with reloading(tmp_path, backend) as running:
        first = threading.Thread(target=post, args=("juliet@example.com",))
        first.start()
        assert entered.wait(TIMEOUT_SECONDS)
        assert running.reload(guest_domains=["x.*"]).faults == ()
        second = threading.Thread(target=post, args=("romeo@example.com",))
        second.start()
        eventually(lambda: running.proxy._shared.room_queue._waiting.total() == 1)
        assert len(backend.creates) == 1, "the second POST waits for the room"
        release.set()
        first.join()
        second.join()
    assert statuses == {"juliet@example.com": 200, "romeo@example.com": 403}


def test_a_request_in_flight_finishes_with_the_old_settings(tmp_path: Path) -> None:
    """A POST that waits for the old backend gets its answer after the backend was replaced."""
    old, entered, release = granting("1"), threading.Event(), threading.Event()
    grant = old.create

    def create(request: pb.CreateConferenceRequest, context: Context) -> Any:  # noqa: ANN401
        entered.set()
        assert release.wait(TIMEOUT_SECONDS)
        return grant(request, context)

    old.create = create
    ids: list[object] = []
    with reloading(tmp_path, old) as running, serving_grpc(granting("2")) as target:
        waiting = threading.Thread(target=lambda: ids.append(running.jicofo.create("a").json["id"]))
        waiting.start()
        assert entered.wait(TIMEOUT_SECONDS)
        running.reload(backends=backends(default=target))
        ids.append(running.jicofo.create("b").json["id"])
        running.proxy.backends.refresh()  # it must not close the channel of the old backend yet
        release.set()
        waiting.join()
    assert ids == [2, 1]


# -- backends come and go -----------------------------------------------------------------------


def test_a_removed_backend_takes_no_new_rooms_and_serves_its_conferences(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GET, DELETE and the delivery go on until its conferences are gone; then it is closed."""
    monkeypatch.setattr(pool, "RETIRE_SECONDS", 0.0)
    caplog.set_level(logging.INFO)
    old, new = granting("1"), granting("2")
    with ExitStack() as stack:
        running = stack.enter_context(reloading(tmp_path, old))
        target = stack.enter_context(serving_grpc(new))
        held = running.prosody.create("board").json["id"]
        running.reload(backends=backends(other=target))
        assert (
            "backends.default: it is not in the settings any more and gets no new rooms; 1 open "
            "conferences and 0 pending deletions keep it until they are gone"
        ) in caplog.messages
        assert running.prosody.create("kitchen").json["id"].startswith("other.2.")
        assert running.prosody.get(held).status == 200
        running.proxy.backends.refresh()
        assert set(running.proxy.backends) == {"default", "other"}
        assert running.prosody.delete(held).status == 200
        eventually(lambda: len(old.deletes) == 1)
        eventually(lambda: not any(running.proxy.ledger.counts_of("default").values()))
        running.proxy.backends.refresh()
        assert set(running.proxy.backends) == {"other"}
        assert running.prosody.get(held).status == 404
        assert len(old.creates) == 1


def test_pending_deletions_of_a_backend_that_is_not_in_the_settings_are_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """After a restart, nobody delivers them: the log says what to do."""
    with reloading(tmp_path, backends=backends(old="127.0.0.1:1")) as running:
        assert running.prosody.delete("old.7").status == 200
        final = running.proxy.settings
        running.proxy.close(0)
    with Proxy(dataclasses.replace(final, backends={})):
        pass
    assert (
        "backends.old: 1 deletions are pending, and the backend is not in the settings; add it "
        "again, or abandon them (ledger abandon ID)"
    ) in caplog.messages


def test_a_removed_backend_can_come_back(tmp_path: Path) -> None:
    """The backend of the same settings is the same object again, and gets new rooms."""
    with reloading(tmp_path, granting_all()) as running, serving_grpc(granting()) as target:
        first, member = running.values["backends"], running.proxy.backends.members["default"]
        running.jicofo.create("board")
        running.reload(backends=backends(other=target))
        running.reload(backends=first)
        assert running.proxy.backends.members["default"] is member
        assert not running.proxy.backends.is_removed("default")
        assert running.prosody.create("kitchen").json["id"].startswith("default.")


def test_an_empty_removed_backend_is_kept_while_a_request_may_use_it(tmp_path: Path) -> None:
    """A POST from before the reload may still get a conference there."""
    with reloading(tmp_path, granting_all()) as running, serving_grpc(granting()) as target:
        running.reload(backends=backends(other=target))
        running.proxy.backends.refresh()
        assert "default" in running.proxy.backends


def test_a_second_backend_makes_aliases_at_once(tmp_path: Path) -> None:
    """Jicofo's new numbers are aliases; the numbers from before still lead to the first backend."""
    first, second = granting_all(), granting_all()
    with reloading(tmp_path, first) as running, serving_grpc(second) as target:
        old = running.jicofo.create("a").json["id"]
        assert old == 1
        both = {**running.values["backends"], **backends(other=target)}  # type: ignore[dict-item]
        running.reload(backends=both, routes=[{"room": "o*", "backend": "other"}])
        new = [running.jicofo.create(room).json["id"] for room in ("b", "other")]
        assert min(new) > 1_000_000
        assert running.jicofo.delete(old).status == 200
        eventually(lambda: [sent.conference_id for sent in first.deletes] == ["1"])
        assert second.deletes == []


def test_the_numbers_of_a_removed_backend_never_lead_to_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The only backend after a reload gives aliases until the next start."""
    monkeypatch.setattr(pool, "RETIRE_SECONDS", 0.0)
    second = granting_all()
    with reloading(tmp_path, granting_all()) as running, serving_grpc(second) as target:
        old = running.jicofo.create("a").json["id"]
        running.jicofo.delete(old)
        running.reload(backends=backends(other=target))
        eventually(lambda: not any(running.proxy.ledger.counts_of("default").values()))
        running.proxy.backends.refresh()
        assert set(running.proxy.backends) == {"other"}
        assert running.jicofo.create("b").json["id"] > 1_000_000
        assert running.jicofo.delete(old).status == 200
        assert second.deletes == []


def test_old_numbers_lead_to_no_other_backend_after_a_restart(tmp_path: Path) -> None:
    """While the ledger has conferences of the old backend, the new one gets only aliases."""
    first, second = granting_all(), granting_all()
    with serving_grpc(second) as target:
        with reloading(tmp_path, first) as running:
            old = running.jicofo.create("a").json["id"]
            running.reload(backends=backends(other=target))
        for _ in range(2):
            with reloading(tmp_path, backends=backends(other=target)) as running:
                assert running.jicofo.get(old).status == 404
                assert running.jicofo.delete(old).status == 200
                assert running.jicofo.create("b").json["id"] > 1_000_000
        assert second.deletes == []


def test_the_only_backend_owns_the_numbers_once_the_old_one_is_empty(tmp_path: Path) -> None:
    """After the conferences of the old backend are gone, a restart ends the aliases."""
    with serving_grpc(granting("77")) as target:
        with reloading(tmp_path, granting_all()) as running:
            running.jicofo.delete(running.jicofo.create("a").json["id"])
            eventually(lambda: not any(running.proxy.ledger.counts_of("default").values()))
        with reloading(tmp_path, backends=backends(other=target)) as running:
            assert running.jicofo.create("b").json["id"] == 77


class WatchedLock:
    """A lock that notes, for each `with` of another thread, whether it had to wait."""

    def __init__(self) -> None:
        self._lock, self._owner = threading.RLock(), threading.get_ident()
        self.waits: list[bool] = []

    def __enter__(self) -> None:
        is_free = self._lock.acquire(blocking=False)
        if threading.get_ident() != self._owner:
            self.waits.append(not is_free)
        if not is_free:
            self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def test_a_backend_that_comes_back_is_not_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refresh waits for a reload: it does not drop the backend that the reload brings back."""
    monkeypatch.setattr(pool, "RETIRE_SECONDS", 0.0)
    with reloading(tmp_path, granting_all()) as running, serving_grpc(granting()) as target:
        first, found = running.values["backends"], running.proxy.backends
        lock = WatchedLock()
        monkeypatch.setattr(found, "changing", lock)
        # The thread of the rotation might drop the backend before it comes back.
        monkeypatch.setattr(found, "has_conferences", lambda _: True)
        running.reload(backends=backends(other=target))
        prepare, refreshing = found.prepare, threading.Thread(target=found.refresh)
        lock.waits.clear()

        def slowly(wanted: Any) -> Any:  # noqa: ANN401
            prepared = prepare(wanted)
            monkeypatch.setattr(found, "has_conferences", lambda _: False)
            refreshing.start()
            eventually(lambda: lock.waits)
            return prepared

        monkeypatch.setattr(found, "prepare", slowly)
        running.reload(backends=first)
        refreshing.join()
        assert all(lock.waits[:1])
        assert "default" in found
        assert not found.is_removed("default")
        assert "delivery-default" in {thread.name for thread in threading.enumerate()}
        assert running.jicofo.create("board").status == 200


def test_a_replaced_backend_gets_the_pending_deletions_soon(tmp_path: Path) -> None:
    """The pause of the old address ends: the deletions go to the new one."""
    new = granting_all()
    with reloading(tmp_path, backends=backends(default="127.0.0.1:1")) as running:
        running.prosody.delete("default.gone")
        delivery = running.proxy.delivery
        eventually(lambda: delivery._schedule.pause_seconds("default") > 0)
        with serving_grpc(new) as target:
            running.reload(backends=backends(default=target))
            eventually(lambda: new.deletes)
            eventually(lambda: running.proxy.ledger.counts[RecordState.PENDING] == 0)


# -- wrong settings -----------------------------------------------------------------------------


def test_wrong_settings_change_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """There is one ERROR with every fault, and the proxy goes on with the old settings."""
    with reloading(tmp_path, granting()) as running:
        before = running.proxy.settings, running.proxy.front_door.door, running.proxy.backends
        good = running.proxy.reloader.state
        result = running.reload(threads=0, client="nobody", path_prefix="/api")
        assert len(result.faults) == 2
        (line,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
        assert "the reload failed and has changed nothing; 2 faults: " in line.getMessage()
        assert all(fault in line.getMessage() for fault in result.faults)
        now = running.proxy.settings, running.proxy.front_door.door, running.proxy.backends
        assert now == before
        state = running.proxy.reloader.state
        assert state.has_failed
        assert (state.hash, state.last_good_ms) == (good.hash, good.last_good_ms)
        assert running.jicofo.create().status == 200
        assert running.reload(threads=8, client="auto", path_prefix=None).faults == ()
        assert not running.proxy.reloader.state.has_failed


@pytest.mark.parametrize("text", ["threads = ", "\0", None])
def test_a_file_that_cannot_be_read_changes_nothing(tmp_path: Path, text: str | None) -> None:
    """A half-written file and a missing file are faults too."""
    with reloading(tmp_path, granting()) as running:
        if text is None:
            running.file.unlink()
        else:
            running.file.write_text(text)
        assert len(running.proxy.reloader.reload().faults) == 1
        assert running.jicofo.create().status == 200


def test_unusable_credentials_of_a_reload_leave_nothing_open(tmp_path: Path) -> None:
    """Every backend with unusable credentials is named; the other new ones are closed again."""
    (tmp_path / "missing").mkdir()
    auth = {"auth": {"api_key_file": tmp_path / "missing" / "key.txt"}}
    with reloading(tmp_path, granting()) as running:
        new = {"target": "unix:/x"}
        wanted = {"good": new, "b": new | auth, "c": new | auth}
        missing = tmp_path / "missing" / "tokens.txt"
        result = running.reload(
            backends=wanted,
            routes=[{"backend": "good"}],
            client_token_file=missing,
            admin_token_file=missing,
        )
        assert len(result.faults) == 4
        assert set(running.proxy.backends) == {"default"}
        assert running.jicofo.create().status == 200


def test_the_environment_and_flags_stay_as_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reload does not read the environment again."""
    file = tmp_path / "settings.toml"
    file.write_text("threads = 3\n")
    environ = {"JICOFO_RESERVATION_PROXY_CLIENT": "jicofo"}
    source = Source(file, environ, {("log_level",): "error"})
    monkeypatch.setenv("JICOFO_RESERVATION_PROXY_CLIENT", "prosody")
    file.write_text('threads = 4\nclient = "handbook"\nlog_level = "debug"\n')
    found = source.read().settings
    assert (found.threads, found.client, found.log_level) == (4, "jicofo", "error")


def test_a_proxy_without_a_source_reloads_nothing(tmp_path: Path) -> None:
    """A program that gives the proxy its settings has to make a new proxy."""
    with reloading(tmp_path, granting()) as running:
        proxy = Proxy(dataclasses.replace(running.proxy.settings, state_dir=tmp_path / "other"))
        with proxy:
            assert "restart that program" in proxy.reloader.reload().faults[0]


def test_a_stopping_proxy_reloads_nothing(tmp_path: Path) -> None:
    """During the graceful shutdown a reload changes nothing."""
    with reloading(tmp_path, granting()) as running:
        running.proxy.reloader.refuse()
        assert "stopping" in running.reload(threads=9).faults[0]
        assert running.proxy.settings.threads == 8


def test_the_built_in_stub_can_be_replaced(tmp_path: Path) -> None:
    """A proxy without backends gets one by a reload."""
    with reloading(tmp_path) as running, serving_grpc(granting("5")) as target:
        assert running.jicofo.create("a").status == 200
        running.reload(backends=backends(default=target))
        assert running.jicofo.create("b").json["id"] == 5


def test_an_empty_file_does_not_bring_back_the_stub(tmp_path: Path) -> None:
    """A file that is just being written would otherwise grant every room."""
    backend = granting("5")
    with reloading(tmp_path, backend) as running:
        running.file.write_text("")
        (fault,) = running.proxy.reloader.reload().faults
        assert fault.startswith("backends: wanted at least one backend, ")
        assert running.jicofo.create().json["id"] == 5
        assert len(backend.creates) == 1


def test_a_pipe_as_the_file_does_not_block_reloads(tmp_path: Path) -> None:
    """The reload fails at once, and a later one works."""
    with reloading(tmp_path, granting()) as running:
        running.file.unlink()
        os.mkfifo(running.file)
        assert "wanted a regular file" in running.proxy.reloader.reload().faults[0]
        running.file.unlink()
        assert running.reload(threads=9).faults == ()


def test_a_revoked_token_stops_working_at_the_reload(tmp_path: Path) -> None:
    """The reload reads the file again, also for heads that the fast path knows."""
    file = tmp_path / "tokens.txt"
    file.write_text(TOKEN)
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    with reloading(tmp_path, granting(), client_token_file=file) as running:

        def status() -> int:
            return running.jicofo.send("GET", "/conference/unknown", None, bearer).status

        assert [status(), status()] == [404, 404]
        file.write_text("another-token-0123456789")
        assert running.proxy.reloader.reload().faults == ()
        assert status() == 401


def test_a_failed_reload_leaves_no_health_of_what_it_refused(tmp_path: Path) -> None:
    """The health has no component of tokens that are not in use."""
    with reloading(tmp_path, granting()) as running:
        assert running.reload(client_token_file=tmp_path / "missing.txt").faults
        names = {state.name for state in running.proxy.health.states()}
        assert "client_token_file" not in names


def test_a_reload_warns_about_new_doubtful_settings(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The log has the warnings of a start, once."""
    routes = [{"backend": "default"}, {"room": "x", "backend": "default"}]
    with reloading(tmp_path, granting()) as running:
        running.reload(routes=routes)
        running.reload(threads=9)
    found = [line for line in caplog.messages if "matches every room" in line]
    assert len(found) == 1


def test_a_slow_reload_leaves_the_drain_to_the_deletions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the shutdown, a file that hangs does not use up the time, and is not used afterwards."""
    reads, go_on = threading.Event(), threading.Event()
    with reloading(tmp_path, granting()) as running:
        reloader, loaded = running.proxy.reloader, Source(running.file, {}).read()
        begin, left = running.proxy.delivery.stop, list[float]()

        def read(_: Source) -> object:
            reads.set()
            assert go_on.wait(TIMEOUT_SECONDS)
            return loaded

        def stop(within_seconds: float) -> None:
            left.append(within_seconds)
            begin(within_seconds)

        monkeypatch.setattr(Source, "read", read)
        monkeypatch.setattr(running.proxy.delivery, "stop", stop)
        door = running.proxy.front_door.door
        reloader.request()
        assert reads.wait(TIMEOUT_SECONDS)
        running.proxy.close(10.0)
        assert left[0] > 5.0
        go_on.set()
        assert reloader._thread is not None
        reloader._thread.join()
        assert running.proxy.front_door.door is door


def test_a_reload_over_the_admin_listener_needs_a_token(tmp_path: Path) -> None:
    """The answer has what has changed, or every fault with status 422."""
    file = tmp_path / "tokens.txt"
    file.write_text(TOKEN)
    own = {"admin_listen": "127.0.0.1:0", "admin_token_file": file}
    with (
        reloading(tmp_path, granting(), **own) as running,
        admin_listener(running.proxy, is_configured=True) as admin,
    ):
        assert admin is not None
        client = Client(int(admin.effective_port))
        bearer = {"Authorization": f"Bearer {TOKEN}"}
        running.write(threads=9)
        assert client.send("POST", "/api/reload").status == 401
        assert client.send("GET", "/api/reload", None, bearer).status == 405
        assert running.proxy.settings.threads == 8
        reply = client.send("POST", "/api/reload", None, bearer)
        assert (reply.status, json.loads(reply.body)) == (200, {"notes": ["threads has changed"]})
        running.write(threads=0, client="nobody")
        reply = client.send("POST", "/api/reload", None, bearer)
        assert reply.status == 422
        assert len(json.loads(reply.body)["message"].splitlines()) == 2
        running.reload(threads=9, client="auto", admin_token_file=None)
        assert client.send("POST", "/api/reload", None, bearer).status == 403


# -- under load ---------------------------------------------------------------------------------


@dataclass
class Load:
    """Clients that open, read and end rooms until `stop`; `failed` has what was not 200."""

    port: int
    failed: list[Reply] = field(default_factory=list)
    answered: int = 0

    def __post_init__(self) -> None:
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(4)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End all clients."""
        self._is_over.set()
        for thread in self._threads:
            thread.join()

    def _run(self, number: int) -> None:
        client = Client(self.port, (JICOFO, PROSODY)[number % 2])
        for turn in range(100_000):
            if self._is_over.is_set():
                return
            created = client.create(f"room{number}-{turn % 7}")
            self._note(created)
            if created.status == 200:
                self._note(client.get(created.json["id"]))
                self._note(client.delete(created.json["id"]))

    def _note(self, reply: Reply) -> None:
        self.answered += 1
        if reply.status != 200:
            self.failed.append(reply)


def test_many_reloads_under_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No request fails during 100 reloads. tests/conftest.py finds threads that are left."""
    monkeypatch.setattr(pool, "RETIRE_SECONDS", 1.0)
    backend = granting_all()
    with reloading(tmp_path, backend) as running, serving_grpc(backend) as second:
        first, load = running.values["backends"], Load(running.port)
        for turn in range(100):
            target = first if turn % 2 else backends(default=second)
            assert running.reload(backends=target, threads=8 + turn % 3).faults == ()
            running.proxy.backends.refresh()
        load.stop()
        assert load.answered > 0
        assert load.failed == []
        monkeypatch.setattr(running.proxy.backends, "_clock", lambda: float("inf"))
        running.proxy.backends.refresh()
        assert len(running.proxy.backends.members) == 1
        assert running.proxy.backends._retired == [], "no channel is left"
