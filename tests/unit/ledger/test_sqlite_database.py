"""The file of the ledger: who may open it, and what is left as it is."""

import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from jicofo_reservation_proxy.errors import StateError, StateInUseError
from jicofo_reservation_proxy.ids import alias_candidate, encode
from jicofo_reservation_proxy.ledger import sqlite_database
from jicofo_reservation_proxy.ledger.sqlite_aliases import SqliteAliases
from jicofo_reservation_proxy.ledger.sqlite_database import (
    APPLICATION_ID,
    FILE_NAME,
    MIGRATIONS,
    SCHEMA_VERSION,
    Database,
    reading,
)
from jicofo_reservation_proxy.ledger.sqlite_ledger import SqliteLedger
from jicofo_reservation_proxy.ledger.state_directory import LOCK_NAME

from tests.unit.ledgers import LONG_SECONDS, conference, opened, ref

INSERT = "INSERT INTO alias VALUES (?, ?, 0)"


def mode(path: Path) -> int:
    """Return the permissions of a file."""
    return stat.S_IMODE(path.stat().st_mode)


def contents(state_dir: Path) -> dict[str, bytes]:
    """Return what stands in the ledger's own files, its unfinished part included."""
    found = {path.name: path.read_bytes() for path in state_dir.glob(FILE_NAME + "*")}
    return {name: found[name] for name in found if not name.endswith("-shm") and found[name]}


@contextmanager
def sqlite_file(state_dir: Path) -> Iterator[sqlite3.Connection]:
    """Open the ledger's file as another program would."""
    connection = sqlite3.connect(state_dir / FILE_NAME, isolation_level=None)
    with closing(connection):
        yield connection


def refusal(state_dir: Path) -> str:
    """Return why a directory is refused; what stands in it must be left as it is."""
    before = contents(state_dir)
    with pytest.raises(StateError) as caught:
        Database(state_dir)
    assert contents(state_dir) == before
    return str(caught.value).removeprefix(f"{state_dir / FILE_NAME}: ")


def rows(state_dir: Path, sql: str) -> list[tuple[object, ...]]:
    """Return what a query finds in the file."""
    with reading(state_dir) as connection:
        return connection.execute(sql).fetchall()


# -- the directory and the file ----------------------------------------------------------------


def test_the_directory_is_made(tmp_path: Path) -> None:
    """A missing state directory is made, with its parents; all in it is for its owner only."""
    state_dir = tmp_path / "a" / "b"
    before = os.umask(0)
    try:
        with closing(Database(state_dir)) as opened_database:
            with opened_database.transaction() as connection:
                connection.execute(INSERT, (1, "default.x"))
            assert mode(state_dir) == 0o700
            names = {path.name: mode(path) for path in state_dir.iterdir()}
    finally:
        os.umask(before)
    assert {FILE_NAME, f"{FILE_NAME}-wal"} <= names.keys()
    assert set(names.values()) == {0o600}


def test_a_directory_that_is_there_stays_as_it_is(tmp_path: Path) -> None:
    """Whoever may look into a directory of the operator's own is the operator's decision."""
    tmp_path.chmod(0o750)
    Database(tmp_path).close()
    assert mode(tmp_path) == 0o750


def test_a_commit_survives_a_power_cut(tmp_path: Path) -> None:
    """The file is in WAL mode, and every commit waits for the disk."""
    with closing(Database(tmp_path)) as opened_database:
        assert opened_database.rows("PRAGMA journal_mode") == [("wal",)]
        assert opened_database.rows("PRAGMA synchronous") == [(2,)]


def test_the_file_is_marked(tmp_path: Path) -> None:
    """It says whose it is, and which version."""
    with closing(Database(tmp_path)) as opened_database:
        assert opened_database.rows("PRAGMA application_id") == [(APPLICATION_ID,)]
        assert opened_database.rows("PRAGMA user_version") == [(2,)]
    assert SCHEMA_VERSION == 2


def test_an_empty_file_becomes_a_ledger(tmp_path: Path) -> None:
    """An empty file is one that was never written."""
    (tmp_path / FILE_NAME).touch()
    Database(tmp_path).close()
    assert rows(tmp_path, "PRAGMA user_version") == [(SCHEMA_VERSION,)]


def test_opening_it_again_changes_nothing(tmp_path: Path) -> None:
    """A ledger of this version is not written to by a start."""
    Database(tmp_path).close()
    before = contents(tmp_path)
    Database(tmp_path).close()
    assert contents(tmp_path) == before


