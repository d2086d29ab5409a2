"""The ledger in SQLite: states, limits, and what the next process reads."""

import json
import logging
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from jicofo_reservation_proxy.errors import StateError
from jicofo_reservation_proxy.ledger import memory_index, record_rows
from jicofo_reservation_proxy.ledger.records import Record
from jicofo_reservation_proxy.ledger.sqlite_database import FILE_NAME, Database
from jicofo_reservation_proxy.ledger.sqlite_ledger import MAX_CONFERENCES, SqliteLedger, read
from jicofo_reservation_proxy.model import Conference, ConferenceRef, DeleteReason

from tests.unit.ledger.states import (
    ABANDONED,
    END_MS,
    FALLBACK,
    OPEN,
    PENDING,
    after_a_kill,
    check_indexes,
    grant,
    on_disk,
    state,
)
from tests.unit.ledgers import LONG_SECONDS, START_MS, abandon, conference, opened, ref, stored

# -- states -------------------------------------------------------------------------------------


def test_a_grant(ledger: SqliteLedger) -> None:
    """A conference that a client has is open, and is found by its reference and by its room."""
    grant(ledger)
    record = Record(ref(), room="board", conference=conference())
    assert ledger.find(ref()) == record
    assert ledger.in_room("default", "board", OPEN) == [record]
    assert ledger.in_room("default", "board", PENDING) == []
    assert ledger.pending("default") == []
    assert not ledger.is_over(ref())
    assert ledger.counts == {OPEN: 1, PENDING: 0, ABANDONED: 0}
    assert (record.is_whole, record.ends_at_ms) == (True, END_MS)


def test_an_unknown_conference(ledger: SqliteLedger) -> None:
    """The ledger finds nothing for a conference that it does not know."""
    assert ledger.find(ref()) is None
    assert not ledger.is_over(ref())
    assert ledger.in_room("default", "", OPEN) == []
    assert ledger.pending("nobody") == []
    assert ledger.expire(END_MS * 2) == []
    assert list(ledger.pending_since(END_MS * 2)) == []
    abandon(ledger, ref())
    assert ledger.find(ref()) is None
    assert ledger.counts == {OPEN: 0, PENDING: 0, ABANDONED: 0}


def test_an_end(ledger: SqliteLedger) -> None:
    """After a DELETE the conference is pending, with its end and its reason."""
    grant(ledger)
    ledger.end(ref(), 5, LONG_SECONDS)
    record = Record(ref(), PENDING, "board", conference(), over_at_ms=5, reason=DeleteReason.ENDED)
    assert ledger.pending("default") == [record]
    assert ledger.in_room("default", "board", PENDING) == [record]
    assert ledger.in_room("default", "board", OPEN) == []
    assert ledger.is_over(ref())
    assert ledger.counts == {OPEN: 0, PENDING: 1, ABANDONED: 0}


def test_a_repeated_end(ledger: SqliteLedger) -> None:
    """A repeated DELETE changes nothing: the first DELETE set the time of the end."""
    grant(ledger)
    ledger.end(ref(), 5, LONG_SECONDS)
    ledger.end(ref(), 9, LONG_SECONDS)
    assert [record.over_at_ms for record in ledger.pending("default")] == [5]


def test_the_end_of_an_unknown_conference(ledger: SqliteLedger) -> None:
    """The ledger also stores a DELETE for an unknown id, without a room.

    The backend may have a row of this proxy, or may have granted the conference without a holder.
    """
    ledger.end(ref(), 5, LONG_SECONDS, hold=9)
    assert ledger.pending("default") == [
        Record(
            ref(),
            PENDING,
            over_at_ms=5,
            reason=DeleteReason.ENDED,
            hold=9,
            has_row=True,
            has_no_holder=True,
        )
    ]
    assert ledger.in_room("default", "", PENDING) == []


