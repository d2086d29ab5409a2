"""The holder and the numbers of its holds, in real files."""

import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from jicofo_reservation_proxy.errors import StateError
from jicofo_reservation_proxy.ledger.sqlite_database import FILE_NAME, Database
from jicofo_reservation_proxy.ledger.sqlite_holds import CREATES_PER_START, SqliteHolds

from tests.unit.ledgers import together


@contextmanager
def opened(state_dir: Path | None, now_seconds: float = 1000.9) -> Iterator[SqliteHolds]:
    """Open the holds in a state directory."""
    with closing(Database(state_dir)) as database:
        yield SqliteHolds(database, lambda: now_seconds)


def test_the_holder_is_a_uuid_and_stays_the_same(tmp_path: Path) -> None:
    """The holder is a UUID in its 36-character form, and is the same after a restart."""
    with opened(tmp_path) as holds:
        holder = holds.holder
        assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", holder)
        assert holds.next().holder == holder
    with opened(tmp_path) as holds:
        assert holds.holder == holder


def test_two_ledgers_have_two_holders(tmp_path: Path) -> None:
    """Each new ledger has a holder of its own."""
    with opened(tmp_path / "a") as one, opened(tmp_path / "b") as other:
        assert one.holder != other.holder


def test_a_ledger_in_memory_has_no_holder() -> None:
    """The next process could not continue the numbers of a ledger in memory."""
    with opened(None) as holds:
        assert holds.holder == ""
        assert holds.next() == ("", 1000 * CREATES_PER_START + 1)


def test_each_number_is_greater_than_all_before(tmp_path: Path) -> None:
    """The numbers grow; `newest` is the last of them, and at least all of earlier starts."""
    with opened(tmp_path) as holds:
        before = holds.newest
        numbers = [holds.next().number for _ in range(3)]
        assert [before, *numbers] == sorted({before, *numbers})
        assert holds.newest == numbers[-1]
    with opened(tmp_path) as holds:
        assert holds.newest > numbers[-1]


@pytest.mark.parametrize("now_seconds", [0.0, 1000.9, 999.0, 5000.0])
def test_a_restarted_proxy_has_greater_numbers(tmp_path: Path, now_seconds: float) -> None:
    """Whatever the clock says after a crash, the numbers are greater than before."""
    with opened(tmp_path) as holds:
        last = holds.next().number
    with opened(tmp_path, now_seconds) as holds:
        assert holds.next().number > last


def test_a_new_ledger_has_greater_numbers(tmp_path: Path) -> None:
    """A client may still have an id from the ledger before, which must name no newer grant."""
    with opened(tmp_path) as holds:
        last = holds.next().number
    (tmp_path / FILE_NAME).unlink()
    with opened(tmp_path, 1001.0) as holds:
        assert holds.next().number > last


@pytest.mark.parametrize("now_seconds", [-5e9, 0, 1.7e9, 4.9e9, 1e12])
def test_the_numbers_are_positive_and_fit_into_an_int64(tmp_path: Path, now_seconds: float) -> None:
    """The contract sends the number as an int64, also if the clock is very wrong."""
    last = 0
    for _ in range(3):
        with opened(tmp_path, now_seconds) as holds:
            assert last < holds.next().number < 2**63
            last = holds.newest


def test_threads_get_different_numbers(tmp_path: Path) -> None:
    """No two creates have the same number."""
    numbers: list[int] = []
    with opened(tmp_path) as holds:
        works = [lambda: numbers.extend(holds.next().number for _ in range(500))] * 4
        together(*works)
        assert len(set(numbers)) == len(numbers) == 2000
        assert holds.newest == max(numbers)


def test_a_start_that_cannot_be_stored(tmp_path: Path) -> None:
    """The proxy does not start if the number of the start is not on the disk."""
    with closing(Database(tmp_path)) as database:
        database._connection.execute("PRAGMA query_only = ON")
        with pytest.raises(StateError, match="readonly"):
            SqliteHolds(database)


def test_the_holder_is_written_again(tmp_path: Path) -> None:
    """If the file was removed, the new file gets the same holder."""
    with closing(Database(tmp_path)) as database:
        holds = SqliteHolds(database, lambda: 1000)
        (tmp_path / FILE_NAME).unlink()
        database.renew()
        holds.rewrite()
    with opened(tmp_path) as again:
        assert again.holder == holds.holder
        assert again.newest > holds.newest
