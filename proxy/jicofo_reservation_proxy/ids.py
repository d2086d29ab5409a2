"""Public ids: the ids of conferences for clients, and the conversion of these ids.

A GET or a DELETE contains only an id. The id must lead to the right conference of the right
backend, also after a restart. An id has one of four forms:

    default.order~2F7.1234   a string: backend, ".", the backend's id with escapes, ".", the number
                             of the grant's hold. For Prosody.
    default-6f1d2c3b.1235    a string with "-" instead of the first ".": a fallback grant.
    364758328                a number below ALIAS_BASE: the id from the only backend. For Jicofo.
    91234567890123           a number from ALIAS_BASE on: an alias from the ledger. For Jicofo.

A string id without the second "." is from an older version of the proxy, or typed by a person. It
names the conference and none of its grants.

Prosody puts an id into a URL's path without escaping it. So a string id has only characters that
need no escape there. A string id begins with a letter, so that nobody mistakes it for a number. A
number has at most 14 digits: from 10^14 on, Debian's lua-cjson writes 1e+14 (clients.md).
"""

import hashlib
import re
import secrets
from contextlib import suppress
from typing import NamedTuple

from .model import ConferenceRef

ALIAS_BASE = 90_000_000_000_000
ALIAS_COUNT = 10_000_000_000_000
"""Aliases are ALIAS_BASE ... ALIAS_BASE + ALIAS_COUNT - 1; a backend's own numbers are smaller."""

BACKEND_NAME = re.compile(r"[a-z][a-z0-9]*(?:_[a-z0-9]+)*")
"""The form of a backend's name. String ids, keys of settings and labels of metrics contain it."""

_LITERAL = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
_STRING_ID = re.compile(
    rf"({BACKEND_NAME.pattern})([.-])((?:[A-Za-z0-9_-]|~[0-9A-F]{{2}})*)(?:\.([1-9][0-9]{{0,18}}))?"
)
_ESCAPE = re.compile(rb"~([0-9A-F]{2})")
_OWN_NUMBER = re.compile(r"[1-9][0-9]{0,13}")
_NUMBER_IN_PATH = re.compile(r"(0|[1-9][0-9]{0,13})(?:\.0+)?")


class Number(NamedTuple):
    """An id in a path that is a number: an alias or a backend's own number."""

    value: int

    @property
    def is_alias(self) -> bool:
        """Whether the number is an alias, which only the ledger can resolve."""
        return self.value >= ALIAS_BASE


class Named(NamedTuple):
    """A string id in a path: the conference, and the number of the grant's hold.

    The number is 0 if the id names no grant.
    """

    ref: ConferenceRef
    hold: int = 0


def encode(ref: ConferenceRef, hold: int = 0) -> str:
    """Return the string id of a conference, or of one grant of it; `decode` gives them back.

    `hold` is the number of the grant's hold; with 0, the id names no grant.

    The backend's id may be any text that UTF-8 can encode (protobuf allows no other text). The name
    of a backend contains no "." and no "-". So a fallback grant and a conference of a backend never
    have the same string id.
    """
    raw = ref.conference_id.encode()
    escaped = "".join(chr(byte) if byte in _LITERAL else f"~{byte:02X}" for byte in raw)
    grant = f".{hold}" if hold else ""
    return f"{ref.backend}{'-' if ref.is_fallback else '.'}{escaped}{grant}"


def decode(text: str) -> Named | Number | None:
    """Return the conference or the number that an id in a path stands for.

    Return `None` for a text that the proxy never gives out as an id. `N.0` is the number N: Prosody
    with Debian 12's lua-cjson sends numbers in this form (clients.md).
    """
    if number := _NUMBER_IN_PATH.fullmatch(text):
        return Number(int(number[1]))
    if match := _STRING_ID.fullmatch(text):
        backend, separator, escaped, hold = match.groups()
        raw = _ESCAPE.sub(lambda escape: bytes.fromhex(escape[1].decode()), escaped.encode())
        with suppress(UnicodeDecodeError):
            return Named(ConferenceRef(backend, raw.decode(), separator == "-"), int(hold or 0))
    return None


def own_number(conference_id: str) -> int | None:
    """Return the backend's id as a number, or `None` if the conference needs an alias.

    The number is positive and less than `ALIAS_BASE`. The id must have only ASCII digits, no sign
    and no leading zero. So the proxy can convert the number back to the same id.
    """
    if not _OWN_NUMBER.fullmatch(conference_id):
        return None
    value = int(conference_id)
    return value if value < ALIAS_BASE else None


def alias_candidate(ref: ConferenceRef, attempt: int) -> int:
    """Return the number to try as an alias of a conference; `attempt` counts from 0.

    The number is a hash and not a counter. So a conference gets its old number again after the loss
    of the ledger. A number that a client still has does not lead to another conference.
    """
    digest = hashlib.sha256(f"{attempt}\0{encode(ref)}".encode()).digest()
    return ALIAS_BASE + int.from_bytes(digest[:8], "big") % ALIAS_COUNT


def new_incident_id() -> str:
    """Return a new incident id, which marks one request in the logs of proxy and backend."""
    return secrets.token_hex(6)
