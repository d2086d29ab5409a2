"""The file of the ledger: who may open it, and which files are refused and not changed."""

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
    RESERVED_LOG_BYTES,
    SCHEMA_VERSION,
    Database,
    backup,
    reading,
)
from jicofo_reservation_proxy.ledger.sqlite_ledger import SqliteLedger
from jicofo_reservation_proxy.ledger.state_directory import LOCK_NAME, is_in_use
from jicofo_reservation_proxy.model import Conference, ConferenceRef, DeleteReason

from tests.unit.ledgers import LONG_SECONDS, conference, opened, ref

INSERT = "INSERT INTO alias VALUES (?, ?, 0)"


def mode(path: Path) -> int:
    """Return the permissions of a file."""
    return stat.S_IMODE(path.stat().st_mode)


def contents(state_dir: Path) -> dict[str, bytes]:
    """Return the contents of the ledger's own files, including a write-ahead log."""
    found = {path.name: path.read_bytes() for path in state_dir.glob(FILE_NAME + "*")}
    return {name: found[name] for name in found if not name.endswith("-shm") and found[name]}


@contextmanager
def sqlite_file(state_dir: Path) -> Iterator[sqlite3.Connection]:
    """Open the file of the ledger as another program would do."""
    connection = sqlite3.connect(state_dir / FILE_NAME, isolation_level=None)
    with closing(connection):
        yield connection


def refusal(state_dir: Path) -> str:
    """Return why a directory is refused; check that its files are unchanged."""
    before = contents(state_dir)
    with pytest.raises(StateError) as caught:
        Database(state_dir)
    assert contents(state_dir) == before
    return str(caught.value).removeprefix(f"{state_dir / FILE_NAME}: ")


def rows(state_dir: Path, sql: str) -> list[tuple[object, ...]]:
    """Return the rows of a query in the file."""
    with reading(state_dir) as connection:
        return connection.execute(sql).fetchall()


# -- the directory and the file ----------------------------------------------------------------


def test_the_directory_is_made(tmp_path: Path) -> None:
    """A missing state directory is created with its parents; only its owner can read its files."""
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


def test_an_existing_directory_is_not_changed(tmp_path: Path) -> None:
    """The proxy does not change the permissions of an existing directory."""
    tmp_path.chmod(0o750)
    Database(tmp_path).close()
    assert mode(tmp_path) == 0o750


def test_a_commit_survives_a_power_cut(tmp_path: Path) -> None:
    """The file is in WAL mode, and every commit waits for the disk."""
    with closing(Database(tmp_path)) as opened_database:
        assert opened_database.rows("PRAGMA journal_mode") == [("wal",)]
        assert opened_database.rows("PRAGMA synchronous") == [(2,)]


def test_the_file_is_marked(tmp_path: Path) -> None:
    """The file has the ledger's application id and the version of the schema."""
    with closing(Database(tmp_path)) as opened_database:
        assert opened_database.rows("PRAGMA application_id") == [(APPLICATION_ID,)]
        assert opened_database.rows("PRAGMA user_version") == [(3,)]
    assert SCHEMA_VERSION == 3


def test_an_empty_file_becomes_a_ledger(tmp_path: Path) -> None:
    """The proxy accepts an empty file and creates the ledger in it."""
    (tmp_path / FILE_NAME).touch()
    Database(tmp_path).close()
    assert rows(tmp_path, "PRAGMA user_version") == [(SCHEMA_VERSION,)]


def test_opening_it_again_changes_nothing(tmp_path: Path) -> None:
    """A start does not write to a ledger of the current version."""
    Database(tmp_path).close()
    before = contents(tmp_path)
    Database(tmp_path).close()
    assert contents(tmp_path) == before


@pytest.mark.parametrize("name", ["a b", "50%41", "what?#now", "caf\u00e9", "file:x"])
def test_directories_with_odd_names(tmp_path: Path, name: str) -> None:
    """Characters with a special meaning in a URL work in the name of the directory."""
    with opened(tmp_path / name) as ledger:
        ledger.end(ref(), 1, LONG_SECONDS)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert rows(tmp_path / name, "SELECT conference_id FROM conference") == [("7",)]


