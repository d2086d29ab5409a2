"""Jicofo's and Prosody's requests, byte for byte, and an HTTP client that needs little time.

The headers, their order and the form are the same as those of the real clients. The client is a raw
socket, because a client library would need more time than the bridge.
"""

import itertools
import json
import os
import socket
from datetime import UTC, datetime
from types import TracebackType
from typing import Self
from urllib.parse import urlencode

HOST = "127.0.0.1"
PATIENCE_SECONDS = 10.0  # longer than any answer takes; a broken run must end
HEADER_END = b"\r\n\r\n"
LENGTH = b"content-length:"


class WrongAnswerError(Exception):
    """A contender did not grant a room, so its speed has no meaning."""


class Rooms:
    """Names of rooms that no run has used before."""

    def __init__(self, prefix: str = "bench") -> None:
        self._prefix = f"{prefix}-{os.urandom(4).hex()}"
        self._numbers = itertools.count()

    def next(self) -> str:
        """Return the name of a new room; all names have the same length."""
        return f"{self._prefix}-{next(self._numbers):08d}"


def now() -> str:
    """Return the current time as Jicofo writes it, with milliseconds and `Z`."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def jicofo_request(room: str) -> bytes:
    """Return the POST of Jicofo's Apache client, for a signed-in owner."""
    form = urlencode(
        {
            "name": room,
            "mail_owner": "juliet@example.com",
            "start_time": now(),
            "duration": "-1",
        }
    )
    return (
        "POST /conference HTTP/1.1\r\n"
        f"Content-Length: {len(form)}\r\n"
        "Content-Type: application/x-www-form-urlencoded; charset=UTF-8\r\n"
        "Host: 127.0.0.1:7777\r\n"
        "Connection: Keep-Alive\r\n"
        "User-Agent: Apache-HttpClient/4.5.13 (Java/17)\r\n"
        "Accept-Encoding: gzip,deflate\r\n"
        f"\r\n{form}"
    ).encode()


def jicofo_delete(conference_id: int) -> bytes:
    """Return the DELETE of the same client."""
    return (
        f"DELETE /conference/{conference_id} HTTP/1.1\r\n"
        "Host: 127.0.0.1:7777\r\n"
        "Connection: Keep-Alive\r\n"
        "User-Agent: Apache-HttpClient/4.5.13 (Java/17)\r\n"
        "Accept-Encoding: gzip,deflate\r\n"
        "\r\n"
    ).encode()


def prosody_request(room: str) -> bytes:
    """Return the POST of Prosody's `mod_reservations`, for a new connection."""
    form = urlencode(
        {
            "name": room,
            "mail_owner": "juliet@example.com",
            "start_time": f"{now()[:-4]}000Z",
        }
    )
    return (
        "POST /conference HTTP/1.1\r\n"
        "Host: 127.0.0.1:7777\r\n"
        "Connection: close\r\n"
        "User-Agent: Prosody (0.12.3; posix)\r\n"
        "Content-Type: application/x-www-form-urlencoded\r\n"
        f"Content-Length: {len(form)}\r\n"
        f"\r\n{form}"
    ).encode()


def json_request(room: str) -> bytes:
    """Return the fields of CreateConference as JSON, for a transcoder such as Envoy."""
    body = json.dumps(
        {
            "requestId": room,
            "room": {"raw": room, "name": room},
            "owner": {"raw": "juliet@example.com"},
            "startTime": now(),
        }
    )
    return (
        "POST /jicofo.reservation.v1.ReservationService/CreateConference HTTP/1.1\r\n"
        "Host: 127.0.0.1:7777\r\n"
        "Content-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n"
        f"\r\n{body}"
    ).encode()


def missing_bytes(answer: bytes | bytearray) -> int:
    """Return the minimum number of bytes that are missing in an answer; 0 when it is complete.

    Raises WrongAnswerError for every answer except a 200 with a Content-Length.
    """
    head, end, body = answer.partition(HEADER_END)
    if not end:
        return 1
    if not head.startswith(b"HTTP/1.1 200 "):
        raise WrongAnswerError(f"wanted a 200, got {bytes(answer)!r}")
    _, found, rest = head.lower().partition(LENGTH)
    if not found:
        raise WrongAnswerError(f"wanted a Content-Length, got {bytes(answer)!r}")
    return int(rest.partition(b"\r\n")[0]) - len(body)


class Connection:
    """One blocking HTTP connection to a contender."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection((HOST, port), timeout=PATIENCE_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def ask(self, request: bytes) -> bytes:
        """Send a request; return the complete answer, a 200.

        Raises WrongAnswerError for any other answer, and OSError when the connection fails.
        """
        self.socket.sendall(request)
        answer = b""
        while not answer or missing_bytes(answer) > 0:
            received = self.socket.recv(16384)
            if not received:
                raise WrongAnswerError(f"the connection ended after {answer!r}")
            answer += received
        return answer

    def close(self) -> None:
        """Close the connection."""
        self.socket.close()


def ask_once(port: int, request: bytes) -> None:
    """Send one request on a new connection, as Prosody does for each request."""
    with Connection(port) as connection:
        connection.ask(request)
