"""Packed records: nothing of a record is lost, in memory and in a row of the database."""

import dataclasses
import gc
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jicofo_reservation_proxy.ledger import record_rows
from jicofo_reservation_proxy.ledger.packed_records import (
    RecordList,
    end_of,
    flags_of,
    key_of,
    over_at_of,
    pack,
    ref_of,
    start_of,
    state_of,
    unpack,
)
from jicofo_reservation_proxy.ledger.records import Record, RecordState, is_unchanged
from jicofo_reservation_proxy.model import Conference, ConferenceRef, DeleteReason

from tests.unit.ledgers import conference, ref

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.sampled_from(
    [".", "-", "a.b-c", "\0", "é\n", '"', "x" * 300]
)
NUMBERS = st.sampled_from([0, 1, -1, 2**31, 2**62, -(2**63), 2**63 - 1]) | st.integers()
REFS = st.builds(
    ConferenceRef, st.from_regex(r"[a-z][a-z0-9_]{0,5}", fullmatch=True), TEXTS, st.booleans()
)
CONFERENCES = st.builds(
    Conference,
    id=TEXTS,
    room=TEXTS,
    owner=TEXTS,
    start_time_ms=NUMBERS,
    duration_seconds=st.none() | NUMBERS,
    max_occupants=st.none() | NUMBERS,
    lobby=st.none() | st.booleans(),
    password=st.none() | TEXTS,
    pin=st.none() | TEXTS,
    url=st.none() | TEXTS,
    sip_id=st.none() | NUMBERS,
)
RECORDS = st.builds(
    Record,
    ref=REFS,
    state=st.sampled_from(RecordState),
    room=TEXTS,
    conference=st.none() | CONFERENCES,
    is_whole=st.booleans(),
    over_at_ms=st.none() | NUMBERS,
    reason=st.none() | st.sampled_from(DeleteReason),
    hold=NUMBERS,
    has_row=st.booleans(),
    has_no_holder=st.booleans(),
    revision=NUMBERS,
)


@given(RECORDS)
def test_a_packed_record_is_the_record(record: Record) -> None:
    """Packing loses nothing, and the functions read the same values."""
    packed = pack(record)
    assert is_unchanged(unpack(record.ref, packed), record)
    assert state_of(packed) is record.state
    assert flags_of(packed) == (record.is_whole, record.has_row, record.has_no_holder)
    assert end_of(packed) == record.ends_at_ms
    assert over_at_of(packed) == (record.over_at_ms or 0)
    held = record.conference
    assert start_of(packed) == (held.start_time_ms if held else 0)


@given(RECORDS, RECORDS)
def test_different_records_are_packed_differently(one: Record, other: Record) -> None:
    """Two packed records of a conference are equal only if the records are equal."""
    other = dataclasses.replace(other, ref=one.ref)
    assert (pack(one) == pack(other)) == is_unchanged(one, other)


@given(REFS)
def test_a_key_is_the_reference(name: ConferenceRef) -> None:
    """The text of a reference gives it back, whatever the id contains."""
    assert ref_of(key_of(name)) == name


@given(RECORDS)
def test_a_row_is_the_record_without_its_secrets(record: Record) -> None:
    """A row gives back the record, except its secrets, its revision and another id in it."""
    held = record.conference
    expected = dataclasses.replace(
        record,
        conference=held
        and dataclasses.replace(held, id=record.ref.conference_id, password=None, pin=None),
        is_whole=record.is_whole and not (held and (held.password or held.pin)),
        revision=0,
    )
    row = record_rows.to_row(record.ref, pack(record))
    name, packed = record_rows.from_row(row)
    assert is_unchanged(unpack(name, packed), expected)
    (found,) = record_rows.from_json(record_rows.to_json([record]), "a test")
    assert is_unchanged(found, expected)


def test_the_collector_does_not_visit_an_open_conference() -> None:
    """After the first collection, the garbage collector skips the packed records."""
    packed = [pack(Record(ref(), room="board", conference=conference())), pack(Record(ref()))]
    gc.collect()
    assert [gc.is_tracked(each) for each in packed] == [False, False]


def test_equal_texts_are_stored_once() -> None:
    """One text serves equal owners, and one text serves both names of a room."""

    def another(text: str) -> str:
        return text.encode().decode()

    one, other = (
        pack(
            Record(
                ref(),
                room=another("board"),
                conference=dataclasses.replace(
                    conference(), room=another(room), owner=another("romeo@example.com")
                ),
            )
        )
        for room in ("board", "Board")
    )
    _, room, name, owner, *_ = one
    assert owner is other[3]
    assert room is name
    assert other[1:3] == ("board", "Board")


# -- lists --------------------------------------------------------------------------------------


def test_a_list_of_records() -> None:
    """A list of packed records is a sequence of records, which compares and copies as a list."""
    records = [Record(ref(str(number)), room=f"room{number}") for number in range(3)]
    found = RecordList((key_of(record.ref), pack(record)) for record in records)
    assert found == records
    assert found != records[:2]
    assert found != 7
    assert (len(found), found[1], found[-1]) == (3, records[1], records[2])
    assert found[1:] == records[1:]
    assert list(reversed(found)) == records[::-1]
    assert pickle.loads(pickle.dumps(found)) == records  # noqa: S301 - this process made the pickle
    assert repr(found) == repr(records)
    with pytest.raises(IndexError):
        found[3]
    with pytest.raises(TypeError):
        hash(found)
