"""Faults below SQLite: the system hangs, fails or writes too little, and the power is cut.

A preloaded library (below_sqlite.c) stands between SQLite and the system. It needs a C compiler.
"""

import os
import shutil
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from jicofo_reservation_proxy.ledger.records import RecordState
from jicofo_reservation_proxy.ledger.sqlite_database import FILE_NAME
from jicofo_reservation_proxy.ledger.sqlite_ledger import read

from .processes import PATIENCE_SECONDS, Proxy, Stage, until
from .timing import MARGIN_SECONDS, timed

SOURCE = Path(__file__).with_name("below_sqlite.c")
RESPOND_SECONDS = 4.0


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the library; skip the tests on a machine without a C compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        assert os.environ.get("CI") != "true", "CI needs a C compiler"
        pytest.skip("there is no C compiler")
    file = tmp_path_factory.mktemp("library") / "below_sqlite.so"
    flags = ["-shared", "-fPIC", "-O1", "-Wall", "-Werror"]
    subprocess.run([compiler, *flags, "-o", str(file), str(SOURCE), "-ldl"], check=True)
    return file


@dataclass(frozen=True)
class Disk:
    """The disk of a proxy. `faults` is the directory that the library reads."""

    faults: Path

    def let(self, **faults: str) -> None:
        """Let each kind of call (sync, write, read) have a fault from now on."""
        for kind, fault in faults.items():
            part = self.faults / f"{kind}.part"
            part.write_text(fault)
            part.rename(self.faults / kind)

    def repair(self) -> None:
        """Let all calls work."""
        for kind in ("sync", "write", "read"):
            (self.faults / kind).unlink(missing_ok=True)

    def after_a_power_cut(self) -> set[str]:
        """Return the pending conferences that the next process would find after a power cut."""
        copy = self.faults / "after"
        shutil.rmtree(copy, ignore_errors=True)
        copy.mkdir()
        # In this order, a checkpoint between the two copies loses nothing.
        for name in (f"{FILE_NAME}-wal", FILE_NAME):
            shutil.copy(self.faults / "synced" / name, copy)
        found = read(copy)
        return {one.ref.conference_id for one in found if one.state is RecordState.PENDING}


Begin = Callable[..., tuple[Proxy, Disk]]


@pytest.fixture
def begin(stage: Stage, library: Path, tmp_path: Path) -> Begin:
    """Return a function that prepares a proxy on such a disk, in front of a target."""

    def prepare(target: str = "127.0.0.1:1") -> tuple[Proxy, Disk]:
        faults = tmp_path / "faults"
        (faults / "synced").mkdir(parents=True, exist_ok=True)
        proxy = stage.proxy(target, respond_within=f"{RESPOND_SECONDS}s")
        proxy.environ |= {"LD_PRELOAD": str(library), "LEDGER_FAULTS": str(faults)}
        return proxy, Disk(faults)

    return prepare


def test_the_power_is_cut_after_each_delete(begin: Begin) -> None:
    """What was synced so far has each DELETE that was answered 200 so far."""
    proxy, disk = begin()
    proxy.start()
    client = proxy.client()
    for number in range(40):
        assert client.delete(f"default.{number}").status == 200
        assert disk.after_a_power_cut() == {str(done) for done in range(number + 1)}


def test_the_power_is_cut_during_many_deletes(begin: Begin) -> None:
    """The same is true while several clients send DELETEs, at whatever moment the power is cut."""
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


@pytest.mark.parametrize("kind", ["sync", "write"])
def test_a_disk_that_hangs_below_sqlite(begin: Begin, stage: Stage, kind: str) -> None:
    """Rooms open and close while a call to the disk hangs, and nothing is lost afterwards."""
    backend = stage.backend()
    backend.wait_until_ready()
    proxy, disk = begin(backend.address)
    proxy.start()
    client = proxy.client()
    before = client.create("before").json["id"]
    disk.let(**{kind: "hang"})
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
@pytest.mark.parametrize("kind", ["sync", "write"])
def test_a_disk_that_fails_below_sqlite(begin: Begin, kind: str, fault: str) -> None:
    """A DELETE is 200 exactly if it survives a `kill -9`; after a repair, DELETEs are stored."""
    proxy, disk = begin()
    proxy.start()
    client = proxy.client()
    assert client.delete("default.before").status == 200
    disk.let(**{kind: fault})
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
    """The proxy does not start, exits with 5, and changes nothing."""
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
