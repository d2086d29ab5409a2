"""The aliases, in real files."""

import logging
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path

import pytest
from jicofo_reservation_proxy.clock import now_ms
from jicofo_reservation_proxy.errors import StateError
from jicofo_reservation_proxy.ids import ALIAS_BASE, ALIAS_COUNT, alias_candidate, encode
from jicofo_reservation_proxy.ledger.sqlite_aliases import MAX_ALIASES, SqliteAliases
from jicofo_reservation_proxy.ledger.sqlite_database import FILE_NAME, Database, reading
from jicofo_reservation_proxy.model import ConferenceRef

from tests.unit.ledgers import LONG_SECONDS, ref

REF = ref("order/7")
OTHER = ref("order/8")


def refs(number: int) -> list[ConferenceRef]:
    """Return the references of this many conferences."""
    return [ref(f"order/{index}") for index in range(number)]


@contextmanager
def opened(
    state_dir: Path, max_aliases: int = MAX_ALIASES, clock: Callable[[], int] = now_ms
) -> Iterator[SqliteAliases]:
    """Open the aliases in a state directory."""
    with closing(Database(state_dir)) as database:
        yield SqliteAliases(database, max_aliases=max_aliases, now_ms=clock)


@pytest.fixture
def aliases(tmp_path: Path) -> Iterator[SqliteAliases]:
    """Return the aliases in a new state directory."""
    with opened(tmp_path) as aliases:
        yield aliases


@pytest.fixture
def connection(aliases: SqliteAliases) -> sqlite3.Connection:
    """Return the connection of the open database, so that a test can change or break it."""
    return aliases._database._connection


def insert(connection: sqlite3.Connection, number: int, string_id: str) -> None:
    """Insert an alias directly into the file."""
    connection.execute("INSERT INTO alias VALUES (?, ?, 0)", (number, string_id))


def test_an_alias_leads_back(aliases: SqliteAliases) -> None:
    """A conference has one alias, and the alias leads back to the conference."""
    number = aliases.alias(REF)
    assert ALIAS_BASE <= number < ALIAS_BASE + ALIAS_COUNT
    assert aliases.alias(REF) == number
    assert aliases.resolve(number) == REF
    assert aliases.alias(OTHER) != number


@pytest.mark.parametrize("conference_id", ["", "7", "\0", "caf\u00e9/\U0001f389", "a" * 255, "'"])
@pytest.mark.parametrize("is_fallback", [False, True])
def test_any_id_has_an_alias(aliases: SqliteAliases, conference_id: str, is_fallback: bool) -> None:
    """Any id, also of a fallback grant, has an alias that leads back to it."""
    any_ref = ConferenceRef("exec", conference_id, is_fallback)
    assert aliases.resolve(aliases.alias(any_ref)) == any_ref


def test_a_fallback_grant_has_a_different_alias(aliases: SqliteAliases) -> None:
    """A fallback grant never has the alias of a backend's conference with the same id."""
    fallback = ConferenceRef(REF.backend, REF.conference_id, is_fallback=True)
    assert aliases.alias(fallback) != aliases.alias(REF)
    aliases.forget(fallback)
    assert aliases.resolve(aliases.alias(REF)) == REF


def test_unknown_numbers(aliases: SqliteAliases) -> None:
    """A number that was never given out leads to no conference."""
    assert aliases.resolve(ALIAS_BASE) is None


def test_aliases_outlive_the_process(tmp_path: Path) -> None:
    """After a restart, the database has the same aliases."""
    with opened(tmp_path) as first:
        numbers = [first.alias(ref) for ref in refs(5)]
    with opened(tmp_path) as second:
        assert [second.resolve(number) for number in numbers] == refs(5)
        assert [second.alias(ref) for ref in refs(5)] == numbers


def test_an_alias_is_on_the_disk_before_it_is_given_out(
    tmp_path: Path, aliases: SqliteAliases
) -> None:
    """A second connection sees an alias as soon as it was given out."""
    number = aliases.alias(REF)
    with reading(tmp_path) as reader:
        query = "SELECT number FROM alias WHERE string_id = ?"
        assert reader.execute(query, (encode(REF),)).fetchone() == (number,)


def test_the_same_number_after_the_file_is_lost(tmp_path: Path) -> None:
    """An alias depends only on its conference, so it never comes to mean another conference."""
    with opened(tmp_path / "one") as one, opened(tmp_path / "two") as two:
        numbers = [one.alias(ref) for ref in refs(5)]
        assert [two.alias(ref) for ref in reversed(refs(5))] == numbers[::-1]
        assert numbers == [alias_candidate(ref, 0) for ref in refs(5)]