@pytest.mark.parametrize(
    ("path", "reason"), [("file", "File exists"), ("file/state", "Not a directory")]
)
def test_directories_that_cannot_be_made(tmp_path: Path, path: str, reason: str) -> None:
    """If a file is in the way, the error names the setting and the directory, and what to do."""
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
    """The error names a directory that is not writable, and the reason of the system."""

    def refuse(path: Path, *_: object) -> int:
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as patch:
        patch.setattr("os.open", refuse)  # root may write to any directory
        with pytest.raises(StateError) as caught:
            Database(tmp_path)
    file = tmp_path / FILE_NAME
    assert str(caught.value) == f"state_dir: cannot write to {file}: Permission denied; {HINT}"
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_really_cannot_be_written_to() -> None:
    """The error is the same for a real directory in which not even root can create files."""
    with pytest.raises(
        StateError, match=r"^state_dir: cannot write to /proc/sys/kernel/ledger\.sqlite3: "
    ):
        Database(Path("/proc/sys/kernel"))


def test_a_file_that_cannot_be_opened(tmp_path: Path) -> None:
    """A directory in place of the ledger's file is refused, and the lock is free afterwards."""
    file = tmp_path / FILE_NAME
    file.mkdir()
    for _ in range(2):
        with pytest.raises(StateError) as caught:
            Database(tmp_path)
        assert str(caught.value) == f"state_dir: cannot write to {file}: Is a directory; {HINT}"


@pytest.mark.parametrize("name", [LOCK_NAME, FILE_NAME])
def test_a_symbolic_link_is_not_followed(tmp_path: Path, name: str) -> None:
    """A link in the state directory is refused, and its target is unchanged."""
    target, state_dir = tmp_path / "target", tmp_path / "state"
    target.write_text("precious")
    state_dir.mkdir(mode=0o700)
    (state_dir / name).symlink_to(target)
    with pytest.raises(StateError) as caught:
        Database(state_dir)
    assert str(caught.value) == (
        f"state_dir: wanted a regular file, got the symbolic link {state_dir / name}; remove the "
        "link, or set state_dir to the directory that holds the ledger"
    )
    assert target.read_text() == "precious"


@pytest.mark.parametrize("content", [None, b""])
def test_a_log_without_its_database_is_refused(tmp_path: Path, content: bytes | None) -> None:
    """SQLite would delete the log, and with it the last deletions."""
    with opened(tmp_path) as ledger:
        ledger.end(ref("x"), 1, LONG_SECONDS)
        shutil.copytree(tmp_path, tmp_path / "copy")  # as if the process were killed now
    file = tmp_path / "copy" / FILE_NAME
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    got = "no file" if content is None else "an empty file"
    before = contents(file.parent)
    with pytest.raises(StateError) as caught:
        Database(file.parent)
    assert str(caught.value) == (
        f"{file}: wanted the ledger to which {FILE_NAME}-wal belongs, got {got}; restore the "
        f"ledger from a copy, or move {FILE_NAME}-wal away to start with an empty ledger; the "
        "deletions in it are then lost"
    )
    assert contents(file.parent) == before


def test_a_large_log_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A log that grew in a burst of writes becomes small again."""
    monkeypatch.setattr(sqlite_database, "MAX_LOG_BYTES", 100_000)
    log = tmp_path / f"{FILE_NAME}-wal"
    with closing(Database(tmp_path)) as database:
        with database.transaction() as connection:
            rows = [(number, f"a.{'x' * 1000}{number}") for number in range(3000)]
            connection.executemany(INSERT, rows)
        assert log.stat().st_size > 1_000_000
        for number in range(3):
            with database.transaction() as connection:
                connection.execute("DELETE FROM alias WHERE number = ?", (number,))
        assert log.stat().st_size <= 110_000


def test_a_second_process_is_refused_without_the_lock_file(tmp_path: Path) -> None:
    """The lock of the directory stays if somebody removes the file."""
    with closing(Database(tmp_path)):
        (tmp_path / LOCK_NAME).unlink()
        assert is_in_use(tmp_path)
        with pytest.raises(StateInUseError):
            Database(tmp_path)
    assert not is_in_use(tmp_path)


def test_a_directory_that_all_users_can_write_is_refused(tmp_path: Path) -> None:
    """Whoever can write the directory can replace the ledger."""
    tmp_path.chmod(0o1777)
    with pytest.raises(StateError) as caught:
        Database(tmp_path)
    assert str(caught.value) == (
        "state_dir: wanted a directory that only the proxy's user can write, got "
        f"{tmp_path} with mode 1777; run: chmod 700 {tmp_path}"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_a_group_can_write_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Kubernetes makes such a directory for `fsGroup`, so it is a warning only."""
    tmp_path.chmod(0o2770)
    Database(tmp_path).close()
    assert caplog.messages == [
        f"state_dir: {tmp_path} has mode 2770: its group can replace the ledger"
    ]


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
    """Let another process use a state directory; kill it at the end if it still runs."""
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
    """A second proxy is refused, with the process id of the first, and changes nothing."""
    with another_process(tmp_path) as other:
        before = contents(tmp_path)
        with pytest.raises(StateInUseError) as caught:
            Database(tmp_path)
        assert contents(tmp_path) == before
        assert (tmp_path / LOCK_NAME).read_text() == f"{other.pid}\n"
    assert str(caught.value) == (
        f"state_dir: wanted a directory that no other process uses, got {tmp_path}, used by"
        f" process {other.pid}; stop that process, or set another state_dir"
    )


