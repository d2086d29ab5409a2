"""Masking: names of rooms and ids of conferences as codes, so that nobody learns who meets."""

import hashlib
import re
import secrets

from jicofo_reservation_proxy.observability.logs import Warned
from jicofo_reservation_proxy.text_rules import one_line

ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"

HIDDEN = "(hidden by mask_rooms; see the log)"

_VALUE = re.compile("%[a-z]")
"""A value in a message of the standard library's logging."""

_CLEAR_FIELDS = frozenset(
    {"client", "outcome", "status", "backend", "code", "ms", "incident", "source", "fault"}
    | {"reason", "attempt"}
)
"""The fields of the log that contain neither a room nor an id nor a text of others."""

_KEY = secrets.token_bytes(16)
"""A code tells nothing about its room without this key, which changes at each start."""


class Masking:
    """Shows texts; if `is_on`, rooms and ids are codes. Equal rooms have equal codes."""

    def __init__(self, *, is_on: bool) -> None:
        self.is_on = is_on

    def name(self, text: str) -> str:
        """Return a room or an id as it may be shown."""
        if not self.is_on or not text:
            return one_line(text)
        digest = hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=4, key=_KEY)
        return f"masked-{digest.hexdigest()}"

    def text(self, text: str) -> str:
        """Return a text that may contain a room, as it may be shown."""
        return HIDDEN if self.is_on and text else one_line(text)

    def warned(self, warned: Warned) -> str:
        """Return a line of the log as it may be shown, without time and level."""
        words = [one_line(_without_values(warned.template) if self.is_on else warned.message)]
        for key, value in warned.fields.items():
            if self.is_on and key not in _CLEAR_FIELDS:
                if key in {"room", "id"}:
                    words.append(f"{key}={self.name(str(value))}")
            elif value != "":
                words.append(f"{key}={one_line(str(value))}")
        return " ".join(words)


def _without_values(template: str) -> str:
    """Return a message of the log with an ellipsis in place of each value."""
    text = _VALUE.sub(ELLIPSIS, template)
    return text if re.search("[A-Za-z]", text) else HIDDEN