def test_a_number_that_is_taken(aliases: SqliteAliases, connection: sqlite3.Connection) -> None:
    """If other conferences have the first numbers of a conference, it gets the next number."""
    insert(connection, alias_candidate(REF, 0), "default.x")
    insert(connection, alias_candidate(REF, 1), "default.y")
    assert aliases.alias(REF) == alias_candidate(REF, 2)
    assert aliases.resolve(alias_candidate(REF, 0)) == ref("x")
    assert aliases.resolve(alias_candidate(REF, 2)) == REF


@pytest.mark.parametrize("string_id", ["7", "no id at all", ""])
def test_rows_with_invalid_ids(
    aliases: SqliteAliases, connection: sqlite3.Connection, string_id: str
) -> None:
    """A row whose string id is invalid leads to no conference."""
    insert(connection, ALIAS_BASE, string_id)
    assert aliases.resolve(ALIAS_BASE) is None


def test_forget(aliases: SqliteAliases) -> None:
    """`forget` removes the alias of a conference, also if it is called again."""
    number, other = aliases.alias(REF), aliases.alias(OTHER)
    for _ in range(2):
        aliases.forget(REF)
        assert aliases.resolve(number) is None
    assert aliases.resolve(other) == OTHER
    assert aliases.alias(REF) == number


def test_nothing_to_forget(aliases: SqliteAliases, connection: sqlite3.Connection) -> None:
    """Without any alias, as with Prosody only, `forget` does not write to the disk."""
    connection.execute("PRAGMA query_only = ON")
    aliases.forget(REF)


def test_an_alias_of_an_earlier_process_is_forgotten(tmp_path: Path) -> None:
    """The alias of an earlier process can be removed too."""
    with opened(tmp_path) as first:
        number = first.alias(REF)
    with opened(tmp_path) as second:
        second.forget(REF)
        assert second.resolve(number) is None


# -- the maximum number of aliases -------------------------------------------------------------


def ticking() -> Callable[[], int]:
    """Return a clock that moves at each call."""
    return count(1).__next__


def test_a_full_ledger_evicts_the_oldest_alias(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """In a full ledger a new alias evicts the oldest alias, and the log says so."""
    with opened(tmp_path, 3, ticking()) as aliases:
        numbers = [aliases.alias(ref) for ref in refs(3)]
        assert aliases.alias(refs(1)[0]) == numbers[0]
        assert not caplog.records
        numbers.append(aliases.alias(refs(4)[3]))
        assert [aliases.resolve(number) for number in numbers] == [None, *refs(4)[1:]]
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (
            logging.WARNING,
            (
                "the ledger is full (3 aliases): evicted the oldest alias,"
                " of conference default.order~2F0"
            ),
        )
    ]


def test_the_oldest_alias_is_the_earliest_by_time(tmp_path: Path) -> None:
    """The oldest alias is the alias with the earliest time, also after a restart."""
    times = iter([30, 10, 20, 40])
    with opened(tmp_path, 3, times.__next__) as aliases:
        numbers = [aliases.alias(ref) for ref in refs(3)]
    with opened(tmp_path, 3, times.__next__) as aliases:
        aliases.alias(refs(4)[3])
        assert [aliases.resolve(number) for number in numbers] == [refs(1)[0], None, refs(3)[2]]