def test_a_directory_is_free_after_a_kill(tmp_path: Path) -> None:
    """After a process is killed, its lock is free, and its committed data is on the disk."""
    with another_process(tmp_path) as other:
        other.send_signal(signal.SIGKILL)
        assert other.wait() == -signal.SIGKILL
        with closing(Database(tmp_path)) as opened_database:
            assert opened_database.rows("SELECT number FROM alias") == [(7,)]
            assert (tmp_path / LOCK_NAME).read_text() == f"{os.getpid()}\n"


def test_a_directory_is_free_after_close(tmp_path: Path) -> None:
    """Not even the same process can open a directory twice at a time; closing twice is allowed."""
    first = Database(tmp_path)
    with pytest.raises(StateInUseError, match=f", used by process {os.getpid()}; "):
        Database(tmp_path)
    first.close()
    first.close()
    Database(tmp_path).close()


def test_a_process_id_that_is_not_written_yet(tmp_path: Path) -> None:
    """The error says so if the process id is not in the lock file yet."""
    with closing(Database(tmp_path)):
        (tmp_path / LOCK_NAME).write_text("")
        with pytest.raises(StateInUseError, match=r", used by process \(id unknown\); "):
            Database(tmp_path)


def test_a_longer_process_id_of_an_earlier_process(tmp_path: Path) -> None:
    """The old contents of the lock file are removed before the process id is written."""
    (tmp_path / LOCK_NAME).write_text("12345678901234567890\n")
    with closing(Database(tmp_path)):
        assert (tmp_path / LOCK_NAME).read_text() == f"{os.getpid()}\n"


def test_one_of_many_threads_opens_a_directory(tmp_path: Path) -> None:
    """If several threads open a new directory at once, one succeeds and the others are refused."""
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


# -- files that are not ledgers ----------------------------------------------------------------


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    """A file that is not a database is refused."""
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
    """A database without the ledger's application id is refused and not changed."""
    with sqlite_file(tmp_path) as connection:
        connection.executescript(script)
    assert refusal(tmp_path) == (
        "wanted a ledger, got another program's SQLite file; set another state_dir"
    )


def test_a_ledger_of_a_newer_version(tmp_path: Path) -> None:
    """A ledger of a newer version of the proxy is refused and not changed."""
    Database(tmp_path).close()
    with sqlite_file(tmp_path) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    assert refusal(tmp_path) == (
        f"wanted a ledger of version {SCHEMA_VERSION}, got version {SCHEMA_VERSION + 1}, written"
        " by a newer jicofo-reservation-proxy; start that newer proxy, or set another state_dir"
    )


def test_a_marked_file_without_its_tables(tmp_path: Path) -> None:
    """A file with the ledger's application id but without its tables raises `StateError`."""
    with sqlite_file(tmp_path) as connection:
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    with closing(Database(tmp_path)) as opened_database:
        file = tmp_path / FILE_NAME
        with pytest.raises(StateError, match=f"^{file}: no such table: conference$"):
            SqliteLedger(opened_database)
        with pytest.raises(StateError, match=f"^{file}: no such table: alias$"):
            SqliteAliases(opened_database, write_behind=False)


