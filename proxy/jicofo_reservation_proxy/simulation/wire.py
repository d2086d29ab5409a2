"""HTTP/1.1 of both clients: send raw bytes, and receive one answer before a deadline.

ExchangeError
  ├── CannotConnectError  no connection could be made
  ├── DroppedError        the answer is incomplete, too long, or not HTTP
  │     └── ClosedError   the connection was closed, or it broke
  ├── GarbledError        the answer is complete, but its body does not match its headers
  └── TimedOutError       the deadline passed
"""

import re
import socket
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

CRLF = b"\r\n"
MAX_HEAD_BYTES = 64 * 1024
MAX_BODY_BYTES = 1024 * 1024
"""Much larger than any answer of the reservation API. A longer body is not read."""

_STATUS_LINE = re.compile(rb"HTTP/1\.([0-9]) ([0-9]{3})(?: .*)?")
_WITHOUT_BODY = {204, 304}


class ExchangeError(Exception):
    """There is no usable answer; the message gives the reason."""


class CannotConnectError(ExchangeError):
    """No connection could be made."""


class DroppedError(ExchangeError):
    """The answer is incomplete, too long, or not HTTP."""


class ClosedError(DroppedError):
    """The server closed the connection, or it broke, before the answer was complete."""


class GarbledError(ExchangeError):
    """The answer is complete, but its body does not match its headers."""


class TimedOutError(ExchangeError):
    """The deadline passed before the answer was complete."""


@dataclass(frozen=True, slots=True)
class Address:
    """The address of a reservation system, and the path of its base URL.

    `tls` is the context of the connections for a base URL with `https://`; `None`: `http://`.
    """

    host: str
    port: int
    path: str = ""
    tls: ssl.SSLContext | None = None

    @property
    def authority(self) -> str:
        """The value of `Host`, without the port if it is the default (RFC 9110, 4.2.1)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer. The names of its headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    is_last: bool = True
    """Whether no other answer can follow on the same connection."""


def request_bytes(
    method: str, target: str, headers: Mapping[str, str], body: str | None = None
) -> bytes:
    """Return a request with the headers in the given order. The target is not escaped."""
    lines = [f"{method} {target} HTTP/1.1", *(f"{key}: {value}" for key, value in headers.items())]
    return "\r\n".join([*lines, "", body or ""]).encode("utf-8", "surrogatepass")


class Connection:
    """One connection, and a context manager that closes it.

    Deadlines are times of `time.monotonic()`.
    """

    def __init__(self, address: Address, deadline: float) -> None:
        """Connect. Raises `CannotConnectError` or `TimedOutError`."""
        self._received = b""
        self._deadline = deadline
        try:
            self._socket = socket.create_connection((address.host, address.port), self._left())
            if address.tls:
                self._socket = _secured(self._socket, address.tls, address.host)
        except TimeoutError:
            raise _timed_out() from None
        except OSError as error:
            raise CannotConnectError(error.strerror or str(error)) from error
        # Each request is sent with one call, so Nagle's algorithm has nothing to collect.
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def exchange(self, request: bytes, deadline: float, *, skips_interim: bool) -> Answer:
        """Send a request and read its answer. If `skips_interim`, ignore each 1xx before it.

        Raises `DroppedError` or `TimedOutError`; the connection cannot be used after that.
        """
        self._deadline = deadline
        try:
            self._socket.settimeout(self._left())
            self._socket.sendall(request)
            answer = self._answer()
            while skips_interim and answer.status < 200:
                answer = self._answer()
        except TimeoutError:
            raise _timed_out() from None
        except OSError as error:
            raise ClosedError(f"the connection broke: {error.strerror or error}") from error
        return answer

    def is_stale(self) -> bool:
        """Return whether the server has closed the connection. Does not wait."""
        self._socket.settimeout(0)
        is_tls = isinstance(self._socket, ssl.SSLSocket)
        try:
            # An idle connection with TLS receives nothing but the notice that it is closed.
            return not socket.socket.recv(self._socket, 1, socket.MSG_PEEK) or is_tls
        except BlockingIOError:
            return False
        except OSError:
            return True

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _answer(self) -> Answer:
        match = _STATUS_LINE.fullmatch(self._line())
        if not match:
            raise DroppedError("the answer is not HTTP/1.1")
        minor, status = int(match[1]), int(match[2])
        headers = self._headers()
        body, is_delimited = self._body(status, headers)
        tokens = headers.get("connection", "").lower()
        is_last = not is_delimited or "close" in tokens
        return Answer(status, headers, body, is_last or (minor == 0 and "keep-alive" not in tokens))

    def _headers(self) -> dict[str, str]:
        headers: dict[str, str] = {}
        size = 0
        while line := self._line():
            size += len(line)
            if size > MAX_HEAD_BYTES:
                raise DroppedError(f"the headers are longer than {MAX_HEAD_BYTES} bytes")
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.strip().lower()] = value.strip()
        return headers

    def _body(self, status: int, headers: Mapping[str, str]) -> tuple[bytes, bool]:
        """Return the body, and whether the answer itself marks its end (RFC 9112, 6.3)."""
        if status < 200 or status in _WITHOUT_BODY:
            return b"", True
        if "chunked" in headers.get("transfer-encoding", "").lower():
            return self._chunks(), True
        if "content-length" in headers:
            return self._exactly(_size(headers["content-length"], 10)), True
        return self._rest(), False

    def _chunks(self) -> bytes:
        body = b""
        while size := _size(self._line().partition(b";")[0].decode("latin-1"), 16):
            body += self._exactly(size)
            self._line()
            _within_limit(len(body))
        self._headers()  # the trailer
        return body

    def _line(self) -> bytes:
        while CRLF not in self._received:
            if len(self._received) > MAX_HEAD_BYTES:
                raise DroppedError(f"a line is longer than {MAX_HEAD_BYTES} bytes")
            self._more()
        line, _, self._received = self._received.partition(CRLF)
        return line

    def _exactly(self, size: int) -> bytes:
        while len(self._received) < size:
            self._more()
        taken, self._received = self._received[:size], self._received[size:]
        return taken

    def _rest(self) -> bytes:
        while chunk := self._receive():
            self._received += chunk
            _within_limit(len(self._received))
        rest, self._received = self._received, b""
        return rest

    def _more(self) -> None:
        chunk = self._receive()
        if not chunk:
            raise ClosedError("the connection was closed before the answer was complete")
        self._received += chunk

    def _receive(self) -> bytes:
        self._socket.settimeout(self._left())
        return self._socket.recv(64 * 1024)

    def _left(self) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left


def _secured(plain: socket.socket, context: ssl.SSLContext, host: str) -> socket.socket:
    try:
        return context.wrap_socket(plain, server_hostname=host)
    except OSError:
        plain.close()
        raise


def _size(text: str, base: int) -> int:
    """Return a length within the limit. Raises `DroppedError` for any other text."""
    try:
        size = int(text, base)
    except ValueError:
        raise DroppedError("the answer is not HTTP/1.1: a length is not a number") from None
    if size < 0:
        raise DroppedError("the answer is not HTTP/1.1: a length is negative")
    return _within_limit(size)


def _within_limit(size: int) -> int:
    if size > MAX_BODY_BYTES:
        raise DroppedError(f"the body is longer than {MAX_BODY_BYTES} bytes")
    return size


def _timed_out() -> TimedOutError:
    return TimedOutError("no answer in time")