def test_a_delete_for_an_earlier_grant_is_void(ledger: SqliteLedger) -> None:
    """A DELETE ends the grants up to its hold; a client with a newer grant keeps the conference."""
    ledger.grant(ref(), "board", conference(), LONG_SECONDS, hold=5, has_row=True)
    ledger.grant(ref(), "board", conference(), LONG_SECONDS, hold=7, has_row=True)
    before = ledger.dump()
    assert not ledger.end(ref(), 5, LONG_SECONDS, hold=6)
    assert ledger.dump() == before
    assert ledger.end(ref(), 5, LONG_SECONDS, hold=7)
    (ended,) = ledger.pending("default")
    assert (ended.hold, ended.has_row, ended.has_no_holder) == (7, True, False)


@pytest.mark.parametrize("hold", [None, 5, 9])
def test_a_delete_for_the_newest_grant(ledger: SqliteLedger, hold: int | None) -> None:
    """A DELETE without a hold is for any grant; the deletion has the greatest hold of both."""
    ledger.grant(ref(), "board", conference(), LONG_SECONDS, hold=5, has_row=True)
    assert ledger.end(ref(), 5, LONG_SECONDS, hold=hold)
    (ended,) = ledger.pending("default")
    assert ended.hold == max(5, hold or 0)


def test_a_fallback_grant_and_an_earlier_delete(ledger: SqliteLedger) -> None:
    """A DELETE for an earlier grant is void for a fallback grant too."""
    fallback = ConferenceRef("default", "f", is_fallback=True)
    ledger.grant(fallback, "board", conference("f"), LONG_SECONDS, hold=5)
    assert not ledger.end(fallback, 5, LONG_SECONDS, hold=4)
    assert ledger.find(fallback)
    assert ledger.end(fallback, 5, LONG_SECONDS, hold=5)
    assert ledger.find(fallback) is None


def test_the_holds_survive_a_restart(tmp_path: Path) -> None:
    """The file has the newest hold, and whether grants had a row."""
    with opened(tmp_path) as ledger:
        ledger.grant(ref(), "board", conference(), LONG_SECONDS, hold=2**62, has_row=True)
        ledger.grant(ref("8"), "hall", conference("8"), LONG_SECONDS, hold=4)
        ledger.grant(ref("8"), "hall", conference("8"), LONG_SECONDS, hold=6, has_row=True)
    with opened(tmp_path) as ledger:
        found = {record.ref.conference_id: record for record in ledger.dump()}
    assert [(each.hold, each.has_row, each.has_no_holder) for each in found.values()] == [
        (2**62, True, False),
        (6, True, True),
    ]


def test_a_row_of_a_conference_that_is_over(ledger: SqliteLedger) -> None:
    """The deletion has to end a row that a later create has raised; an open record stays."""
    ledger.grant(ref(), "board", conference(), LONG_SECONDS, hold=5)
    ledger.name_over(ref(), 9)
    ledger.name_over(ref("unknown"), 9)
    (record,) = ledger.dump()
    assert (record.hold, record.has_row) == (5, False)
    ledger.end(ref(), 5, LONG_SECONDS)
    ledger.name_over(ref(), 9)
    (record,) = ledger.pending("default")
    assert (record.hold, record.has_row, record.has_no_holder) == (9, True, True)


def test_a_conference_that_is_gone(ledger: SqliteLedger) -> None:
    """After its deletion was delivered, a conference is gone, and the ledger remembers that."""
    grant(ledger)
    ledger.end(ref(), 5, LONG_SECONDS)
    ledger.settle(ref())
    assert ledger.find(ref()) is None
    assert ledger.pending("default") == []
    assert ledger.in_room("default", "board", PENDING) == []
    assert ledger.is_over(ref())
    ledger.end(ref(), 9, LONG_SECONDS)
    assert ledger.find(ref()) is None
    ledger.settle(ref())
    assert ledger.is_over(ref())


