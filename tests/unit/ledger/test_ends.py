"""The ends in groups of a minute, compared with a dict."""

from hypothesis import given
from hypothesis import strategies as st
from jicofo_reservation_proxy.ledger.ends import MINUTE_MS, SPARE_MINUTES, Ends

TIMES = st.integers(-3, 5 * MINUTE_MS) | st.sampled_from(
    [0, MINUTE_MS - 1, MINUTE_MS, MINUTE_MS + 1, 2 * MINUTE_MS]
)
STEPS = st.lists(
    st.tuples(st.just("add"), st.sampled_from("abcd"), TIMES)
    | st.tuples(st.just("discard"), st.sampled_from("abcd"), TIMES)
    | st.tuples(st.just("pop"), st.just(""), TIMES),
    max_size=40,
)


def popped(ends: Ends, before_ms: int) -> list[tuple[str, int]]:
    """Return all ends before this time."""
    found = []
    while entry := ends.pop(before_ms):
        found.append(entry)
    return found


@given(STEPS)
def test_the_ends_that_have_passed(steps: list[tuple[str, str, int]]) -> None:
    """Exactly the ends before a time are popped, each once, and the earliest one first."""
    ends, expected = Ends(), dict[str, int]()
    for kind, key, at_ms in steps:
        if kind == "pop":
            found = popped(ends, at_ms)
            assert dict(found) == {key: end for key, end in expected.items() if end < at_ms}
            assert [end for _, end in found] == sorted(end for _, end in found)
            expected = {key: end for key, end in expected.items() if end >= at_ms}
        elif key in expected:
            ends.discard(key, expected.pop(key))
        elif kind == "add":
            ends.add(key, at_ms)
            expected[key] = at_ms
    assert sum(map(len, ends._groups.values())) == ends._count == len(expected)


def test_a_clock_that_goes_back() -> None:
    """An end that was about to be popped is not popped for an earlier time."""
    ends = Ends()
    ends.add("a", 10)
    ends.add("b", 20)
    assert ends.pop(30) == ("a", 10)
    assert ends.pop(20) is None
    assert ends.pop(21) == ("b", 20)


def test_empty_minutes_are_removed() -> None:
    """The minutes of ends that were discarded do not pile up; the other ends stay."""
    ends = Ends()
    ends.add("kept", 7 * MINUTE_MS)
    for minute in range(3 * SPARE_MINUTES):
        ends.add("a", minute * MINUTE_MS)
        ends.discard("a", minute * MINUTE_MS)
    assert len(ends._groups) == len(ends._minutes) <= SPARE_MINUTES + 3
    assert popped(ends, 8 * MINUTE_MS) == [("kept", 7 * MINUTE_MS)]
