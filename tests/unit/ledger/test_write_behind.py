"""Write-behind: which changes are on the disk at which time, failing disks, and the thread."""

import logging
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from jicofo_reservation_proxy.errors import StateError
from jicofo_reservation_proxy.ledger import sqlite_database, write_behind
from jicofo_reservation_proxy.ledger.records import Record, RecordState
from jicofo_reservation_proxy.ledger.sqlite_database import (
    FILE_NAME,
    RESERVED_LOG_BYTES,
    WRITE_A_PAGE,
    Database,
)
from jicofo_reservation_proxy.ledger.sqlite_ledger import SqliteLedger
from jicofo_reservation_proxy.model import DeleteReason

from tests.unit.ledger.states import (
    ABANDONED,
    END_MS,
    OPEN,
    PENDING,
    after_a_kill,
    grant,
    on_disk,
    state,
)
from tests.unit.ledgers import (
    LONG_SECONDS,
    READ_ONLY,
    START_MS,
    Changes,
    abandon,
    conference,
    eventually,
    failing_disk,
    opened,
    ref,
)

# -- when a change is on the disk ---------------------------------------------------------------


def test_no_grant_waits_for_the_disk(ledger: SqliteLedger, tmp_path: Path) -> None:
    """A grant, also a repeated one, does not wait for the disk; it is written later."""
    grant(ledger)
    assert on_disk(tmp_path) == {}
    grant(ledger)
    with failing_disk(ledger):
        grant(ledger, "8", "kitchen")
    ledger.flush()
    assert on_disk(tmp_path) == {"7": OPEN, "8": OPEN}


@pytest.mark.parametrize("is_known", [True, False])
def test_a_promised_deletion_is_on_the_disk(
    ledger: SqliteLedger, tmp_path: Path, is_known: bool
) -> None:
    """A DELETE that was answered 200 survives a power cut right after the answer."""
    if is_known:
        grant(ledger)
    ledger.end(ref(), 5, LONG_SECONDS)
    (record,) = after_a_kill(tmp_path)
    assert record == ledger.find(ref())
    assert record.reason is DeleteReason.ENDED