@pytest.mark.parametrize("name", ["a b", "50%41", "what?#now", "caf\u00e9", "file:x"])
def test_directories_with_odd_names(tmp_path: Path, name: str) -> None:
    """What stands for something else in a URL stands for itself in a directory's name."""
    with opened(tmp_path / name) as ledger:
        ledger.end(ref(), 1)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert rows(tmp_path / name, "SELECT conference_id FROM conference") == [("7",)]


@pytest.mark.parametrize(
    ("path", "reason"), [("file", "File exists"), ("file/state", "Not a directory")]
)
def test_directories_that_cannot_be_made(tmp_path: Path, path: str, reason: str) -> None:
    """Where a file is in the way, the setting and the directory are named, and what would do."""
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(StateError) as caught:
        Database(tmp_path / path)
    assert str(caught.value) == (
        f"state_dir: wanted a writable directory, got {tmp_path / path}: {reason};"
        ' make it writable, or set state = "memory"'
    )


HINT = 'make it writable, or set state = "memory"'


def test_a_directory_that_cannot_be_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A directory without the right to write is named, with the system's reason."""

    def touch(path: Path, mode: int = 0o666) -> None:
        raise PermissionError(13, "Permission denied", str(path), mode)

    monkeypatch.setattr(Path, "touch", touch)  # root may write everywhere
    with pytest.raises(StateError) as caught:
        Database(tmp_path)
    assert str(caught.value) == f"state_dir: cannot write to {tmp_path}: Permission denied; {HINT}"
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_really_cannot_be_written_to() -> None:
    """The same with a real directory, in which not even root makes files."""
    with pytest.raises(StateError, match=r"^state_dir: cannot write to /proc/sys/kernel: "):
        Database(Path("/proc/sys/kernel"))


def test_a_file_that_cannot_be_opened(tmp_path: Path) -> None:
    """A directory where the ledger should be is no ledger, and the lock is free afterwards."""
    file = tmp_path / FILE_NAME
    file.mkdir()
    for _ in range(2):
        with pytest.raises(StateError) as caught:
            Database(tmp_path)
        assert str(caught.value).startswith(f"{file}: cannot be used as the ledger: ")


# -- one process at a time ---------------------------------------------------------------------

HOLD = """
import sys
from pathlib import Path
from jicofo_reservation_proxy.ledger.sqlite_database import Database

database = Database(Path(sys.argv[1]))
with database.transaction() as connection:
    connection.execute("INSERT INTO alias VALUES (7, 'default.x', 0)")
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def another_process(state_dir: Path) -> Iterator[subprocess.Popen[str]]:
    """Let another process use a state directory; it is killed where it has not ended."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, state_dir],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def test_a_directory_belongs_to_one_process(tmp_path: Path) -> None:
    """A second proxy is told the number of the first one, and changes nothing."""
    with another_process(tmp_path) as other:
        before = contents(tmp_path)
        with pytest.raises(StateInUseError) as caught:
            Database(tmp_path)
        assert contents(tmp_path) == before
        assert (tmp_path / LOCK_NAME).read_text() == f"{other.pid}\n"
    assert str(caught.value) == (
        f"state_dir: wanted a directory of this proxy's own, got {tmp_path}, which the process"
        f" {other.pid} is using; stop that one, or set another state_dir"
    )


def test_a_directory_is_free_after_a_kill(tmp_path: Path) -> None:
    """The lock ends with the process, however that ends, and what was committed is there."""
    with another_process(tmp_path) as other:
        other.send_signal(signal.SIGKILL)
        assert other.wait() == -signal.SIGKILL
        with closing(Database(tmp_path)) as opened_database:
            assert opened_database.rows("SELECT number FROM alias") == [(7,)]
            assert (tmp_path / LOCK_NAME).read_text() == f"{os.getpid()}\n"


def test_a_directory_is_free_after_close(tmp_path: Path) -> None:
    """While it is open not even the same process has it twice; closing twice is fine."""
    first = Database(tmp_path)
    with pytest.raises(StateInUseError, match=f"the process {os.getpid()} is using"):
        Database(tmp_path)
    first.close()
    first.close()
    Database(tmp_path).close()


def test_a_number_that_is_not_written_yet(tmp_path: Path) -> None:
    """Between the lock and the number in it there is a moment in which nobody knows that."""
    with closing(Database(tmp_path)):
        (tmp_path / LOCK_NAME).write_text("")
        with pytest.raises(StateInUseError, match="the process of unknown number is using"):
            Database(tmp_path)


