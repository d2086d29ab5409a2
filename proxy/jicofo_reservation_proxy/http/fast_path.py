"""The fast path: a request whose head the proxy knows goes straight to its handler.

Both clients send the same head again and again: only the Content-Length of a POST changes, and the
id of a GET or DELETE. The first request with a head takes the usual path: request_parser.py parses
it, access_control.py admits it, and wsgi.py routes it. If nothing about it is unusual, wsgi.py lets
this module remember the exact bytes of the head, without the id. A later request with the same
bytes, which has arrived completely, needs none of that again.

The usual path stays the authority. Whatever this module does not know takes the usual path, and a
test compares the answers of both paths byte by byte (tests/fuzz/compare.py).
"""

import re
import threading
import time
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from waitress.utilities import build_http_date

from .access_control import AccessControl
from .access_log import AccessLogEntry
from .answers import STATUS_LINES, Answer
from .handlers import Handlers, internal_fault

HEAD_KEY = "jicofo_reservation_proxy.head"
"""The key of the environment under which the server passes the bytes of a plain head."""

MAX_HEADS = 256
"""The maximum number of remembered heads. Each client needs one for each Content-Length."""

MAX_HEAD_BYTES = 2048
"""The longest head to remember. The heads of both clients have less than 500 bytes."""

PLAIN_ID = "[A-Za-z0-9._~-]+"
"""The form of the ids that the proxy gives out (ids.py), and of which a URL escapes nothing."""

_WITH_ID = re.compile(
    rb"(GET|DELETE) /conference/(%s)( HTTP/1\.1\r\n.*)" % PLAIN_ID.encode(), re.DOTALL
)
_END = b"\r\n\r\n"
_CLOSE = "Connection: close\r\n"


class Head(NamedTuple):
    """What the usual path found in a head.

    `tokens` are the client tokens that were in use when the head was admitted.
    """

    method: str
    content_length: int
    content_type: str
    user_agent: str
    closes: bool
    tokens: object


class FastRequest:
    """A complete request with a known head. `data` has all its bytes, `public_id` is its id.

    It keeps the handlers with which its head was found, also if a reload replaces them.
    """

    __slots__ = ("_handlers", "data", "head", "public_id")

    def __init__(self, head: Head, data: bytes, public_id: str, handlers: Handlers) -> None:
        self.head = head
        self.data = data
        self.public_id = public_id
        self._handlers = handlers

    @property
    def body(self) -> bytes:
        """The bytes after the head."""
        return self.data[-self.head.content_length :]

    def answer(self) -> tuple[Answer, AccessLogEntry | None]:
        """Return the answer to this request, and its entry of the access log.

        There is no entry if the answer is a fault of the proxy.
        """
        head, handlers = self.head, self._handlers
        try:
            if not self.public_id:
                entry = handlers.create(head.user_agent, head.content_type, self.body)
            elif head.method == "GET":
                entry = handlers.get(head.user_agent, self.public_id)
            else:
                entry = handlers.delete(head.user_agent, self.public_id)
        except Exception as error:  # noqa: BLE001 - like Flask: log the error, and answer
            return internal_fault(error), None
        return entry.answer, entry


class FastPath:
    """The known heads, and the handlers of their requests. All threads may use it."""

    def __init__(self, handlers: Handlers, access: AccessControl) -> None:
        self._handlers = handlers
        self._access = access
        self._heads: dict[bytes, Head] = {}
        self._lock = threading.Lock()

    def learn(self, environ: Mapping[str, Any], tokens: object, public_id: str = "") -> None:
        """Remember the head of a POST, GET or DELETE that was admitted, if the head is plain.

        `tokens` are the client tokens that were in use before the request was admitted. `public_id`
        is the id of a GET or DELETE.
        """
        head = environ.get(HEAD_KEY)
        length = int(environ.get("CONTENT_LENGTH") or 0)
        if head is None or len(head) > MAX_HEAD_BYTES or "HTTP_TRACEPARENT" in environ:
            return  # a `traceparent` is different in each request
        key, found_id = _without_id(head)
        if found_id != public_id or (length == 0) != bool(public_id):
            return
        known = Head(
            environ["REQUEST_METHOD"],
            length,
            environ.get("CONTENT_TYPE", ""),
            environ.get("HTTP_USER_AGENT", ""),
            environ.get("HTTP_CONNECTION", "").lower() == "close",
            tokens,
        )
        with self._lock:
            if key not in self._heads and len(self._heads) >= MAX_HEADS:
                del self._heads[next(iter(self._heads))]
            self._heads[key] = known

    def find(self, data: bytes) -> FastRequest | None:
        """Return the request if these bytes are exactly one request with a known head."""
        end = data.find(_END) + len(_END)
        key, public_id = _without_id(data[:end])
        head = self._heads.get(key)
        if head is None or len(data) != end + head.content_length:
            return None
        if head.tokens is not self._access.tokens:  # they have changed
            with self._lock:
                self._heads.clear()
            return None
        return FastRequest(head, data, public_id, self._handlers)


def _without_id(head: bytes) -> tuple[bytes, str]:
    """Return a head without the id in its path, and the id, or "" if there is none."""
    if found := _WITH_ID.fullmatch(head):
        return found[1] + found[3], found[2].decode("ascii")
    return head, ""


def to_bytes(answer: Answer, *, closes: bool) -> bytes:
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
