"""Readers that read answers as the real clients do, and raise an error where a client would fail.

The readers follow clients.md alone and share nothing with the code that renders. They are not as
tolerant as a single client: they refuse everything that any released version cannot handle.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

Value = str | int

LARGEST_ID = 99_999_999_999_999
DURATION_BOUND = 10**14
"""The largest duration that the readers accept; it must be far below 10^15."""

_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z", re.ASCII)
_STRING_ID = re.compile(r"[A-Za-z][A-Za-z0-9_.~-]*", re.ASCII)
_OPTIONAL = {"max_occupants", "password", "lobby", "pin", "url", "sip_id"}
_ALWAYS = {"id", "start_time", "duration"}


class UnreadableError(Exception):
    """The client would throw an exception, get stuck, or misread the answer."""


@dataclass(frozen=True)
class Approved:
    """The client gets the room, with these fields."""

    fields: Mapping[str, Value]


@dataclass(frozen=True)
class Held:
    """The client will ask by GET for the conference with this id."""

    conflict_id: Value


@dataclass(frozen=True)
class Refused:
    """The client refuses the room and shows this message."""

    status: int
    message: str


Understood = Approved | Held | Refused


def read_as_jicofo(
    status: int, body: bytes, sent_name: str | None, sent_owner: str | None
) -> Understood:
    """Read the answer to a POST with this name and owner, or with `sent_name=None` to a GET."""
    fields = _flat(body)
    if status == 409:
        return Held(_conflict_id(fields, numbers_only=True))
    if status not in {200, 201}:
        return _refused(status, fields)
    _numeric_id(fields.get("id"))
    if sent_name is None:
        _want("name" not in fields, "Jicofo throws if the answer to a GET has a name")
        if "mail_owner" in fields:
            _text(fields, "mail_owner")
    else:
        _want(fields.get("name") == sent_name, "Jicofo refuses a name it did not send")
        _want("mail_owner" in fields or sent_owner is None, "the owner that was sent is missing")
        _want(
            fields.get("mail_owner") == sent_owner, "Jicofo refuses an owner that it did not send"
        )
    return _approved(fields, {"name", "mail_owner"})


def read_as_prosody(
    status: int, body: bytes, sent_name: str | None, sent_owner: str | None
) -> Understood:
    """Read the answer to a POST with this name and owner, or with `sent_name=None` to a GET.

    Prosody requires an owner but does not compare it. The reader compares it, because the API
    promises to repeat the owner that was sent.
    """
    fields = _flat(body)
    if status == 409:
        return Held(_conflict_id(fields, numbers_only=False))
    if status not in {200, 201}:
        return _refused(status, fields)
    _any_id(fields.get("id"))
    for key in ("name", "mail_owner"):
        _want(isinstance(fields.get(key), str), f"{key} must be a string")
    if sent_name is not None:
        _want(_lower(str(fields["name"])) == _lower(sent_name), "Prosody refuses another name")
        _want(fields["mail_owner"] == (sent_owner or ""), "the owner is not the one that was sent")
    return _approved(fields, {"name", "mail_owner"})


def read_delete(status: int, body: bytes) -> None:
    """Read the answer to a DELETE, as both clients do."""
    _flat(body)
    _want(status == 200, "Jicofo keeps a room whose DELETE was not exactly 200")


def _flat(body: bytes) -> dict[str, Value]:
    """Return the fields of a flat JSON object that contains only strings, integers and `true`."""
    _want(body.isascii(), "the body is not ASCII")
    try:
        fields = json.loads(
            body, object_pairs_hook=_distinct, parse_float=_never, parse_constant=_never
        )
    except ValueError as error:
        raise UnreadableError(f"the body is not JSON: {error}") from error
    _want(isinstance(fields, dict), "the body is not an object")
    for key, value in fields.items():
        _want(isinstance(value, str | int), f"{key} is null, an array or an object")
        _want(value is not False, f"{key} is false; it must be left out")
        _want(_has_no_lone_surrogate(f"{key}{value}"), f"{key} is not Unicode text")
    return dict(fields)


def _distinct(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    _want(len(dict(pairs)) == len(pairs), "the body has a field twice")
    return dict(pairs)


def _never(text: str) -> object:
    raise UnreadableError(f"wanted integers only, got {text}")


def _has_no_lone_surrogate(text: str) -> bool:
    return not re.search("[\ud800-\udfff]", text)


def _refused(status: int, fields: Mapping[str, Value]) -> Refused:
    _want(400 <= status < 600 and status != 409, f"{status} is neither an approval nor a refusal")
    message = fields.get("message")
    if not isinstance(message, str):
        raise UnreadableError("Prosody never answers if the message is not a string")
    _want(message.strip() != "", "the message is empty")
    _want(len(message.splitlines()) == 1, "the message has more than one line")
    _want(_is_shown(message), "the message has control characters, which XMPP does not allow")
    _want(isinstance(fields.get("error", ""), str), "error is not a string")
    return Refused(status, message)


def _conflict_id(fields: Mapping[str, Value], *, numbers_only: bool) -> Value:
    check = _numeric_id if numbers_only else _any_id
    return check(fields.get("conflict_id"))


def _numeric_id(value: Value | None) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= LARGEST_ID:
        raise UnreadableError(f"id: wanted a number of 1 to 14 digits, got {value!r}")
    return value


def _any_id(value: Value | None) -> Value:
    """Return the id; refuse a string that cannot be part of a path without escapes.

    Prosody puts an id into a path without escaping it.
    """
    if isinstance(value, str):
        _want(_STRING_ID.fullmatch(value) is not None, f"{value!r} needs escapes in a path")
        return value
    return _numeric_id(value)


def _approved(fields: dict[str, Value], also: set[str]) -> Approved:
    missing = _ALWAYS - fields.keys()
    _want(not missing, f"fields are missing: {missing}")
    unknown = fields.keys() - _ALWAYS - _OPTIONAL - also
    _want(not unknown, f"no client knows these fields: {unknown}")
    _start_time(fields["start_time"])
    _whole(fields, "duration", 1, DURATION_BOUND)
    for key in ("password", "pin", "url"):
        if key in fields:
            _text(fields, key)
    if "max_occupants" in fields:
        _whole(fields, "max_occupants", 1, 2**31 - 1)
    if "sip_id" in fields:
        _whole(fields, "sip_id", 0, LARGEST_ID)
    _want(fields.get("lobby", True) is True, "lobby: wanted true or no such field")
    return Approved(fields)


def _start_time(value: Value) -> None:
    if not isinstance(value, str) or not _TIME.fullmatch(value):
        raise UnreadableError(f"start_time: wanted a time with three digits and a Z, got {value!r}")
    try:
        datetime.fromisoformat(value)
    except ValueError as error:
        raise UnreadableError(f"start_time: {error}") from error


def _whole(fields: Mapping[str, Value], key: str, least: int, most: int) -> None:
    value = fields[key]
    _want(
        isinstance(value, int) and not isinstance(value, bool) and least <= value <= most,
        f"{key}: wanted an integer from {least} to {most}, got {value!r}",
    )


def _text(fields: Mapping[str, Value], key: str) -> None:
    value = fields[key]
    _want(
        isinstance(value, str) and value != "" and _is_shown(value),
        f"{key}: wanted a text without control characters, got {value!r}",
    )


def _is_shown(text: str) -> bool:
    return not re.search("[\x00-\x1f\x7f-\x9f\ufffe\uffff]", text)


def _lower(text: str) -> str:
    """Change the ASCII letters to lower case, as Lua does."""
    return text.encode().lower().decode()


def _want(that: bool, otherwise: str) -> None:
    if not that:
        raise UnreadableError(otherwise)
