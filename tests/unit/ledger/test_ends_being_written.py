"""Ends that are being written, conferences that no client got, and ends that have passed."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from jicofo_reservation_proxy.errors import StateError
from jicofo_reservation_proxy.ledger.sqlite_ledger import SqliteLedger
from jicofo_reservation_proxy.model import DeleteReason

from tests.unit.ledger.states import (
    ABANDONED,
    END_MS,
    OPEN,
    PENDING,
    after_a_kill,
    check_indexes,
    grant,
    on_disk,
    state,
)
from tests.unit.ledgers import (
    LONG_SECONDS,
    Changes,
    abandon,
    conference,
    failing_disk,
    opened,
    ref,
    together,
)

FULL = "the disk is full"


@dataclass
class SlowDisk:
    """A disk whose next write begins, waits until `finish`, and then succeeds or fails."""

    began: threading.Event = field(default_factory=threading.Event)
    goes_on: threading.Event = field(default_factory=threading.Event)
    fails: bool = False

    def finish(self, *, fails: bool = False) -> None:
        """Let the write succeed, or fail."""
        self.fails = fails
        self.goes_on.set()


@contextmanager
def ending(ledger: SqliteLedger, monkeypatch: pytest.MonkeyPatch) -> Iterator[SlowDisk]:
    """Begin a DELETE of conference 7, whose write waits; the context ends when it is answered."""
    disk, commit = SlowDisk(), ledger._writes._commit

    def slow(changes: Changes) -> None:
        monkeypatch.setattr(ledger._writes, "_commit", commit)
        disk.began.set()
        assert disk.goes_on.wait(LONG_SECONDS)
        if disk.fails:
            raise StateError(FULL)
        commit(changes)

    def end() -> None:
        try:
            ledger.end(ref(), 5, LONG_SECONDS)
        except StateError:
            assert disk.fails

    monkeypatch.setattr(ledger._writes, "_commit", slow)
    thread = threading.Thread(target=end)
    thread.start()
    try:
        assert disk.began.wait(LONG_SECONDS)
        yield disk
    finally:
        disk.goes_on.set()
        thread.join(LONG_SECONDS)
        assert not thread.is_alive()


@pytest.mark.parametrize("fails", [True, False])
def test_a_conference_is_open_until_its_end_is_durable(
    ledger: SqliteLedger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, fails: bool
) -> None:
    """No POST sees an end that is not on the disk, because its write may still fail."""
    grant(ledger)
    with ending(ledger, monkeypatch) as disk:
        assert state(ledger) is OPEN
        assert not ledger.is_over(ref())
        assert not ledger.pending("default")
        assert [record.ref for record in ledger.in_room("default", "board", OPEN)] == [ref()]
        disk.finish(fails=fails)
    assert state(ledger) is (OPEN if fails else PENDING)
    ledger.flush()
    assert on_disk(tmp_path) == {"7": OPEN if fails else PENDING}
    check_indexes(ledger)


@pytest.mark.parametrize("fails", [True, False])
def test_a_grant_while_the_end_is_written(
    ledger: SqliteLedger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, fails: bool
) -> None:
    """After the grant, the conference is open in the file, whether the end was written or not."""
    grant(ledger)
    with ending(ledger, monkeypatch) as disk:
        granting = threading.Thread(target=grant, args=(ledger,))
        granting.start()
        disk.finish(fails=fails)
        granting.join(LONG_SECONDS)
        assert not granting.is_alive()
    assert state(ledger) is OPEN
    if fails:
        ledger.flush()
    assert [record.state for record in after_a_kill(tmp_path)] == [OPEN]


def forget(ledger: SqliteLedger) -> None:
    """Let another conference take the room, so that the open one is forgotten."""
    grant(ledger, "8")


def expire(ledger: SqliteLedger) -> None:
    """Let the conference expire."""
    ledger.expire(END_MS + 1)


def settle(ledger: SqliteLedger) -> None:
    """Let the backend acknowledge the deletion."""
    ledger.settle(ref())


def update(ledger: SqliteLedger) -> None:
    """Let a GET move the end."""
    ledger.update(ref(), conference(lasts=7200))


@pytest.mark.parametrize(
    ("meanwhile", "reason"),
    [
        (forget, DeleteReason.ENDED),
        (expire, DeleteReason.EXPIRED),
        (update, DeleteReason.ENDED),
        (settle, None),
    ],
)
def test_what_happens_while_the_end_is_written(
    ledger: SqliteLedger,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    meanwhile: Callable[[SqliteLedger], None],
    reason: DeleteReason | None,
) -> None:
    """An end that was promised is pending afterwards, unless the conference is gone already."""
    grant(ledger)
    with ending(ledger, monkeypatch) as disk:
        meanwhile(ledger)
        disk.finish()
    found = ledger.find(ref())
    assert (found and found.reason) is reason
    assert ledger.is_over(ref())
    ledger.flush()
    stored = next((record for record in after_a_kill(tmp_path) if record.ref == ref()), None)
    assert stored == found
    check_indexes(ledger)


@pytest.mark.parametrize("is_known", [True, False])
def test_two_deletes_while_the_end_is_written(
    ledger: SqliteLedger, monkeypatch: pytest.MonkeyPatch, *, is_known: bool
) -> None:
    """A second DELETE waits for the first one, and needs no further write."""
    if is_known:
        grant(ledger)
    with ending(ledger, monkeypatch) as disk:
        second = threading.Thread(target=ledger.end, args=(ref(), 6, LONG_SECONDS))
        second.start()
        disk.finish()
        second.join(LONG_SECONDS)
        assert not second.is_alive()
    (record,) = ledger.pending("default")
    assert record.over_at_ms == 5


def test_an_exception_in_a_write_does_not_lock_the_conference(
    ledger: SqliteLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an unexpected exception, the conference can be granted and ended again."""

    def explode(_: object) -> None:
        raise MemoryError

    grant(ledger)
    with monkeypatch.context() as patch:
        patch.setattr(ledger._writes, "_commit", explode)
        with pytest.raises(MemoryError):
            ledger.end(ref(), 5, LONG_SECONDS)
    together(lambda: grant(ledger))
    ledger.end(ref(), 6, LONG_SECONDS)
    assert state(ledger) is PENDING


