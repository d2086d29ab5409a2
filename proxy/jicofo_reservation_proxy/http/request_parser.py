"""The parser of requests: waitress's parser, stricter, and with an answer to everything.

waitress accepts some requests that servers read in different ways, which is how requests are
smuggled (RFC 9112, section 11.2), and fails on others without an answer. This parser refuses all of
them with 400. Neither Jicofo nor Prosody sends such a request (clients.md "What they send").
"""

import re
import time
from typing import Any

from waitress.adjustments import Adjustments
from waitress.parser import HTTPRequestParser, ParsingError, TransferEncodingNotImplemented
from waitress.utilities import BadRequest, Error

from .chunked_body import ChunkedBody
from .refusals import Refusal

HIDDEN = "(not shown)"

_BARE_LINE_FEED = re.compile(rb"(?<!\r)\n")
_CONTROL = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_REQUEST_LINE = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Z]+ [^ \t]+ HTTP/1\.[01]")
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
    path = HIDDEN
    header_plus: bytes
    body_rcv: Any

    def __init__(self, adj: Adjustments) -> None:
        super().__init__(adj)
        self.began_at = self.head_at = time.monotonic()
        self.is_head = False
        self.head = b""
        """The bytes of a head that was accepted; empty if the server changed what it says."""
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
        return blank + self._receive_head(data[blank:])

    def _receive_head(self, data: bytes) -> int:
        begin = self.header_plus[: len(_HEAD)] + data[: len(_HEAD)]
        self.is_head = begin.startswith(_HEAD)
        if begin[:1].isspace():  # waitress would skip it
            self.refuse(BadRequest("Wanted a method at the start of the request"))
            return len(data)
        known = len(self.header_plus)
        taken = int(super().received(data))
        # No `100 Continue`: Prosody takes it for the answer (clients.md "framing"), and waitress
        # would send it while another thread uses the connection.
        self.expect_continue = False
        if self.headers_finished or self.completed:
            self._is_in_head = False
            self.head_at = time.monotonic()
        elif _BARE_LINE_FEED.search(self.header_plus, known):
            self.refuse(BadRequest("Bare CR or LF found in HTTP message"))
        return taken

    def close_connection(self) -> None:
        """Let the server close the connection after the answer; the head does not say so."""
        self.headers["CONNECTION"] = "close"
        self.head = b""

    def refuse(self, error: Error) -> None:
        """End the request: it gets this error as its answer, and the connection is closed."""
        self.error = error
        self.completed = True

    @property
    def is_plain(self) -> bool:
        """Whether nothing but the head decides how the server goes on after this request."""
        connection = self.headers.get("CONNECTION", "").lower()
        return (
            self.head != b""
            and self.version == "1.1"
            and connection in {"", "keep-alive", "close"}
            and not self.chunked
            and "EXPECT" not in self.headers
        )

    def parse_header(self, header_plus: bytes) -> None:
        """Parse the head. Raises `ParsingError` for everything that is not allowed."""
        _check(header_plus)
        try:
            super().parse_header(header_plus)
        except TransferEncodingNotImplemented as error:
            raise ParsingError(*error.args) from None
        except ParsingError as error:
            # waitress quotes the line, which may hold a secret.
            raise ParsingError(str(error).partition(' "')[0]) from None
        except ValueError:  # of urlsplit, or of int for a number with more than 4,300 digits
            raise ParsingError("The URI or a length cannot be parsed") from None
        if self.chunked:
            self.body_rcv = ChunkedBody(self.body_rcv.getbuf())
        self._correct_fields()
        self.head = header_plus

    def _correct_fields(self) -> None:
        if self.proxy_netloc:  # it replaces the header Host (RFC 9112, section 3.2.2)
            self.headers["HOST"] = self.proxy_netloc
        host = self.headers.get("HOST", "")
        if "," in host or "@" in host:
            raise ParsingError("Wanted a single Host without user information")
        options = self.headers.get("CONNECTION", "")
        if "," in options and "close" in re.split(r"[, \t]+", options.lower()):
            self.headers["CONNECTION"] = "close"  # waitress knows a single option only


def _check(head: bytes) -> None:
    """Refuse what servers read in different ways.

    These checks need linear time. waitress's own expressions need quadratic time for some of the
    lines that are refused here.
    """
    if _CONTROL.search(head):
        raise ParsingError("Control characters are not allowed")
    if b"\r\n " in head or b"\r\n\t" in head:
        raise ParsingError("Folded header lines are obsolete (RFC 9112, section 5.2)")
    line, _, fields = head.partition(b"\r\n")
    if not _REQUEST_LINE.fullmatch(line):
        raise ParsingError("Wanted a method, a URI, and HTTP/1.1 or HTTP/1.0")
    if b"transfer-encoding" in fields.lower():
        _check_transfer_encoding(fields.lower().split(b"\r\n"), is_old=line.endswith(b"1.0"))


def _check_transfer_encoding(fields: list[bytes], *, is_old: bool) -> None:
    """Refuse a Transfer-Encoding that is anything but a single `chunked`."""
    named = [(name, value.strip(b" \t")) for name, _, value in (f.partition(b":") for f in fields)]
    codings = [value for name, value in named if name == b"transfer-encoding"]
    if not codings:
        return
    if codings != [b"chunked"]:
        raise ParsingError("Wanted a single Transfer-Encoding: chunked, or none")
    if any(name == b"content-length" for name, _ in named):
        raise ParsingError("Wanted Content-Length or Transfer-Encoding, got both")
    if is_old:
        raise ParsingError("HTTP/1.0 has no Transfer-Encoding")
