"""The conferences of each room, compared with a dict of lists."""

from hypothesis import given
from hypothesis import strategies as st
from jicofo_reservation_proxy.ledger.rooms import Rooms

STEPS = st.lists(
    st.tuples(
        st.booleans(), st.sampled_from(["a", "b"]), st.sampled_from("xy"), st.sampled_from("1234")
    )
)


@given(STEPS)
def test_the_conferences_of_a_room(steps: list[tuple[bool, str, str, str]]) -> None:
    """A room has the conferences that were added and not removed, in this order."""
    rooms, expected = Rooms(), dict[tuple[str, str], list[str]]()
    for adds, backend, room, key in steps:
        known = expected.setdefault((backend, room), [])
        if not adds:
            rooms.discard(backend, room, key)
            known[:] = [other for other in known if other != key]
        elif key not in known:
            rooms.add(backend, room, key)
            known.append(key)
        for at, keys in expected.items():
            assert list(rooms.of(*at)) == keys
    rooms_left = {(backend, room) for backend, found in rooms._keys.items() for room in found}
    assert rooms_left == {at for at, keys in expected.items() if keys}


def test_an_unknown_room() -> None:
    """A room without conferences is no error."""
    rooms = Rooms()
    rooms.discard("a", "x", "1")
    assert list(rooms.of("a", "x")) == []
