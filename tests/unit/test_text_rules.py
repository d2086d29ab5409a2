"""The rules for texts: allowed characters, a single line, and the format of times."""

import pytest
from jicofo_reservation_proxy.model import FIRST_SECOND, LAST_SECOND
from jicofo_reservation_proxy.text_rules import (
    format_period,
    format_time,
    has_control_characters,
    one_line,
)


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
        (2_471_018_112_345, "2048-04-20T17:55:12.345Z"),
        (FIRST_SECOND * 1000, "0001-01-01T00:00:00.000Z"),
        (LAST_SECOND * 1000 + 999, "9999-12-31T23:59:59.999Z"),
    ],
)
def test_times_have_three_digits(ms: int, text: str) -> None:
    """Every time has exactly three digits after the point, and ends with Z."""
    assert format_time(ms) == text


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", ""),
        ("Not today.", "Not today."),
        (" a \r\n\t b ", "a b"),
        ("a\u2028b\u2029c\x85d\x1ee", "a b c d e"),
        ("a\u00a0\u3000b", "a b"),
        ("a\0b\x07c\x7fd\x9fe", "abcde"),
        ("a\ud800b\udfffc", "abc"),
        ("a\ufdd0b\ufdefc\ufffed\uffffe\U0001fffef\U0010ffffg", "abcdefg"),
        ("\0 a", "a"),
        ("a\ufffdb\ufeff\U0001f389", "a\ufffdb\ufeff\U0001f389"),
        ("x" * 500, "x" * 500),
        ("x" * 501, "x" * 499 + "\u2026"),
        ("x" * 498 + " yz", "x" * 498 + "\u2026"),
        ("x" + " " * 600 + "y", "x y"),
        ("\U0001f389" * 501, "\U0001f389" * 499 + "\u2026"),
    ],
)
def test_one_line(text: str, line: str) -> None:
    """A text becomes one printable line of at most 500 characters."""
    assert one_line(text) == line


def test_one_line_with_another_limit() -> None:
    """The caller can set another maximum length."""
    assert one_line("abcdef", 6) == "abcdef"
    assert one_line("abcdefg", 6) == "abcde\u2026"


@pytest.mark.parametrize(
    "text", ["a\0", "a\nb", "\x7f", "\x9f", "\u2028", "\u2029", "\ufffe", "\uffff"]
)
def test_control_characters(text: str) -> None:
    """Control characters, line breaks and non-characters are found at any place in the text."""
    assert has_control_characters(text)


@pytest.mark.parametrize("text", ["", "caf\u00e9", "a b", "\u00a0", "\U0001f389"])
def test_no_control_characters(text: str) -> None:
    """Accents, spaces and emoji are not control characters."""
    assert not has_control_characters(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.9, "0s"),
        (-5, "0s"),
        (12, "12s"),
        (200, "3m20s"),
        (3600, "1h"),
        (3605, "1h"),
        (90_000, "1d1h"),
        (5_000_000, "57d20h"),
    ],
)
def test_a_period_has_two_units(seconds: float, text: str) -> None:
    """A time span is in its two largest units, without a zero."""
    assert format_period(seconds) == text