@pytest.mark.parametrize("before", ["pending", "abandoned", "gone"])
def test_a_conference_that_is_over_can_be_granted_again(ledger: SqliteLedger, before: str) -> None:
    """A new grant makes a pending, abandoned or gone conference open again."""
    grant(ledger)
    ledger.end(ref(), 5, LONG_SECONDS)
    if before == "abandoned":
        abandon(ledger, ref())
    if before == "gone":
        ledger.settle(ref())
    grant(ledger)
    assert ledger.find(ref()) == Record(ref(), room="board", conference=conference())
    assert not ledger.is_over(ref())
    assert ledger.pending("default") == []
    ledger.end(ref(), 9, LONG_SECONDS)
    assert [record.over_at_ms for record in ledger.pending("default")] == [9]


def test_old_deletions_are_abandoned(ledger: SqliteLedger) -> None:
    """Only pending conferences that have been over for too long are abandoned."""
    for number in range(4):
        grant(ledger, str(number), f"room{number}")
    for number in range(3):
        ledger.end(ref(str(number)), 10 * number, LONG_SECONDS)
    too_old = [record.ref for record in ledger.pending_since(20)]
    assert too_old == [ref("0"), ref("1")]
    for name in [*too_old, ref("3"), ref("unknown")]:
        abandon(ledger, name)
    assert [state(ledger, str(number)) for number in range(4)] == [
        ABANDONED,
        ABANDONED,
        PENDING,
        OPEN,
    ]
    assert [record.ref for record in ledger.pending("default")] == [ref("2")]
    assert list(ledger.pending_since(20)) == []
    assert ledger.is_over(ref("0"))
    assert ledger.counts == {OPEN: 1, PENDING: 1, ABANDONED: 2}


def test_a_new_end_of_an_abandoned_conference(ledger: SqliteLedger) -> None:
    """A new DELETE makes an abandoned deletion pending again."""
    grant(ledger)
    ledger.end(ref(), 5, LONG_SECONDS)
    abandon(ledger, ref())
    ledger.end(ref(), 9, LONG_SECONDS)
    assert [(record.state, record.over_at_ms) for record in ledger.pending("default")] == [
        (PENDING, 9)
    ]


def test_pending_deletions_are_in_order(ledger: SqliteLedger) -> None:
    """The pending deletions of a backend are in the order of their DELETEs, not of their grants."""
    for conference_id in ("c", "a", "b"):
        grant(ledger, conference_id, conference_id)
    ledger.grant(ref("x", "other"), "x", conference("x"), LONG_SECONDS)
    for conference_id in ("b", "c", "a"):
        ledger.end(ref(conference_id), 5, LONG_SECONDS)
    ledger.end(ref("x", "other"), 5, LONG_SECONDS)
    assert [record.ref.conference_id for record in ledger.pending("default")] == ["b", "c", "a"]
    assert [record.ref.conference_id for record in ledger.pending("other")] == ["x"]


def test_the_same_room_at_two_backends(ledger: SqliteLedger) -> None:
    """Rooms or conferences of the same name at different backends are different."""
    for backend in ("a", "b"):
        ledger.grant(ref("7", backend), "board", conference(), LONG_SECONDS)
    ledger.end(ref("7", "a"), 5, LONG_SECONDS)
    assert [record.ref.backend for record in ledger.in_room("a", "board", PENDING)] == ["a"]
    assert [record.ref.backend for record in ledger.in_room("b", "board", OPEN)] == ["b"]


def test_a_conference_that_moves(ledger: SqliteLedger) -> None:
    """If a backend grants a conference to another room, the first room no longer has it."""
    grant(ledger, room="board")
    grant(ledger, room="kitchen")
    assert ledger.in_room("default", "board", OPEN) == []
    assert [record.ref for record in ledger.in_room("default", "kitchen", OPEN)] == [ref()]


