"""The aliases, in real files."""

import logging
import shutil
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
from jicofo_reservation_proxy.ids import ALIAS_BASE, ALIAS_COUNT, alias_candidate
from jicofo_reservation_proxy.ledger.sqlite_aliases import MAX_ALIASES, SqliteAliases
from jicofo_reservation_proxy.ledger.sqlite_database import FILE_NAME, Database
from jicofo_reservation_proxy.model import ConferenceRef

from tests.unit.ledgers import LONG_SECONDS, READ_ONLY, ref

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
        aliases = SqliteAliases(database, max_aliases=max_aliases, write_behind=False, now_ms=clock)
        with closing(aliases):
            yield aliases


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
    """A conference has one alias, and the alias resolves to the conference."""
    number = aliases.alias(REF, LONG_SECONDS)
    assert ALIAS_BASE <= number < ALIAS_BASE + ALIAS_COUNT
    assert aliases.alias(REF, LONG_SECONDS) == number
    assert aliases.resolve(number) == REF
    assert aliases.alias(OTHER, LONG_SECONDS) != number


@pytest.mark.parametrize("conference_id", ["", "7", "\0", "caf\u00e9/\U0001f389", "a" * 255, "'"])
@pytest.mark.parametrize("is_fallback", [False, True])
def test_any_id_has_an_alias(aliases: SqliteAliases, conference_id: str, is_fallback: bool) -> None:
    """Any id, also of a fallback grant, has an alias that resolves to it."""
    any_ref = ConferenceRef("exec", conference_id, is_fallback)
    assert aliases.resolve(aliases.alias(any_ref, LONG_SECONDS)) == any_ref


def test_a_fallback_grant_has_a_different_alias(aliases: SqliteAliases) -> None:
    """A fallback grant never has the alias of a backend's conference with the same id."""
    fallback = ConferenceRef(REF.backend, REF.conference_id, is_fallback=True)
    assert aliases.alias(fallback, LONG_SECONDS) != aliases.alias(REF, LONG_SECONDS)
    aliases.forget(fallback)
    assert aliases.resolve(aliases.alias(REF, LONG_SECONDS)) == REF


def test_unknown_numbers(aliases: SqliteAliases) -> None:
    """A number that was never given out resolves to no conference."""
    assert aliases.resolve(ALIAS_BASE) is None


def test_aliases_outlive_the_process(tmp_path: Path) -> None:
    """After a restart, the database has the same aliases."""
    with opened(tmp_path) as first:
        numbers = [first.alias(ref, LONG_SECONDS) for ref in refs(5)]
    with opened(tmp_path) as second:
        assert [second.resolve(number) for number in numbers] == refs(5)
        assert [second.alias(ref, LONG_SECONDS) for ref in refs(5)] == numbers


def test_an_alias_is_on_the_disk_before_it_is_given_out(
    tmp_path: Path, aliases: SqliteAliases
) -> None:
    """The next process knows an alias as soon as it was given out."""
    number = aliases.alias(REF, LONG_SECONDS)
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in tmp_path.glob(FILE_NAME + "*"):
        shutil.copy(file, copy)
    with opened(copy) as after:
        assert after.resolve(number) == REF


def test_the_same_number_after_the_file_is_lost(tmp_path: Path) -> None:
    """An alias depends only on its conference, so it never comes to mean another conference."""
    with opened(tmp_path / "one") as one, opened(tmp_path / "two") as two:
        numbers = [one.alias(ref, LONG_SECONDS) for ref in refs(5)]
        assert [two.alias(ref, LONG_SECONDS) for ref in reversed(refs(5))] == numbers[::-1]
        assert numbers == [alias_candidate(ref, 0) for ref in refs(5)]


def test_a_number_that_is_taken(tmp_path: Path) -> None:
    """If other conferences have the first numbers of a conference, it gets the next number."""
    with closing(Database(tmp_path)) as database:
        insert(database._connection, alias_candidate(REF, 0), "default.x")
        insert(database._connection, alias_candidate(REF, 1), "default.y")
    with opened(tmp_path) as aliases:
        assert aliases.alias(REF, LONG_SECONDS) == alias_candidate(REF, 2)
        assert aliases.resolve(alias_candidate(REF, 0)) == ref("x")
        assert aliases.resolve(alias_candidate(REF, 2)) == REF


@pytest.mark.parametrize("string_id", ["7", "no id at all", ""])
def test_rows_with_invalid_ids(
    aliases: SqliteAliases, connection: sqlite3.Connection, string_id: str
) -> None:
    """A row whose string id is invalid resolves to no conference."""
    insert(connection, ALIAS_BASE, string_id)
    assert aliases.resolve(ALIAS_BASE) is None


def test_forget(aliases: SqliteAliases) -> None:
    """`forget` removes the alias of a conference, also if it is called again."""
    number, other = aliases.alias(REF, LONG_SECONDS), aliases.alias(OTHER, LONG_SECONDS)
    for _ in range(2):
        aliases.forget(REF)
        assert aliases.resolve(number) is None
    assert aliases.resolve(other) == OTHER
    assert aliases.alias(REF, LONG_SECONDS) == number


