"""The fast path: a `POST /conference` whose head the proxy knows goes straight to the handler.

Both clients send the same head again and again, only its Content-Length changes. The first request
with a head takes the usual path: request_parser.py parses it, access_control.py admits it, and
wsgi.py routes it. If it is a plain `POST /conference`, wsgi.py lets this module remember the exact
bytes of the head. A later request that begins with the same bytes, and has arrived completely,
needs none of that again: a third of the time of a POST (benchmarks/README.md).

The usual path stays the authority. Whatever this module does not know takes the usual path, and a
test compares the answers of both paths byte by byte (tests/e2e/test_fast_path.py).
"""

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from waitress.utilities import build_http_date

from .access_control import AccessControl
from .access_log import AccessLogEntry
from .answers import STATUS_LINES, Answer
from .handlers import Handlers, internal_fault

HEAD_KEY = "jicofo_reservation_proxy.head"
"""The key of the environment under which the server passes the bytes of a plain head."""

MAX_HEADS = 256
"""The maximum number of remembered heads. Each client and each Content-Length needs one."""

MAX_HEAD_BYTES = 2048
"""The longest head to remember. The heads of both clients have less than 500 bytes."""

_END = b"\r\n\r\n"
_CLOSE = "Connection: close\r\n"


@dataclass(frozen=True, slots=True)
class Head:
    """What the usual path found in a head.

    `tokens` are the client tokens that were in use when the head was admitted.
    """

    content_length: int
    content_type: str
    user_agent: str
    closes: bool
    tokens: object


class FastRequest:
    """A complete request with a known head. `data` has all its bytes."""

    __slots__ = ("data", "head")

    error = None
    """waitress asks each request for its error."""

    def __init__(self, head: Head, data: bytes) -> None:
        self.head = head
        self.data = data

    @property
    def body(self) -> bytes:
        """The bytes after the head."""
        return self.data[-self.head.content_length :]

    def close(self) -> None:
        """Do nothing; waitress closes the files of its own requests."""


class FastPath:
    """The known heads, and the answers to their requests. All threads may use it."""

    def __init__(self, handlers: Handlers, access: AccessControl) -> None:
        self._handlers = handlers
        self._access = access
        self._heads: dict[bytes, Head] = {}
        self._lock = threading.Lock()

    def learn(self, environ: Mapping[str, Any], tokens: object) -> None:
        """Remember the head of a `POST /conference` that was admitted, if the head is plain.

        `tokens` are the client tokens that were in use before the request was admitted.
        """
        head = environ.get(HEAD_KEY)
        length = int(environ["CONTENT_LENGTH"])
        if head is None or len(head) > MAX_HEAD_BYTES or not length:
            return
        known = Head(
            length,
            environ.get("CONTENT_TYPE", ""),
            environ.get("HTTP_USER_AGENT", ""),
            environ.get("HTTP_CONNECTION", "").lower() == "close",
            tokens,
        )
        with self._lock:
            if len(self._heads) >= MAX_HEADS:
                del self._heads[next(iter(self._heads))]
            self._heads[head] = known

    def find(self, data: bytes) -> FastRequest | None:
        """Return the request if these bytes are exactly one request with a known head."""
        end = data.find(_END) + len(_END)
        head = self._heads.get(data[:end])
        if head is None or len(data) != end + head.content_length:
            return None
        if head.tokens is not self._access.tokens:  # they have changed
            with self._lock:
                self._heads.clear()
            return None
        return FastRequest(head, data)

    def answer(self, request: FastRequest) -> tuple[Answer, AccessLogEntry | None]:
        """Return the answer to a request, and its entry of the access log.

        There is no entry if the answer is a fault of the proxy.
        """
        head = request.head
        try:
            entry = self._handlers.create(head.user_agent, head.content_type, request.body)
        except Exception as error:  # noqa: BLE001 - like Flask: log the error, and answer
            return internal_fault(error), None
        return entry.answer, entry


def whole(answer: Answer, *, closes: bool) -> bytes:
    """Return all bytes of an answer. The fields of its head are in the order of waitress.

    `closes` says whether the server closes the connection after this answer.
    """
    head = (
        f"HTTP/1.1 {STATUS_LINES[answer.status]}\r\n{_CLOSE if closes else ''}"
        f"Content-Length: {len(answer.body)}\r\nContent-Type: application/json\r\n"
        f"Date: {_date(int(time.time()))}\r\n\r\n"
    )
    return head.encode("latin-1") + answer.body


_date = lru_cache(maxsize=2)(build_http_date)
