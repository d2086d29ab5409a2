"""No request waits for a hanging disk longer than its time budget (reliability.md)."""

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from jicofo_reservation_proxy.app import Proxy
from jicofo_reservation_proxy.gen.jicofo.reservation.v1 import reservation_pb2 as pb
from jicofo_reservation_proxy.ledger import write_behind
from jicofo_reservation_proxy.ledger.records import RecordState
from jicofo_reservation_proxy.ledger.sqlite_database import Database
from jicofo_reservation_proxy.ledger.sqlite_ledger import SqliteLedger

from tests.unit.ledgers import eventually, stored

from .support import (
    JICOFO,
    PROSODY,
    TIMEOUT_SECONDS,
    Client,
    Context,
    Script,
    backends,
    conference,
    granting_all,
    serving_grpc,
    serving_http,
    settings,
)


@contextmanager
def hanging(proxy: Proxy) -> Iterator[None]:
    """Let every write of the proxy hang until the context ends."""
    assert isinstance(proxy.ledger, SqliteLedger)
    database, goes_on, began = proxy.ledger._database, threading.Event(), threading.Event()

    def hang() -> None:
        with database.transaction():
            began.set()
            assert goes_on.wait(TIMEOUT_SECONDS)

    thread = threading.Thread(target=hang)
    thread.start()
    assert began.wait(TIMEOUT_SECONDS)
    try:
        yield
    finally:
        goes_on.set()
        thread.join()


@contextmanager
def served(
    state_dir: Path, backend: Script | None, **values: object
) -> Iterator[tuple[Proxy, Client]]:
    """Run a proxy with this backend, or with an unreachable backend."""
    with ExitStack() as stack:
        target = stack.enter_context(serving_grpc(backend)) if backend else "127.0.0.1:1"
        given = {"respond_within": "2s", "backends": backends(default=target), **values}
        proxy = stack.enter_context(Proxy(settings(state_dir, **given)))
        port = stack.enter_context(serving_http(proxy))
        yield proxy, Client(port, PROSODY)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write_behind, "HANGING_SECONDS", 0.2)


def test_posts_and_gets_do_not_wait_for_the_disk(tmp_path: Path) -> None:
    """While the disk hangs, POST and GET work, except a POST of Jicofo that needs a new alias."""

    def create(request: pb.CreateConferenceRequest, _: Context) -> pb.CreateConferenceResponse:
        found = conference(request, f"order-{request.room.raw}")
        return pb.CreateConferenceResponse(conference=found)

    with served(tmp_path, Script(create)) as (proxy, prosody):
        jicofo = Client(prosody.port, JICOFO)
        known = jicofo.create("known", mail_owner=None)
        with hanging(proxy):
            for number in range(20):
                created = prosody.create(f"room{number}")
                assert created.status == 200
                # The backend has no GetConference, so the ledger answers.
                assert prosody.get(created.json["id"]).status == 200
            again = jicofo.create("known", mail_owner=None)
            assert (again.status, again.json["id"]) == (200, known.json["id"])
            assert jicofo.create("new", mail_owner=None).status == 503


def test_a_delete_is_delivered_in_place_of_the_disk(tmp_path: Path) -> None:
    """A DELETE is 200 if the backend has taken the deletion; no thread waits for long."""
    backend = granting_all()
    with served(tmp_path, backend) as (proxy, client):
        ids = [client.create(f"room{number}").json["id"] for number in range(30)]
        with hanging(proxy):
            statuses: list[int] = []
            threads = [
                threading.Thread(
                    target=lambda name=name: statuses.append(client.delete(name).status)
                )
                for name in ids
            ]
            for thread in threads:
                thread.start()
            assert client.create("other").status == 200
            for thread in threads:
                thread.join(TIMEOUT_SECONDS)
        assert statuses == [200] * 30
        assert len(backend.deletes) == 30
        eventually(lambda: proxy.ledger.counts[RecordState.OPEN] == 1)


def test_a_delete_is_503_if_neither_takes_it(tmp_path: Path) -> None:
    """If the disk hangs and the backend is unreachable, a DELETE is 503 and is not pending."""
    with served(tmp_path, None) as (proxy, client):
        with hanging(proxy):
            began = time.monotonic()
            assert client.delete("default.7").status == 503
            assert time.monotonic() - began < 20, "the DELETE does not wait for the disk"
            assert proxy.ledger.counts[RecordState.PENDING] == 0
        eventually(lambda: client.delete("default.7").status == 200)
        eventually(lambda: [record.state for record in stored(tmp_path)] == [RecordState.PENDING])


def test_the_end_of_the_proxy_does_not_wait_for_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A proxy ends while the disk hangs, and the log says what is lost."""
    monkeypatch.setattr("jicofo_reservation_proxy.ledger.sqlite_database.CLOSE_SECONDS", 0.1)
    monkeypatch.setattr(SqliteLedger.close, "__defaults__", (0.1,))
    with served(tmp_path, granting_all()) as (proxy, client):
        assert isinstance(proxy.ledger, SqliteLedger)
        with hanging(proxy):
            assert client.create().status == 200
            proxy.close(0)
            assert "the last changes of the ledger are lost" in caplog.text
        thread = proxy.ledger._writes._thread
        assert thread
        thread.join(TIMEOUT_SECONDS)
        assert isinstance(proxy.ledger._database, Database)
        proxy.ledger._database.close()
