"""The values in answers: every form that public backends use, and what is refused."""

import json
from contextlib import suppress
from datetime import UTC, datetime

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jicofo_reservation_proxy.backends.conference_rules import ContractBreach
from jicofo_reservation_proxy.backends.http.lenient_values import (
    read_duration,
    read_flag,
    read_positive,
    read_text,
    read_time,
)
from jicofo_reservation_proxy.model import FIRST_SECOND, LAST_SECOND, NO_LIMIT_SECONDS
from jicofo_reservation_proxy.text_rules import format_time

HUGE = 10**400
"""JSON allows it, and no float can hold it."""

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=20)
    | st.from_regex(r"[+-]?[0-9]{1,22}(\.[0-9]{1,3})?", fullmatch=True)
    | st.from_regex(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9:.,Z+-]{0,20}", fullmatch=True)
    | st.sampled_from([HUGE, -HUGE, float("inf"), -float("inf"), 0.0, -0.0, "\ud800", "1e5"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=4,
)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("order/7", "order/7"),
        ("", ""),
        (None, ""),
        (7, "7"),
        (0, "0"),
        (-7, "-7"),
        (7.0, "7"),
        (1e15, "1000000000000000"),
        (7.5, "7.5"),
        ("32b70e57-b26c-8a6c-8f6b-535dfdbc43bc", "32b70e57-b26c-8a6c-8f6b-535dfdbc43bc"),
        ("caf\u00e9 \U0001f600", "caf\u00e9 \U0001f600"),
        ("007", "007"),
    ],
)
def test_texts_and_ids(value: object, text: str) -> None:
    """A number is a text too, as long as a number with a fraction of zero is the whole number."""
    assert read_text("id", value) == text


@pytest.mark.parametrize(
    ("value", "got"),
    [
        (True, "true or false"),
        (False, "true or false"),
        (["hunter2"], "an array"),
        ({"hunter2": "hunter2"}, "an object"),
        ("hunter2\ud800", "half of a surrogate pair"),
        (float("inf"), "a number that is too large"),
        (json.loads("-1e999"), "a number that is too large"),
    ],
)
def test_what_is_no_text(value: object, got: str) -> None:
    """The error does not show the value, because the field may be a password."""
    with pytest.raises(ContractBreach) as caught:
        read_text("password", value)
    assert str(caught.value) == f"wanted a password that is a text, got {got}"


@pytest.mark.parametrize(
    ("value", "milliseconds"),
    [
        ("2048-04-20T17:55:12.345Z", 345),
        ("2048-04-20T17:55:12Z", 0),
        ("2048-04-20T17:55Z", -12_000),
        ("2048-04-20T17:55:12.345+00:00", 345),
        ("2048-04-20T17:55:12.345+0000", 345),
        ("2048-04-20T17:55:12.345+00", 345),
        ("2048-04-20T17:55:12.345678Z", 345),
        ("2048-04-20T17:55:12.345999999Z", 345),
        ("2048-04-20T17:55:12,345Z", 345),
        ("2048-04-20T17:55:12.3Z", 300),
        ("2048-04-20 17:55:12.345Z", 345),
        ("2048-04-20 17:55:12 UTC", 0),
        ("2048-04-20 17:55:12 +0000", 0),
        ("2048-04-20T17:55:12GMT", 0),
        ("2048-04-20t17:55:12z", 0),
        ("2048-04-20T19:55:12+02:00", 0),
        ("2048-04-20T23:25:12+0530", 0),
        ("2048-04-20T11:55:12-06", 0),
        (" 2048-04-20T17:55:12Z\n", 0),
        (2_471_018_112, 0),
        (2_471_018_112.345, 345),
        (2_471_018_112_345, 345),
        (2_471_018_112_345.9, 345),
        ("2471018112", 0),
        ("2471018112345", 345),
    ],
)
def test_times(value: object, milliseconds: int) -> None:
    """Times with a zone, with or without fractions, and seconds or milliseconds of the epoch."""
    assert read_time("start_time", value) == (2_471_018_112_000 + milliseconds, True)


@pytest.mark.parametrize("value", ["2048-04-20T17:55:12", "2048-04-20 17:55:12.000000"])
def test_times_without_a_zone(value: str) -> None:
    """A time without a zone is taken as UTC."""
    assert read_time("start_time", value) == (2_471_018_112_000, False)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("tomorrow", "'tomorrow'"),
        ("2048-04-20", "'2048-04-20'"),
        ("2048-4-20T17:55:12Z", "'2048-4-20T17:55:12Z'"),
        ("2048-04-20T17:55:12Zulu", "'2048-04-20T17:55:12Zulu'"),
        ("20\u0664\u0668-04-20T17:55:12Z", "'20\u0664\u0668-04-20T17:55:12Z'"),
        ("1e10", "'1e10'"),
        (True, "True"),
        ([], "an array"),
        ({}, "an object"),
        (float("inf"), "inf"),
        ("x" * 1000, f"'{'x' * 99}..."),
        pytest.param(HUGE, f"1{'0' * 99}...", id="huge"),
    ],
)
def test_what_is_no_time(value: object, shown: str) -> None:
    """The error shows the value, and at most 100 characters of it."""
    with pytest.raises(ContractBreach) as caught:
        read_time("start_time", value)
    assert str(caught.value) == (
        f"wanted a start_time such as 2048-04-20T17:55:12.000Z, got {shown}"
    )


