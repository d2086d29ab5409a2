"""The parser of requests: waitress's parser, stricter, and with an answer to everything.

waitress accepts some requests that servers read in different ways, which is how requests are
smuggled (RFC 9112, section 11.2), and fails on others without an answer. This parser refuses all of
them with 400. Neither Jicofo nor Prosody sends such a request (clients.md "What they send").
"""

import re
import time

from waitress.adjustments import Adjustments
from waitress.parser import HTTPRequestParser, ParsingError, TransferEncodingNotImplemented
from waitress.utilities import BadRequest, Error

from .refusals import Refusal

_BARE_LINE_FEED = re.compile(rb"(?<!\r)\n")
_FIELD = re.compile(rb"\r\n([^:\r\n]*):[ \t]*([^\r\n]*?)[ \t]*(?=\r\n)")
_HEAD = b"HEAD "


class RequestTimeout(Error):  # type: ignore[misc]  # noqa: N818 - like waitress's errors
    """The refusal of a request that arrives too slowly."""

    code = 408
    reason = "Request Timeout"
    refusal = Refusal.TIMEOUT


class PlainRequest(BadRequest):  # type: ignore[misc]
    """The refusal of a request without TLS on a port with TLS."""

    refusal = Refusal.PLAIN_TO_TLS_PORT


class RequestParser(HTTPRequestParser):  # type: ignore[misc]
    """One request, which arrives in pieces.

    `began_at` and `head_at` are the times, in seconds of `time.monotonic`, when the first byte of
    the request arrived, and when its head was complete.
    """

    command = ""
    header_plus: bytes

    def __init__(self, adj: Adjustments) -> None:
        super().__init__(adj)
        self.began_at = self.head_at = time.monotonic()
        self.is_head = False
        self._is_in_head = True

    def received(self, data: bytes) -> int:
        """Take the next bytes; return how many of them belong to this request."""
        if not self._is_in_head:
            return int(super().received(data))
        blank = 0
        if not self.header_plus:
            # An empty line before a request is no request (RFC 9112, section 2.2).
            blank = len(data) - len(data.lstrip(b"\r\n"))
            if blank == len(data):
                self.completed = self.empty = True
                return blank
        taken = blank + self._receive_head(data[blank:])
        if self.completed:
            # waitress would ask for a body that does not follow, and would never answer.
            self.expect_continue = False
        return taken

    def _receive_head(self, data: bytes) -> int:
        begin = self.header_plus[: len(_HEAD)] + data[: len(_HEAD)]
        self.is_head = begin.startswith(_HEAD)
        if begin[:1].isspace():  # waitress would skip it
            self.refuse(BadRequest("Wanted a method at the start of the request"))
            return len(data)
        taken = int(super().received(data))
        if self.headers_finished or self.completed:
            self._is_in_head = False
            self.head_at = time.monotonic()
        elif _BARE_LINE_FEED.search(self.header_plus):
            self.refuse(BadRequest("Bare CR or LF found in HTTP message"))
        return taken

    def refuse(self, error: Error) -> None:
        """End the request: it gets this error as its answer, and the connection is closed."""
        self.error = error
        self.completed = True

    def parse_header(self, header_plus: bytes) -> None:
        """Parse the head. Raises `ParsingError` for everything that is not allowed."""
        _check_fields(header_plus)
        try:
            super().parse_header(header_plus)
        except TransferEncodingNotImplemented as error:
            raise ParsingError(*error.args) from None
        except ParsingError as error:
            # waitress quotes the line, which may hold a secret.
            raise ParsingError(str(error).partition(' "')[0]) from None
        except ValueError:  # of urlsplit, or of int for a number with more than 4,300 digits
            raise ParsingError("The URI or a length cannot be parsed") from None
        self._check_start_line()

    def _check_start_line(self) -> None:
        if self.version not in {"1.0", "1.1"}:
            raise ParsingError("Wanted HTTP/1.1 or HTTP/1.0")
        if self.proxy_netloc:  # it replaces the header Host (RFC 9112, section 3.2.2)
            self.headers["HOST"] = self.proxy_netloc
        host = self.headers.get("HOST", "")
        if "," in host or "@" in host:
            raise ParsingError("Wanted a single Host without user information")


def _check_fields(head: bytes) -> None:
    """Refuse a folded line, and a Transfer-Encoding that is anything but a single `chunked`."""
    if b"\r\n " in head or b"\r\n\t" in head:
        raise ParsingError("Folded header lines are obsolete (RFC 9112, section 5.2)")
    lower = head.lower()
    if b"transfer-encoding" not in lower:
        return
    fields = _FIELD.findall(lower)
    codings = [value for name, value in fields if name == b"transfer-encoding"]
    if codings and codings != [b"chunked"]:
        raise ParsingError("Wanted a single Transfer-Encoding: chunked, or none")
    if codings and any(name == b"content-length" for name, _ in fields):
        raise ParsingError("Wanted Content-Length or Transfer-Encoding, got both")
    if codings and lower.partition(b"\r\n")[0].rstrip().endswith(b"http/1.0"):
        raise ParsingError("HTTP/1.0 has no Transfer-Encoding")
