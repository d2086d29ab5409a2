"""A chunked body: waitress's receiver, with a strict check at the end."""

import re
from typing import Protocol

from waitress.receiver import ChunkedReceiver
from waitress.utilities import BadRequest

_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;[\t -~]*)?")


class Buffer(Protocol):
    """waitress's buffer for a body."""

    def append(self, data: bytes) -> None:
        """Add data."""


class ChunkedBody(ChunkedReceiver):  # type: ignore[misc]
    """A body of chunks (RFC 9112, section 7.1), without trailers.

    waitress skips empty lines between chunks, and takes anything for trailers; a server that reads
    them in another way would see another request.
    """

    error: BadRequest | None

    def __init__(self, buffer: Buffer) -> None:
        super().__init__(buffer)
        self._raw = bytearray()

    def received(self, data: bytes) -> int:
        """Take the next bytes; return how many of them belong to the body."""
        taken = int(super().received(data))
        self._raw += data[:taken]
        if self.completed and not self.error and not _is_strict(bytes(self._raw)):
            self.error = BadRequest("Wanted chunks without empty lines between them and trailers")
        return taken


def _is_strict(raw: bytes) -> bool:
    """Return whether a complete body has nothing but chunks."""
    at = 0
    while match := _CHUNK_LINE.fullmatch(raw, at, raw.find(b"\r\n", at)):
        at = match.end() + 2
        size = int(match[1], 16)
        if size == 0:
            return raw[at:] == b"\r\n"
        at += size + 2
    return False
