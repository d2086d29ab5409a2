"""JSON as it came, with what the clients trip over still in it."""

import enum
import json
from collections.abc import Mapping
from typing import TypeGuard

from .outcomes import Remark, cut


class NotJson(enum.Enum):
    """What stands for a body that is no JSON."""

    NOT_JSON = "not JSON"


NOT_JSON = NotJson.NOT_JSON


def parse(body: bytes) -> object:
    """Return what a body says, or `NOT_JSON`. A byte order mark is no JSON (RFC 8259, 8.1)."""
    try:
        return json.loads(body.decode("utf-8", "replace"), parse_constant=_refuse)
    except (ValueError, RecursionError):
        return NOT_JSON


def _refuse(name: str) -> object:
    raise ValueError(name)


def fields_of(document: object) -> Mapping[str, object]:
    """Return the fields of an object; of anything else, none."""
    return document if isinstance(document, dict) else {}


def has_array(document: object) -> bool:
    """Tell whether there is an array anywhere, however deep the parser has gone."""
    left = [document]
    while left:
        value = left.pop()
        if isinstance(value, list):
            return True
        if isinstance(value, dict):
            left.extend(value.values())
    return False


def is_number(value: object) -> TypeGuard[int | float]:
    """Tell whether a value is a JSON number, which `true` is not."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_integer(value: object) -> TypeGuard[int]:
    """Tell whether a value is a JSON number without fraction and exponent."""
    return isinstance(value, int) and not isinstance(value, bool)


def remarks_on(fields: Mapping[str, object]) -> tuple[Remark, ...]:
    """Remark on what an answer should not have in it at all (clients.md "body")."""
    bad = [key for key, value in fields.items() if value is None or isinstance(value, dict | list)]
    if not bad:
        return ()
    text = "an answer holds a null, an array or an object: leave such fields out"
    return (Remark(text, cut(", ".join(bad))),)
