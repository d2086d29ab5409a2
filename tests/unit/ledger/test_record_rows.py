"""How a record is stored: the file uses the words of its first version."""

import pytest
from jicofo_reservation_proxy.ledger.packed_records import pack
from jicofo_reservation_proxy.ledger.record_rows import from_row, to_row
from jicofo_reservation_proxy.ledger.records import Record, RecordState
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
    ref = ConferenceRef("default", "7", is_fallback)
    packed = pack(Record(ref, state, "board"))
    row = to_row(ref, packed)
    assert row[:5] == ("default", "7", is_fallback, stored, "board")
    assert from_row(row) == (ref, packed)


def test_every_state_is_stored() -> None:
    """Each state is stored as a different word."""
    ref = ConferenceRef("default", "7")
    words = {to_row(ref, pack(Record(ref, state)))[3] for state in RecordState}
    assert len(words) == len(RecordState)