def fill(state_dir: Path, conferences: int = 500) -> None:
    """Write a ledger of many pages."""
    with opened(state_dir) as ledger:
        for number in range(conferences):
            ledger.grant(ref(str(number)), f"room{number}", conference(str(number)), LONG_SECONDS)


@pytest.mark.parametrize("page", [1, 3, 8, 15])
def test_a_ledger_that_is_damaged(tmp_path: Path, page: int) -> None:
    """A ledger with an overwritten page is refused and not changed."""
    fill(tmp_path)
    file = tmp_path / FILE_NAME
    damaged = bytearray(file.read_bytes())
    assert len(damaged) > 16 * 4096
    damaged[4096 * page : 4096 * page + 64] = b"\xa5" * 64
    file.write_bytes(damaged)
    assert "malformed" in refusal(tmp_path) or "wanted an undamaged ledger" in refusal(tmp_path)


def test_the_error_for_a_damaged_ledger(tmp_path: Path) -> None:
    """If SQLite can describe the damage, the error says what to do and what is lost by that."""
    fill(tmp_path)
    file = tmp_path / FILE_NAME
    damaged = bytearray(file.read_bytes())
    damaged[4096 * 8 : 4096 * 8 + 8] = b"\xa5" * 8
    file.write_bytes(damaged)
    message = refusal(tmp_path)
    assert message.startswith("wanted an undamaged ledger, got damage (")
    assert message.endswith(
        "); move the ledger away to start with an empty ledger; all pending deletions are then lost"
    )


@pytest.mark.parametrize("pages", [1, 2, 10])
def test_a_ledger_that_is_cut_off(tmp_path: Path, pages: int) -> None:
    """A ledger without its last pages is refused."""
    fill(tmp_path)
    file = tmp_path / FILE_NAME
    file.write_bytes(file.read_bytes()[: 4096 * pages])
    assert refusal(tmp_path)


def test_a_damaged_ledger_with_a_write_ahead_log(tmp_path: Path) -> None:
    """The write-ahead log of a killed process is not changed either."""
    fill(tmp_path)
    with opened(tmp_path) as ledger:
        ledger.end(ref("x"), 1, LONG_SECONDS)
        shutil.copytree(tmp_path, tmp_path / "copy")  # as if the process were killed now
    file = tmp_path / "copy" / FILE_NAME
    damaged = bytearray(file.read_bytes())
    damaged[4096 * 8 : 4096 * 12] = b"\xa5" * 4096 * 4
    file.write_bytes(damaged)
    assert f"{FILE_NAME}-wal" in contents(tmp_path / "copy")
    assert refusal(tmp_path / "copy")


def test_a_write_ahead_log_that_is_cut_off(tmp_path: Path) -> None:
    """After a power cut in the middle of a write, all earlier commits are there."""
    with opened(tmp_path) as ledger:
        ledger.end(ref("kept"), 1, LONG_SECONDS)
        whole = (tmp_path / f"{FILE_NAME}-wal").stat().st_size
        ledger.end(ref("cut"), 2, LONG_SECONDS)
        shutil.copytree(tmp_path, tmp_path / "copy")
    wal = tmp_path / "copy" / f"{FILE_NAME}-wal"
    wal.write_bytes(wal.read_bytes()[: whole + 100])
    with opened(tmp_path / "copy") as ledger:
        assert [record.ref for record in ledger.pending("default")] == [ref("kept")]


def test_a_log_that_has_only_its_length(tmp_path: Path) -> None:
    """After a power cut the log may have the reserved length and no commit: it is an empty log."""
    with opened(tmp_path) as ledger:
        ledger.end(ref("kept"), 1, LONG_SECONDS)
    log = tmp_path / f"{FILE_NAME}-wal"
    assert not log.exists()
    log.write_bytes(bytes(RESERVED_LOG_BYTES))
    with opened(tmp_path) as ledger:
        assert [record.ref for record in ledger.pending("default")] == [ref("kept")]
        ledger.end(ref("new"), 2, LONG_SECONDS)
    with opened(tmp_path) as ledger:
        assert [record.ref for record in ledger.pending("default")] == [ref("kept"), ref("new")]