# -- conferences that no client got ---------------------------------------------------------------


@pytest.mark.parametrize("before", ["unknown", "gone", "abandoned"])
def test_a_withdrawn_conference_is_pending_on_the_disk(
    ledger: SqliteLedger, tmp_path: Path, before: str
) -> None:
    """A conference that no client got is ended like any other, durably and in its room."""
    if before != "unknown":
        grant(ledger)
        ledger.end(ref(), 5, LONG_SECONDS)
    if before == "gone":
        ledger.settle(ref())
    if before == "abandoned":
        abandon(ledger, ref())
        assert state(ledger) is ABANDONED
    ledger.withdraw(ref(), "board", 9, LONG_SECONDS)
    (record,) = ledger.in_room("default", "board", PENDING)
    assert (record.over_at_ms, record.reason) == (9, DeleteReason.ENDED)
    assert after_a_kill(tmp_path) == [record]


@pytest.mark.parametrize("room", ["board", "kitchen"])
def test_a_conference_that_a_client_has_is_not_withdrawn(ledger: SqliteLedger, room: str) -> None:
    """An open conference stays open, also if another room was refused for it."""
    grant(ledger)
    ledger.withdraw(ref(), room, 9, LONG_SECONDS)
    assert state(ledger) is OPEN


def test_a_pending_conference_is_not_withdrawn_again(ledger: SqliteLedger, tmp_path: Path) -> None:
    """A pending conference keeps its time and its reason, and is on the disk afterwards."""
    assert ledger.end_early(ref(), "board", conference(), END_MS)
    assert on_disk(tmp_path) == {}
    assert not ledger.withdraw(ref(), "board", 9, LONG_SECONDS)
    assert [record.over_at_ms for record in ledger.pending("default")] == [END_MS]
    assert on_disk(tmp_path) == {"7": PENDING}