def test_a_new_conference_in_a_room(ledger: SqliteLedger, tmp_path: Path) -> None:
    """A new conference replaces the open conference of its room, but no pending conference."""
    for conference_id in ("ended", "open"):
        grant(ledger, conference_id)
        ledger.end(ref("ended"), 5, LONG_SECONDS)
    ledger.grant(FALLBACK, "elsewhere", conference(FALLBACK.conference_id), LONG_SECONDS)
    ledger.flush()
    grant(ledger, "new")
    assert state(ledger, "open") is None
    assert not ledger.is_over(ref("open"))
    assert (state(ledger, "ended"), state(ledger, "new")) == (PENDING, OPEN)
    assert ledger.find(FALLBACK)
    ledger.flush()
    assert on_disk(tmp_path) == {"6f1d": OPEN, "ended": PENDING, "new": OPEN}


@pytest.mark.parametrize("before", ["ended", "gone"])
def test_a_conference_that_goes_on_in_a_room(ledger: SqliteLedger, before: str) -> None:
    """A conference that is open again replaces the open conference of its room."""
    grant(ledger, "old")
    ledger.end(ref("old"), 5, LONG_SECONDS)
    if before == "gone":
        ledger.settle(ref("old"))
    grant(ledger, "new")
    grant(ledger, "old")
    assert [record.ref for record in ledger.in_room("default", "board", OPEN)] == [ref("old")]


def test_a_grant_replaces_a_fallback_grant(ledger: SqliteLedger) -> None:
    """When the backend grants the room, the fallback grant is removed."""
    ledger.grant(FALLBACK, "board", conference(FALLBACK.conference_id), LONG_SECONDS)
    grant(ledger)
    assert ledger.find(FALLBACK) is None
    assert not ledger.is_over(ref())


def test_the_end_of_a_fallback(ledger: SqliteLedger) -> None:
    """A fallback grant that ends is gone at once; no deletion is pending for it."""
    ledger.grant(FALLBACK, "board", conference(FALLBACK.conference_id), LONG_SECONDS)
    ledger.end(FALLBACK, 5, LONG_SECONDS)
    assert ledger.find(FALLBACK) is None
    assert ledger.is_over(FALLBACK)
    assert ledger.pending("default") == []
    assert not ledger.is_over(ref(FALLBACK.conference_id))


# -- what the next process reads ----------------------------------------------------------------


def test_the_same_records_in_the_same_order(tmp_path: Path) -> None:
    """The next process reads the same records, with all their fields, in the same order."""
    told = Conference(
        id="a",
        room="Board\u00e9\0",
        owner="",
        start_time_ms=-5,
        duration_seconds=None,
        max_occupants=7,
        lobby=False,
        url="https://example.com",
        sip_id=2**62,
    )
    with opened(tmp_path) as ledger:
        ledger.grant(ref("a"), "[acme]caf%c3%a9 'x'", told, LONG_SECONDS)
        ledger.grant(FALLBACK, "s", conference(FALLBACK.conference_id), LONG_SECONDS)
        for number, over_at_ms in enumerate((30, 10, 20)):
            grant(ledger, str(number), f"room{number}")
            ledger.end(ref(str(number)), over_at_ms, LONG_SECONDS)
        ledger.end(ref("unknown"), 15, LONG_SECONDS)
        ledger.expire(END_MS + 1)
        abandon(ledger, ref("1"))
        before = {record.ref: record for record in ledger.dump()}
    assert {record.ref: record for record in stored(tmp_path)} == before
    with opened(tmp_path) as ledger:
        assert {record.ref: record for record in ledger.dump()} == before
        assert [record.over_at_ms for record in ledger.pending("default")] == [15, 20, 30]
        assert ledger.in_room("default", "[acme]caf%c3%a9 'x'", OPEN) == [before[ref("a")]]
        assert ledger.counts == {OPEN: 1, PENDING: 3, ABANDONED: 1}