def test_a_forgotten_alias_makes_space(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A removed alias does not count; removing an unknown alias changes nothing."""
    with opened(tmp_path, 2, ticking()) as aliases:
        aliases.forget(OTHER)
        numbers = [aliases.alias(ref) for ref in refs(2)]
        aliases.forget(refs(1)[0])
        aliases.forget(refs(1)[0])
        numbers.append(aliases.alias(refs(3)[2]))
        assert [aliases.resolve(number) for number in numbers[1:]] == refs(3)[1:]
        assert not caplog.records
        aliases.alias(refs(4)[3])
    assert len(caplog.records) == 1


def test_the_limit() -> None:
    """The maximum is one million aliases."""
    assert MAX_ALIASES == 1_000_000


def test_the_clock(aliases: SqliteAliases, connection: sqlite3.Connection) -> None:
    """The time of an alias is in milliseconds since the epoch."""
    aliases.alias(REF)
    (made_at_ms,) = connection.execute("SELECT made_at_ms FROM alias").fetchone()
    assert 1_700_000_000_000 < made_at_ms < 10_000_000_000_000


def test_many_threads(aliases: SqliteAliases) -> None:
    """Threads that ask at the same time get the same aliases, and no thread fails."""
    barrier = threading.Barrier(16)

    def work(worker: int) -> list[int]:
        barrier.wait(LONG_SECONDS)
        shared = refs(20)[worker % 4 :: 4]
        own = ref(f"own-{worker}")
        aliases.forget(ref("unknown"))
        numbers = [aliases.alias(any_ref) for any_ref in [*shared, own]]
        assert [aliases.resolve(number) for number in numbers] == [*shared, own]
        return numbers

    with ThreadPoolExecutor(16) as executor:
        results = list(executor.map(work, range(16)))
    numbers = {number for result in results for number in result}
    assert numbers >= {alias_candidate(any_ref, 0) for any_ref in refs(20)}
    assert len(numbers) == 20 + 16


# -- faults ------------------------------------------------------------------------------------


def fill(aliases: SqliteAliases) -> None:
    """Make more aliases than fit into the pages of a new file."""
    for any_ref in refs(1000):
        aliases.alias(any_ref)


def test_a_full_disk(aliases: SqliteAliases, connection: sqlite3.Connection) -> None:
    """An alias that cannot be written is not given out; afterwards aliases work again."""
    first = aliases.alias(REF)
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StateError, match="database or disk is full"):
        fill(aliases)
    assert aliases.resolve(first) == REF
    connection.execute("PRAGMA max_page_count = 1000")
    assert aliases.resolve(aliases.alias(OTHER)) == OTHER


def test_a_file_that_is_locked(
    tmp_path: Path, aliases: SqliteAliases, connection: sqlite3.Connection
) -> None:
    """While another program writes to the file, no new alias is given out; reads still work."""
    number = aliases.alias(REF)
    connection.execute("PRAGMA busy_timeout = 0")
    with closing(sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        for attempt in (aliases.alias, aliases.forget):
            with pytest.raises(StateError) as caught:
                attempt(OTHER)
            assert str(caught.value) == f"{tmp_path / FILE_NAME}: database is locked"
        assert aliases.resolve(number) == REF
        assert aliases.alias(REF) == number
        other.execute("ROLLBACK")
    assert aliases.resolve(aliases.alias(OTHER)) == OTHER


def test_a_write_that_fails_leaves_nothing_behind(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """If the new alias cannot be written, the evicted alias and the count are restored."""
    with opened(tmp_path, 2, ticking()) as aliases:
        numbers = [aliases.alias(ref) for ref in refs(2)]
        by_hand = aliases._database._connection
        by_hand.execute(
            "CREATE TEMP TRIGGER broken BEFORE INSERT ON main.alias"
            " BEGIN SELECT RAISE(ABORT, 'no more'); END"
        )
        for _ in range(3):
            with pytest.raises(StateError, match=r"ledger\.sqlite3: no more$"):
                aliases.alias(REF)
        assert [aliases.resolve(number) for number in numbers] == refs(2)
        by_hand.execute("DROP TRIGGER broken")
        caplog.clear()
        numbers.append(aliases.alias(REF))
        assert [aliases.resolve(number) for number in numbers] == [None, refs(2)[1], REF]
        assert len(caplog.records) == 1


def test_a_read_that_fails(
    tmp_path: Path, aliases: SqliteAliases, connection: sqlite3.Connection
) -> None:
    """A missing table raises `StateError`."""
    connection.execute("DROP TABLE alias")
    with pytest.raises(StateError) as caught:
        aliases.resolve(ALIAS_BASE)
    assert str(caught.value) == f"{tmp_path / FILE_NAME}: no such table: alias"


def test_after_the_database_is_closed(tmp_path: Path) -> None:
    """Every method raises `StateError` after the database was closed."""
    with opened(tmp_path) as aliases:
        number = aliases.alias(REF)
    attempts: list[Callable[[], object]] = [
        lambda: aliases.alias(REF),
        lambda: aliases.resolve(number),
        lambda: aliases.forget(REF),
        lambda: aliases.number_owner,
        lambda: aliases.set_number_owner("default"),
    ]
    for attempt in attempts:
        with pytest.raises(StateError, match="closed database"):
            attempt()


# -- the backend of the numbers that are no aliases ----------------------------------------------


def test_the_owner_of_numbers_is_kept(tmp_path: Path) -> None:
    """The number owner is the backend that was set last, also after a restart; `None` at first."""
    with opened(tmp_path) as aliases:
        assert aliases.number_owner is None
        aliases.set_number_owner("first")
        assert aliases.number_owner == "first"
        aliases.set_number_owner("second")
    with opened(tmp_path) as aliases:
        assert aliases.number_owner == "second"
