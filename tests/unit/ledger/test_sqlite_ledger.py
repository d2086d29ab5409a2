"""The ledger: what it knows of conferences, and what of that is on the disk when."""

import json
import logging
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from jicofo_reservation_proxy.errors import StateError
from jicofo_reservation_proxy.ledger import memory_index, write_behind
from jicofo_reservation_proxy.ledger.records import Record, RecordState
from jicofo_reservation_proxy.ledger.sqlite_database import FILE_NAME, Database
from jicofo_reservation_proxy.ledger.sqlite_ledger import (
    MAX_CONFERENCES,
    SqliteLedger,
    read,
)
from jicofo_reservation_proxy.ledger.write_behind import Change
from jicofo_reservation_proxy.model import Conference, ConferenceRef, DeleteReason

from tests.unit.ledgers import (
    LONG_SECONDS,
    READ_ONLY,
    START_MS,
    abandon,
    conference,
    eventually,
    failing_disk,
    opened,
    ref,
    together,
)

OPEN, PENDING, ABANDONED = RecordState
FALLBACK = ConferenceRef("default", "6f1d", is_fallback=True)
END_MS = START_MS + 3_600_000
"""When `conference()` ends."""


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[SqliteLedger]:
    """Return the ledger of a new state directory, which writes when it is told to."""
    with opened(tmp_path) as ledger:
        yield ledger


def grant(ledger: SqliteLedger, conference_id: str = "7", room: str = "board") -> ConferenceRef:
    """Grant a conference of an hour; return its name."""
    ledger.grant(ref(conference_id), room, conference(conference_id))
    return ref(conference_id)


def state(ledger: SqliteLedger, conference_id: str = "7") -> RecordState | None:
    """Return what is known of a conference."""
    record = ledger.find(ref(conference_id))
    return record.state if record else None


def on_disk(state_dir: Path) -> dict[str, RecordState]:
    """Return the states of the conferences that would be known after a power cut."""
    return {record.ref.conference_id: record.state for record in read(state_dir)}


def after_a_kill(state_dir: Path) -> list[Record]:
    """Return what the next process reads, were this one killed now."""
    copy = state_dir / "after"
    shutil.rmtree(copy, ignore_errors=True)
    copy.mkdir()
    for file in state_dir.glob(FILE_NAME + "*"):
        shutil.copy(file, copy)
    with opened(copy) as ledger:
        return list(ledger._index.records.values())


# -- states ------------------------------------------------------------------------------------


def test_a_grant(ledger: SqliteLedger) -> None:
    """A conference that a client has is open, and found by its name and by its room."""
    grant(ledger)
    record = Record(ref(), room="board", conference=conference())
    assert ledger.find(ref()) == record
    assert ledger.in_room("default", "board", OPEN) == [record]
    assert ledger.in_room("default", "board", PENDING) == []
    assert ledger.pending("default") == []
    assert not ledger.is_over(ref())
    assert ledger.counts == {OPEN: 1, PENDING: 0, ABANDONED: 0}
    assert (record.is_whole, record.ends_at_ms) == (True, END_MS)


def test_what_is_unknown(ledger: SqliteLedger) -> None:
    """Of what the ledger never heard of it says nothing."""
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
    """After a DELETE the conference is over, and its backend is to be told when and why."""
    grant(ledger)
    ledger.end(ref(), 5)
    record = Record(ref(), PENDING, "board", conference(), over_at_ms=5, reason=DeleteReason.ENDED)
    assert ledger.pending("default") == [record]
    assert ledger.in_room("default", "board", PENDING) == [record]
    assert ledger.in_room("default", "board", OPEN) == []
    assert ledger.is_over(ref())
    assert ledger.counts == {OPEN: 0, PENDING: 1, ABANDONED: 0}


def test_an_end_that_is_known(ledger: SqliteLedger) -> None:
    """A DELETE that is repeated changes nothing: the first one said when the meeting ended."""
    grant(ledger)
    ledger.end(ref(), 5)
    ledger.end(ref(), 9)
    assert [record.over_at_ms for record in ledger.pending("default")] == [5]


def test_the_end_of_an_unknown_conference(ledger: SqliteLedger) -> None:
    """A DELETE for an id that the ledger never heard of is kept too, without a room."""
    ledger.end(ref(), 5)
    assert ledger.pending("default") == [
        Record(ref(), PENDING, over_at_ms=5, reason=DeleteReason.ENDED)
    ]
    assert ledger.in_room("default", "", PENDING) == []


def test_a_conference_that_is_gone(ledger: SqliteLedger) -> None:
    """When the backend was told it is gone, and remembered as such."""
    grant(ledger)
    ledger.end(ref(), 5)
    ledger.settle(ref())
    assert ledger.find(ref()) is None
    assert ledger.pending("default") == []
    assert ledger.in_room("default", "board", PENDING) == []
    assert ledger.is_over(ref())
    ledger.end(ref(), 9)
    assert ledger.find(ref()) is None
    ledger.settle(ref())
    assert ledger.is_over(ref())


