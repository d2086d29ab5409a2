"""The body of an answer: what it is, whatever the header Content-Type says.

PHP says `text/html` for everything unless the author changes it, so only the bytes tell. An HTML
page is never read: it comes from a server in front of the backend, or from a framework.
"""

import enum
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from jicofo_reservation_proxy.text_rules import one_line

MAX_SENTENCE_CHARACTERS = 500
"""A longer plain text is no sentence for a user."""

_TAG = re.compile(r"<[A-Za-z!/?]")
_SENTENCES = ("message", "error", "detail", "title")
"""The fields with a sentence, in this order; the last two are of RFC 9457 (problem+json)."""


class BodyKind(enum.Enum):
    """What a body is."""

    OBJECT = "a JSON object"
    OTHER_JSON = "JSON that is no object"
    TEXT = "plain text"
    EMPTY = "nothing"
    HTML = "an HTML page"
    UNREADABLE = "bytes that are neither JSON nor text"


@dataclass(frozen=True, slots=True)
class Body:
    """The body of an answer: its kind, the fields of an object, and the words of a plain text."""

    kind: BodyKind
    fields: Mapping[str, Any]
    text: str = ""

    def sentence(self, path: str) -> str:
        """Return the sentence for the user in a refusal, or "".

        `path` is the setting `answer_fields.message`. Texts with several lines or with tags are
        left out: they are pages or stack traces.
        """
        if self.kind is BodyKind.TEXT:
            is_short = len(self.text) <= MAX_SENTENCE_CHARACTERS
            return self.text if is_short and _is_line(self.text) else ""
        names = _SENTENCES if path == _SENTENCES[0] else (path,)
        found = (_sentence(at_path(self.fields, name)) for name in names if name)
        return next(filter(_is_line, found), "")

    @property
    def described(self) -> str:
        """What the body is, for the log: its kind, and the beginning of its text."""
        if self.kind is BodyKind.OBJECT:
            said = next(filter(None, (_sentence(self.fields.get(name)) for name in _SENTENCES)), "")
        else:
            said = self.text
        return f"{self.kind.value}{f' ({one_line(said, 200)})' if said else ''}"


def read_body(data: bytes) -> Body:
    """Return what a body is."""
    stripped = data.strip()
    if not stripped:
        return Body(BodyKind.EMPTY, {})
    try:
        return _of_json(json.loads(stripped, parse_constant=_refuse))
    except (ValueError, RecursionError):  # too deep, or a number of thousands of digits
        pass
    try:
        text = stripped.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        # A page in another charset is a page too; UTF-16 has a zero byte beside each letter.
        is_page = _TAG.search(stripped.replace(b"\0", b"").decode("latin-1"))
        return Body(BodyKind.HTML if is_page else BodyKind.UNREADABLE, {})
    if _TAG.search(text):
        return Body(BodyKind.HTML, {})
    if text.startswith(("{", "[")) or not text:
        return Body(BodyKind.UNREADABLE, {})
    return Body(BodyKind.TEXT, {}, text)


def at_path(fields: object, path: str) -> Any:  # noqa: ANN401 - JSON
    """Return the value at a path such as `data.0.id`; `None` if there is none."""
    found: Any = fields
    for key in path.split("."):
        if isinstance(found, Mapping):
            found = found.get(key)
        elif isinstance(found, list) and key.isdecimal() and int(key) < len(found):
            found = found[int(key)]
        else:
            return None
    return found


def _of_json(value: object) -> Body:
    match value:
        case dict():
            return Body(BodyKind.OBJECT, value)
        case str() if _TAG.search(value):
            return Body(BodyKind.HTML, {})
        case str() if value.strip():
            return Body(BodyKind.TEXT, {}, value.strip())
        case _:
            return Body(BodyKind.OTHER_JSON, {})


def _sentence(value: object) -> str:
    """Return a sentence of a JSON value: a string, or an object with a `message`."""
    if isinstance(value, Mapping):
        value = value.get("message")
    if not isinstance(value, str) or _TAG.search(value):
        return ""
    return value.strip()


def _is_line(text: str) -> bool:
    """Return whether a text is one line, and not empty."""
    return len(text.splitlines()) == 1


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")
