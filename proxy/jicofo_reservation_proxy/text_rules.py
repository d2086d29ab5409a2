"""The rules for texts: which characters they may have, one line, and how a time is written.

Both sides need them: what a backend sends is checked by the same rules as what a client is sent.
"""

import re
from datetime import datetime, timedelta

MAX_MESSAGE_CHARACTERS = 500
"""Where a sentence for people is cut; Jitsi shows it in a small dialog."""

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - in UTC, as all times here
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ufffe\uffff]")
_SPACE = re.compile(r"\s+")
_NOT_IN_XML = re.compile(
    "[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef"
    + "".join(
        f"{chr(plane + 0xFFFE)}{chr(plane + 0xFFFF)}" for plane in range(0, 0x110000, 0x10000)
    )
    + "]"
)
"""Both clients pass a text on in XML, which holds neither controls nor non-characters."""


def has_control_characters(text: str) -> bool:
    """Tell whether a text has a control character, a line break or a non-character."""
    return _CONTROL.search(text) is not None


def one_line(text: str, max_characters: int = MAX_MESSAGE_CHARACTERS) -> str:
    """Return a text that both clients can show: one line, printable, not too long."""
    text = _SPACE.sub(" ", text[: 2 * max_characters])
    text = _NOT_IN_XML.sub("", text).strip()
    if len(text) <= max_characters:
        return text
    return text[: max_characters - 1].rstrip() + "\N{HORIZONTAL ELLIPSIS}"


def format_time(epoch_ms: int) -> str:
    """Return `YYYY-MM-DDTHH:MM:SS.mmmZ`, exactly three digits (clients.md "start_time").

    Raises `OverflowError` after the year 9999.
    """
    moment = _EPOCH + timedelta(milliseconds=epoch_ms)
    return moment.isoformat(timespec="milliseconds") + "Z"