def test_a_longer_number_of_an_earlier_process(tmp_path: Path) -> None:
    """What an earlier process left in the lock's file is replaced, not written over."""
    (tmp_path / LOCK_NAME).write_text("12345678901234567890\n")
    with closing(Database(tmp_path)):
        assert (tmp_path / LOCK_NAME).read_text() == f"{os.getpid()}\n"


def test_many_may_try_at_once(tmp_path: Path) -> None:
    """Of those who open a new directory at the same moment one gets it, the others are told."""
    barrier = threading.Barrier(8)
    all_tried = threading.Barrier(8)

    def try_to_open(state_dir: Path) -> bool:
        barrier.wait(LONG_SECONDS)
        try:
            found: Database | None = Database(state_dir)
        except StateInUseError:
            found = None
        all_tried.wait(LONG_SECONDS)
        if found:
            found.close()
        return found is not None

    with ThreadPoolExecutor(8) as executor:
        for number in range(10):
            assert sum(executor.map(try_to_open, [tmp_path / str(number)] * 8)) == 1


# -- files that are no ledgers -----------------------------------------------------------------


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    """A file of anything else is refused."""
    (tmp_path / FILE_NAME).write_bytes(b"not a database, but long enough to be one " * 100)
    assert refusal(tmp_path) == "cannot be used as the ledger: file is not a database"


@pytest.mark.parametrize(
    "script",
    [
        "CREATE TABLE mail (x)",
        "CREATE TABLE mail (x); PRAGMA user_version = 1",
        "CREATE TABLE mail (x); PRAGMA user_version = 3; PRAGMA application_id = 7",
        "PRAGMA user_version = 1",
        "CREATE TABLE alias (x); PRAGMA user_version = 1",
    ],
)
def test_another_program_s_database(tmp_path: Path, script: str) -> None:
    """A database that is not marked as a ledger is not touched."""
    with sqlite_file(tmp_path) as connection:
        connection.executescript(script)
    assert refusal(tmp_path) == (
        "wanted a ledger, got another program's SQLite file; use another state_dir"
    )


def test_a_ledger_of_a_newer_version(tmp_path: Path) -> None:
    """What a newer proxy wrote is left to that one."""
    Database(tmp_path).close()
    with sqlite_file(tmp_path) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    assert refusal(tmp_path) == (
        f"wanted a ledger of version {SCHEMA_VERSION}, got {SCHEMA_VERSION + 1}; it was written by"
        " a newer jicofo-reservation-proxy: use that one, or another state_dir"
    )


def test_a_marked_file_without_its_tables(tmp_path: Path) -> None:
    """A file that says it is a ledger, but is none, is no use to who reads it."""
    with sqlite_file(tmp_path) as connection:
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    with closing(Database(tmp_path)) as opened_database:
        file = tmp_path / FILE_NAME
        with pytest.raises(StateError, match=f"^{file}: no such table: conference$"):
            SqliteLedger(opened_database)
        with pytest.raises(StateError, match=f"^{file}: no such table: alias$"):
            SqliteAliases(opened_database)


def fill(state_dir: Path, conferences: int = 500) -> None:
    """Write a ledger of many pages."""
    with opened(state_dir) as ledger:
        for number in range(conferences):
            ledger.grant(ref(str(number)), f"room{number}", conference(str(number)))


@pytest.mark.parametrize("page", [1, 3, 8, 15])
def test_a_ledger_that_is_damaged(tmp_path: Path, page: int) -> None:
    """A ledger with a page that was overwritten is refused, and left as it is."""
    fill(tmp_path)
    file = tmp_path / FILE_NAME
    damaged = bytearray(file.read_bytes())
    assert len(damaged) > 16 * 4096
    damaged[4096 * page : 4096 * page + 64] = b"\xa5" * 64
    file.write_bytes(damaged)
    assert "malformed" in refusal(tmp_path) or "wanted a sound ledger" in refusal(tmp_path)


def test_what_becomes_of_a_damaged_ledger_is_said(tmp_path: Path) -> None:
    """Where the damage can be told, the message says what to do and what that costs."""
    fill(tmp_path)
    file = tmp_path / FILE_NAME
    damaged = bytearray(file.read_bytes())
    damaged[4096 * 8 : 4096 * 8 + 8] = b"\xa5" * 8
    file.write_bytes(damaged)
    message = refusal(tmp_path)
    assert message.startswith("wanted a sound ledger, got a damaged one (")
    assert message.endswith(
        "); move it away to begin anew, which loses the DELETEs that are still to be delivered"
    )


