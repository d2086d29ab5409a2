"""The rules for texts: allowed characters, a single line, and the format of times.

The checks of a backend's answers, the parser of a client's form and the answers to clients share
these rules.
"""

import re
from datetime import datetime, timedelta

MAX_MESSAGE_CHARACTERS = 500
"""The proxy cuts a longer message for users, because Jitsi shows messages in a small dialog."""

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - UTC, like all times here
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ufffe\uffff]")
_SPACE = re.compile(r"\s+")
_NOT_IN_XML = re.compile(
    "[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef"
    + "".join(
        f"{chr(plane + 0xFFFE)}{chr(plane + 0xFFFF)}" for plane in range(0, 0x110000, 0x10000)
    )
    + "]"
)
"""Both clients put a text into XML, which allows no control characters and no non-characters."""


def has_control_characters(text: str) -> bool:
    """Return whether a text has a control character, a line break or a non-character."""
    if text.isascii() and text.isprintable():
        return False
    return _CONTROL.search(text) is not None


def one_line(text: str, max_characters: int = MAX_MESSAGE_CHARACTERS) -> str:
    """Return the text as a single line of characters that both clients accept, cut if too long."""
    text = _SPACE.sub(" ", text[: 2 * max_characters])
    text = _NOT_IN_XML.sub("", text).strip()
    if len(text) <= max_characters:
        return text
    return text[: max_characters - 1].rstrip() + "\N{HORIZONTAL ELLIPSIS}"


def format_period(seconds: float) -> str:
    """Return a time span in its two largest units, such as `3m20s`, `2d5h` or `12s`."""
    left = max(0, int(seconds))
    parts = []
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)):
        number, left = divmod(left, size)
        parts.append(f"{number}{unit}" if number else "")
    first = next((index for index, part in enumerate(parts) if part), len(parts) - 1)
    return "".join(parts[first : first + 2]) or "0s"


def format_time(epoch_ms: int) -> str:
    """Return `YYYY-MM-DDTHH:MM:SS.mmmZ`; the fraction has exactly three digits.

    clients.md "start_time" has the reason. Raises `OverflowError` after the year 9999.
    """
    moment = _EPOCH + timedelta(milliseconds=epoch_ms)
    return moment.isoformat(timespec="milliseconds") + "Z"
