"""A full disk: the proxy delivers deletions at once, and stores them again when there is space."""

import resource

from jicofo_reservation_proxy.ledger.records import RecordState
from jicofo_reservation_proxy.ledger.sqlite_database import FILE_NAME

from .processes import Proxy, Stage, until


def _fill_disk(proxy: Proxy) -> None:
    """Limit the proxy's files to the size of SQLite's log, so that the log cannot grow."""
    log = proxy.state_dir / f"{FILE_NAME}-wal"
    _limit(proxy, log.stat().st_size)
    assert proxy.file.stat().st_size < log.stat().st_size, "no space for the proxy's own log"


def _limit(proxy: Proxy, file_bytes: int) -> None:
    resource.prlimit(proxy.pid, resource.RLIMIT_FSIZE, (file_bytes, resource.RLIM_INFINITY))


def test_with_a_full_disk_rooms_are_granted_and_deletions_delivered_at_once(stage: Stage) -> None:
    """On a full disk the proxy grants rooms, and delivers a DELETE before it answers 200."""
    _, proxy = stage.pair()
    client = proxy.client()
    before = client.create("before").json["id"]
    _fill_disk(proxy)
    during = client.create("during").json["id"]
    until(lambda: "cannot write changes to the ledger" in proxy.text, "the log has the warning")
    for public_id in (before, during):
        assert client.delete(public_id).status == 200
    assert stage.store.ids == []
    _limit(proxy, resource.RLIM_INFINITY)
    after = client.create("after").json["id"]
    until(lambda: proxy.records(RecordState.OPEN), "the new grant is written")
    assert client.delete(after).status == 200
    proxy.wait_until_delivered()
    until(lambda: not proxy.records(RecordState.OPEN), "no conference is open")
    assert stage.store.ids == []


def test_with_a_full_disk_and_a_dead_backend_a_delete_is_503(stage: Stage) -> None:
    """The proxy answers a DELETE with 503 if it can neither store nor deliver the deletion.

    It answers 200 as soon as the disk has free space again.
    """
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