@pytest.mark.parametrize("pages", [1, 2, 10])
def test_a_ledger_that_is_cut_off(tmp_path: Path, pages: int) -> None:
    """A ledger without its last pages is refused."""
    fill(tmp_path)
    file = tmp_path / FILE_NAME
    file.write_bytes(file.read_bytes()[: 4096 * pages])
    assert refusal(tmp_path)


def test_a_damaged_ledger_with_an_unfinished_part(tmp_path: Path) -> None:
    """The part that a killed process had not yet moved into the file is left as it is, too."""
    fill(tmp_path)
    with opened(tmp_path) as ledger:
        ledger.end(ref("x"), 1)
        shutil.copytree(tmp_path, tmp_path / "copy")  # as if it was killed now
    file = tmp_path / "copy" / FILE_NAME
    damaged = bytearray(file.read_bytes())
    damaged[4096 * 8 : 4096 * 12] = b"\xa5" * 4096 * 4
    file.write_bytes(damaged)
    assert f"{FILE_NAME}-wal" in contents(tmp_path / "copy")
    assert refusal(tmp_path / "copy")


def test_an_unfinished_part_that_is_cut_off(tmp_path: Path) -> None:
    """After a power cut in the middle of a write all commits before it are there."""
    with opened(tmp_path) as ledger:
        ledger.end(ref("kept"), 1)
        whole = (tmp_path / f"{FILE_NAME}-wal").stat().st_size
        ledger.end(ref("cut"), 2)
        shutil.copytree(tmp_path, tmp_path / "copy")
    wal = tmp_path / "copy" / f"{FILE_NAME}-wal"
    wal.write_bytes(wal.read_bytes()[: whole + 100])
    with opened(tmp_path / "copy") as ledger:
        assert [record.ref for record in ledger.pending("default")] == [ref("kept")]


# -- versions ----------------------------------------------------------------------------------


def make_first_version(state_dir: Path) -> None:
    """Write the ledger of a proxy that only knew aliases."""
    with sqlite_file(state_dir) as connection:
        connection.executescript(
            f"PRAGMA journal_mode = WAL; {MIGRATIONS[0]}"
            f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = 1"
        )
        connection.execute(INSERT, (alias_candidate(ref(), 0), encode(ref())))
        connection.execute("INSERT INTO number_owner VALUES (1, 'default')")


def test_a_ledger_of_the_first_version(tmp_path: Path) -> None:
    """Its aliases survive, and conferences find their place in it."""
    make_first_version(tmp_path)
    with closing(Database(tmp_path)) as opened_database:
        aliases = SqliteAliases(opened_database)
        assert aliases.resolve(alias_candidate(ref(), 0)) == ref()
        assert aliases.number_owner == "default"
        with closing(SqliteLedger(opened_database, write_behind=False)) as ledger:
            ledger.end(ref(), 1)
    assert rows(tmp_path, "PRAGMA user_version") == [(SCHEMA_VERSION,)]
    assert rows(tmp_path, "SELECT count(*) FROM conference") == [(1,)]


