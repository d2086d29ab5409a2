"""Endpoints: a method and a template of a URL, filled with a room or with the id of a conference.

Values are percent-encoded. A value that could lead to another path is refused, also if a server
decodes or normalizes the path: nothing in the name of a room may choose what the proxy calls.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import quote, unquote

from jicofo_reservation_proxy.model import CreateRequest

_PLACEHOLDER = re.compile(r"\{([a-z]+)\}")
_SEPARATORS = re.compile(r"[/\\]")
_REMOVED_SEGMENTS = {"", ".", ".."}
"""Servers remove such segments, and `..` with the segment before (RFC 3986, section 5.2.4). Many
remove empty segments too."""


class UnsafeValueError(Exception):
    """A value cannot be part of the path of an endpoint."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A method, and the target of a request (RFC 9112, section 3.2) with placeholders."""

    method: str
    template: str

    def for_room(self, request: CreateRequest) -> str:
        """Return the target for the room of a request. Raises `UnsafeValueError`.

        A room with a slash is refused: some servers decode `%2F` before they choose a route.
        """
        room = request.room
        values = {"room": room.raw, "tenant": room.tenant, "name": room.name}
        used = (values[key] for key in _PLACEHOLDER.findall(self._path))
        if any(_SEPARATORS.search(text) for value in used for text in _decodings(value)):
            raise UnsafeValueError("a slash or a backslash in the name of a room")
        return self._filled(values)

    def for_conference(self, conference_id: str) -> str:
        """Return the target for a conference, whose id may have slashes.

        Raises `UnsafeValueError`.
        """
        return self._filled({"id": conference_id})

    @property
    def _path(self) -> str:
        return self.template.partition("?")[0]

    def _filled(self, values: Mapping[str, str]) -> str:
        path, question_mark, query = self.template.partition("?")
        for template in path.split("/"):
            if "{" in template:
                _check_segment(_fill(template, values, str), template)
        return _fill(path, values, _escape) + question_mark + _fill(query, values, _escape)


def endpoint(setting: str, base_path: str) -> Endpoint | None:
    """Return the endpoint of a setting such as `GET /conference/{id}`; `None` if it is ""."""
    method, _, template = setting.partition(" ")
    return Endpoint(method, base_path + template) if method else None


def _check_segment(text: str, template: str) -> None:
    """Raise `UnsafeValueError` if a server could remove the segment or a part of it."""
    for decoded in _decodings(text):
        if removed := _REMOVED_SEGMENTS.intersection(_SEPARATORS.split(decoded)):
            raise UnsafeValueError(f"a segment {min(removed)!r} for {template}")


def _decodings(text: str) -> tuple[str, str]:
    """Return what a server makes of a value: the value, or less if it decodes the path twice."""
    return text, unquote(text)


def _fill(template: str, values: Mapping[str, str], write: Callable[[str], str]) -> str:
    return _PLACEHOLDER.sub(lambda match: write(values[match[1]]), template)


def _escape(value: str) -> str:
    return quote(value, safe="")
