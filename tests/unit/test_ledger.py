"""The ledger, on real files."""

import logging
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import count
from pathlib import Path

import pytest
from jicofo_reservation_proxy.errors import StateError
from jicofo_reservation_proxy.ids import ALIAS_BASE, ALIAS_COUNT, alias_candidate, encode
from jicofo_reservation_proxy.ledger import APPLICATION_ID, FILE_NAME, MAX_ALIASES, Ledger
from jicofo_reservation_proxy.model import ConferenceRef

REF = ConferenceRef("default", "order/7")
OTHER = ConferenceRef("default", "order/8")


def refs(number: int) -> list[ConferenceRef]:
    """Return the names of some conferences."""
    return [ConferenceRef("default", f"order/{index}") for index in range(number)]


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """Return the ledger of a new state directory."""
    with closing(Ledger(tmp_path)) as ledger:
        yield ledger


@pytest.fixture
def by_hand(tmp_path: Path, ledger: Ledger) -> Iterator[sqlite3.Connection]:
    """Return another program's connection to the open ledger's file."""
    assert ledger.resolve(0) is None
    connection = sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)
    with closing(connection):
        yield connection


def insert(connection: sqlite3.Connection, number: int, string_id: str) -> None:
    """Put an alias into the file by hand."""
    connection.execute("INSERT INTO alias VALUES (?, ?, 0)", (number, string_id))


def test_an_alias_leads_back(ledger: Ledger) -> None:
    """A conference has one number, from which it is found again."""
    number = ledger.alias(REF)
    assert ALIAS_BASE <= number < ALIAS_BASE + ALIAS_COUNT
    assert ledger.alias(REF) == number
    assert ledger.resolve(number) == REF
    assert ledger.alias(OTHER) != number


@pytest.mark.parametrize("conference_id", ["", "7", "\0", "caf\u00e9/\U0001f389", "a" * 255, "'"])
def test_any_id_has_an_alias(ledger: Ledger, conference_id: str) -> None:
    """Whatever a backend's id holds, it comes back."""
    ref = ConferenceRef("exec", conference_id)
    assert ledger.resolve(ledger.alias(ref)) == ref


def test_unknown_numbers(ledger: Ledger) -> None:
    """A number that was never given out leads nowhere."""
    assert ledger.resolve(ALIAS_BASE) is None


def test_aliases_outlive_the_process(tmp_path: Path) -> None:
    """A ledger that is opened again knows what it knew."""
    with closing(Ledger(tmp_path)) as first:
        numbers = [first.alias(ref) for ref in refs(5)]
    with closing(Ledger(tmp_path)) as second:
        assert [second.resolve(number) for number in numbers] == refs(5)
        assert [second.alias(ref) for ref in refs(5)] == numbers


def test_an_alias_is_on_the_disk_before_it_is_given_out(
    ledger: Ledger, by_hand: sqlite3.Connection
) -> None:
    """Another program sees it at once, and a power cut would not undo it."""
    number = ledger.alias(REF)
    row = by_hand.execute("SELECT number FROM alias WHERE string_id = ?", (encode(REF),)).fetchone()
    assert row == (number,)
    assert ledger._connection.execute("PRAGMA synchronous").fetchone() == (2,)
    assert ledger._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_the_same_number_after_the_file_is_lost(tmp_path: Path) -> None:
    """Aliases depend on nothing but the conference, so a client's number never changes sides."""
    with closing(Ledger(tmp_path / "one")) as one, closing(Ledger(tmp_path / "two")) as two:
        numbers = [one.alias(ref) for ref in refs(5)]
        assert [two.alias(ref) for ref in reversed(refs(5))] == numbers[::-1]
        assert numbers == [alias_candidate(ref, 0) for ref in refs(5)]


def test_a_number_that_is_taken(ledger: Ledger, by_hand: sqlite3.Connection) -> None:
    """Where the first numbers of a conference are another's, it gets the next one."""
    insert(by_hand, alias_candidate(REF, 0), "default.x")
    insert(by_hand, alias_candidate(REF, 1), "default.y")
    assert ledger.alias(REF) == alias_candidate(REF, 2)
    assert ledger.resolve(alias_candidate(REF, 0)) == ConferenceRef("default", "x")
    assert ledger.resolve(alias_candidate(REF, 2)) == REF


