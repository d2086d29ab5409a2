"""How a record is stored: the words in the file are those of the first version."""

import pytest
from jicofo_reservation_proxy.ledger.records import Record, RecordState, from_rows, to_row
from jicofo_reservation_proxy.model import ConferenceRef


@pytest.mark.parametrize(
    ("state", "stored"),
    [
        (RecordState.OPEN, "open"),
        (RecordState.PENDING, "ended"),
        (RecordState.ABANDONED, "dead"),
    ],
)
@pytest.mark.parametrize("is_fallback", [False, True])
def test_what_is_stored(state: RecordState, stored: str, *, is_fallback: bool) -> None:
    """A file goes back and forth between versions, whatever the states are called in the code."""
    record = Record(ConferenceRef("default", "7", is_fallback), state, "board")
    row = to_row(record)
    assert row[:5] == ("default", "7", is_fallback, stored, "board")
    assert from_rows([row], "a test") == [record]


def test_every_state_is_stored() -> None:
    """Each as a word of its own."""
    words = {to_row(Record(ConferenceRef("default", "7"), state))[3] for state in RecordState}
    assert len(words) == len(RecordState)