def test_a_restart_changes_nothing(tmp_path: Path) -> None:
    """Records that a process does not change stay the same for the process after it."""
    with opened(tmp_path) as ledger:
        for number in range(5):
            grant(ledger, str(number), f"room{number}")
            ledger.end(ref(str(number)), 50 - number, LONG_SECONDS)
    with opened(tmp_path) as ledger:
        first = ledger.pending("default")
    with opened(tmp_path) as ledger:
        assert ledger.pending("default") == first
    assert [record.ref.conference_id for record in first] == ["4", "3", "2", "1", "0"]


def test_what_expires_after_a_restart(tmp_path: Path) -> None:
    """A conference of an earlier process expires too."""
    with opened(tmp_path) as ledger:
        grant(ledger)
    with opened(tmp_path) as ledger:
        assert ledger.expire(END_MS) == []
        assert [record.ref for record in ledger.expire(END_MS + 1)] == [ref()]


@pytest.mark.parametrize(
    "told", [conference(password="hunter2hunter2"), conference(pin="hunter2hunter2")]
)
def test_secrets_are_never_written(tmp_path: Path, told: Conference) -> None:
    """A password or PIN is only in memory; the next process knows that the record is incomplete."""
    with opened(tmp_path) as ledger:
        ledger.grant(ref(), "board", told, LONG_SECONDS)
        ledger.end(ref(), 5, LONG_SECONDS)
        ledger.grant(ref(), "board", told, LONG_SECONDS)
        ledger.flush()
        record = ledger.find(ref())
        assert record
        assert (record.conference, record.is_whole) == (told, True)
        files = [file for file in tmp_path.iterdir() if file.stat().st_size]
        assert f"{FILE_NAME}-wal" in {file.name for file in files}
        assert all(b"hunter2" not in file.read_bytes() for file in files)
    assert all(b"hunter2" not in file.read_bytes() for file in tmp_path.iterdir())
    assert stored(tmp_path) == [Record(ref(), OPEN, "board", conference(), is_whole=False)]


def test_an_incomplete_record_stays_incomplete(tmp_path: Path) -> None:
    """A record stays incomplete through changes and restarts, until the backend grants it again."""
    with opened(tmp_path) as ledger:
        ledger.grant(ref(), "board", conference(pin="1234"), LONG_SECONDS)
    for _ in range(2):
        with opened(tmp_path) as ledger:
            ledger.end(ref(), 5, LONG_SECONDS)
            assert [record.is_whole for record in ledger.pending("default")] == [False]
    with opened(tmp_path) as ledger:
        ledger.grant(ref(), "board", conference(pin="1234"), LONG_SECONDS)
        record = ledger.find(ref())
        assert record
        assert record.is_whole


@pytest.mark.parametrize(
    "change",
    [
        "state = 'opfn'",
        "state = 'ended', reason = 'ennui'",
        "options = '{'",
        "options = '[]'",
        "options = '7'",
        "options = '{}'",
        """options = '{"room": "x", "colour": "red"}'""",
    ],
)
def test_invalid_rows(tmp_path: Path, change: str) -> None:
    """A row with invalid values raises `StateError`, although SQLite can read it."""
    with opened(tmp_path) as ledger:
        grant(ledger)
    with closing(Database(tmp_path)) as database:
        with database.transaction() as connection:
            connection.execute(f"UPDATE conference SET {change}")  # noqa: S608 - from above
        with pytest.raises(StateError, match=str(tmp_path)):
            SqliteLedger(database)
    with pytest.raises(StateError, match="invalid row"):
        read(tmp_path)


def test_the_stored_options(ledger: SqliteLedger) -> None:
    """The column `options` has only the fields that are meant to be stored."""
    ledger.end(grant(ledger), 5, LONG_SECONDS)
    ((options,),) = ledger._database.rows("SELECT options FROM conference")
    assert set(json.loads(options)) == {"room", "max_occupants", "lobby", "url", "sip_id"}


