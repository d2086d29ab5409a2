"""The watch on the files: what it notices, and that nothing is lost afterwards."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from jicofo_reservation_proxy.errors import StateError, StateInUseError
from jicofo_reservation_proxy.ledger.file_watch import FileWatch
from jicofo_reservation_proxy.ledger.sqlite_aliases import SqliteAliases
from jicofo_reservation_proxy.ledger.sqlite_database import FILE_NAME, Database
from jicofo_reservation_proxy.ledger.sqlite_ledger import SqliteLedger

from tests.unit.ledger.states import OPEN, PENDING, after_a_kill, grant
from tests.unit.ledgers import LONG_SECONDS, eventually, ref

WAL = f"{FILE_NAME}-wal"


@dataclass
class World:
    """A ledger and its aliases, with the watch on their files."""

    state_dir: Path
    ledger: SqliteLedger
    aliases: SqliteAliases
    number: int


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Return a ledger with an open and a pending conference, an alias and a number owner."""
    state_dir = tmp_path / "state"
    with (
        closing(Database(state_dir)) as database,
        closing(SqliteLedger(database)) as ledger,
        closing(SqliteAliases(database)) as aliases,
    ):
        ledger.end(grant(ledger), 5, LONG_SECONDS)
        grant(ledger, "8", "kitchen")
        aliases.set_number_owner("default")
        number = aliases.alias(ref("x"), LONG_SECONDS)
        assert database.find_damage() == ""
        with closing(FileWatch(database, [ledger.rewrite, aliases.rewrite], 0.01)):
            yield World(state_dir, ledger, aliases, number)


def is_complete(state_dir: Path) -> bool:
    """Return whether the next process would know everything if this one were killed now."""
    try:
        states = {record.ref.conference_id: record.state for record in after_a_kill(state_dir)}
    except StateError:
        return False
    return states == {"7": PENDING, "8": OPEN}


def remove(state_dir: Path) -> None:
    """Remove the files of the ledger."""
    for file in (state_dir / FILE_NAME, state_dir / WAL):
        file.unlink()


def remove_everything(state_dir: Path) -> None:
    """Remove the state directory."""
    shutil.rmtree(state_dir)


def remove_the_log(state_dir: Path) -> None:
    """Remove only the write-ahead log."""
    (state_dir / WAL).unlink()


def replace(state_dir: Path) -> None:
    """Put another file in place of the ledger."""
    other = state_dir / "other"
    other.write_bytes(b"other")
    other.rename(state_dir / FILE_NAME)


def cut(state_dir: Path) -> None:
    """Cut the ledger."""
    os.truncate(state_dir / FILE_NAME, 0)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (remove, f"{FILE_NAME} was removed"),
        (remove_everything, f"{FILE_NAME} was removed"),
        (remove_the_log, f"{WAL} was removed"),
        (replace, f"{FILE_NAME} was replaced"),
        (cut, f"{FILE_NAME} was cut"),
    ],
)
def test_the_ledger_is_written_anew(
    world: World, damage: Callable[[Path], None], message: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Everything is on the disk again within seconds, and the log says what happened."""
    damage(world.state_dir)
    eventually(lambda: "the ledger was written anew from memory" in caplog.text)
    assert message in caplog.text
    eventually(lambda: is_complete(world.state_dir))
    world.ledger.end(ref("8"), 6, LONG_SECONDS)
    world.aliases.flush()
    after_a_kill(world.state_dir)
    with closing(Database(world.state_dir / "after")) as database:
        aliases = SqliteAliases(database, write_behind=False)
        assert aliases.resolve(world.number) == ref("x")
        assert aliases.number_owner == "default"
    assert caplog.text.count("written anew") == 1


def test_a_directory_that_another_process_uses_by_now(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """If another proxy has started in a new directory, its files are not touched."""
    away = world.state_dir.with_name("away")
    new = world.state_dir.with_name("new")
    with closing(Database(new)) as other:
        world.state_dir.rename(away)
        new.rename(world.state_dir)
        eventually(lambda: "and cannot be written anew" in caplog.text)
        assert "used by process" in caplog.text
        with other.transaction() as connection:
            connection.execute("INSERT INTO alias VALUES (7, 'default.x', 0)")
        with pytest.raises(StateError):
            world.ledger.end(ref("8"), 6, LONG_SECONDS)
    eventually(lambda: "the ledger was written anew from memory" in caplog.text)
    eventually(lambda: is_complete(world.state_dir))


def test_a_new_directory_is_locked(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """After the directory was removed, a second proxy does not start in the new one."""
    remove_everything(world.state_dir)
    eventually(lambda: "the ledger was written anew from memory" in caplog.text)
    with pytest.raises(StateInUseError):
        Database(world.state_dir)


def test_the_damaged_files_are_kept(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """The files that were found in place of the ledger are kept under new names."""
    replace(world.state_dir)
    eventually(lambda: "written anew" in caplog.text)
    assert (world.state_dir / f"{FILE_NAME}.damaged").read_bytes() == b"other"


def test_a_ledger_that_cannot_be_written_anew(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """While nothing can be written, a DELETE fails; afterwards the ledger is written anew."""
    shutil.rmtree(world.state_dir)
    world.state_dir.write_text("in the way")
    eventually(lambda: "and cannot be written anew" in caplog.text)
    with pytest.raises(StateError):
        world.ledger.end(ref("8"), 6, LONG_SECONDS)
    world.state_dir.unlink()
    eventually(lambda: "the ledger was written anew from memory" in caplog.text)
    eventually(lambda: is_complete(world.state_dir))
    assert caplog.text.count("and cannot be written anew") == 1


def test_a_disk_that_hangs_is_a_failure_of_the_ledger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Also if nobody waits for a write: one line when it hangs, and one when it goes on."""
    monkeypatch.setattr("jicofo_reservation_proxy.ledger.file_watch.HANGING_SECONDS", 0.0001)
    with (
        closing(Database(tmp_path)) as database,
        closing(FileWatch(database, [], 0.01)),
    ):
        with database.transaction():
            eventually(lambda: not database.component.state.is_well)
        eventually(lambda: database.component.state.is_well)
    hangs, goes_on = caplog.messages
    assert hangs.startswith("ledger: cannot be written: the disk has not answered for ")
    assert goes_on.startswith("ledger: can be written again after ")