@pytest.mark.parametrize(
    "value",
    [
        "2048-02-30T00:00:00Z",
        "2048-13-01T00:00:00Z",
        "0000-01-01T00:00:00Z",
        "2048-04-20T25:00:00Z",
        "2048-04-20T23:59:60Z",
        "2048-04-20T17:55:12+99:00",
        "2048-04-20T17:55:12+24:00",
    ],
)
def test_times_that_are_not_in_the_calendar(value: str) -> None:
    """A day, an hour or a zone that does not exist."""
    with pytest.raises(ContractBreach, match="that is in the calendar, got"):
        read_time("start_time", value)


@pytest.mark.parametrize(
    "value",
    [
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-14:00",
        LAST_SECOND * 1000 + 1000,
        FIRST_SECOND * 1000 - 1,
        10**19,
        "-99999999999999999999",
    ],
)
def test_times_outside_the_years_of_the_contract(value: object) -> None:
    """Nothing after the year 9999 or before the year 1 can be written into an answer."""
    with pytest.raises(ContractBreach, match="in the years 1 to 9999"):
        read_time("start_time", value)


@given(moment=st.datetimes(timezones=st.timezones()), zone=st.sampled_from([":", ""]))
@settings(max_examples=100)
def test_any_time_with_a_zone_is_read_as_python_reads_it(moment: datetime, zone: str) -> None:
    """The independent reader is `datetime.fromisoformat`."""
    text = moment.isoformat(timespec="microseconds")
    if text[-6] not in "+-":  # a zone of the 19th century has seconds
        return
    wanted = (moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()
    if not FIRST_SECOND <= wanted <= LAST_SECOND:
        return
    found = read_time("start_time", text[:-3] + text[-3:].replace(":", zone))
    assert found.has_zone
    assert datetime.fromisoformat(format_time(found.epoch_ms)) == datetime.fromisoformat(
        text
    ).astimezone(UTC).replace(microsecond=moment.microsecond // 1000 * 1000)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("", None),
        (0, None),
        (-1, None),
        (-1.0, None),
        ("0", None),
        ("-1", None),
        (3600, 3600),
        ("3600", 3600),
        (" 3600 ", 3600),
        (3600.0, 3600),
        (3600.9, 3600),
        ("3600.0", 3600),
        (0.5, 1),
        (NO_LIMIT_SECONDS, NO_LIMIT_SECONDS),
        (NO_LIMIT_SECONDS + 1, None),
        (10**19, None),
    ],
)
def test_durations(value: object, seconds: int | None) -> None:
    """Durations as numbers and texts; zero, less, and more than a century have no limit."""
    assert read_duration("duration", value, seconds_of_unit=1) == seconds


def test_durations_in_minutes() -> None:
    """A fraction of a minute counts; a fraction of a second does not."""
    assert read_duration("duration", 90, seconds_of_unit=60) == 5400
    assert read_duration("duration", "1.5", seconds_of_unit=60) == 90
    assert read_duration("duration", 0.001, seconds_of_unit=60) == 1
    assert read_duration("duration", NO_LIMIT_SECONDS / 60 + 1, seconds_of_unit=60) is None


@pytest.mark.parametrize("value", ["1h", "PT1H", True, False, [3600], {}, "1e999", float("inf")])
def test_what_is_no_duration(value: object) -> None:
    """Another value is refused: a meeting must not have no limit because of a mistake."""
    with pytest.raises(ContractBreach, match="wanted a duration that is a number, got"):
        read_duration("duration", value, seconds_of_unit=1)


def test_numbers_that_no_float_can_hold() -> None:
    """JSON has no limit for numbers; this one is refused or left out like other large ones."""
    for sign in (1, -1):
        with pytest.raises(ContractBreach):
            read_time("start_time", sign * HUGE)
        with pytest.raises(ContractBreach):
            read_duration("duration", sign * HUGE, seconds_of_unit=1)
        assert read_positive(sign * HUGE) is None
        assert read_flag(sign * HUGE) is None


@pytest.mark.parametrize(
    ("value", "flag"),
    [
        (True, True),
        (False, False),
        (1, True),
        (0, False),
        ("true", True),
        ("True", True),
        ("1", True),
        ("false", False),
        (" 0 ", False),
        ("yes", None),
        (2, None),
        (None, None),
        ([], None),
        ({}, None),
    ],
)
def test_flags(value: object, flag: bool | None) -> None:
    """Yes or no as JSON, as a number and as a text."""
    assert read_flag(value) is flag


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (12, 12),
        ("12", 12),
        (12.0, 12),
        (2**31 - 1, 2**31 - 1),
        (2**31, None),
        (0, None),
        (-1, None),
        (1.5, None),
        ("twelve", None),
        (True, None),
        (None, None),
        ([], None),
        (float("inf"), None),
    ],
)
def test_positive_numbers(value: object, number: int | None) -> None:
    """A number that a client cannot use is left out."""
    assert read_positive(value) == number


@given(value=json_values)
@example([[[]]])
@settings(max_examples=300)
def test_any_value_is_read_or_refused(value: object) -> None:
    """No function raises another error, whatever JSON an answer has."""
    for read in (
        lambda: read_text("id", value),
        lambda: read_time("start_time", value),
        lambda: read_duration("duration", value, seconds_of_unit=60),
        lambda: read_flag(value),
        lambda: read_positive(value),
    ):
        with suppress(ContractBreach):
            read()


def test_nested_values_are_refused_at_any_depth() -> None:
    """What the parser of JSON can just read, the error can just show."""
    for depth in range(1, 1100):
        try:
            value = json.loads("[" * depth + "]" * depth)
        except RecursionError:
            break
        with pytest.raises(ContractBreach):
            _deeper(8, value)


def _deeper(frames: int, value: object) -> None:
    """Read a value with more functions on the stack than the parser had."""
    if frames:
        return _deeper(frames - 1, value)
    read_time("start_time", value)
    return None