@pytest.mark.parametrize("before", ["ended", "abandoned", "gone"])
def test_what_is_over_may_go_on(ledger: SqliteLedger, before: str) -> None:
    """A backend that names a conference once more makes it open again, whatever it was."""
    grant(ledger)
    ledger.end(ref(), 5)
    if before == "abandoned":
        abandon(ledger, ref())
    if before == "gone":
        ledger.settle(ref())
    grant(ledger)
    assert ledger.find(ref()) == Record(ref(), room="board", conference=conference())
    assert not ledger.is_over(ref())
    assert ledger.pending("default") == []
    ledger.end(ref(), 9)
    assert [record.over_at_ms for record in ledger.pending("default")] == [9]


def test_what_is_too_old_is_abandoned(ledger: SqliteLedger) -> None:
    """What was tried to be delivered for too long is abandoned, and nothing else is."""
    for number in range(4):
        grant(ledger, str(number), f"room{number}")
    for number in range(3):
        ledger.end(ref(str(number)), 10 * number)
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


def test_a_dead_one_that_a_client_ends(ledger: SqliteLedger) -> None:
    """A DELETE that comes once more is delivered once more."""
    grant(ledger)
    ledger.end(ref(), 5)
    abandon(ledger, ref())
    ledger.end(ref(), 9)
    assert [(record.state, record.over_at_ms) for record in ledger.pending("default")] == [
        (PENDING, 9)
    ]


def test_ends_come_in_their_order(ledger: SqliteLedger) -> None:
    """A backend is told of the ends in the order in which they came, whatever began first."""
    for conference_id in ("c", "a", "b"):
        grant(ledger, conference_id, conference_id)
    ledger.grant(ref("x", "other"), "x", conference("x"))
    for conference_id in ("b", "c", "a"):
        ledger.end(ref(conference_id), 5)
    ledger.end(ref("x", "other"), 5)
    assert [record.ref.conference_id for record in ledger.pending("default")] == ["b", "c", "a"]
    assert [record.ref.conference_id for record in ledger.pending("other")] == ["x"]


def test_a_room_of_each_backend(ledger: SqliteLedger) -> None:
    """The same room's name, or the same id, at another backend is another one."""
    for backend in ("a", "b"):
        ledger.grant(ref("7", backend), "board", conference())
    ledger.end(ref("7", "a"), 5)
    assert [record.ref.backend for record in ledger.in_room("a", "board", PENDING)] == ["a"]
    assert [record.ref.backend for record in ledger.in_room("b", "board", OPEN)] == ["b"]


def test_a_conference_that_moves(ledger: SqliteLedger) -> None:
    """Where a backend gives one conference to another room, the first room has it no more."""
    grant(ledger, room="board")
    grant(ledger, room="kitchen")
    assert ledger.in_room("default", "board", OPEN) == []
    assert [record.ref for record in ledger.in_room("default", "kitchen", OPEN)] == [ref()]


def test_a_new_conference_in_a_room(ledger: SqliteLedger, tmp_path: Path) -> None:
    """It takes the place of the open one, which no client has any more, but of no ended one."""
    for conference_id in ("ended", "open"):
        grant(ledger, conference_id)
        ledger.end(ref("ended"), 5)
    ledger.grant(FALLBACK, "elsewhere", conference(FALLBACK.conference_id))
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
    """It takes the place of the open one as well: a backend has one conference for a room."""
    grant(ledger, "old")
    ledger.end(ref("old"), 5)
    if before == "gone":
        ledger.settle(ref("old"))
    grant(ledger, "new")
    grant(ledger, "old")
    assert [record.ref for record in ledger.in_room("default", "board", OPEN)] == [ref("old")]


def test_a_fallback_gives_way(ledger: SqliteLedger) -> None:
    """When the backend grants the room, the proxy's own grant is forgotten."""
    ledger.grant(FALLBACK, "board", conference(FALLBACK.conference_id))
    grant(ledger)
    assert ledger.find(FALLBACK) is None
    assert not ledger.is_over(ref())


def test_the_end_of_a_fallback(ledger: SqliteLedger) -> None:
    """No backend knows it, so no backend is told of its end."""
    ledger.grant(FALLBACK, "board", conference(FALLBACK.conference_id))
    ledger.end(FALLBACK, 5)
    assert ledger.find(FALLBACK) is None
    assert ledger.is_over(FALLBACK)
    assert ledger.pending("default") == []
    assert not ledger.is_over(ref(FALLBACK.conference_id))


# -- ends --------------------------------------------------------------------------------------


def test_what_has_expired(ledger: SqliteLedger) -> None:
    """An open conference whose end is past is over, since then, and for that reason."""
    grant(ledger)
    assert ledger.expire(END_MS) == []
    record = Record(
        ref(), PENDING, "board", conference(), over_at_ms=END_MS, reason=DeleteReason.EXPIRED
    )
    assert ledger.expire(END_MS + 1) == [record]
    assert ledger.pending("default") == [record]
    assert ledger.expire(END_MS + 1) == []


def test_what_does_not_expire(ledger: SqliteLedger) -> None:
    """Neither what has no end, nor what is over, nor what is unknown ever expires."""
    ledger.grant(ref("always"), "a", conference("always", lasts=None))
    grant(ledger, "ended", "b")
    ledger.end(ref("ended"), 5)
    grant(ledger, "abandoned", "c")
    ledger.end(ref("abandoned"), 1)
    abandon(ledger, ref("abandoned"))
    grant(ledger, "gone", "d")
    ledger.settle(ref("gone"))
    ledger.end(ref("unknown"), 5)
    assert ledger.expire(END_MS * 10) == []
    assert (state(ledger, "always"), state(ledger, "abandoned")) == (OPEN, ABANDONED)