def test_a_new_version_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A migration is done whole or not at all, and the older proxy can still use the file."""
    make_first_version(tmp_path)
    broken = (MIGRATIONS[0], f"{MIGRATIONS[1]} CREATE TABLE alias (x);")
    monkeypatch.setattr(sqlite_database, "MIGRATIONS", broken)
    with pytest.raises(StateError, match="table alias already exists"):
        Database(tmp_path)
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as by_hand:
        assert by_hand.execute("PRAGMA user_version").fetchone() == (1,)
        tables = by_hand.execute("SELECT name FROM sqlite_schema WHERE name = 'conference'")
        assert tables.fetchall() == []
    monkeypatch.undo()
    with closing(Database(tmp_path)) as opened_database:
        assert opened_database.rows("SELECT count(*) FROM alias") == [(1,)]


def test_a_look_at_an_older_version(tmp_path: Path) -> None:
    """It is not renewed by a look, and the error says what renews it."""
    make_first_version(tmp_path)
    with pytest.raises(StateError, match="of an older version; a start of the proxy renews it"):
        rows(tmp_path, "SELECT 1")


# -- transactions ------------------------------------------------------------------------------


@pytest.fixture
def ledger_file(tmp_path: Path) -> Iterator[Database]:
    """Return the open database of a new state directory."""
    with closing(Database(tmp_path)) as opened_database:
        yield opened_database


def test_a_transaction_is_done_whole(tmp_path: Path, ledger_file: Database) -> None:
    """What was done inside is there for others when it is over, and not before."""
    count = "SELECT count(*) FROM alias"
    with ledger_file.transaction() as connection:
        connection.execute(INSERT, (1, "a.x"))
        connection.execute(INSERT, (2, "a.y"))
        assert rows(tmp_path, count) == [(0,)]
    assert rows(tmp_path, count) == [(2,)]


def test_a_transaction_that_fails_is_undone(ledger_file: Database) -> None:
    """Whatever goes wrong inside, nothing of it stays, and the next one works."""

    def insert(times: int, then: Exception | None = None) -> None:
        with ledger_file.transaction() as connection:
            for _ in range(times):
                connection.execute(INSERT, (1, "a.x"))
            if then:
                raise then

    with pytest.raises(KeyError):
        insert(1, KeyError())
    with pytest.raises(StateError) as caught:
        insert(2)
    assert str(caught.value) == f"{ledger_file.name}: UNIQUE constraint failed: alias.number"
    assert ledger_file.rows("SELECT count(*) FROM alias") == [(0,)]
    insert(1)
    assert ledger_file.rows("SELECT count(*) FROM alias") == [(1,)]


def test_a_query_that_fails(ledger_file: Database) -> None:
    """A fault of the database names the file."""
    with pytest.raises(StateError) as caught:
        ledger_file.rows("SELECT * FROM nowhere")
    assert str(caught.value) == f"{ledger_file.name}: no such table: nowhere"


def test_a_closed_database(tmp_path: Path) -> None:
    """After it is closed every method says that it cannot be used."""
    closed = Database(tmp_path)
    closed.close()
    with pytest.raises(StateError, match="closed database"):
        closed.rows("SELECT 1")
    with pytest.raises(StateError, match="closed database"), closed.transaction():
        pass


def test_a_database_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a directory nothing is written anywhere, and two proxies share nothing."""
    monkeypatch.chdir(tmp_path)
    with closing(Database(None)) as one, closing(Database(None)) as other:
        with one.transaction() as connection:
            connection.execute(INSERT, (1, "a.x"))
        assert one.rows("SELECT number FROM alias") == [(1,)]
        assert other.rows("SELECT number FROM alias") == []
        with pytest.raises(StateError, match=r"^the ledger in memory: no such table: nowhere$"):
            one.rows("SELECT * FROM nowhere")
    assert list(tmp_path.iterdir()) == []


# -- looking in from outside -------------------------------------------------------------------


def test_reading_beside_a_writer(tmp_path: Path, ledger_file: Database) -> None:
    """A reader sees the last commit also in the middle of a write, and cannot write itself."""
    with ledger_file.transaction() as connection:
        connection.execute(INSERT, (1, "a.x"))
    with ledger_file.transaction() as connection, reading(tmp_path) as reader:
        connection.execute(INSERT, (2, "a.y"))
        assert reader.execute("SELECT number FROM alias").fetchall() == [(1,)]
    with pytest.raises(StateError, match="readonly"), reading(tmp_path) as reader:
        reader.execute("DELETE FROM alias")


def test_reading_where_there_is_nothing(tmp_path: Path) -> None:
    """Without a ledger there is nothing to read, and none is made."""
    with pytest.raises(StateError) as caught, reading(tmp_path):
        pass
    assert str(caught.value) == f"state_dir: wanted one that a proxy has used, got {tmp_path}"
    assert list(tmp_path.iterdir()) == []


def test_reading_another_program_s_database(tmp_path: Path) -> None:
    """What is no ledger is not read as one."""
    with sqlite_file(tmp_path) as connection:
        connection.execute("CREATE TABLE mail (x)")
    with pytest.raises(StateError, match="got another program's SQLite file"), reading(tmp_path):
        pass


def test_reading_after_a_kill(tmp_path: Path) -> None:
    """What a killed process left is read as well, and stays as it is."""
    with another_process(tmp_path) as other:
        other.kill()
        other.wait()
    before = contents(tmp_path)
    assert f"{FILE_NAME}-wal" in before
    assert rows(tmp_path, "SELECT number FROM alias") == [(7,)]
    assert contents(tmp_path) == before