def test_an_end_is_not_pending_before_it_is_on_the_disk(
    ledger: SqliteLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A deletion is not pending before it is on the disk, because its write may still fail."""
    seen: list[int] = []
    write = ledger._writes._commit

    def look_and_write(changes: Any) -> None:  # noqa: ANN401
        seen.append(len(ledger.pending("default")))
        write(changes)

    monkeypatch.setattr(ledger._writes, "_commit", look_and_write)
    grant(ledger)
    ledger.end(ref(), 5, LONG_SECONDS)
    assert seen == [0]
    assert len(ledger.pending("default")) == 1


def test_two_deletes_at_once_on_a_failing_disk(
    ledger: SqliteLedger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The DELETE that succeeds is on the disk, although the other DELETE failed and was undone."""
    grant(ledger)
    second_waits, answers = threading.Event(), list[str]()
    write = ledger._writes._commit

    def fail_once(_: object) -> None:
        monkeypatch.setattr(ledger._writes, "_commit", write)
        second.start()
        second_waits.wait(0.2)
        raise StateError("the disk is full")

    def end() -> None:
        ledger.end(ref(), 5, LONG_SECONDS)
        answers.append("answered")

    second = threading.Thread(target=end)
    monkeypatch.setattr(ledger._writes, "_commit", fail_once)
    with pytest.raises(StateError, match="the disk is full"):
        ledger.end(ref(), 4, LONG_SECONDS)
    second.join(LONG_SECONDS)
    assert answers == ["answered"]
    assert [record.state for record in after_a_kill(tmp_path)] == [RecordState.PENDING]


def test_a_get_moves_the_end(ledger: SqliteLedger) -> None:
    """A GET can move the end of an open conference, but changes no pending or unknown one."""
    grant(ledger)
    ledger.update(ref(), conference(lasts=7200))
    assert ledger.expire(START_MS + 7_200_000) == []
    assert len(ledger.expire(START_MS + 7_200_001)) == 1
    ledger.update(ref(), conference(lasts=9000))
    ledger.update(ref("8"), conference("8"))
    assert ledger.is_over(ref())
    assert ledger.find(ref("8")) is None


def test_a_new_grant_removes_an_abandoned_conference(ledger: SqliteLedger) -> None:
    """A grant removes an abandoned conference of its room: the backend no longer holds it."""
    grant(ledger)
    ledger.end(ref(), 5, LONG_SECONDS)
    abandon(ledger, ref())
    ledger.grant(ref("8"), "board", conference("8"), LONG_SECONDS)
    assert ledger.find(ref()) is None
    assert ledger.counts[RecordState.ABANDONED] == 0


@pytest.mark.parametrize("before", ["pending", "abandoned", "gone"])
def test_a_cancellation_is_on_the_disk(ledger: SqliteLedger, tmp_path: Path, before: str) -> None:
    """A cancellation is on the disk, so no later process deletes the conference."""
    grant(ledger)
    ledger.end(ref(), 5, LONG_SECONDS)
    if before == "abandoned":
        abandon(ledger, ref())
        ledger.flush()
    if before == "gone":
        ledger.settle(ref())
    grant(ledger)
    assert PENDING not in on_disk(tmp_path).values()
    assert ABANDONED not in on_disk(tmp_path).values()


@pytest.mark.parametrize("lasts", [7200, None])
def test_a_later_end_is_on_the_disk(
    ledger: SqliteLedger, tmp_path: Path, lasts: int | None
) -> None:
    """A later end is on the disk, so no later process ends the conference at the earlier end."""
    grant(ledger)
    ledger.flush()
    ledger.grant(ref(), "board", conference(lasts=lasts), LONG_SECONDS)
    assert after_a_kill(tmp_path) == [ledger.find(ref())]
    ledger.grant(ref(), "kitchen", conference(lasts=None), LONG_SECONDS)
    assert after_a_kill(tmp_path)[0].ends_at_ms is None


@pytest.mark.parametrize(("lasts", "then"), [(3600, 3600), (3600, 60), (None, 60), (None, None)])
def test_an_end_that_is_not_later_does_not_wait(
    ledger: SqliteLedger, lasts: int | None, then: int | None
) -> None:
    """A grant that leaves the end of an open conference as it is does not wait for the disk."""
    ledger.grant(ref(), "board", conference(lasts=lasts), LONG_SECONDS)
    with failing_disk(ledger):
        ledger.grant(ref(), "board", conference(lasts=then), LONG_SECONDS)
    assert state(ledger) is OPEN


def test_a_later_end_that_cannot_be_written(ledger: SqliteLedger, tmp_path: Path) -> None:
    """If a later end cannot be written, the conference keeps its end and stays open."""
    grant(ledger)
    ledger.flush()
    known = ledger.find(ref())
    with failing_disk(ledger):
        for _ in range(2):
            with pytest.raises(StateError, match=READ_ONLY):
                ledger.grant(ref(), "board", conference(lasts=7200), LONG_SECONDS)
            assert ledger.find(ref()) == known
    ledger.flush()
    assert after_a_kill(tmp_path) == [known]
    assert [record.ref for record in ledger.expire(END_MS + 1)] == [ref()]


def test_a_conference_that_the_disk_still_has(ledger: SqliteLedger, tmp_path: Path) -> None:
    """A grant waits for the disk if the disk still has an earlier record of the conference.

    Another conference took the place of that record in its room.
    """
    grant(ledger, "7")
    ledger.flush()
    grant(ledger, "8")
    ledger.grant(ref(), "kitchen", conference(lasts=7200), LONG_SECONDS)
    assert {(found.ref, found.room) for found in after_a_kill(tmp_path)} == {
        (ref(), "kitchen"),
        (ref("8"), "board"),
    }


def test_a_conference_that_the_disk_still_has_and_that_cannot_be_written(
    ledger: SqliteLedger, tmp_path: Path
) -> None:
    """If that grant cannot be written, the conference is unknown."""
    grant(ledger, "7")
    ledger.flush()
    grant(ledger, "8")
    with failing_disk(ledger):
        for _ in range(2):
            with pytest.raises(StateError, match=READ_ONLY):
                ledger.grant(ref(), "kitchen", conference(lasts=7200), LONG_SECONDS)
            assert ledger.find(ref()) is None
    ledger.flush()
    assert on_disk(tmp_path) == {"8": OPEN}


def test_an_expiry_is_written_later(ledger: SqliteLedger, tmp_path: Path) -> None:
    """An expiry does not wait for the disk: if it is lost, the next process expires it again."""
    grant(ledger)
    ledger.flush()
    ledger.expire(END_MS + 1)
    assert on_disk(tmp_path) == {"7": OPEN}
    ledger.flush()
    assert on_disk(tmp_path) == {"7": PENDING}
    ledger.settle(ref())
    assert on_disk(tmp_path) == {"7": PENDING}
    ledger.flush()
    assert on_disk(tmp_path) == {}


def test_a_known_end_is_written_before_it_is_promised(ledger: SqliteLedger, tmp_path: Path) -> None:
    """A DELETE of a conference that has just expired waits for the disk too."""
    grant(ledger)
    ledger.flush()
    ledger.expire(END_MS + 1)
    ledger.end(ref(), END_MS + 2, LONG_SECONDS)
    assert on_disk(tmp_path) == {"7": PENDING}


def test_nothing_to_write(ledger: SqliteLedger) -> None:
    """A change that is already written is not written again."""
    grant(ledger)
    ledger.end(ref(), 5, LONG_SECONDS)
    with failing_disk(ledger):
        ledger.flush()
        ledger.end(ref(), 9, LONG_SECONDS)


def test_an_end_that_cannot_be_written(ledger: SqliteLedger, tmp_path: Path) -> None:
    """If an end cannot be written, the caller gets an error, and the conference stays open."""
    grant(ledger)
    ledger.flush()
    with failing_disk(ledger):
        for _ in range(2):
            with pytest.raises(StateError, match=READ_ONLY):
                ledger.end(ref(), 5, LONG_SECONDS)
            assert ledger.find(ref()) == Record(ref(), room="board", conference=conference())
            assert ledger.pending("default") == []
            assert [found.ref for found in ledger.in_room("default", "board", OPEN)] == [ref()]
    ledger.flush()
    assert on_disk(tmp_path) == {"7": OPEN}
    assert [record.ref for record in ledger.expire(END_MS + 1)] == [ref()]


def test_an_unknown_end_that_cannot_be_written(ledger: SqliteLedger, tmp_path: Path) -> None:
    """If the end of an unknown id cannot be written, the id stays unknown."""
    with failing_disk(ledger), pytest.raises(StateError, match=READ_ONLY):
        ledger.end(ref(), 5, LONG_SECONDS)
    assert ledger.find(ref()) is None
    assert not ledger.is_over(ref())
    ledger.flush()
    assert on_disk(tmp_path) == {}


def test_an_end_of_an_abandoned_conference_that_cannot_be_written(ledger: SqliteLedger) -> None:
    """If a new end cannot be written, an abandoned conference stays abandoned."""
    grant(ledger)
    ledger.end(ref(), 5, LONG_SECONDS)
    abandon(ledger, ref())
    with failing_disk(ledger), pytest.raises(StateError, match=READ_ONLY):
        ledger.end(ref(), 9, LONG_SECONDS)
    assert state(ledger) is ABANDONED
    assert ledger.pending("default") == []


def test_a_known_end_that_cannot_be_written(ledger: SqliteLedger) -> None:
    """A DELETE of an expired conference fails if it cannot be written; it stays pending."""
    grant(ledger)
    ledger.flush()
    ledger.expire(END_MS + 1)
    with failing_disk(ledger), pytest.raises(StateError, match=READ_ONLY):
        ledger.end(ref(), END_MS + 2, LONG_SECONDS)
    assert state(ledger) is PENDING


@pytest.mark.parametrize("before", ["pending", "abandoned"])
def test_a_cancellation_that_cannot_be_written(
    ledger: SqliteLedger, tmp_path: Path, before: str
) -> None:
    """If a cancellation cannot be written, the conference stays over, also on the disk."""
    grant(ledger)
    ledger.end(ref(), 5, LONG_SECONDS)
    if before == "abandoned":
        abandon(ledger, ref())
        ledger.flush()
    known = ledger.find(ref())
    with failing_disk(ledger):
        for _ in range(2):
            with pytest.raises(StateError, match=READ_ONLY):
                grant(ledger)
            assert ledger.find(ref()) == known
            assert ledger.is_over(ref())
    ledger.flush()
    assert after_a_kill(tmp_path) == [known]


def test_a_grant_of_a_gone_conference_that_cannot_be_written(
    ledger: SqliteLedger, tmp_path: Path
) -> None:
    """A gone conference is not granted while the disk still has it as pending."""
    grant(ledger)
    ledger.end(ref(), 5, LONG_SECONDS)
    with failing_disk(ledger):
        ledger.settle(ref())
        for _ in range(2):
            with pytest.raises(StateError, match=READ_ONLY):
                grant(ledger)
            assert ledger.find(ref()) is None
            assert ledger.is_over(ref())
    grant(ledger)
    assert on_disk(tmp_path) == {"7": OPEN}


def test_a_cancellation_that_cannot_be_written_leaves_the_room_alone(ledger: SqliteLedger) -> None:
    """If a cancellation cannot be written, the open conference of the room stays open."""
    grant(ledger, "old")
    ledger.end(ref("old"), 5, LONG_SECONDS)
    grant(ledger, "new")
    with failing_disk(ledger), pytest.raises(StateError, match=READ_ONLY):
        grant(ledger, "old")
    assert [record.ref for record in ledger.in_room("default", "board", OPEN)] == [ref("new")]


def test_a_full_disk(ledger: SqliteLedger, tmp_path: Path) -> None:
    """After the disk has space again, all waiting changes are written."""
    connection = ledger._database._connection
    ledger.flush()
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages}")
    for number in range(100):
        grant(ledger, str(number), f"room{number}")
    for _ in range(2):
        with pytest.raises(StateError, match="database or disk is full"):
            ledger.flush()
        with pytest.raises(StateError, match="database or disk is full"):
            ledger.end(ref("5"), 5, LONG_SECONDS)
    connection.execute("PRAGMA max_page_count = 1000")
    ledger.end(ref("6"), 5, LONG_SECONDS)
    expected = {str(number): OPEN for number in range(100)} | {"6": PENDING}
    assert on_disk(tmp_path) == expected


