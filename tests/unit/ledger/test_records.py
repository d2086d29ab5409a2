"""How a record is stored: the file uses the words of its first version."""

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
def test_the_stored_words(state: RecordState, stored: str, *, is_fallback: bool) -> None:
    """The stored words stay the same, so that different versions of the proxy can read the file."""
    record = Record(ConferenceRef("default", "7", is_fallback), state, "board")
    row = to_row(record)
    assert row[:5] == ("default", "7", is_fallback, stored, "board")
    assert from_rows([row], "a test") == [record]


def test_every_state_is_stored() -> None:
    """Each state is stored as a different word."""
    words = {to_row(Record(ConferenceRef("default", "7"), state))[3] for state in RecordState}
    assert len(words) == len(RecordState)
