"""Parse the form of `POST /conference`: return a `CreateRequest`, or the mistake in the request.

clients.md, "What they send", describes these forms. The fields come in any order. The Content-Type
may contain a charset. The clients percent-encode the room's name for XMPP, and then encode it again
for the form. Times have Java's format.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from urllib.parse import unquote, unquote_to_bytes

from jicofo_reservation_proxy.model import (
    FIRST_SECOND,
    LAST_SECOND,
    BadInput,
    CreateRequest,
    Room,
)
from jicofo_reservation_proxy.text_rules import has_control_characters

from .owners import IsGuest, parse_owner

FORM_TYPE = "application/x-www-form-urlencoded"
MAX_BODY_BYTES = 64 * 1024
MAX_FIELDS = 64
MAX_JID_PART_BYTES = 1023
"""The longest part of an XMPP address (RFC 7622, section 3.1). An owner has at most two parts."""
MAX_DURATION_SECONDS = 315_576_000_000
"""The longest duration that google.protobuf.Duration can hold: about 10,000 years."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_KNOWN_FIELDS = ("name", "mail_owner", "start_time", "duration")
_USUAL_TYPES = frozenset({FORM_TYPE, f"{FORM_TYPE}; charset=UTF-8"})
"""The Content-Types of Prosody and Jicofo."""
_UTF8_NAMES = frozenset({"utf-8", "utf8", "us-ascii"})
_CHARSET = re.compile(r";\s*charset\s*=\s*\"?([^\s;\"]+)\"?", re.IGNORECASE)
_TENANT = re.compile(r"\[([^\[\]]+)\](.+)", re.DOTALL)
_JAVA_TIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,9})?"
    r"(?:Z|[+-](?:0[0-9]|1[0-8])(?::?[0-5][0-9])?)"
)
"""The times that a client may send. `datetime.fromisoformat` alone would accept more formats."""

_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")


def parse_create(content_type: str, body: bytes, is_guest: IsGuest) -> CreateRequest | BadInput:
    """Return the request in the body of a form, or the mistake in the form."""
    if wrong := _wrong_type(content_type):
        return wrong
    fields = _fields(body)
    if isinstance(fields, BadInput):
        return fields
    return _request(fields, is_guest)


def _wrong_type(content_type: str) -> BadInput | None:
    if content_type in _USUAL_TYPES:
        return None
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type != FORM_TYPE:
        return BadInput(415, f"Content-Type: wanted {FORM_TYPE}, got {_quoted(content_type)}.")
    charset = _CHARSET.search(content_type)
    if charset and charset[1].lower() not in _UTF8_NAMES:
        return BadInput(415, f"Content-Type: wanted charset UTF-8, got {_quoted(charset[1])}.")
    return None


def _fields(body: bytes) -> dict[str, str] | BadInput:
    """Return the fields; of an unknown field that comes several times, the last value."""
    try:
        texts = [text for text in body.decode().split("&") if text]  # `a=1&&b=2` has two fields
        if len(texts) > MAX_FIELDS:
            return BadInput(400, f"The form has more than {MAX_FIELDS} fields.")
        pairs = [_pair(text) for text in texts]
    except UnicodeDecodeError:
        return BadInput(400, "The form is not valid UTF-8.")
    fields = dict(pairs)
    if len(fields) == len(pairs):
        return fields
    counts = Counter(name for name, _ in pairs)
    for name in _KNOWN_FIELDS:
        if counts[name] > 1:
            return BadInput(400, f"{name}: wanted this field once, got it {counts[name]} times.")
    return fields


def _pair(text: str) -> tuple[str, str]:
    """Return the name and the value of a field, as `urllib.parse.parse_qsl` does.

    `parse_qsl` needs four times as long. Raises `UnicodeDecodeError`.
    """
    name, _, value = text.replace("+", " ").partition("=")
    if "%" not in text:
        return name, value
    if text.isascii():
        return unquote_to_bytes(name).decode(), unquote_to_bytes(value).decode()
    return unquote(name, errors="strict"), unquote(value, errors="strict")


