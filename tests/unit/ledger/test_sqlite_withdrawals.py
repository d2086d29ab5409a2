"""The withdrawals, in real files."""

import dataclasses
import logging
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from jicofo_reservation_proxy.ledger.sqlite_database import FILE_NAME, Database
from jicofo_reservation_proxy.ledger.sqlite_withdrawals import MAX_WITHDRAWALS, SqliteWithdrawals
from jicofo_reservation_proxy.ledger.withdrawals import Withdrawal

from tests.unit.ledgers import eventually, rows_on_disk

NOTED = Withdrawal("default", "board", 7, 1000)


@contextmanager
def opened(
    state_dir: Path, max_withdrawals: int = MAX_WITHDRAWALS, *, write_behind: bool = False
) -> Iterator[SqliteWithdrawals]:
    """Open the withdrawals in a state directory."""
    with (
        closing(Database(state_dir)) as database,
        closing(
            SqliteWithdrawals(database, max_withdrawals=max_withdrawals, write_behind=write_behind)
        ) as withdrawals,
    ):
        yield withdrawals


def test_a_withdrawal_survives_a_restart(tmp_path: Path) -> None:
    """The withdrawals are in the file, in the order of their age."""
    sent = Withdrawal("other", "kitchen", 9, 500, is_sent=True)
    with opened(tmp_path) as withdrawals:
        withdrawals.note(NOTED)
        withdrawals.note(sent)
        withdrawals.note(dataclasses.replace(NOTED, room="hall", asked_at_ms=900))
    with opened(tmp_path) as withdrawals:
        assert [noted.room for noted in withdrawals.of("default")] == ["hall", "board"]
        assert withdrawals.of("other") == [sent]
        assert withdrawals.of("third") == []


def test_a_newer_withdrawal_replaces_the_older_one(tmp_path: Path) -> None:
    """A room has one withdrawal, with the hold and the time of its newest create."""
    with opened(tmp_path) as withdrawals:
        withdrawals.note(NOTED)
        withdrawals.sent(NOTED)
        newer = dataclasses.replace(NOTED, hold=8, asked_at_ms=2000)
        withdrawals.note(newer)
        assert withdrawals.of("default") == [newer]
        withdrawals.sent(NOTED)
        withdrawals.remove(NOTED)
        assert withdrawals.of("default") == [newer]


def test_a_withdrawal_that_was_sent_and_one_that_is_removed(tmp_path: Path) -> None:
    """The file has the last state of a withdrawal, and no withdrawal that was removed."""
    with opened(tmp_path) as withdrawals:
        withdrawals.note(NOTED)
        withdrawals.sent(NOTED)
    sent = dataclasses.replace(NOTED, is_sent=True)
    with opened(tmp_path) as withdrawals:
        assert withdrawals.of("default") == [sent]
        withdrawals.remove(sent)
        withdrawals.remove(sent)
    with opened(tmp_path) as withdrawals:
        assert withdrawals.of("default") == []


def test_many_withdrawals_evict_the_oldest(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The number of withdrawals is limited; the log names the room that is evicted."""
    caplog.set_level(logging.WARNING)
    with opened(tmp_path, 2) as withdrawals:
        for number in range(3):
            withdrawals.note(dataclasses.replace(NOTED, room=str(number), asked_at_ms=number))
        assert [noted.room for noted in withdrawals.of("default")] == ["1", "2"]
    assert "the oldest withdrawal, of room '0'" in caplog.text
    with opened(tmp_path, 2) as withdrawals:
        assert [noted.room for noted in withdrawals.of("default")] == ["1", "2"]


def test_a_thread_writes_the_withdrawals(tmp_path: Path) -> None:
    """Nobody waits for the disk, but a withdrawal is in the file soon."""
    with opened(tmp_path, write_behind=True) as withdrawals:
        withdrawals.note(NOTED)
        eventually(lambda: rows_on_disk(tmp_path, "SELECT room FROM withdrawal") == [(NOTED.room,)])


def test_the_withdrawals_are_written_again(tmp_path: Path) -> None:
    """If the file was removed, the new file gets all withdrawals."""
    with (
        closing(Database(tmp_path)) as database,
        closing(SqliteWithdrawals(database, write_behind=False)) as withdrawals,
    ):
        withdrawals.note(NOTED)
        withdrawals.flush()
        (tmp_path / FILE_NAME).unlink()
        database.renew()
        withdrawals.rewrite()
    with opened(tmp_path) as withdrawals:
        assert withdrawals.of("default") == [NOTED]