@pytest.mark.parametrize("string_id", ["7", "no id at all", ""])
def test_rows_that_are_no_conferences(
    ledger: Ledger, by_hand: sqlite3.Connection, string_id: str
) -> None:
    """What someone wrote into the file by hand leads nowhere."""
    insert(by_hand, ALIAS_BASE, string_id)
    assert ledger.resolve(ALIAS_BASE) is None


def test_forget(ledger: Ledger) -> None:
    """A conference that is gone has no alias; unknown ones and repetitions are fine."""
    number, other = ledger.alias(REF), ledger.alias(OTHER)
    for _ in range(2):
        ledger.forget(REF)
        assert ledger.resolve(number) is None
    assert ledger.resolve(other) == OTHER
    assert ledger.alias(REF) == number


def ticking() -> Callable[[], int]:
    """Return a clock that moves on by itself."""
    return count(1).__next__


def test_the_oldest_gives_way(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A full ledger drops its oldest alias for a new one, and says so."""
    with closing(Ledger(tmp_path, max_aliases=3, now_ms=ticking())) as ledger:
        numbers = [ledger.alias(ref) for ref in refs(3)]
        assert ledger.alias(refs(1)[0]) == numbers[0]
        assert not caplog.records
        numbers.append(ledger.alias(refs(4)[3]))
        assert [ledger.resolve(number) for number in numbers] == [None, *refs(4)[1:]]
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (
            logging.WARNING,
            "the ledger is full at 3 aliases; the oldest, of default.order~2F0, was dropped",
        )
    ]


def test_age_counts_not_the_number(tmp_path: Path) -> None:
    """The oldest is the one that was made first, by the clock, also after a restart."""
    times = iter([30, 10, 20, 40])
    with closing(Ledger(tmp_path, max_aliases=3, now_ms=times.__next__)) as ledger:
        numbers = [ledger.alias(ref) for ref in refs(3)]
    with closing(Ledger(tmp_path, max_aliases=3, now_ms=times.__next__)) as ledger:
        ledger.alias(refs(4)[3])
        assert [ledger.resolve(number) for number in numbers] == [refs(1)[0], None, refs(3)[2]]


def test_what_is_forgotten_makes_room(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Conferences that are gone do not count, unknown ones least of all."""
    with closing(Ledger(tmp_path, max_aliases=2, now_ms=ticking())) as ledger:
        ledger.forget(OTHER)
        numbers = [ledger.alias(ref) for ref in refs(2)]
        ledger.forget(refs(1)[0])
        ledger.forget(refs(1)[0])
        numbers.append(ledger.alias(refs(3)[2]))
        assert [ledger.resolve(number) for number in numbers[1:]] == refs(3)[1:]
        assert not caplog.records
        ledger.alias(refs(4)[3])
    assert len(caplog.records) == 1


def test_the_bound() -> None:
    """A ledger holds a million conferences."""
    assert MAX_ALIASES == 1_000_000


def test_the_clock(ledger: Ledger, by_hand: sqlite3.Connection) -> None:
    """Ages are milliseconds since the epoch."""
    ledger.alias(REF)
    (made_at_ms,) = by_hand.execute("SELECT made_at_ms FROM alias").fetchone()
    assert 1_700_000_000_000 < made_at_ms < 10_000_000_000_000


def test_many_threads(ledger: Ledger) -> None:
    """Threads that ask at the same time agree, and none of them fails."""
    barrier = threading.Barrier(16)

    def work(worker: int) -> list[int]:
        barrier.wait()
        shared = refs(20)[worker % 4 :: 4]
        own = ConferenceRef("default", f"own-{worker}")
        ledger.forget(ConferenceRef("default", "unknown"))
        numbers = [ledger.alias(ref) for ref in [*shared, own]]
        assert [ledger.resolve(number) for number in numbers] == [*shared, own]
        return numbers

    with ThreadPoolExecutor(16) as executor:
        results = list(executor.map(work, range(16)))
    numbers = {number for result in results for number in result}
    assert numbers >= {alias_candidate(ref, 0) for ref in refs(20)}
    assert len(numbers) == 20 + 16


# -- files that are no ledgers -----------------------------------------------------------------


def test_the_directory_is_made(tmp_path: Path) -> None:
    """A missing state directory is made, with its parents, for its owner only."""
    state_dir = tmp_path / "a" / "b"
    with closing(Ledger(state_dir)):
        assert (state_dir / FILE_NAME).is_file()
        assert state_dir.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("path", "reason"), [("file", "File exists"), ("file/state", "Not a directory")]
)
def test_directories_that_cannot_be_used(tmp_path: Path, path: str, reason: str) -> None:
    """Where a file is in the way, the setting and the directory are named."""
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(StateError) as caught:
        Ledger(tmp_path / path)
    wanted = f"state_dir: wanted a writable directory, got {tmp_path / path}: {reason}"
    assert str(caught.value) == wanted