def _request(fields: Mapping[str, str], is_guest: IsGuest) -> CreateRequest | BadInput:
    raw = fields.get("name", "")
    if not raw:
        return BadInput(400, "name: wanted the name of a room, got none.")
    if wrong := _wrong_text("name", raw, MAX_JID_PART_BYTES):
        return wrong
    mail_owner = fields.get("mail_owner")
    if wrong := _wrong_text("mail_owner", mail_owner or "", 2 * MAX_JID_PART_BYTES + 1):
        return wrong
    start_time_ms = parse_java_time(fields.get("start_time", ""))
    if isinstance(start_time_ms, BadInput):
        return start_time_ms
    duration_seconds = _parse_duration(fields.get("duration", ""))
    if isinstance(duration_seconds, BadInput):
        return duration_seconds
    return CreateRequest(
        request_id=_request_id(fields),
        room=parse_room(raw),
        mail_owner=mail_owner,
        owner=parse_owner(mail_owner, is_guest) if mail_owner else None,
        start_time_ms=start_time_ms,
        duration_seconds=duration_seconds,
        extra_fields={key: fields[key] for key in fields if key not in _KNOWN_FIELDS},
    )


def _wrong_text(key: str, value: str, max_bytes: int) -> BadInput | None:
    if len(value) <= max_bytes and value.isascii() and value.isprintable():
        return None
    size = len(value.encode())
    if size > max_bytes:
        return BadInput(400, f"{key}: wanted at most {max_bytes} bytes of UTF-8, got {size}.")
    if has_control_characters(value):
        return BadInput(400, f"{key}: wanted no control characters, got {_quoted(value)}.")
    return None


def parse_room(raw: str) -> Room:
    """Return the room of a node (the part of an XMPP address before the `@`).

    `[acme]caf%c3%a9` is the room `café` of the tenant `acme`.
    """
    if "%" not in raw and raw[:1] != "[":
        return Room(raw=raw, tenant="", name=raw)
    tenant, name = "", raw
    if match := _TENANT.fullmatch(raw):
        tenant, name = match[1], match[2]
    return Room(raw=raw, tenant=_percent_decoded(tenant), name=_percent_decoded(name))


def _percent_decoded(text: str) -> str:
    """Undo the percent-encoding; return the text unchanged if the result is not printable UTF-8."""
    if "%" not in text:
        return text
    try:
        decoded = unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        return text
    return text if has_control_characters(decoded) else decoded


def parse_java_time(text: str) -> int | BadInput:
    """Return a timestamp of Java's `yyyy-MM-dd'T'HH:mm:ss.SSSX` as milliseconds since the epoch.

    The zone is `Z`, hours (`-06`), or hours and minutes (`+0530`, `+05:30`). The result is rounded
    down to milliseconds. Both clients send milliseconds, and the zone as `Z` or as hours
    (clients.md).
    """
    try:
        moment = datetime.fromisoformat(text) if _JAVA_TIME.fullmatch(text) else None
    except ValueError:
        moment = None
    epoch_ms = (moment - _EPOCH) // _MILLISECOND if moment else None
    if epoch_ms is None or not FIRST_SECOND <= epoch_ms // 1000 <= LAST_SECOND:
        return BadInput(
            400, f"start_time: wanted a time such as 2048-04-20T17:55:12.000Z, got {_quoted(text)}."
        )
    return epoch_ms


def _parse_duration(text: str) -> int | BadInput | None:
    """Return whole seconds; `None` (no limit) if the form has no duration, or one below 1.

    Jicofo sends -1, and Prosody sends no duration (clients.md).
    """
    if not text or text == "-1":
        return None
    if not _INTEGER.fullmatch(text) or int(text) > MAX_DURATION_SECONDS:
        return BadInput(
            400,
            f"duration: wanted a whole number of seconds, at most {MAX_DURATION_SECONDS}, or -1 "
            f"for no limit, got {_quoted(text)}.",
        )
    return int(text) if int(text) > 0 else None


def _request_id(fields: Mapping[str, str]) -> str:
    """Return the UUID (version 8, RFC 9562) that identifies exactly these fields.

    A repeated POST has the same fields (clients.md "retries"). The order of the fields has no
    effect.
    """
    digest = hashlib.sha256(ascii(sorted(fields.items())).encode()).hexdigest()
    variant = "89ab"[int(digest[16], 16) & 3]
    return f"{digest[:8]}-{digest[8:12]}-8{digest[13:16]}-{variant}{digest[17:20]}-{digest[20:32]}"


def _quoted(text: str) -> str:
    return ascii(text if len(text) <= 60 else text[:60] + "...")
