"""Lenient reading of the values in answers: the forms that public backends were found to use.

docs/http-backends.md lists the forms. Every function raises `ContractBreach` for another value.
"""

import math
import re
from datetime import UTC, datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from typing import NamedTuple

from jicofo_reservation_proxy.backends.conference_rules import breach
from jicofo_reservation_proxy.model import FIRST_SECOND, LAST_SECOND, NO_LIMIT_SECONDS

MILLISECONDS_FROM = 100_000_000_000
"""A number of at least this size counts milliseconds: as seconds, it is in the year 5138."""

_NUMBER = re.compile(r"[+-]?[0-9]{1,20}(?:\.[0-9]{1,20})?")
_TIME = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)?"
    r" ?(Z|UTC|GMT|[+-]\d\d(?::?\d\d)?)?",
    re.ASCII | re.IGNORECASE,
)
_HTTP_DATE = re.compile(r"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT", re.ASCII)
"""The form of HTTP's own dates (RFC 9110, section 5.6.7), which Flask gives to a datetime."""

_NUMBERS_BELOW = 10**20
_MAX_SHOWN = 100


class Time(NamedTuple):
    """A time in milliseconds since the epoch; `has_zone` is false if it was taken as UTC."""

    epoch_ms: int
    has_zone: bool = True


def read_text(field: str, value: object) -> str:
    """Return a text, or a number as a text; "" for null."""
    match value:
        case None:
            return ""
        case str() if value.isascii() or _is_unicode(value):
            return value
        case bool():
            pass
        case int():
            return str(value)
        case float() if math.isfinite(value):
            return str(int(value)) if value.is_integer() else repr(value)
    raise breach(f"a {field} that is a text", _kind(value))  # a password must not be shown


def read_time(field: str, value: object) -> Time:
    """Return a time: a text with or without a zone, or the seconds or milliseconds of an epoch."""
    if (number := _number(value)) is not None:
        is_of_seconds = abs(number) < MILLISECONDS_FROM
        return Time(_in_range(field, math.floor(number * 1000 if is_of_seconds else number)))
    text = value.strip() if isinstance(value, str) else ""
    try:
        if _HTTP_DATE.fullmatch(text):
            return Time(_in_range(field, _epoch_ms(parsedate_to_datetime(text))))
        if match := _TIME.fullmatch(text):
            *parts, fraction, zone = match.groups()
            year, month, day, hour, minute, second = (int(part or 0) for part in parts)
            moment = datetime(year, month, day, hour, minute, second, tzinfo=_zone(zone))
            milliseconds = int((fraction or "0").ljust(3, "0")[:3])
            return Time(_in_range(field, _epoch_ms(moment) + milliseconds), zone is not None)
    except ValueError:
        raise _breach(f"a {field} that is in the calendar", value) from None
    raise _breach(f"a {field} such as 2048-04-20T17:55:12.000Z", value)


def read_duration(field: str, value: object, *, seconds_of_unit: int) -> int | None:
    """Return a duration in seconds; `None` for no limit: null, "", 0 or a negative number."""
    if value is None or value == "":
        return None
    if (number := _number(value)) is None:
        raise _breach(f"a {field} that is a number", value)
    if number <= 0:
        return None
    seconds = number * seconds_of_unit
    return None if seconds > NO_LIMIT_SECONDS else max(1, math.floor(seconds))


def read_flag(value: object) -> bool | None:
    """Return a yes or no, also as a number or a text; `None` for another value."""
    if isinstance(value, str):
        return {"true": True, "1": True, "false": False, "0": False}.get(value.strip().lower())
    return bool(value) if value in (0, 1) else None


def read_positive(value: object) -> int | None:
    """Return a positive whole number that fits into 31 bits, also as a text; otherwise `None`."""
    number = _number(value)
    is_usable = number is not None and number >= 1 and number == math.floor(number) < 2**31
    return int(number) if is_usable and number is not None else None


def _number(value: object) -> int | float | None:
    """Return a finite number, also as a text; `None` for another value."""
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        text = value.strip()
        return float(text) if "." in text else int(text)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if abs(value) < _NUMBERS_BELOW else None


def _zone(text: str | None) -> timezone:
    if text is None or text[0] not in "+-":
        return UTC
    digits = text[1:].replace(":", "").ljust(4, "0")
    offset = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    return timezone(-offset if text[0] == "-" else offset)


def _epoch_ms(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


def _in_range(field: str, epoch_ms: int) -> int:
    if not FIRST_SECOND <= epoch_ms // 1000 <= LAST_SECOND:
        raise _breach(f"a {field} in the years 1 to 9999", epoch_ms)
    return epoch_ms


def _is_unicode(text: str) -> bool:
    """Return whether UTF-8 can encode a text: JSON also allows half of a surrogate pair."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _breach(wanted: str, value: object) -> Exception:
    if isinstance(value, dict | list):  # may be nested too deeply for `repr`
        return breach(wanted, _kind(value))
    shown = repr(value)
    return breach(wanted, shown if len(shown) <= _MAX_SHOWN else f"{shown[:_MAX_SHOWN]}...")


def _kind(value: object) -> str:
    """Return what a value that is no text is, without showing it."""
    match value:
        case str():
            return "half of a surrogate pair"
        case dict():
            return "an object"
        case list():
            return "an array"
        case bool():
            return "true or false"
        case _:
            return "a number that is too large"