def test_a_file_that_cannot_be_opened(tmp_path: Path) -> None:
    """A directory where the ledger should be is no ledger."""
    file = tmp_path / FILE_NAME
    file.mkdir()
    with pytest.raises(StateError) as caught:
        Ledger(tmp_path)
    assert (
        str(caught.value) == f"{file}: cannot be used as the ledger: unable to open database file"
    )


def refusal(state_dir: Path) -> str:
    """Return why a file is refused; it must be left as it is."""
    file = state_dir / FILE_NAME
    before = file.read_bytes()
    with pytest.raises(StateError) as caught:
        Ledger(state_dir)
    assert file.read_bytes() == before
    return str(caught.value).removeprefix(f"{file}: ")


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    """A file of anything else is refused."""
    (tmp_path / FILE_NAME).write_bytes(b"not a database, but long enough to be one " * 100)
    assert refusal(tmp_path) == "cannot be used as the ledger: file is not a database"


def test_a_ledger_that_is_damaged(tmp_path: Path) -> None:
    """A ledger whose pages are overwritten behind the first is refused."""
    with closing(Ledger(tmp_path)) as ledger:
        for ref in refs(300):
            ledger.alias(ref)
    file = tmp_path / FILE_NAME
    whole = file.read_bytes()
    file.write_bytes(whole[:4096] + b"\xa5" * (len(whole) - 4096))
    assert refusal(tmp_path) == ("cannot be used as the ledger: database disk image is malformed")


def test_a_ledger_that_is_cut_off(tmp_path: Path) -> None:
    """A ledger without its last pages is refused."""
    with closing(Ledger(tmp_path)) as ledger:
        ledger.alias(REF)
    file = tmp_path / FILE_NAME
    file.write_bytes(file.read_bytes()[:4096])
    assert refusal(tmp_path).startswith("cannot be used as the ledger: ")


def sqlite_file(state_dir: Path, script: str) -> None:
    """Write an SQLite file where the ledger would be."""
    with closing(sqlite3.connect(state_dir / FILE_NAME)) as connection:
        connection.executescript(script)


@pytest.mark.parametrize(
    "script",
    [
        "CREATE TABLE mail (x)",
        "CREATE TABLE mail (x); PRAGMA user_version = 1",
        "CREATE TABLE mail (x); PRAGMA user_version = 2; PRAGMA application_id = 7",
        "PRAGMA user_version = 1",
        "CREATE TABLE alias (x); PRAGMA user_version = 1",
    ],
)
def test_another_program_s_database(tmp_path: Path, script: str) -> None:
    """A database that is not marked as a ledger is not touched."""
    sqlite_file(tmp_path, script)
    assert refusal(tmp_path) == (
        "wanted a ledger, got another program's SQLite file; use another state_dir"
    )


def test_a_ledger_of_a_newer_version(tmp_path: Path) -> None:
    """What a newer proxy wrote is left to that one."""
    with closing(Ledger(tmp_path)) as ledger:
        ledger.alias(REF)
    sqlite_file(tmp_path, "PRAGMA user_version = 2")
    assert refusal(tmp_path) == (
        "wanted a ledger of version 1, got 2; it was written by a newer"
        " jicofo-reservation-proxy: use that one, or another state_dir"
    )


def test_a_marked_file_without_its_table(tmp_path: Path) -> None:
    """A file that says it is a ledger, but is none, is refused."""
    sqlite_file(tmp_path, f"PRAGMA user_version = 1; PRAGMA application_id = {APPLICATION_ID}")
    file = tmp_path / FILE_NAME
    with pytest.raises(StateError) as caught:
        Ledger(tmp_path)
    assert str(caught.value) == f"{file}: cannot be used as the ledger: no such table: alias"


def test_an_empty_file_becomes_a_ledger(tmp_path: Path) -> None:
    """An empty file is one that was never written."""
    (tmp_path / FILE_NAME).touch()
    with closing(Ledger(tmp_path)) as ledger:
        assert ledger.resolve(ledger.alias(REF)) == REF
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as connection:
        assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)


# -- faults while it is open -------------------------------------------------------------------


