"""Public ids: what a client calls a conference, and the way back from it.

GET and DELETE bring nothing but an id, and it must lead to the right conference of the right
backend, after a restart too. There are four forms:

    default.order~2F7        a string: backend, ".", the backend's id with escapes. For Prosody.
    default-6f1d2c3b         the same with "-": a fallback grant of the proxy's own. For Prosody.
    364758328                a number below ALIAS_BASE: the only backend's own id. For Jicofo.
    9_..., 14 digits         a number from ALIAS_BASE on: an alias kept in the ledger. For Jicofo.

A string id holds only characters that stand for themselves in a URL's path, since Prosody puts
it there unescaped, and begins with a letter, so that it is never taken for a number. Numbers
have 14 digits at most: from 10^14 on, Debian's lua-cjson writes them as 1e+14 (clients.md).
"""

import hashlib
import re
import secrets
from dataclasses import dataclass

from .model import ConferenceRef

ALIAS_BASE = 90_000_000_000_000
ALIAS_COUNT = 10_000_000_000_000
"""Aliases are ALIAS_BASE ... ALIAS_BASE + ALIAS_COUNT - 1; a backend's own numbers lie below."""

BACKEND_NAME = re.compile(r"[a-z][a-z0-9]*(?:_[a-z0-9]+)*")
"""Names of backends: they are part of string ids, of settings' keys and of metrics' labels."""

_LITERAL = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
_STRING_ID = re.compile(rf"({BACKEND_NAME.pattern})([.-])((?:[A-Za-z0-9_-]|~[0-9A-F]{{2}})*)")
_ESCAPE = re.compile(rb"~([0-9A-F]{2})")
_OWN_NUMBER = re.compile(r"[1-9][0-9]{0,13}")
_NUMBER_IN_PATH = re.compile(r"(0|[1-9][0-9]{0,13})(?:\.0+)?")


@dataclass(frozen=True, slots=True)
class Number:
    """An id in a path that is a number; whose it is depends on its value."""

    value: int

    @property
    def is_alias(self) -> bool:
        """Whether the ledger knows it, rather than a backend."""
        return self.value >= ALIAS_BASE


def encode(ref: ConferenceRef) -> str:
    """Return the self-describing string id of a conference.

    Its id may be any text that UTF-8 can hold, which is all that a backend can send. No name of a
    backend holds a "." or a "-", so a fallback grant's id is never that of a backend's conference.
    """
    raw = ref.conference_id.encode()
    escaped = "".join(chr(byte) if byte in _LITERAL else f"~{byte:02X}" for byte in raw)
    return f"{ref.backend}{'-' if ref.is_fallback else '.'}{escaped}"


def decode(text: str) -> ConferenceRef | Number | None:
    """Return what an id in a path stands for, or `None` where it is none of the proxy's.

    `N.0` is the number N: Prosody with Debian 12's lua-cjson sends numbers so (clients.md).
    """
    if number := _NUMBER_IN_PATH.fullmatch(text):
        return Number(int(number[1]))
    if match := _STRING_ID.fullmatch(text):
        return _unescape(match[1], match[3], is_fallback=match[2] == "-")
    return None


def _unescape(backend: str, escaped: str, *, is_fallback: bool) -> ConferenceRef | None:
    raw = _ESCAPE.sub(lambda match: bytes.fromhex(match[1].decode()), escaped.encode())
    try:
        return ConferenceRef(backend, raw.decode(), is_fallback)
    except UnicodeDecodeError:
        return None


def own_number(conference_id: str) -> int | None:
    """Return the backend's id as the number it is, or `None` where it needs an alias.

    Only what comes back the same as text will do: no sign, no leading zero, ASCII digits, and
    below the aliases.
    """
    if not _OWN_NUMBER.fullmatch(conference_id):
        return None
    value = int(conference_id)
    return value if value < ALIAS_BASE else None


def alias_candidate(ref: ConferenceRef, attempt: int) -> int:
    """Return the number to try as an alias of a conference; `attempt` counts from 0.

    It is a hash, not a counter: should the ledger be lost, a conference gets the number that it
    had, and a number that a client still holds never comes to mean another conference.
    """
    digest = hashlib.sha256(f"{attempt}\0{encode(ref)}".encode()).digest()
    return ALIAS_BASE + int.from_bytes(digest[:8], "big") % ALIAS_COUNT


def new_incident_id() -> str:
    """Return the id under which one request stands in every log, here and at the backend."""
    return secrets.token_hex(6)
