"""Parsed JSON bodies, including the values that the real clients cannot handle."""

import enum
import json
from collections.abc import Mapping
from typing import TypeGuard

from .outcomes import Remark, cut


class NotJson(enum.Enum):
    """The type of the constant for a body that is not JSON."""

    NOT_JSON = "not JSON"


NOT_JSON = NotJson.NOT_JSON


def parse(body: bytes) -> object:
    """Return the parsed body, or `NOT_JSON`. A byte order mark is not JSON (RFC 8259, 8.1)."""
    try:
        return json.loads(body.decode("utf-8", "replace"), parse_constant=_refuse)
    except (ValueError, RecursionError):
        return NOT_JSON


def _refuse(name: str) -> object:
    raise ValueError(name)


def fields_of(document: object) -> Mapping[str, object]:
    """Return the fields of an object, or no fields for any other value."""
    return document if isinstance(document, dict) else {}


def has_array(document: object) -> bool:
    """Return whether the document contains an array at any depth."""
    left = [document]
    while left:
        value = left.pop()
        if isinstance(value, list):
            return True
        if isinstance(value, dict):
            left.extend(value.values())
    return False


def is_number(value: object) -> TypeGuard[int | float]:
    """Return whether a value is a JSON number; `true` is not a number."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_integer(value: object) -> TypeGuard[int]:
    """Return whether a value is a JSON number without fraction and exponent."""
    return isinstance(value, int) and not isinstance(value, bool)


def remarks_on(fields: Mapping[str, object]) -> tuple[Remark, ...]:
    """Remark on values that an answer must not contain (clients.md "body")."""
    bad = [key for key, value in fields.items() if value is None or isinstance(value, dict | list)]
    if not bad:
        return ()
    text = "the answer contains null, an array or an object: leave such fields out"
    return (Remark(text, cut(", ".join(bad))),)