def fill(ledger: Ledger) -> None:
    """Make more aliases than fit into the pages that a new ledger has."""
    for ref in refs(1000):
        ledger.alias(ref)


def test_a_full_disk(ledger: Ledger) -> None:
    """An alias that cannot be written is not given out, and the ledger works on afterwards."""
    first = ledger.alias(REF)
    (pages,) = ledger._connection.execute("PRAGMA page_count").fetchone()
    ledger._connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StateError, match="database or disk is full"):
        fill(ledger)
    assert ledger.resolve(first) == REF
    ledger._connection.execute("PRAGMA max_page_count = 1000")
    assert ledger.resolve(ledger.alias(OTHER)) == OTHER


def test_a_ledger_that_is_locked(
    tmp_path: Path, ledger: Ledger, by_hand: sqlite3.Connection
) -> None:
    """While another program writes, every method says so; afterwards all is well."""
    number = ledger.alias(REF)
    ledger._connection.execute("PRAGMA busy_timeout = 0")
    by_hand.execute("BEGIN IMMEDIATE")
    attempts: list[Callable[[], object]] = [
        lambda: ledger.alias(OTHER),
        lambda: ledger.resolve(number),
        lambda: ledger.forget(REF),
    ]
    for attempt in attempts:
        with pytest.raises(StateError) as caught:
            attempt()
        assert str(caught.value) == f"{tmp_path / FILE_NAME}: database is locked"
    by_hand.execute("ROLLBACK")
    assert ledger.resolve(number) == REF
    assert ledger.resolve(ledger.alias(OTHER)) == OTHER


def test_a_write_that_fails_leaves_nothing_behind(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The alias that gave way for one that could not be written stays, and so does the count."""
    with closing(Ledger(tmp_path, max_aliases=2, now_ms=ticking())) as ledger:
        numbers = [ledger.alias(ref) for ref in refs(2)]
        with closing(sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)) as by_hand:
            by_hand.execute(
                "CREATE TRIGGER broken BEFORE INSERT ON alias"
                " BEGIN SELECT RAISE(ABORT, 'no more'); END"
            )
            for _ in range(3):
                with pytest.raises(StateError, match=r"ledger\.sqlite3: no more$"):
                    ledger.alias(REF)
            assert [ledger.resolve(number) for number in numbers] == refs(2)
            by_hand.execute("DROP TRIGGER broken")
        caplog.clear()
        numbers.append(ledger.alias(REF))
        assert [ledger.resolve(number) for number in numbers] == [None, refs(2)[1], REF]
        assert len(caplog.records) == 1


def test_a_read_that_fails(tmp_path: Path, ledger: Ledger, by_hand: sqlite3.Connection) -> None:
    """A table that someone dropped is a fault of the state, not of the program."""
    by_hand.execute("DROP TABLE alias")
    with pytest.raises(StateError) as caught:
        ledger.resolve(ALIAS_BASE)
    assert str(caught.value) == f"{tmp_path / FILE_NAME}: no such table: alias"


def test_a_closed_ledger(tmp_path: Path) -> None:
    """After it is closed, every method says that it cannot be used; closing again is fine."""
    ledger = Ledger(tmp_path)
    number = ledger.alias(REF)
    ledger.close()
    ledger.close()
    attempts: list[Callable[[], object]] = [
        lambda: ledger.alias(REF),
        lambda: ledger.resolve(number),
        lambda: ledger.forget(REF),
    ]
    for attempt in attempts:
        with pytest.raises(StateError, match="closed database"):
            attempt()


def test_many_may_open_one_directory_at_once(tmp_path: Path) -> None:
    """Who comes first makes the ledger, the others wait for it."""
    barrier = threading.Barrier(8)
    faults: list[Exception] = []

    def open_ledger(state_dir: Path) -> None:
        barrier.wait()
        try:
            Ledger(state_dir).close()
        except StateError as error:
            faults.append(error)

    for number in range(20):
        state_dir = tmp_path / str(number)
        threads = [threading.Thread(target=open_ledger, args=(state_dir,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert faults == []


def test_the_owner_of_numbers_is_kept(tmp_path: Path) -> None:
    """The last one that was set, across restarts; none at first."""
    ledger = Ledger(tmp_path)
    assert ledger.number_owner is None
    ledger.set_number_owner("first")
    ledger.set_number_owner("second")
    ledger.close()
    ledger = Ledger(tmp_path)
    assert ledger.number_owner == "second"
    ledger.close()