def test_an_expired_fallback_vanishes(ledger: SqliteLedger, tmp_path: Path) -> None:
    """Its time is over, and nobody is to be told."""
    ledger.grant(FALLBACK, "board", conference(FALLBACK.conference_id))
    ledger.flush()
    assert [record.ref for record in ledger.expire(END_MS + 1)] == [FALLBACK]
    assert ledger.find(FALLBACK) is None
    assert ledger.pending("default") == []
    ledger.flush()
    assert on_disk(tmp_path) == {}


def test_only_the_end_that_is_valid_now_counts(ledger: SqliteLedger) -> None:
    """A conference whose end was put off does not expire at the old one, but once at the new."""
    for hours in (1, 3, 2):
        ledger.grant(ref(), "board", conference(lasts=hours * 3600))
    assert ledger.expire(START_MS + 3 * 3_600_000) == []
    expired = ledger.expire(START_MS + 3 * 3_600_000 + 1)
    assert [record.over_at_ms for record in expired] == [START_MS + 3 * 3_600_000]


def test_what_is_granted_twice_expires_once(ledger: SqliteLedger) -> None:
    """A repeated POST does not make two ends of one conference."""
    for _ in range(3):
        grant(ledger)
    assert [record.ref for record in ledger.expire(END_MS + 1)] == [ref()]


def test_a_conference_that_was_over_expires_at_its_end(ledger: SqliteLedger) -> None:
    """Also when it ended in between, and goes on."""
    grant(ledger)
    ledger.end(ref(), 5)
    grant(ledger)
    assert [record.ref for record in ledger.expire(END_MS + 1)] == [ref()]


def test_they_expire_in_their_order(ledger: SqliteLedger) -> None:
    """The one that ended first is the first to be delivered."""
    for conference_id, starts in (("b", 20), ("c", 30), ("a", 10)):
        ledger.grant(ref(conference_id), conference_id, conference(conference_id, starts=starts))
    expired = ledger.expire(END_MS + 20_001)
    assert [record.ref.conference_id for record in expired] == ["a", "b"]
    assert ledger.pending("default") == expired


@pytest.mark.parametrize(
    ("told", "now", "end_seconds"),
    [
        ((0, 60), (0, 30), 60),
        ((0, 60), (0, 90), 90),
        ((0, 60), (30, 20), 60),
        ((30, 60), (0, 60), 90),
        ((0, None), (0, 60), None),
        ((0, 60), (0, None), None),
    ],
)
def test_the_latest_end_that_was_told_is_valid(
    ledger: SqliteLedger,
    told: tuple[int, int | None],
    now: tuple[int, int | None],
    end_seconds: int | None,
) -> None:
    """A live room's end cannot be moved, so no conference ends before a client's told end."""
    for starts, lasts in (told, now):
        ledger.grant(ref(), "board", conference(starts=starts, lasts=lasts))
    record = ledger.find(ref())
    assert record
    assert record.conference
    assert record.conference.start_time_ms == START_MS + 1000 * now[0]
    assert record.ends_at_ms == (None if end_seconds is None else START_MS + 1000 * end_seconds)


def test_what_is_not_known_of_a_conference(ledger: SqliteLedger) -> None:
    """A grant fills in what the ledger did not know of an id."""
    ledger.end(ref(), 5)
    grant(ledger)
    assert ledger.find(ref()) == Record(ref(), room="board", conference=conference())


@pytest.mark.parametrize("way", ["gone", "ended", "the same", "extended"])
def test_ends_do_not_pile_up(way: str) -> None:
    """However many conferences come and go, no more is kept of their ends than of themselves."""
    with opened(None) as ledger:
        for number in range(5000):
            name = ref("7" if way in {"the same", "extended"} else str(number))
            lasts = 3600 + number if way == "extended" else 3600
            ledger.grant(name, "board", conference(lasts=lasts))
            if way == "ended":
                ledger.end(name, 5)
            if way in {"gone", "ended"}:
                ledger.settle(name)
        assert len(ledger._index._ends) <= 1003
        assert len(ledger._index.records) <= 1
        assert len(ledger._index._rooms) <= 1


def test_what_is_trimmed_still_expires(ledger: SqliteLedger) -> None:
    """No end of an open conference gets lost when old ones are thrown away."""
    for number in range(20):
        grant(ledger, str(number), f"room{number}")
    for number in range(3000):
        grant(ledger, f"gone{number}", "gone")
        ledger.settle(ref(f"gone{number}"))
    expired = ledger.expire(END_MS + 1)
    assert {record.ref for record in expired} == {ref(str(number)) for number in range(20)}


# -- what is on the disk when ------------------------------------------------------------------


def test_no_grant_waits_for_the_disk(ledger: SqliteLedger, tmp_path: Path) -> None:
    """A grant is written when the ledger is told to write, and a repeated one as well."""
    grant(ledger)
    assert on_disk(tmp_path) == {}
    grant(ledger)
    with failing_disk(ledger):
        grant(ledger, "8", "kitchen")
    ledger.flush()
    assert on_disk(tmp_path) == {"7": OPEN, "8": OPEN}