# -- limits -------------------------------------------------------------------------------------


def test_the_limits() -> None:
    """The ledger holds 1,000,000 conferences, and remembers 10,000 gone conferences."""
    assert MAX_CONFERENCES == 1_000_000
    assert memory_index.MAX_GONE == 10_000


def test_old_gone_conferences_are_forgotten(
    ledger: SqliteLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ledger remembers only the conferences that were gone most recently."""
    monkeypatch.setattr(memory_index, "MAX_GONE", 3)
    for number in range(5):
        ledger.settle(ref(str(number)))
    assert [ledger.is_over(ref(str(number))) for number in range(5)] == [False] * 2 + [True] * 3
    grant(ledger, "4")
    ledger.settle(ref("5"))
    assert ledger.is_over(ref("2"))


def dropped(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the log messages since the last call."""
    found = [record.getMessage() for record in caplog.records]
    assert all(record.levelno == logging.WARNING for record in caplog.records)
    caplog.clear()
    return found


def test_a_full_ledger_evicts_the_oldest_conference(
    small: SqliteLedger, caplog: pytest.LogCaptureFixture
) -> None:
    """A full ledger evicts the oldest abandoned, then the oldest open conference, and logs it."""
    for conference_id in ("ended", "open", "abandoned"):
        grant(small, conference_id, conference_id)
    small.end(ref("abandoned"), 1, LONG_SECONDS)
    abandon(small, ref("abandoned"))
    small.end(ref("ended"), 5, LONG_SECONDS)
    grant(small, "newer", "newer")
    assert dropped(caplog) == []
    grant(small, "n1", "n1")
    assert state(small, "abandoned") is None
    assert dropped(caplog) == [
        (
            "the ledger is full (4 conferences): evicted 1 since the last such line; the last one"
            " was the oldest abandoned conference, default.abandoned"
        )
    ]
    grant(small, "n2", "n2")
    assert state(small, "open") is None
    assert dropped(caplog) == [], "at most one line each minute"
    assert [small.counts[kind] for kind in (OPEN, PENDING, ABANDONED)] == [3, 1, 0]
    assert len(after_a_kill_of(small)) == 4


def after_a_kill_of(ledger: SqliteLedger) -> list[Record]:
    """Write all changes, and return the records that the next process would read."""
    ledger.flush()
    return after_a_kill(Path(ledger._database.name).parent)


def test_a_stored_conference_needs_no_space(
    small: SqliteLedger, caplog: pytest.LogCaptureFixture
) -> None:
    """A change of a conference that is already in a full ledger evicts nothing."""
    for number in range(4):
        grant(small, str(number), f"room{number}")
    for number in range(4):
        grant(small, str(number), f"room{number}")
        small.end(ref(str(number)), 5, LONG_SECONDS)
    assert dropped(caplog) == []
    grant(small, "0", "room0")
    assert len(small._index) == 4


def fill_with_pending(ledger: SqliteLedger) -> None:
    """Add four pending conferences."""
    for number in range(4):
        grant(ledger, str(number), f"room{number}")
        ledger.end(ref(str(number)), 5, LONG_SECONDS)


def test_pending_conferences_are_never_evicted(
    small: SqliteLedger, caplog: pytest.LogCaptureFixture
) -> None:
    """A new conference does not evict a pending one; the new conference is then not stored."""
    fill_with_pending(small)
    grant(small, "new")
    assert small.find(ref("new")) is None
    assert not small.is_over(ref("new"))
    assert dropped(caplog) == [
        (
            "the ledger is full of pending deletions: conference default.new is not stored, and the"
            " proxy will not delete it at its end"
        )
    ]
    assert [record.ref.conference_id for record in small.pending("default")] == ["0", "1", "2", "3"]
    grant(small, "newer")
    assert dropped(caplog) == [], "at most one line each minute"


def test_a_delete_in_a_full_ledger(small: SqliteLedger) -> None:
    """A full ledger refuses a DELETE of an unknown conference, but not of a stored one."""
    fill_with_pending(small)
    with pytest.raises(StateError, match="unknown conference, got a ledger full of deletions; "):
        small.end(ref("unknown"), 5, LONG_SECONDS)
    assert not small.is_over(ref("unknown"))
    small.end(ref("2"), 9, LONG_SECONDS)
    small.settle(ref("1"))
    small.end(ref("unknown"), 5, LONG_SECONDS)
    assert [record.ref.conference_id for record in small.pending("default")] == [
        "0",
        "2",
        "3",
        "unknown",
    ]


def test_deletes_of_unknown_conferences_evict_no_open_one(tmp_path: Path) -> None:
    """At most a quarter of the ledger is for conferences that are known only from a DELETE."""
    with opened(tmp_path, max_conferences=8) as ledger:
        for number in range(6):
            grant(ledger, str(number), f"room{number}")
        for number in range(2):
            ledger.end(ref(f"junk{number}"), 5, LONG_SECONDS)
        with pytest.raises(StateError, match="one more unknown conference"):
            ledger.end(ref("junk2"), 5, LONG_SECONDS)
        ledger.settle(ref("junk0"))
        grant(ledger, "6", "room6")
        with pytest.raises(StateError, match="one more unknown conference"):
            ledger.end(ref("junk2"), 5, LONG_SECONDS)
        assert ledger.counts[OPEN] == 7


def test_the_ledger_is_bounded_in_bytes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Long rooms and owners fill the ledger earlier than its number of conferences."""
    with (
        closing(Database(tmp_path)) as database,
        closing(SqliteLedger(database, max_bytes=20_000, write_behind=False)) as ledger,
    ):
        for number in range(100):
            grant(ledger, str(number), f"{number}-{'x' * 1000}")
        assert 10 < ledger.counts[OPEN] < 20
        assert ledger._index.bytes < 21_500
        for number in range(100):
            ledger.settle(ref(str(number)))
        assert (ledger._index.bytes, ledger._index.unknown) == (0, 0)
    assert "evicted 1 since the last such line" in caplog.text


def test_a_gone_conference_in_a_full_ledger(small: SqliteLedger) -> None:
    """A conference that a client has is not over, even if a full ledger does not store it."""
    grant(small, "back", "back")
    small.end(ref("back"), 5, LONG_SECONDS)
    small.settle(ref("back"))
    fill_with_pending(small)
    grant(small, "back", "back")
    assert not small.is_over(ref("back"))


# -- memory and reading -------------------------------------------------------------------------


def test_a_ledger_in_memory() -> None:
    """A ledger in memory works in the same way, and the next one is empty."""
    with opened(None, write_behind=True) as ledger:
        grant(ledger)
        ledger.end(ref(), 5, LONG_SECONDS)
        assert state(ledger) is PENDING
    with opened(None) as ledger:
        assert ledger.counts == {OPEN: 0, PENDING: 0, ABANDONED: 0}


def test_reading_where_there_is_nothing(tmp_path: Path) -> None:
    """Reading a state directory without a ledger raises `StateError`."""
    with pytest.raises(StateError, match="wanted a directory with a ledger, got "):
        read(tmp_path)


def test_all_records_of_a_running_proxy(tmp_path: Path) -> None:
    """`dump` returns the same records as `read`, in the same order, also after JSON."""
    with opened(tmp_path) as ledger:
        ledger.end(grant(ledger), 5, LONG_SECONDS)
        grant(ledger, "8", "kitchen")
        lines = record_rows.to_json(ledger.dump())
    assert record_rows.from_json(lines, "x") == read(tmp_path)
    with pytest.raises(StateError, match="invalid row"):
        record_rows.from_json(b"[1]\n", "x")


# -- any sequence of operations -----------------------------------------------------------------


names = st.sampled_from(["a", "b", "c", "d"])


steps = st.lists(
    st.one_of(
        st.tuples(st.just("grant"), names, st.sampled_from(["x", "y"]), st.integers(1, 50)),
        st.tuples(st.just("end"), names, st.integers(0, 50)),
        st.tuples(st.just("expire"), st.integers(0, 60)),
        st.tuples(st.just("abandon"), st.integers(0, 60)),
        st.tuples(st.just("gone"), names),
        st.tuples(st.just("flush")),
        st.tuples(st.just("break")),
        st.tuples(st.just("mend")),
    ),
    max_size=25,
)


class Promises:
    """A ledger, and what it promised: which conferences are over, and which are not."""

    def __init__(self, ledger: SqliteLedger) -> None:
        self.ledger = ledger
        self.over: set[str] = set()
        self.alive: set[str] = set()

    def do(self, kind: str, *arguments: object) -> None:
        """Do one step, and record what the ledger promised in it."""
        try:
            getattr(self, f"_{kind}")(*arguments)
        except StateError:
            assert self._is_broken()

    def _grant(self, name: str, room: str, lasts: int) -> None:
        self.ledger.grant(ref(name), room, conference(name, lasts=lasts), LONG_SECONDS)
        self.alive.add(name)
        self.over.discard(name)

    def _end(self, name: str, over_at_ms: int) -> None:
        self.ledger.end(ref(name), over_at_ms, LONG_SECONDS)
        if not self.ledger.find(ref(name)):
            return
        self.over.add(name)
        self.alive.discard(name)

    def _expire(self, seconds: int) -> None:
        for record in self.ledger.expire(START_MS + 1000 * seconds):
            self.alive.discard(record.ref.conference_id)

    def _abandon(self, before_ms: int) -> None:
        for record in self.ledger.pending_since(before_ms):
            abandon(self.ledger, record.ref)
            self.over.discard(record.ref.conference_id)

    def _gone(self, name: str) -> None:
        if self.ledger.is_over(ref(name)):
            self.ledger.settle(ref(name))
            self.over.discard(name)

    def _flush(self) -> None:
        self.ledger.flush()

    def _break(self) -> None:
        self.ledger._database._connection.execute("PRAGMA query_only = ON")

    def _mend(self) -> None:
        self.ledger._database._connection.execute("PRAGMA query_only = OFF")

    def _is_broken(self) -> bool:
        return self.ledger._database.rows("PRAGMA query_only") == [(1,)]


@given(steps=steps)
@example(steps=[("grant", "a", "x", 1), ("end", "a", 5), ("gone", "a"), ("grant", "a", "x", 1)])
@settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_promises_survive_a_kill(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[object, ...]]
) -> None:
    """After any steps and a kill, no promised deletion is lost, and no live conference is over."""
    state_dir = tmp_path_factory.mktemp("state")
    with opened(state_dir) as ledger:
        promises = Promises(ledger)
        for kind, *arguments in steps:
            promises.do(str(kind), *arguments)
            check_indexes(ledger)
        ended = {record.ref.conference_id for record in ledger.pending("default")}
        left = after_a_kill(state_dir)
    assert promises.over <= ended
    found = {record.ref.conference_id for record in left if record.state is not OPEN}
    assert promises.over <= found
    assert not promises.alive & found
    order = [record.over_at_ms or 0 for record in left if record.state is not OPEN]
    assert all(first <= second for first, second in pairwise(order))


def test_the_times_of_pending_deletions(ledger: SqliteLedger) -> None:
    """The number and the oldest one of each backend that has some; other backends are absent."""
    assert ledger.pending_times() == {}
    for number, over_at_ms in enumerate([300, 100, 200]):
        ledger.end(ref(str(number)), over_at_ms, LONG_SECONDS)
    assert ledger.pending_times() == {"default": (3, 100)}
    for number in range(3):
        ledger.settle(ref(str(number)))
    assert ledger.pending_times() == {}