def test_the_upkeep_of_the_log(tmp_path: Path) -> None:
    """The upkeep is due at first and after many changes; it copies the log and keeps its length."""
    log = tmp_path / f"{FILE_NAME}-wal"
    with closing(Database(tmp_path)) as database:
        for start in range(3):
            assert database.is_upkeep_due
            database.maintain_log()
            assert not database.is_upkeep_due
            assert log.stat().st_size == RESERVED_LOG_BYTES
            with database.transaction() as connection:
                aliases = [(1000 * start + each, f"a.{start}-{each}") for each in range(600)]
                connection.executemany(INSERT, aliases)
        shutil.copytree(tmp_path, tmp_path / "copy")  # as if the process were killed now
        (tmp_path / "copy" / log.name).unlink()
        assert rows(tmp_path / "copy", "SELECT count(*) FROM alias") == [(1200,)]
        shutil.copy(log, tmp_path / "copy")
        assert rows(tmp_path / "copy", "SELECT count(*) FROM alias") == [(1800,)]
        database.maintain_log()
        log.unlink()
        with database.transaction() as connection:
            connection.executemany(INSERT, [(5000 + each, f"b.{each}") for each in range(600)])
        with pytest.raises(StateError, match="No such file"):
            database.maintain_log()
        assert not database.is_upkeep_due


def test_a_database_in_memory_needs_no_upkeep() -> None:
    """A database in memory has no log."""
    with closing(Database(None)) as database:
        assert not database.is_upkeep_due


# -- versions ----------------------------------------------------------------------------------


def make_first_version(state_dir: Path) -> None:
    """Write a ledger of version 1, which has only aliases."""
    with sqlite_file(state_dir) as connection:
        connection.executescript(
            f"PRAGMA journal_mode = WAL; {MIGRATIONS[0]}"
            f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = 1"
        )
        connection.execute(INSERT, (alias_candidate(ref(), 0), encode(ref())))
        connection.execute("INSERT INTO number_owner VALUES (1, 'default')")


def test_a_ledger_of_the_first_version(tmp_path: Path) -> None:
    """An upgrade keeps the aliases of version 1, and adds the table of conferences."""
    make_first_version(tmp_path)
    with closing(Database(tmp_path)) as opened_database:
        aliases = SqliteAliases(opened_database, write_behind=False)
        assert aliases.resolve(alias_candidate(ref(), 0)) == ref()
        assert aliases.number_owner == "default"
        with closing(SqliteLedger(opened_database, write_behind=False)) as ledger:
            ledger.end(ref(), 1, LONG_SECONDS)
    assert rows(tmp_path, "PRAGMA user_version") == [(SCHEMA_VERSION,)]
    assert rows(tmp_path, "SELECT count(*) FROM conference") == [(1,)]


SECOND_VERSION = """
CREATE TABLE alias (
    number     INTEGER PRIMARY KEY,
    string_id  TEXT NOT NULL UNIQUE,
    made_at_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX alias_by_age ON alias (made_at_ms);
CREATE TABLE number_owner (
    only    INTEGER PRIMARY KEY CHECK (only = 1),
    backend TEXT NOT NULL
) STRICT;
CREATE TABLE conference (
    backend          TEXT NOT NULL,
    conference_id    TEXT NOT NULL,
    is_stand_in      INTEGER NOT NULL,
    state            TEXT NOT NULL,
    room             TEXT NOT NULL,
    owner            TEXT,
    start_time_ms    INTEGER,
    duration_seconds INTEGER,
    options          TEXT NOT NULL,
    is_whole         INTEGER NOT NULL,
    over_at_ms       INTEGER,
    reason           TEXT,
    PRIMARY KEY (backend, conference_id, is_stand_in)
) STRICT, WITHOUT ROWID;
INSERT INTO alias VALUES (91234567890123, 'default.order~2F7', 1700000000000);
INSERT INTO number_owner VALUES (1, 'default');
INSERT INTO conference VALUES ('default', 'order/7', 0, 'open', 'board', 'juliet@example.com',
    1700000000000, 3600, '{"room": "board", "max_occupants": null, "lobby": null, "url": null,
    "sip_id": null}', 1, NULL, NULL);
INSERT INTO conference VALUES ('default', '6f1d', 1, 'open', 'hall', '', 1700000000000, 60,
    '{"room": "hall", "max_occupants": null, "lobby": null, "url": null, "sip_id": null}', 1,
    NULL, NULL);
INSERT INTO conference VALUES ('default', '8', 0, 'ended', 'kitchen', NULL, NULL, NULL, '{}', 1,
    1700000001000, 'ended');
INSERT INTO conference VALUES ('other', '9', 0, 'dead', '', NULL, NULL, NULL, '{}', 1,
    1600000000000, 'expired');
PRAGMA application_id = 1246908524;
PRAGMA user_version = 2;
"""
"""The ledger of version 0.1.0 with each kind of row, as SQL."""


