"""The first entry of a dict whose first entries are removed."""

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies import DataObject
from jicofo_reservation_proxy.ledger import oldest
from jicofo_reservation_proxy.ledger.oldest import Oldest


@given(st.data())
def test_the_first_entry(data: DataObject) -> None:
    """`Oldest` finds the first entry of the dict after any additions, removals and changes."""
    entries: dict[int, object] = {}
    first = Oldest(entries)
    for key in data.draw(st.lists(st.integers(0, 5))):
        if data.draw(st.booleans()):
            entries.pop(key, None)
            entries[key] = object()
        else:
            entries.pop(key, None)
        if data.draw(st.booleans()):
            assert first.key() == next(iter(entries), None)


def test_the_entries_are_looked_up_in_portions() -> None:
    """A dict that is longer than a portion is emptied in order."""
    entries = {number: object() for number in range(2 * oldest.ENTRIES + 1)}
    first = Oldest(entries)
    for number in range(2 * oldest.ENTRIES + 1):
        assert first.key() == number
        del entries[number]
    assert first.key() is None
