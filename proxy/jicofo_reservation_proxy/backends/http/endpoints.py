"""Endpoints: a method and a template of a URL, filled with a room or with the id of a conference.

Values are percent-encoded. A value that could lead to another path is refused, also if a server
decodes or normalizes the path: nothing in the name of a room may choose what the proxy calls.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

from jicofo_reservation_proxy.model import CreateRequest

_PLACEHOLDER = re.compile(r"\{([a-z]+)\}")
_SEPARATORS = re.compile(r"[/\\]")
_DOT_SEGMENTS = {".", ".."}
"""RFC 3986, section 5.2.4: servers remove such segments, with the segment before."""


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
        used = {key: values[key] for key in _PLACEHOLDER.findall(self._path)}
        if any(_SEPARATORS.search(value) for value in used.values()):
            raise UnsafeValueError("a slash or a backslash in the name of a room")
        return self._filled(values)

    def for_conference(self, conference_id: str) -> str:
        """Return the target for a conference. Raises `UnsafeValueError`."""
        if "{id}" in self._path and not _DOT_SEGMENTS.isdisjoint(_SEPARATORS.split(conference_id)):
            raise UnsafeValueError("a segment '.' or '..' in the id of a conference")
        return self._filled({"id": conference_id})

    @property
    def _path(self) -> str:
        return self.template.partition("?")[0]

    def _filled(self, values: Mapping[str, str]) -> str:
        path, question_mark, query = self.template.partition("?")
        segments = [_fill(segment, values) for segment in path.split("/")[1:]]
        for segment, template in zip(segments, path.split("/")[1:], strict=True):
            if "{" in template and segment in {"", *_DOT_SEGMENTS}:
                raise UnsafeValueError(f"a segment {segment!r} for {template}")
        return "".join(f"/{each}" for each in segments) + question_mark + _fill(query, values)


def endpoint(setting: str, base_path: str) -> Endpoint | None:
    """Return the endpoint of a setting such as `GET /conference/{id}`; `None` if it is ""."""
    method, _, template = setting.partition(" ")
    return Endpoint(method, base_path + template) if method else None


def _fill(template: str, values: Mapping[str, str]) -> str:
    return _PLACEHOLDER.sub(lambda match: quote(values[match[1]], safe=""), template)