def test_a_ledger_of_the_second_version(tmp_path: Path) -> None:
    """A ledger of version 0.1.0 is taken over without loss."""
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as by_hand:
        by_hand.execute("PRAGMA journal_mode = WAL")
        by_hand.executescript(SECOND_VERSION)
    with closing(Database(tmp_path)) as database:
        aliases = SqliteAliases(database, write_behind=False)
        assert aliases.resolve(91_234_567_890_123) == ref("order/7")
        assert aliases.alias(ref("order/7"), LONG_SECONDS) == 91_234_567_890_123
        assert aliases.number_owner == "default"
        with closing(SqliteLedger(database, write_behind=False)) as ledger:
            found = {record.ref: record for record in ledger.dump()}
    assert {name: record.state.value for name, record in found.items()} == {
        ref("order/7"): "open",
        ConferenceRef("default", "6f1d", is_fallback=True): "open",
        ref("8"): "pending",
        ref("9", "other"): "abandoned",
    }
    held = found[ref("order/7")].conference
    assert held == Conference("order/7", "board", "juliet@example.com", 1_700_000_000_000, 3600)
    ended = found[ref("8")]
    assert (ended.over_at_ms, ended.reason) == (1_700_000_001_000, DeleteReason.ENDED)
    assert found[ref("9", "other")].reason is DeleteReason.EXPIRED


def test_a_migration_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A migration that fails changes nothing, so the file can still be used."""
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


def test_reading_an_older_version(tmp_path: Path) -> None:
    """Reading does not upgrade an older ledger; the error says how to upgrade it."""
    make_first_version(tmp_path)
    with pytest.raises(StateError) as caught:
        rows(tmp_path, "SELECT 1")
    assert str(caught.value) == (
        f"{tmp_path / FILE_NAME}: wanted a ledger of version {SCHEMA_VERSION}, got an older"
        " version; start the proxy once to upgrade the ledger"
    )


# -- transactions ------------------------------------------------------------------------------


@pytest.fixture
def ledger_file(tmp_path: Path) -> Iterator[Database]:
    """Return the open database of a new state directory."""
    with closing(Database(tmp_path)) as opened_database:
        yield opened_database


def test_a_transaction_is_atomic(tmp_path: Path, ledger_file: Database) -> None:
    """The next process sees the changes of a transaction after its end, and not before."""

    def count(name: str) -> object:
        copy = tmp_path / name
        copy.mkdir()
        for file in tmp_path.glob(FILE_NAME + "*"):
            shutil.copy(file, copy)
        return rows(copy, "SELECT count(*) FROM alias")

    with ledger_file.transaction() as connection:
        connection.execute(INSERT, (1, "a.x"))
        connection.execute(INSERT, (2, "a.y"))
        assert count("during") == [(0,)]
    assert count("after") == [(2,)]


def test_a_transaction_that_fails_is_undone(ledger_file: Database) -> None:
    """If a transaction fails, all its changes are undone, and the next transaction works."""

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
    """The error of a failed query names the file."""
    with pytest.raises(StateError) as caught:
        ledger_file.rows("SELECT * FROM nowhere")
    assert str(caught.value) == f"{ledger_file.name}: no such table: nowhere"


def test_a_closed_database(tmp_path: Path) -> None:
    """After a database was closed, its methods raise `StateError`."""
    closed = Database(tmp_path)
    closed.close()
    with pytest.raises(StateError, match="closed database"):
        closed.rows("SELECT 1")
    with pytest.raises(StateError, match="closed database"), closed.transaction():
        pass


def test_a_database_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database in memory writes no file, and two such databases share nothing."""
    monkeypatch.chdir(tmp_path)
    with closing(Database(None)) as one, closing(Database(None)) as other:
        with one.transaction() as connection:
            connection.execute(INSERT, (1, "a.x"))
        assert one.rows("SELECT number FROM alias") == [(1,)]
        assert other.rows("SELECT number FROM alias") == []
        with pytest.raises(StateError, match=r"^the ledger in memory: no such table: nowhere$"):
            one.rows("SELECT * FROM nowhere")
    assert list(tmp_path.iterdir()) == []