def test_nothing_to_forget(aliases: SqliteAliases, connection: sqlite3.Connection) -> None:
    """Without any alias, as with Prosody only, `forget` does not write to the disk."""
    connection.execute("PRAGMA query_only = ON")
    aliases.forget(REF)


def test_an_alias_of_an_earlier_process_is_forgotten(tmp_path: Path) -> None:
    """The alias of an earlier process can be removed too."""
    with opened(tmp_path) as first:
        number = first.alias(REF, LONG_SECONDS)
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
        numbers = [aliases.alias(ref, LONG_SECONDS) for ref in refs(3)]
        assert aliases.alias(refs(1)[0], LONG_SECONDS) == numbers[0]
        assert not caplog.records
        numbers.append(aliases.alias(refs(4)[3], LONG_SECONDS))
        assert [aliases.resolve(number) for number in numbers] == [None, *refs(4)[1:]]
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (
            logging.WARNING,
            (
                "the ledger is full (3 aliases): evicted 1 since the last such line; the last one"
                " was the oldest alias, of conference default.order~2F0"
            ),
        )
    ]


def test_the_oldest_alias_is_the_earliest_by_time(tmp_path: Path) -> None:
    """The oldest alias is the alias with the earliest time, also after a restart."""
    times = iter([30, 10, 20, 40])
    with opened(tmp_path, 3, times.__next__) as aliases:
        numbers = [aliases.alias(ref, LONG_SECONDS) for ref in refs(3)]
    with opened(tmp_path, 3, times.__next__) as aliases:
        aliases.alias(refs(4)[3], LONG_SECONDS)
        assert [aliases.resolve(number) for number in numbers] == [refs(1)[0], None, refs(3)[2]]


def test_a_forgotten_alias_makes_space(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A removed alias does not count; removing an unknown alias changes nothing."""
    with opened(tmp_path, 2, ticking()) as aliases:
        aliases.forget(OTHER)
        numbers = [aliases.alias(ref, LONG_SECONDS) for ref in refs(2)]
        aliases.forget(refs(1)[0])
        aliases.forget(refs(1)[0])
        numbers.append(aliases.alias(refs(3)[2], LONG_SECONDS))
        assert [aliases.resolve(number) for number in numbers[1:]] == refs(3)[1:]
        assert not caplog.records
        aliases.alias(refs(4)[3], LONG_SECONDS)
    assert len(caplog.records) == 1


def test_the_limit() -> None:
    """The maximum is 200,000 aliases."""
    assert MAX_ALIASES == 200_000


def test_the_clock(aliases: SqliteAliases, connection: sqlite3.Connection) -> None:
    """The time of an alias is in milliseconds since the epoch."""
    aliases.alias(REF, LONG_SECONDS)
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
        numbers = [aliases.alias(any_ref, LONG_SECONDS) for any_ref in [*shared, own]]
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
        aliases.alias(any_ref, LONG_SECONDS)


def test_a_full_disk(aliases: SqliteAliases, connection: sqlite3.Connection) -> None:
    """An alias that cannot be written is not given out; afterwards aliases work again."""
    first = aliases.alias(REF, LONG_SECONDS)
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StateError, match="database or disk is full"):
        fill(aliases)
    assert aliases.resolve(first) == REF
    connection.execute("PRAGMA max_page_count = 1000")
    assert aliases.resolve(aliases.alias(OTHER, LONG_SECONDS)) == OTHER


def test_an_alias_that_could_not_be_written_is_given_out_later(tmp_path: Path) -> None:
    """A failed write gives out nothing; the next call writes the same alias."""
    with opened(tmp_path) as aliases:
        by_hand = aliases._database._connection
        by_hand.execute("PRAGMA query_only = ON")
        for _ in range(3):
            with pytest.raises(StateError, match=f"{FILE_NAME}: {READ_ONLY}$"):
                aliases.alias(REF, LONG_SECONDS)
        by_hand.execute("PRAGMA query_only = OFF")
        number = aliases.alias(REF, LONG_SECONDS)
    with opened(tmp_path) as aliases:
        assert aliases.resolve(number) == REF


def test_a_forgotten_alias_is_removed_from_the_disk(tmp_path: Path) -> None:
    """`forget` does not wait for the disk; the alias is removed with the next write."""
    with opened(tmp_path) as aliases:
        number = aliases.alias(REF, LONG_SECONDS)
        aliases.forget(REF)
        assert aliases.resolve(number) is None
        aliases.alias(OTHER, LONG_SECONDS)
    with opened(tmp_path) as aliases:
        assert aliases.resolve(number) is None


def test_after_the_database_is_closed(tmp_path: Path) -> None:
    """Known aliases are in memory; everything that needs the file raises `StateError`."""
    with opened(tmp_path) as aliases:
        number = aliases.alias(REF, LONG_SECONDS)
        aliases._database.close()
        assert aliases.alias(REF, LONG_SECONDS) == number
        assert aliases.resolve(number) == REF
        attempts: list[Callable[[], object]] = [
            lambda: aliases.alias(OTHER, LONG_SECONDS),
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