@pytest.mark.parametrize("is_known", [True, False])
def test_an_end_is_on_the_disk(ledger: SqliteLedger, tmp_path: Path, is_known: bool) -> None:
    """A DELETE is there after a power cut, from the moment on in which it was promised."""
    if is_known:
        grant(ledger)
    ledger.end(ref(), 5)
    (record,) = after_a_kill(tmp_path)
    assert record == ledger.find(ref())
    assert record.reason is DeleteReason.ENDED


def test_nobody_is_told_of_an_end_before_it_is_on_the_disk(
    ledger: SqliteLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Were the write to fail, the client would hear so, and the conference would be deleted."""
    seen: list[int] = []
    write = ledger._writes._commit

    def look_and_write(changes: Any) -> None:  # noqa: ANN401
        seen.append(len(ledger.pending("default")))
        write(changes)

    monkeypatch.setattr(ledger._writes, "_commit", look_and_write)
    grant(ledger)
    ledger.end(ref(), 5)
    assert seen == [0]
    assert len(ledger.pending("default")) == 1


def test_two_deletes_at_once_on_a_failing_disk(
    ledger: SqliteLedger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that is answered is on the disk, also where the other had to be undone."""
    grant(ledger)
    second_waits, answers = threading.Event(), list[str]()
    write = ledger._writes._commit

    def fail_once(_: object) -> None:
        monkeypatch.setattr(ledger._writes, "_commit", write)
        second.start()
        second_waits.wait(0.2)
        raise StateError("the disk is full")

    def end() -> None:
        ledger.end(ref(), 5)
        answers.append("answered")

    second = threading.Thread(target=end)
    monkeypatch.setattr(ledger._writes, "_commit", fail_once)
    with pytest.raises(StateError, match="the disk is full"):
        ledger.end(ref(), 4)
    second.join(LONG_SECONDS)
    assert answers == ["answered"]
    assert [record.state for record in after_a_kill(tmp_path)] == [RecordState.PENDING]


def test_what_a_client_was_told_by_a_get(ledger: SqliteLedger) -> None:
    """A later end counts from then on; what is over, or unknown, stays as it is."""
    grant(ledger)
    ledger.update(ref(), conference(lasts=7200))
    assert ledger.expire(START_MS + 7_200_000) == []
    assert len(ledger.expire(START_MS + 7_200_001)) == 1
    ledger.update(ref(), conference(lasts=9000))
    ledger.update(ref("8"), conference("8"))
    assert ledger.is_over(ref())
    assert ledger.find(ref("8")) is None


def test_a_dead_one_whose_room_was_granted_anew(ledger: SqliteLedger) -> None:
    """The backend would not have done so, had it still held it."""
    grant(ledger)
    ledger.end(ref(), 5)
    abandon(ledger, ref())
    ledger.grant(ref("8"), "board", conference("8"))
    assert ledger.find(ref()) is None
    assert ledger.counts[RecordState.ABANDONED] == 0


@pytest.mark.parametrize("before", ["ended", "abandoned", "gone"])
def test_a_call_off_is_on_the_disk(ledger: SqliteLedger, tmp_path: Path, before: str) -> None:
    """No process that comes later deletes a conference that goes on."""
    grant(ledger)
    ledger.end(ref(), 5)
    if before == "abandoned":
        abandon(ledger, ref())
        ledger.flush()
    if before == "gone":
        ledger.settle(ref())
    grant(ledger)
    assert PENDING not in on_disk(tmp_path).values()
    assert ABANDONED not in on_disk(tmp_path).values()


def test_what_expired_is_written_behind(ledger: SqliteLedger, tmp_path: Path) -> None:
    """Nobody was promised anything, and the next process would see the same end."""
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
    """A DELETE of a conference that had just expired waits for the disk as every other one."""
    grant(ledger)
    ledger.flush()
    ledger.expire(END_MS + 1)
    ledger.end(ref(), END_MS + 2)
    assert on_disk(tmp_path) == {"7": PENDING}


def test_nothing_to_write(ledger: SqliteLedger) -> None:
    """What is written already is not written again."""
    grant(ledger)
    ledger.end(ref(), 5)
    with failing_disk(ledger):
        ledger.flush()
        ledger.end(ref(), 9)


def test_an_end_that_cannot_be_written(ledger: SqliteLedger, tmp_path: Path) -> None:
    """Then it is no end: the caller is told, and the conference stays open."""
    grant(ledger)
    ledger.flush()
    with failing_disk(ledger):
        for _ in range(2):
            with pytest.raises(StateError, match=READ_ONLY):
                ledger.end(ref(), 5)
            assert ledger.find(ref()) == Record(ref(), room="board", conference=conference())
            assert ledger.pending("default") == []
            assert [found.ref for found in ledger.in_room("default", "board", OPEN)] == [ref()]
    ledger.flush()
    assert on_disk(tmp_path) == {"7": OPEN}
    assert [record.ref for record in ledger.expire(END_MS + 1)] == [ref()]


def test_an_unknown_end_that_cannot_be_written(ledger: SqliteLedger, tmp_path: Path) -> None:
    """Then the id is as unknown as before."""
    with failing_disk(ledger), pytest.raises(StateError, match=READ_ONLY):
        ledger.end(ref(), 5)
    assert ledger.find(ref()) is None
    assert not ledger.is_over(ref())
    ledger.flush()
    assert on_disk(tmp_path) == {}


def test_a_dead_one_s_end_that_cannot_be_written(ledger: SqliteLedger) -> None:
    """It stays abandoned."""
    grant(ledger)
    ledger.end(ref(), 5)
    abandon(ledger, ref())
    with failing_disk(ledger), pytest.raises(StateError, match=READ_ONLY):
        ledger.end(ref(), 9)
    assert state(ledger) is ABANDONED
    assert ledger.pending("default") == []


def test_a_known_end_that_cannot_be_written(ledger: SqliteLedger) -> None:
    """What has expired stays so, but no client is promised what is not on the disk."""
    grant(ledger)
    ledger.flush()
    ledger.expire(END_MS + 1)
    with failing_disk(ledger), pytest.raises(StateError, match=READ_ONLY):
        ledger.end(ref(), END_MS + 2)
    assert state(ledger) is PENDING


@pytest.mark.parametrize("before", ["ended", "abandoned"])
def test_a_call_off_that_cannot_be_written(
    ledger: SqliteLedger, tmp_path: Path, before: str
) -> None:
    """Then the conference is over as before, here and on the disk."""
    grant(ledger)
    ledger.end(ref(), 5)
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


def test_a_grant_of_a_gone_one_that_cannot_be_written(ledger: SqliteLedger, tmp_path: Path) -> None:
    """While the disk still says that it is over, no client gets it, however often it asks."""
    grant(ledger)
    ledger.end(ref(), 5)
    with failing_disk(ledger):
        ledger.settle(ref())
        for _ in range(2):
            with pytest.raises(StateError, match=READ_ONLY):
                grant(ledger)
            assert ledger.find(ref()) is None
            assert ledger.is_over(ref())
    grant(ledger)
    assert on_disk(tmp_path) == {"7": OPEN}


def test_a_call_off_that_cannot_be_written_leaves_the_room_alone(ledger: SqliteLedger) -> None:
    """The conference that is open in the room still is."""
    grant(ledger, "old")
    ledger.end(ref("old"), 5)
    grant(ledger, "new")
    with failing_disk(ledger), pytest.raises(StateError, match=READ_ONLY):
        grant(ledger, "old")
    assert [record.ref for record in ledger.in_room("default", "board", OPEN)] == [ref("new")]


def test_a_full_disk(ledger: SqliteLedger, tmp_path: Path) -> None:
    """What could not be written is written when there is room again, and all of it."""
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
            ledger.end(ref("5"), 5)
    connection.execute("PRAGMA max_page_count = 1000")
    ledger.end(ref("6"), 5)
    expected = {str(number): OPEN for number in range(100)} | {"6": PENDING}
    assert on_disk(tmp_path) == expected


def test_what_changed_meanwhile_is_written(ledger: SqliteLedger, tmp_path: Path) -> None:
    """Changes from before and after a write that failed are written in their last state."""
    grant(ledger, "a", "a")
    grant(ledger, "b", "b")
    with failing_disk(ledger), pytest.raises(StateError):
        ledger.flush()
    ledger.settle(ref("a"))
    grant(ledger, "c", "c")
    ledger.flush()
    assert on_disk(tmp_path) == {"b": OPEN, "c": OPEN}


def test_a_closed_database(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """An end is refused; a grant is not, and at the end it is said what is lost."""
    database = Database(tmp_path)
    ledger = SqliteLedger(database, write_behind=False)
    database.close()
    with pytest.raises(StateError, match="closed database"):
        ledger.end(ref(), 5)
    grant(ledger)
    ledger.close()
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.getMessage().startswith("the last changes are lost: ")
    assert str(tmp_path / FILE_NAME) in record.getMessage()


# -- what the next process reads ---------------------------------------------------------------


def test_the_same_records_in_the_same_order(tmp_path: Path) -> None:
    """What one process wrote another one reads, down to the last field."""
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
        ledger.grant(ref("a"), "[acme]caf%c3%a9 'x'", told)
        ledger.grant(FALLBACK, "s", conference(FALLBACK.conference_id))
        for number, over_at_ms in enumerate((30, 10, 20)):
            grant(ledger, str(number), f"room{number}")
            ledger.end(ref(str(number)), over_at_ms)
        ledger.end(ref("unknown"), 15)
        ledger.expire(END_MS + 1)
        abandon(ledger, ref("1"))
        before = {record.ref: record for record in ledger._index.records.values()}
    assert {record.ref: record for record in read(tmp_path)} == before
    with opened(tmp_path) as ledger:
        assert ledger._index.records == before
        assert [record.over_at_ms for record in ledger.pending("default")] == [15, 20, 30]
        assert ledger.in_room("default", "[acme]caf%c3%a9 'x'", OPEN) == [before[ref("a")]]
        assert ledger.counts == {OPEN: 1, PENDING: 3, ABANDONED: 1}


def test_a_restart_changes_nothing(tmp_path: Path) -> None:
    """What one process knew and the next one does not touch, the third one knows as well."""
    with opened(tmp_path) as ledger:
        for number in range(5):
            grant(ledger, str(number), f"room{number}")
            ledger.end(ref(str(number)), 50 - number)
    with opened(tmp_path) as ledger:
        first = ledger.pending("default")
    with opened(tmp_path) as ledger:
        assert ledger.pending("default") == first
    assert [record.ref.conference_id for record in first] == ["4", "3", "2", "1", "0"]


def test_what_expires_after_a_restart(tmp_path: Path) -> None:
    """Ends are known to the next process too."""
    with opened(tmp_path) as ledger:
        grant(ledger)
    with opened(tmp_path) as ledger:
        assert ledger.expire(END_MS) == []
        assert [record.ref for record in ledger.expire(END_MS + 1)] == [ref()]


@pytest.mark.parametrize(
    "told", [conference(password="hunter2hunter2"), conference(pin="hunter2hunter2")]
)
def test_secrets_are_never_written(tmp_path: Path, told: Conference) -> None:
    """A password or PIN stays in memory; the next process knows that something is missing."""
    with opened(tmp_path) as ledger:
        ledger.grant(ref(), "board", told)
        ledger.end(ref(), 5)
        ledger.grant(ref(), "board", told)
        ledger.flush()
        record = ledger.find(ref())
        assert record
        assert (record.conference, record.is_whole) == (told, True)
        files = [file for file in tmp_path.iterdir() if file.stat().st_size]
        assert f"{FILE_NAME}-wal" in {file.name for file in files}
        assert all(b"hunter2" not in file.read_bytes() for file in files)
    assert all(b"hunter2" not in file.read_bytes() for file in tmp_path.iterdir())
    assert read(tmp_path) == [Record(ref(), OPEN, "board", conference(), is_whole=False)]


def test_what_is_missing_stays_missing(tmp_path: Path) -> None:
    """Until the backend tells it again, through every change and every restart."""
    with opened(tmp_path) as ledger:
        ledger.grant(ref(), "board", conference(pin="1234"))
    for _ in range(2):
        with opened(tmp_path) as ledger:
            ledger.end(ref(), 5)
            assert [record.is_whole for record in ledger.pending("default")] == [False]
    with opened(tmp_path) as ledger:
        ledger.grant(ref(), "board", conference(pin="1234"))
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
def test_rows_that_make_no_sense(tmp_path: Path, change: str) -> None:
    """Damage that SQLite does not see is a fault of the state, not of the program."""
    with opened(tmp_path) as ledger:
        grant(ledger)
    with closing(Database(tmp_path)) as database:
        with database.transaction() as connection:
            connection.execute(f"UPDATE conference SET {change}")  # noqa: S608 - from above
        with pytest.raises(StateError, match=str(tmp_path)):
            SqliteLedger(database)
        with pytest.raises(StateError, match=str(tmp_path)):
            read(tmp_path)


def test_what_is_kept_of_a_conference(ledger: SqliteLedger) -> None:
    """The file has no other fields than those that are meant to be there."""
    ledger.end(grant(ledger), 5)
    ((options,),) = ledger._database.rows("SELECT options FROM conference")
    assert set(json.loads(options)) == {"room", "max_occupants", "lobby", "url", "sip_id"}


# -- bounds ------------------------------------------------------------------------------------


def test_the_limits() -> None:
    """There is room for a hundred thousand, and ten thousand are remembered when they are gone."""
    assert MAX_CONFERENCES == 100_000
    assert memory_index.MAX_GONE == 10_000


def test_what_is_gone_is_forgotten_in_time(
    ledger: SqliteLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the last ones that went are remembered."""
    monkeypatch.setattr(memory_index, "MAX_GONE", 3)
    for number in range(5):
        ledger.settle(ref(str(number)))
    assert [ledger.is_over(ref(str(number))) for number in range(5)] == [False] * 2 + [True] * 3
    grant(ledger, "4")
    ledger.settle(ref("5"))
    assert ledger.is_over(ref("2"))


@pytest.fixture
def small(tmp_path: Path) -> Iterator[SqliteLedger]:
    """Return a ledger that has room for four."""
    with opened(tmp_path, max_conferences=4) as ledger:
        yield ledger


def test_a_conference_that_comes_back_into_a_full_ledger(small: SqliteLedger) -> None:
    """There is no room for it, but it is not over: its client can read it and end it."""
    small.settle(ref("gone"))
    for number in range(4):
        small.end(ref(str(number)), 1)
    grant(small, "gone")
    assert not small.is_over(ref("gone"))
    assert small.find(ref("gone")) is None


def dropped(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what the log said since it was asked last."""
    found = [record.getMessage() for record in caplog.records]
    assert all(record.levelno == logging.WARNING for record in caplog.records)
    caplog.clear()
    return found


def test_who_gives_way(small: SqliteLedger, caplog: pytest.LogCaptureFixture) -> None:
    """In a full ledger it is the oldest abandoned one, then the oldest open one, and it is said."""
    for conference_id in ("ended", "open", "abandoned"):
        grant(small, conference_id, conference_id)
    small.end(ref("abandoned"), 1)
    abandon(small, ref("abandoned"))
    small.end(ref("ended"), 5)
    grant(small, "newer", "newer")
    assert dropped(caplog) == []
    grant(small, "n1", "n1")
    assert state(small, "abandoned") is None
    assert "the oldest abandoned one" in dropped(caplog)[0]
    small.end(ref("unknown"), 5)
    assert state(small, "open") is None
    assert dropped(caplog) == [
        "the ledger is full at 4 conferences; the oldest open one, default.open, was dropped"
    ]
    assert [small.counts[kind] for kind in (OPEN, PENDING, ABANDONED)] == [2, 2, 0]
    assert len(after_a_kill_of(small)) == 4


def after_a_kill_of(ledger: SqliteLedger) -> list[Record]:
    """Return what the next process would read, all written."""
    ledger.flush()
    return after_a_kill(Path(ledger._database.name).parent)


def test_what_is_known_needs_no_room(small: SqliteLedger, caplog: pytest.LogCaptureFixture) -> None:
    """Nobody gives way for a conference that is in the ledger already."""
    for number in range(4):
        grant(small, str(number), f"room{number}")
    for number in range(4):
        grant(small, str(number), f"room{number}")
        small.end(ref(str(number)), 5)
    assert dropped(caplog) == []
    grant(small, "0", "room0")
    assert len(small._index.records) == 4


def fill_with_ended(ledger: SqliteLedger) -> None:
    """Let four conferences end."""
    for number in range(4):
        grant(ledger, str(number), f"room{number}")
        ledger.end(ref(str(number)), 5)


def test_pending_ones_never_give_way(small: SqliteLedger, caplog: pytest.LogCaptureFixture) -> None:
    """A promise is not dropped for a new conference, which is then not in the ledger."""
    fill_with_ended(small)
    grant(small, "new")
    assert small.find(ref("new")) is None
    assert not small.is_over(ref("new"))
    assert dropped(caplog) == ["the ledger is full: default.new is not in it, and will not expire"]
    assert [record.ref.conference_id for record in small.pending("default")] == ["0", "1", "2", "3"]


def test_a_delete_that_finds_no_room(small: SqliteLedger) -> None:
    """What cannot be kept is not promised; what is known is."""
    fill_with_ended(small)
    with pytest.raises(StateError, match="full, of DELETEs yet to be delivered"):
        small.end(ref("unknown"), 5)
    assert not small.is_over(ref("unknown"))
    small.end(ref("2"), 9)
    small.settle(ref("1"))
    small.end(ref("unknown"), 5)
    assert [record.ref.conference_id for record in small.pending("default")] == [
        "0",
        "2",
        "3",
        "unknown",
    ]


def test_a_gone_one_that_finds_no_room(small: SqliteLedger) -> None:
    """A conference that a client has is not over, also where it is not in the ledger."""
    grant(small, "back", "back")
    small.end(ref("back"), 5)
    small.settle(ref("back"))
    fill_with_ended(small)
    grant(small, "back", "back")
    assert not small.is_over(ref("back"))


# -- threads -----------------------------------------------------------------------------------


def test_many_threads_end_at_once(tmp_path: Path) -> None:
    """All ends that were promised are on the disk, in far fewer writes than ends."""
    with opened(tmp_path, write_behind=True) as ledger:
        barrier = threading.Barrier(8)
        writes = []
        write = ledger._writes._commit

        def counted(changes: list[tuple[ConferenceRef, Record | None]]) -> None:
            writes.append(len(changes))
            write(changes)

        ledger._writes._commit = counted  # type: ignore[assignment, method-assign]

        def work(worker: int) -> list[str]:
            barrier.wait()
            for number in range(10):
                grant(ledger, f"{worker}-{number}", f"room{worker}-{number}")
                ledger.end(ref(f"{worker}-{number}"), 5)
                assert on_disk(tmp_path)[f"{worker}-{number}"] is PENDING
            return [f"{worker}-{number}" for number in range(10)]

        with ThreadPoolExecutor(8) as executor:
            promised = [name for names in executor.map(work, range(8)) for name in names]
        assert {record.ref.conference_id for record in after_a_kill(tmp_path)} == set(promised)
        assert len([size for size in writes if size]) < 8 * 10


def test_many_threads_on_a_failing_disk(ledger: SqliteLedger) -> None:
    """None of those who end conferences at the same time is promised what is not written."""
    barrier = threading.Barrier(8)
    promised = []

    def work(worker: int) -> None:
        for number in range(50):
            barrier.wait(LONG_SECONDS)
            try:
                ledger.end(ref(f"{worker}-{number}"), 5)
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
    """Another thread that wants to write waits until the end is undone, and writes without it."""
    commit = ledger._writes._commit
    flushes = []

    with ThreadPoolExecutor(1) as executor:

        def fail_once(_: object) -> None:
            monkeypatch.setattr(ledger._writes, "_commit", commit)
            flushes.append(executor.submit(ledger.flush))
            raise StateError("the disk is full")

        monkeypatch.setattr(ledger._writes, "_commit", fail_once)
        with pytest.raises(StateError):
            ledger.end(ref(), 5)
        flushes[0].result(LONG_SECONDS)
    assert after_a_kill(tmp_path) == []


def test_threads_of_all_kinds(tmp_path: Path) -> None:
    """Whatever happens at the same time, the indexes agree with the records, and the disk too."""
    with opened(tmp_path, max_conferences=30, write_behind=True) as ledger:

        def work(seed: int) -> Callable[[], None]:
            def run() -> None:
                for step in range(200):
                    number = str((step * 7 + seed * 11) % 40)
                    if (step + seed) % 3 == 0:
                        grant(ledger, number, f"room{int(number) % 20}")
                    elif (step + seed) % 3 == 1 and len(ledger.pending("default")) < 15:
                        ledger.end(ref(number), step)
                    elif ledger.is_over(ref(number)):
                        ledger.settle(ref(number))

            return run

        together(*[work(seed) for seed in range(6)])
        check_indexes(ledger)
        ledger.flush()
        assert {record.ref: record for record in read(tmp_path)} == ledger._index.records


def check_indexes(ledger: SqliteLedger) -> None:
    """Check that what is found by room, by state and by name is the same."""
    records = ledger._index.records
    rooms = {(name.backend, record.room) for name, record in records.items() if record.room}
    assert ledger._index._rooms.keys() == rooms
    found = {name for names in ledger._index._rooms.values() for name in names}
    assert found == {name for name, record in records.items() if record.room}
    ended = {name for names in ledger._index._pending.values() for name in names}
    assert ended == {name for name, record in records.items() if record.state is PENDING}
    for backend, room in rooms:
        assert len(ledger.in_room(backend, room, OPEN)) <= 1


def test_the_writer_writes_by_itself(tmp_path: Path) -> None:
    """A grant is on the disk soon, without anyone's doing, and so is what comes later."""
    with opened(tmp_path, write_behind=True) as ledger:
        for conference_id in ("7", "8"):
            grant(ledger, conference_id)
            eventually(lambda name=conference_id: on_disk(tmp_path) == {name: OPEN})  # type: ignore[misc]


def test_the_writer_complains_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it cannot write it says so once, tries on, and says so again the next time."""
    monkeypatch.setattr(write_behind, "WRITE_AFTER_SECONDS", 0.001)
    monkeypatch.setattr(write_behind, "RETRY_SECONDS", 0.001)
    tries = []
    with opened(tmp_path, write_behind=True) as ledger:
        commit = ledger._writes._commit

        def counted(changes: Sequence[Change]) -> None:
            tries.append(1)
            commit(changes)

        monkeypatch.setattr(ledger._writes, "_commit", counted)
        for number in (1, 2):
            tries.clear()
            with failing_disk(ledger):
                grant(ledger, str(number))
                eventually(lambda: len(tries) > 5)
            eventually(lambda: str(number) in on_disk(tmp_path))  # noqa: B023 - it is called now
            assert len(caplog.records) == number
    message = f"grants cannot be written: {tmp_path / FILE_NAME}: {READ_ONLY}"
    assert [record.getMessage() for record in caplog.records] == [message] * 2


def test_the_writer_ends_whenever_it_is_told_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also in the very moment in which it goes to work, or to wait again."""
    monkeypatch.setattr("jicofo_reservation_proxy.ledger.write_behind.WRITE_AFTER_SECONDS", 0.0001)
    for _ in range(100):
        with closing(Database(None)) as memory:
            ledger = SqliteLedger(memory)
            grant(ledger)
            closer = threading.Thread(target=ledger.close, daemon=True)
            closer.start()
            closer.join(LONG_SECONDS)
            assert not closer.is_alive()


def test_closing_writes_the_rest(tmp_path: Path) -> None:
    """What was granted just before the end is there after it; closing twice is fine."""
    with closing(Database(tmp_path)) as database:
        ledger = SqliteLedger(database)
        grant(ledger)
        ledger.close()
        ledger.close()
        assert on_disk(tmp_path) == {"7": OPEN}


def test_closing_says_what_is_lost(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What cannot be written at the end either is said to be lost, and it ends all the same."""
    with closing(Database(tmp_path)) as database:
        ledger = SqliteLedger(database)
        with failing_disk(ledger):
            grant(ledger)
            ledger.close()
    assert caplog.records[-1].getMessage() == (
        f"the last changes are lost: {tmp_path / FILE_NAME}: {READ_ONLY}"
    )


def test_a_ledger_in_memory() -> None:
    """It works the same, and is empty the next time."""
    with opened(None, write_behind=True) as ledger:
        grant(ledger)
        ledger.end(ref(), 5)
        assert state(ledger) is PENDING
    with opened(None) as ledger:
        assert ledger.counts == {OPEN: 0, PENDING: 0, ABANDONED: 0}


def test_reading_where_there_is_nothing(tmp_path: Path) -> None:
    """A state directory without a ledger has none to be read."""
    with pytest.raises(StateError, match="wanted one that a proxy has used"):
        read(tmp_path)


def test_reading_beside_a_running_proxy(tmp_path: Path) -> None:
    """The records are seen while another one has the ledger."""
    with opened(tmp_path) as ledger:
        ledger.end(grant(ledger), 5)
        assert read(tmp_path) == ledger.pending("default")


# -- any sequence of operations ----------------------------------------------------------------

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
    """A ledger, and beside it what was promised: which conferences are over, and which are not."""

    def __init__(self, ledger: SqliteLedger) -> None:
        self.ledger = ledger
        self.over: set[str] = set()
        self.alive: set[str] = set()

    def do(self, kind: str, *arguments: object) -> None:
        """Do one step, and note what was promised by it."""
        try:
            getattr(self, f"_{kind}")(*arguments)
        except StateError:
            assert self._is_broken()

    def _grant(self, name: str, room: str, lasts: int) -> None:
        self.ledger.grant(ref(name), room, conference(name, lasts=lasts))
        self.alive.add(name)
        self.over.discard(name)

    def _end(self, name: str, over_at_ms: int) -> None:
        self.ledger.end(ref(name), over_at_ms)
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
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_promises_are_kept_over_a_kill(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[object, ...]]
) -> None:
    """Whatever happened: what was promised to be over is, and what a client has is not."""
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