def test_changes_after_a_failed_write_are_written(ledger: SqliteLedger, tmp_path: Path) -> None:
    """After a failed write, older and newer changes are written in their last state."""
    grant(ledger, "a", "a")
    grant(ledger, "b", "b")
    with failing_disk(ledger), pytest.raises(StateError):
        ledger.flush()
    ledger.settle(ref("a"))
    grant(ledger, "c", "c")
    ledger.flush()
    assert on_disk(tmp_path) == {"b": OPEN, "c": OPEN}


def test_a_closed_database(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """With a closed database an end fails, a grant does not, and closing logs the loss."""
    database = Database(tmp_path)
    ledger = SqliteLedger(database, write_behind=False)
    database.close()
    with pytest.raises(StateError, match="closed database"):
        ledger.end(ref(), 5, LONG_SECONDS)
    grant(ledger, "8")
    ledger.close()
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.getMessage().startswith("the last changes of the ledger are lost: ")
    assert str(tmp_path / FILE_NAME) in record.getMessage()


# -- threads ------------------------------------------------------------------------------------


def test_many_threads_end_at_once(tmp_path: Path) -> None:
    """All promised ends are on the disk, with fewer writes than ends."""
    with opened(tmp_path, write_behind=True) as ledger:
        barrier = threading.Barrier(8)
        writes = []
        write = ledger._writes._commit

        def counted(changes: Changes) -> None:
            writes.append(len(changes))
            write(changes)

        ledger._writes._commit = counted  # type: ignore[method-assign]

        def work(worker: int) -> list[str]:
            barrier.wait(LONG_SECONDS)
            for number in range(10):
                grant(ledger, f"{worker}-{number}", f"room{worker}-{number}")
                ledger.end(ref(f"{worker}-{number}"), 5, LONG_SECONDS)
                assert on_disk(tmp_path)[f"{worker}-{number}"] is PENDING
            return [f"{worker}-{number}" for number in range(10)]

        with ThreadPoolExecutor(8) as executor:
            promised = [name for names in executor.map(work, range(8)) for name in names]
        assert {record.ref.conference_id for record in after_a_kill(tmp_path)} == set(promised)
        assert len([size for size in writes if size]) < 8 * 10


def test_many_threads_on_a_failing_disk(ledger: SqliteLedger) -> None:
    """On a failing disk, no thread is promised an end that is not written."""
    barrier = threading.Barrier(8)
    promised = []

    def work(worker: int) -> None:
        for number in range(50):
            barrier.wait(LONG_SECONDS)
            try:
                ledger.end(ref(f"{worker}-{number}"), 5, LONG_SECONDS)
                promised.append((worker, number))
            except StateError:
                pass

    with failing_disk(ledger), ThreadPoolExecutor(8) as executor:
        list(executor.map(work, range(8)))
    assert promised == []
    assert ledger.pending("default") == []


def test_an_end_that_is_not_written_is_in_no_later_write(
    ledger: SqliteLedger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another thread writes only after the failed end was undone, and so without that end."""
    commit = ledger._writes._commit
    flushes = []

    with ThreadPoolExecutor(1) as executor:

        def fail_once(_: object) -> None:
            monkeypatch.setattr(ledger._writes, "_commit", commit)
            flushes.append(executor.submit(ledger.flush))
            raise StateError("the disk is full")

        monkeypatch.setattr(ledger._writes, "_commit", fail_once)
        with pytest.raises(StateError):
            ledger.end(ref(), 5, LONG_SECONDS)
        flushes[0].result(LONG_SECONDS)
    assert after_a_kill(tmp_path) == []


def test_the_writer_writes_by_itself(tmp_path: Path) -> None:
    """The thread writes a grant soon, and later grants too."""
    with opened(tmp_path, write_behind=True) as ledger:
        for conference_id in ("7", "8"):
            grant(ledger, conference_id)
            eventually(lambda name=conference_id: on_disk(tmp_path) == {name: OPEN})  # type: ignore[misc]


def traced(ledger: SqliteLedger) -> list[str]:
    """Return a list that gets the text of each statement from now on."""
    statements: list[str] = []
    ledger._database._connection.set_trace_callback(statements.append)
    return statements


CHECKPOINT = ["PRAGMA wal_checkpoint(PASSIVE)", *WRITE_A_PAGE[:1]]


def test_a_delete_is_one_statement(tmp_path: Path) -> None:
    """The commit of a DELETE is a single call into SQLite, after the first upkeep of the log."""
    with opened(tmp_path, write_behind=True) as ledger:
        statements = traced(ledger)
        eventually(lambda: statements == CHECKPOINT)
        statements.clear()
        ledger.end(ref(), 5, LONG_SECONDS)
        (statement,) = statements
        assert statement.startswith("INSERT OR REPLACE INTO conference")


def test_the_writer_makes_a_checkpoint_when_nobody_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkpoint comes after changes, when no new ones come; the log then begins again."""
    monkeypatch.setattr(sqlite_database, "CHECKPOINT_CHANGES", 3)
    monkeypatch.setattr(write_behind, "IDLE_SECONDS", 0.001)
    log = tmp_path / f"{FILE_NAME}-wal"
    with opened(tmp_path, write_behind=True) as ledger:
        statements = traced(ledger)
        eventually(lambda: not ledger._database.is_upkeep_due)
        for number in range(5):
            for each in range(3):
                ledger.end(ref(f"{number}-{each}"), 5, LONG_SECONDS)
            eventually(lambda: statements[-2:] == CHECKPOINT)
            statements.clear()
            eventually(lambda: log.stat().st_size == RESERVED_LOG_BYTES)
        assert len(after_a_kill(tmp_path)) == 15


def test_a_checkpoint_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If a checkpoint fails, the writer goes on, and DELETEs are written."""
    monkeypatch.setattr(sqlite_database, "CHECKPOINT_CHANGES", 1)
    monkeypatch.setattr(write_behind, "IDLE_SECONDS", 0.001)
    with opened(tmp_path, write_behind=True) as ledger:
        tries = []

        def fail() -> None:
            tries.append(1)
            monkeypatch.undo()
            raise StateError("the disk is full")

        monkeypatch.setattr(ledger._database, "maintain_log", fail)
        ledger.end(ref("7"), 5, LONG_SECONDS)
        eventually(lambda: tries)
        ledger.end(ref("8"), 5, LONG_SECONDS)
        assert on_disk(tmp_path) == {"7": PENDING, "8": PENDING}


def test_a_checkpoint_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A DELETE does not wait long for a checkpoint that hangs."""
    monkeypatch.setattr(sqlite_database, "CHECKPOINT_CHANGES", 1)
    monkeypatch.setattr(write_behind, "IDLE_SECONDS", 0.001)
    monkeypatch.setattr(write_behind, "HANGING_SECONDS", 0.02)
    began, goes_on = threading.Event(), threading.Event()
    with opened(tmp_path, write_behind=True) as ledger:

        def hang() -> None:
            began.set()
            assert goes_on.wait(LONG_SECONDS)

        monkeypatch.setattr(ledger._database, "maintain_log", hang)
        grant(ledger)
        assert began.wait(LONG_SECONDS)
        with pytest.raises(StateError, match="the disk does not answer in time"):
            ledger.end(ref(), 5, LONG_SECONDS)
        monkeypatch.setattr(sqlite_database, "CHECKPOINT_CHANGES", 1000)
        goes_on.set()


def test_the_writer_complains_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread logs each outage of the disk once, and keeps trying."""
    monkeypatch.setattr(write_behind, "WRITE_AFTER_SECONDS", 0.001)
    monkeypatch.setattr(write_behind, "RETRY_SECONDS", 0.001)
    tries = []
    with opened(tmp_path, write_behind=True) as ledger:
        commit = ledger._writes._commit

        def counted(changes: Changes) -> None:
            tries.append(1)
            commit(changes)

        monkeypatch.setattr(ledger._writes, "_commit", counted)
        for number in (1, 2):
            tries.clear()
            with failing_disk(ledger):
                grant(ledger, str(number))
                eventually(lambda: len(tries) > 5)
            eventually(lambda: str(number) in on_disk(tmp_path))  # noqa: B023 - called at once
            eventually(lambda: len(caplog.records) == 2 * number)  # noqa: B023 - called at once
    lost = f"ledger: cannot be written: {tmp_path / FILE_NAME}: {READ_ONLY}"
    back = r"ledger: can be written again after \d+s"
    assert caplog.messages[::2] == [lost] * 2
    assert all(re.fullmatch(back, line) for line in caplog.messages[1::2])


def test_the_writer_ends_when_it_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread ends when it is stopped, also just as it begins to write or to wait."""
    monkeypatch.setattr("jicofo_reservation_proxy.ledger.write_behind.WRITE_AFTER_SECONDS", 0.0001)
    for _ in range(100):
        with closing(Database(None)) as memory:
            ledger = SqliteLedger(memory)
            grant(ledger)
            closer = threading.Thread(target=ledger.close, daemon=True)
            closer.start()
            closer.join(LONG_SECONDS)
            assert not closer.is_alive()


def test_closing_writes_the_waiting_changes(tmp_path: Path) -> None:
    """Closing writes the last grants; closing twice is allowed."""
    with closing(Database(tmp_path)) as database:
        ledger = SqliteLedger(database)
        grant(ledger)
        ledger.close()
        ledger.close()
        assert on_disk(tmp_path) == {"7": OPEN}


def test_closing_logs_what_is_lost(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """If the last changes cannot be written, closing logs that they are lost, and succeeds."""
    with closing(Database(tmp_path)) as database:
        ledger = SqliteLedger(database)
        with failing_disk(ledger):
            grant(ledger)
            ledger.close()
    assert caplog.records[-1].getMessage() == (
        f"the last changes of the ledger are lost: {tmp_path / FILE_NAME}: {READ_ONLY}"
    )


# -- many changes -------------------------------------------------------------------------------


def test_many_changes_are_written_in_portions(
    ledger: SqliteLedger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One write has a limited number of changes, and a flush writes all of them."""
    monkeypatch.setattr(write_behind, "MAX_CHANGES", 3)
    sizes, commit = [], ledger._writes._commit

    def counted(changes: Changes) -> None:
        sizes.append(len(changes))
        commit(changes)

    monkeypatch.setattr(ledger._writes, "_commit", counted)
    for number in range(7):
        grant(ledger, str(number), f"room{number}")
    ledger.flush()
    assert sizes == [3, 3, 1]
    assert on_disk(tmp_path) == {str(number): OPEN for number in range(7)}


@pytest.mark.parametrize("name", ["new", "0"])
def test_a_delete_does_not_wait_for_older_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A DELETE is answered when it is written, although many older changes still wait.

    It makes no difference whether a change of the same conference waits already.
    """
    monkeypatch.setattr(write_behind, "MAX_CHANGES", 2)
    monkeypatch.setattr(write_behind, "WRITE_AFTER_SECONDS", LONG_SECONDS)
    begun, goes_on = threading.Semaphore(0), threading.Semaphore(0)
    with opened(tmp_path, write_behind=True) as ledger:
        commit = ledger._writes._commit

        def step(changes: Changes) -> None:
            begun.release()
            assert goes_on.acquire(timeout=LONG_SECONDS)
            commit(changes)

        monkeypatch.setattr(ledger._writes, "_commit", step)
        for number in range(6):
            grant(ledger, str(number), f"room{number}")
        answers = list[bool]()
        deleting = threading.Thread(
            target=lambda: answers.append(ledger.end(ref(name), 5, LONG_SECONDS))
        )
        deleting.start()
        assert begun.acquire(timeout=LONG_SECONDS)
        goes_on.release()
        deleting.join(LONG_SECONDS)
        assert answers == [True]
        assert on_disk(tmp_path) == {name: PENDING, "5": OPEN}
        goes_on.release(10)
    assert on_disk(tmp_path).keys() == {name, *"012345"}


def test_a_delete_whose_write_failed_before_it_waited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A DELETE fails if its write failed, also if the next write succeeded at once."""
    monkeypatch.setattr(write_behind, "WRITE_AFTER_SECONDS", LONG_SECONDS)
    with opened(tmp_path, write_behind=True) as ledger:
        writes, write = ledger._writes, ledger._writes.write

        def late(*given: Any) -> None:  # noqa: ANN401
            with failing_disk(ledger), pytest.raises(StateError):
                ledger.flush()
            ledger.flush()
            write(*given)

        monkeypatch.setattr(writes, "write", late)
        with pytest.raises(StateError, match=READ_ONLY):
            ledger.end(ref(), 5, LONG_SECONDS)
        assert ledger.find(ref()) is None
        monkeypatch.setattr(writes, "write", write)
        ledger.end(ref(), 5, LONG_SECONDS)
        assert on_disk(tmp_path) == {"7": PENDING}
