"""Faults below SQLite: the system hangs, fails or writes too little, and the power is cut.

A preloaded library (below_sqlite.c) stands between SQLite and the system. It needs a C compiler.
"""

import threading
from collections.abc import Callable

import pytest
from jicofo_reservation_proxy.ledger.records import RecordState
from jicofo_reservation_proxy.ledger.sqlite_database import FILE_NAME

from .disk import Disk
from .processes import PATIENCE_SECONDS, Proxy, Stage, until
from .timing import MARGIN_SECONDS, timed

RESPOND_SECONDS = 4.0


Begin = Callable[..., tuple[Proxy, Disk]]


@pytest.fixture
def begin(stage: Stage, disk: Disk) -> Begin:
    """Return a function that prepares a proxy with this disk, for a target."""

    def prepare(target: str = "127.0.0.1:1") -> tuple[Proxy, Disk]:
        proxy = stage.proxy(target, respond_within=f"{RESPOND_SECONDS}s")
        disk.attach(proxy)
        return proxy, disk

    return prepare


def test_the_power_is_cut_after_each_delete(begin: Begin) -> None:
    """The files that were synced contain every DELETE that was answered 200."""
    proxy, disk = begin()
    proxy.start()
    client = proxy.client()
    for number in range(40):
        assert client.delete(f"default.{number}").status == 200
        assert disk.after_a_power_cut() == {str(done) for done in range(number + 1)}


def test_the_power_is_cut_during_many_deletes(begin: Begin) -> None:
    """While several clients send DELETEs, a power cut loses no DELETE that was answered 200."""
    proxy, disk = begin()
    proxy.start()
    client, answered = proxy.client(), set[str]()

    def delete(worker: int) -> None:
        for number in range(30):
            name = f"{worker}-{number}"
            assert client.delete(f"default.{name}").status == 200
            answered.add(name)

    threads = [threading.Thread(target=delete, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        before = set(answered)
        assert before <= disk.after_a_power_cut()
    assert len(answered) == 120
    assert disk.after_a_power_cut() == answered


@pytest.mark.parametrize("call", ["sync", "write"])
def test_a_disk_that_hangs_below_sqlite(begin: Begin, stage: Stage, call: str) -> None:
    """Rooms open and close while a call to the disk hangs. No deletion is lost."""
    backend = stage.backend()
    backend.wait_until_ready()
    proxy, disk = begin(backend.address)
    proxy.start()
    client = proxy.client()
    before = client.create("before").json["id"]
    disk.let(**{call: "hang"})
    during = client.create("during").json["id"]
    assert client.get(during).status == 200
    reply, seconds = timed(lambda: client.delete(before))
    assert reply.status == 200
    assert seconds < RESPOND_SECONDS + MARGIN_SECONDS
    backend.kill()
    reply, seconds = timed(lambda: client.delete(during))
    assert reply.status == 503
    assert seconds < RESPOND_SECONDS + MARGIN_SECONDS
    disk.repair()
    until(lambda: client.delete(during).status == 200, "the disk works again")
    proxy.kill()
    backend.start()
    proxy.start()
    proxy.wait_until_delivered()
    assert stage.store.ids == []


@pytest.mark.parametrize("fault", ["full", "late", "short", "broken"])
@pytest.mark.parametrize("call", ["sync", "write"])
def test_a_disk_that_fails_below_sqlite(begin: Begin, call: str, fault: str) -> None:
    """A DELETE is 200 if and only if the file contains it. After a repair, DELETEs are stored."""
    proxy, disk = begin()
    proxy.start()
    client = proxy.client()
    assert client.delete("default.before").status == 200
    disk.let(**{call: fault})
    status = client.delete("default.during").status
    assert (status == 200) == _survives(proxy, "during")
    disk.repair()
    until(lambda: client.delete("default.during").status == 200, "the disk works again")
    until(lambda: client.delete("default.after").status == 200, "the disk works again")
    for name in ("before", "during", "after"):
        assert _survives(proxy, name)
    proxy.restart()
    pending = {one.ref.conference_id for one in proxy.records(RecordState.PENDING)}
    assert pending == {"before", "during", "after"}


def _survives(proxy: Proxy, name: str) -> bool:
    return name in {one.ref.conference_id for one in proxy.records(RecordState.PENDING)}


def test_a_disk_that_cannot_be_read_at_the_start(begin: Begin) -> None:
    """The proxy does not start. It exits with 5 and changes no file of the ledger."""
    proxy, disk = begin()
    proxy.start()
    assert proxy.client().delete("default.before").status == 200
    proxy.kill()
    files = {file: file.read_bytes() for file in proxy.state_dir.glob(f"{FILE_NAME}*")}
    disk.let(read="broken")
    proxy.launch()
    assert proxy.wait(PATIENCE_SECONDS) == 5
    assert f"{FILE_NAME}: cannot be used as the ledger: disk I/O error" in proxy.text
    assert {file: file.read_bytes() for file in files} == files
    disk.repair()
    proxy.start()
    assert _survives(proxy, "before")
