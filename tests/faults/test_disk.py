"""A full disk: what cannot be written is done at once, and all is well when there is room."""

import resource

from jicofo_reservation_proxy.ledger.records import RecordState
from jicofo_reservation_proxy.ledger.sqlite_database import FILE_NAME

from .processes import Proxy, Stage, until


def _fill_disk(proxy: Proxy) -> None:
    """Let no file of the proxy become larger than its SQLite log is; so that cannot grow."""
    log = proxy.state_dir / f"{FILE_NAME}-wal"
    _limit(proxy, log.stat().st_size)
    assert proxy.file.stat().st_size < log.stat().st_size, "there is room for the proxy's own log"


def _limit(proxy: Proxy, file_bytes: int) -> None:
    resource.prlimit(proxy.pid, resource.RLIMIT_FSIZE, (file_bytes, resource.RLIM_INFINITY))


def test_a_full_disk(stage: Stage) -> None:
    """Rooms are granted, and a DELETE is delivered before it is answered 200."""
    _, proxy = stage.pair()
    client = proxy.client()
    before = client.create("before").json["id"]
    _fill_disk(proxy)
    during = client.create("during").json["id"]
    until(lambda: "grants cannot be written" in proxy.text, "the log says so")
    for public_id in (before, during):
        assert client.delete(public_id).status == 200
    assert stage.store.ids == []
    _limit(proxy, resource.RLIM_INFINITY)
    after = client.create("after").json["id"]
    until(lambda: proxy.records(RecordState.OPEN), "the new grant is written")
    assert client.delete(after).status == 200
    proxy.wait_until_delivered()
    until(lambda: not proxy.records(RecordState.OPEN), "what is gone is written")
    assert stage.store.ids == []


def test_a_full_disk_and_a_dead_backend(stage: Stage) -> None:
    """Nobody can keep a DELETE, so it is 503; it is 200 as soon as there is room."""
    backend, proxy = stage.pair()
    client = proxy.client()
    public_id = client.create("room").json["id"]
    until(lambda: proxy.records(RecordState.OPEN), "the grant is written")
    _fill_disk(proxy)
    backend.kill()
    assert client.delete(public_id).status == 503
    assert client.get(public_id).status == 200
    _limit(proxy, resource.RLIM_INFINITY)
    assert client.delete(public_id).status == 200
    proxy.restart()
    backend.start()
    proxy.wait_until_delivered()
    assert stage.store.ids == []
