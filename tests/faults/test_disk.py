"""A full disk: the proxy delivers deletions at once, and stores them again when there is space."""

from jicofo_reservation_proxy.ledger.records import RecordState

from .disk import Disk
from .processes import Backend, Proxy, Stage, until


def _pair(stage: Stage, disk: Disk) -> tuple[Backend, Proxy]:
    """Start a backend, and a proxy in front of it with this disk; return both when they serve."""
    backend = stage.backend()
    backend.wait_until_ready()
    proxy = stage.proxy(backend)
    disk.attach(proxy)
    proxy.start()
    return backend, proxy


def test_with_a_full_disk_rooms_are_granted_and_deletions_delivered_at_once(
    stage: Stage, disk: Disk
) -> None:
    """On a full disk the proxy grants rooms, and delivers a DELETE before it answers 200."""
    _, proxy = _pair(stage, disk)
    client = proxy.client()
    before = client.create("before").json["id"]
    disk.let(write="full")
    during = client.create("during").json["id"]
    until(lambda: "ledger: cannot be written" in proxy.text, "the log has the warning")
    for public_id in (before, during):
        assert client.delete(public_id).status == 200
    assert stage.store.ids == []
    disk.repair()
    after = client.create("after").json["id"]
    until(lambda: proxy.records(RecordState.OPEN), "the new grant is written")
    assert client.delete(after).status == 200
    proxy.wait_until_delivered()
    until(lambda: not proxy.records(RecordState.OPEN), "no conference is open")
    assert stage.store.ids == []


def test_with_a_full_disk_and_a_dead_backend_a_delete_is_503(stage: Stage, disk: Disk) -> None:
    """The proxy answers a DELETE with 503 if it can neither store nor deliver the deletion.

    It answers 200 as soon as the disk has free space again.
    """
    backend, proxy = _pair(stage, disk)
    client = proxy.client()
    public_id = client.create("room").json["id"]
    until(lambda: proxy.records(RecordState.OPEN), "the grant is written")
    disk.let(write="full")
    backend.kill()
    assert client.delete(public_id).status == 503
    assert client.get(public_id).status == 200
    disk.repair()
    assert client.delete(public_id).status == 200
    proxy.restart()
    backend.start()
    proxy.wait_until_delivered()
    assert stage.store.ids == []
