"""The index: the order of ends, rooms, and changes by several threads at the same time."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from jicofo_reservation_proxy.errors import StateError
from jicofo_reservation_proxy.ledger.ends import SPARE_MINUTES
from jicofo_reservation_proxy.ledger.records import Record
from jicofo_reservation_proxy.ledger.sqlite_ledger import SqliteLedger
from jicofo_reservation_proxy.model import DeleteReason

from tests.unit.ledger.states import (
    ABANDONED,
    END_MS,
    FALLBACK,
    OPEN,
    PENDING,
    check_indexes,
    grant,
    on_disk,
    state,
)
from tests.unit.ledgers import (
    LONG_SECONDS,
    START_MS,
    abandon,
    conference,
    opened,
    ref,
    stored,
    together,
)

# -- ends ---------------------------------------------------------------------------------------


def test_an_open_conference_expires(ledger: SqliteLedger) -> None:
    """An open conference whose end has passed becomes pending, with that end and EXPIRED."""
    grant(ledger)
    assert ledger.expire(END_MS) == []
    record = Record(
        ref(), PENDING, "board", conference(), over_at_ms=END_MS, reason=DeleteReason.EXPIRED
    )
    assert ledger.expire(END_MS + 1) == [record]
    assert ledger.pending("default") == [record]
    assert ledger.expire(END_MS + 1) == []


def test_conferences_that_do_not_expire(ledger: SqliteLedger) -> None:
    """A conference does not expire if it has no end, is over already, or is unknown."""
    ledger.grant(ref("always"), "a", conference("always", lasts=None), LONG_SECONDS)
    grant(ledger, "ended", "b")
    ledger.end(ref("ended"), 5, LONG_SECONDS)
    grant(ledger, "abandoned", "c")
    ledger.end(ref("abandoned"), 1, LONG_SECONDS)
    abandon(ledger, ref("abandoned"))
    grant(ledger, "gone", "d")
    ledger.settle(ref("gone"))
    ledger.end(ref("unknown"), 5, LONG_SECONDS)
    assert ledger.expire(END_MS * 10) == []
    assert (state(ledger, "always"), state(ledger, "abandoned")) == (OPEN, ABANDONED)


def test_an_expired_fallback_grant_is_removed(ledger: SqliteLedger, tmp_path: Path) -> None:
    """An expired fallback grant is removed, and no deletion is pending for it."""
    ledger.grant(FALLBACK, "board", conference(FALLBACK.conference_id), LONG_SECONDS)
    ledger.flush()
    assert [record.ref for record in ledger.expire(END_MS + 1)] == [FALLBACK]
    assert ledger.find(FALLBACK) is None
    assert ledger.pending("default") == []
    ledger.flush()
    assert on_disk(tmp_path) == {}


def test_only_the_current_end_counts(ledger: SqliteLedger) -> None:
    """A conference whose end was moved expires once, at the latest end."""
    for hours in (1, 3, 2):
        ledger.grant(ref(), "board", conference(lasts=hours * 3600), LONG_SECONDS)
    assert ledger.expire(START_MS + 3 * 3_600_000) == []
    expired = ledger.expire(START_MS + 3 * 3_600_000 + 1)
    assert [record.over_at_ms for record in expired] == [START_MS + 3 * 3_600_000]


def test_a_conference_granted_twice_expires_once(ledger: SqliteLedger) -> None:
    """A conference that was granted several times expires once."""
    for _ in range(3):
        grant(ledger)
    assert [record.ref for record in ledger.expire(END_MS + 1)] == [ref()]


def test_a_conference_that_was_over_expires_at_its_end(ledger: SqliteLedger) -> None:
    """A conference that was over and is open again expires at its end."""
    grant(ledger)
    ledger.end(ref(), 5, LONG_SECONDS)
    grant(ledger)
    assert [record.ref for record in ledger.expire(END_MS + 1)] == [ref()]


def test_conferences_expire_in_the_order_of_their_ends(ledger: SqliteLedger) -> None:
    """Conferences expire, and become pending, in the order of their ends."""
    for conference_id, starts in (("b", 20), ("c", 30), ("a", 10)):
        ledger.grant(
            ref(conference_id),
            conference_id,
            conference(conference_id, starts=starts),
            LONG_SECONDS,
        )
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
def test_the_latest_end_that_a_client_was_told_is_valid(
    ledger: SqliteLedger,
    told: tuple[int, int | None],
    now: tuple[int, int | None],
    end_seconds: int | None,
) -> None:
    """A conference ends at the latest end that a client was told, as a live room keeps its end."""
    for starts, lasts in (told, now):
        ledger.grant(ref(), "board", conference(starts=starts, lasts=lasts), LONG_SECONDS)
    record = ledger.find(ref())
    assert record
    assert record.conference
    assert record.conference.start_time_ms == START_MS + 1000 * now[0]
    assert record.ends_at_ms == (None if end_seconds is None else START_MS + 1000 * end_seconds)


def test_a_grant_completes_an_incomplete_record(ledger: SqliteLedger) -> None:
    """A grant adds the room and the conference to a record that was made by a DELETE."""
    ledger.end(ref(), 5, LONG_SECONDS)
    grant(ledger)
    assert ledger.find(ref()) == Record(
        ref(), room="board", conference=conference(), has_row=True, has_no_holder=True
    )


@pytest.mark.parametrize("way", ["gone", "ended", "the same", "extended"])
def test_ends_do_not_pile_up(way: str) -> None:
    """The index keeps only a limited number of ends that are no longer valid."""
    with opened(None) as ledger:
        for number in range(5000):
            name = ref("7" if way in {"the same", "extended"} else str(number))
            lasts = 3600 + number if way == "extended" else 3600
            ledger.grant(name, "board", conference(lasts=lasts), LONG_SECONDS)
            if way == "ended":
                ledger.end(name, 5, LONG_SECONDS)
            if way in {"gone", "ended"}:
                ledger.settle(name)
        ends = ledger._index._ends
        assert len(ends._groups) == len(ends._minutes) <= SPARE_MINUTES + 3
        assert sum(map(len, ends._groups.values())) <= 1
        assert len(ledger._index) <= 1
        assert sum(map(len, ledger._index._rooms._keys.values())) <= 1


def test_conferences_still_expire_after_trimming(ledger: SqliteLedger) -> None:
    """Open conferences still expire after old ends were removed from the index."""
    for number in range(20):
        grant(ledger, str(number), f"room{number}")
    for number in range(3000):
        grant(ledger, f"gone{number}", "gone")
        ledger.settle(ref(f"gone{number}"))
    expired = ledger.expire(END_MS + 1)
    assert {record.ref for record in expired} == {ref(str(number)) for number in range(20)}


# -- threads ------------------------------------------------------------------------------------


def test_changes_by_many_threads(tmp_path: Path) -> None:
    """After changes by several threads, the indexes and the disk agree with the records."""
    with opened(tmp_path, max_conferences=30, write_behind=True) as ledger:

        def work(seed: int) -> Callable[[], None]:
            def run() -> None:
                for step in range(200):
                    number = str((step * 7 + seed * 11) % 40)
                    if (step + seed) % 3 == 0:
                        grant(ledger, number, f"room{int(number) % 20}")
                    elif (step + seed) % 3 == 1 and len(ledger.pending("default")) < 15:
                        with suppress(StateError):  # too many are known only from a DELETE
                            ledger.end(ref(number), step, LONG_SECONDS)
                    elif ledger.is_over(ref(number)):
                        ledger.settle(ref(number))

            return run

        together(*[work(seed) for seed in range(6)])
        check_indexes(ledger)
        ledger.flush()
        found = {record.ref: record for record in ledger.dump()}
        assert {record.ref: record for record in stored(tmp_path)} == found