# -- reading from another process --------------------------------------------------------------


def test_no_other_program_can_use_an_open_ledger(tmp_path: Path, ledger_file: Database) -> None:
    """Another program can neither lock nor read the file, so it cannot block the proxy."""
    with pytest.raises(StateError, match="database is locked"), reading(tmp_path):
        pass
    attempt = (
        f"import sqlite3; sqlite3.connect({ledger_file.name!r}, 0.1).execute('BEGIN IMMEDIATE')"
    )
    other = subprocess.run([sys.executable, "-c", attempt], capture_output=True, check=False)
    assert b"database is locked" in other.stderr
    with ledger_file.transaction() as connection:
        connection.execute(INSERT, (1, "a.x"))
    assert not (tmp_path / f"{FILE_NAME}-shm").exists()


def test_a_ledger_that_another_program_has_locked(tmp_path: Path) -> None:
    """The proxy does not start while another program has a transaction open."""
    Database(tmp_path).close()
    with closing(sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StateError, match="cannot be used as the ledger: database is locked"):
            Database(tmp_path)
    Database(tmp_path).close()


def test_reading_changes_nothing(tmp_path: Path) -> None:
    """A reader cannot write."""
    Database(tmp_path).close()
    with pytest.raises(StateError, match="readonly"), reading(tmp_path) as reader:
        reader.execute("DELETE FROM alias")


def test_a_copy_of_an_open_ledger(tmp_path: Path, ledger_file: Database) -> None:
    """`copy` and `backup` return a file with the same rows, which a proxy can use."""
    with ledger_file.transaction() as connection:
        connection.execute(INSERT, (1, "a.x"))
    copy = ledger_file.copy()
    ledger_file.close()
    for number, content in enumerate((copy, backup(tmp_path))):
        directory = tmp_path / str(number)
        directory.mkdir(mode=0o700)
        (directory / FILE_NAME).write_bytes(content)
        with closing(Database(directory)) as database:
            assert database.rows("SELECT number FROM alias") == [(1,)]
    with pytest.raises(StateError, match="closed"):
        ledger_file.copy()


def test_a_copy_while_the_disk_hangs(
    ledger_file: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy, and the end of the process, do not wait for a write that hangs."""
    monkeypatch.setattr(sqlite_database, "CLOSE_SECONDS", 0.01)
    with ledger_file.transaction(), pytest.raises(StateError, match="does not answer"):
        ledger_file.copy()
    with ledger_file.transaction():
        ledger_file.close()
    ledger_file.close()


def test_reading_where_there_is_nothing(tmp_path: Path) -> None:
    """Reading a directory without a ledger raises `StateError`, and creates no ledger."""
    with pytest.raises(StateError) as caught, reading(tmp_path):
        pass
    assert str(caught.value) == (
        f"state_dir: wanted a directory with a ledger, got {tmp_path}, which has no {FILE_NAME};"
        " set the state_dir that the proxy uses"
    )
    assert list(tmp_path.iterdir()) == []


def test_reading_another_program_s_database(tmp_path: Path) -> None:
    """The database of another program is not read as a ledger."""
    with sqlite_file(tmp_path) as connection:
        connection.execute("CREATE TABLE mail (x)")
    with pytest.raises(StateError, match="got another program's SQLite file"), reading(tmp_path):
        pass


def test_reading_after_a_kill(tmp_path: Path) -> None:
    """The ledger of a killed process can be read, and reading does not change it."""
    with another_process(tmp_path) as other:
        other.kill()
        other.wait()
    before = contents(tmp_path)
    assert f"{FILE_NAME}-wal" in before
    assert rows(tmp_path, "SELECT number FROM alias") == [(7,)]
    assert contents(tmp_path) == before