def test_a_conference_is_withdrawn_also_on_a_failing_disk(
    ledger: SqliteLedger, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """On a failing disk, the deletion is pending in memory at once, and on the disk later."""
    with failing_disk(ledger):
        ledger.withdraw(ref(), "board", 9, LONG_SECONDS)
        assert state(ledger) is PENDING
    assert "conference default.7 is not on the disk yet" in caplog.text
    ledger.flush()
    assert on_disk(tmp_path) == {"7": PENDING}


def test_a_full_ledger_withdraws_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A full ledger does not store the conference, and the log names the conference."""
    with opened(tmp_path, max_conferences=1) as ledger:
        ledger.end(ref("8"), 5, LONG_SECONDS)
        ledger.withdraw(ref(), "board", 9, LONG_SECONDS)
        assert state(ledger) is None
    assert "conference default.7 is not stored" in caplog.text


# -- ends that have passed ------------------------------------------------------------------------


def test_an_end_that_has_passed(ledger: SqliteLedger) -> None:
    """A conference whose end has passed is pending, with the reason EXPIRED."""
    assert not ledger.end_early(ref(), "board", conference(), END_MS - 1)
    assert state(ledger) is None
    assert ledger.end_early(ref(), "board", conference(), END_MS)
    (record,) = ledger.in_room("default", "board", PENDING)
    assert (record.over_at_ms, record.reason) == (END_MS, DeleteReason.EXPIRED)


def test_a_client_that_was_told_a_later_end(ledger: SqliteLedger) -> None:
    """A conference is not over before the end that its client was told."""
    ledger.grant(ref(), "board", conference(lasts=7200), LONG_SECONDS)
    assert not ledger.end_early(ref(), "board", conference(), END_MS)
    assert state(ledger) is OPEN
    assert ledger.end_early(ref(), "board", conference(), END_MS + 3_600_000)


def test_a_conference_without_an_end_has_not_passed(ledger: SqliteLedger) -> None:
    """A conference is never over if the backend's answer or the ledger's record has no end."""
    assert not ledger.end_early(ref(), "board", conference(lasts=None), 2 * END_MS)
    ledger.grant(ref(), "board", conference(lasts=None), LONG_SECONDS)
    assert not ledger.end_early(ref(), "board", conference(), 2 * END_MS)


def test_a_conference_that_is_over_already_is_unchanged(ledger: SqliteLedger) -> None:
    """A conference that a client ended keeps its reason; a gone one stays gone."""
    grant(ledger)
    ledger.end(ref(), 5, LONG_SECONDS)
    assert ledger.end_early(ref(), "board", conference(), END_MS)
    assert [record.reason for record in ledger.pending("default")] == [DeleteReason.ENDED]
    ledger.settle(ref())
    assert ledger.end_early(ref(), "board", conference(), END_MS)
    assert state(ledger) is None


# -- one id for two rooms -------------------------------------------------------------------------


@pytest.mark.parametrize("is_over", [True, False])
def test_a_grant_for_another_room_replaces_the_record(
    ledger: SqliteLedger, tmp_path: Path, *, is_over: bool
) -> None:
    """The record moves to the new room, without the end that the old room's client was told."""
    ledger.grant(ref(), "board", conference(lasts=7200), LONG_SECONDS)
    if is_over:
        ledger.end(ref(), 5, LONG_SECONDS)
    ledger.grant(ref(), "kitchen", conference(), LONG_SECONDS)
    ledger.flush()
    (record,) = after_a_kill(tmp_path)
    assert (record.room, record.state, record.ends_at_ms) == ("kitchen", OPEN, END_MS)
    assert not ledger.in_room("default", "board", OPEN)
    assert not ledger.pending("default")
    check_indexes(ledger)
