"""The parser of requests: it needs linear time, whatever comes."""

import time

import pytest
from jicofo_reservation_proxy.http.request_parser import RequestParser
from waitress.adjustments import Adjustments

LENGTH = 16_000

HEADS = {
    "spaces and a control character": b"GET / HTTP/1.1\r\nX:" + b" " * LENGTH + b"\x00",
    "spaces in a value": b"GET / HTTP/1.1\r\nX: transfer-encoding a" + b" " * LENGTH + b"b",
    "tabs and spaces": b"GET / HTTP/1.1\r\nX:" + b" \t" * (LENGTH // 2) + b"\xff \x7f",
    "a name without a colon": b"GET / HTTP/1.1\r\n" + b"a" * LENGTH,
    "spaces before the colon": b"GET / HTTP/1.1\r\na" + b" " * LENGTH + b":",
    "digits in an authority": b"GET a://" + b"1" * LENGTH + b" HTTP/1.15",
    "digits and a space": b"GET a://" + b"1" * LENGTH + b"  HTTP/1.1",
    "a long scheme": b"GET " + b"a" * LENGTH + b" HTTP/1.1 x",
    "slashes": b"GET " + b"/" * LENGTH + b" HTTP/1.1",
    "many fields": b"GET / HTTP/1.1" + b"\r\nTransfer-Encoding: chunked" * (LENGTH // 30),
    "commas": b"GET / HTTP/1.1\r\nConnection: " + b"," * LENGTH,
}


def _seconds(data: bytes, size: int) -> float:
    """Return how long a parser needs for data that comes in pieces of a size."""
    adjustments = Adjustments(max_request_header_size=2 * LENGTH)
    parser = RequestParser(adjustments)
    began = time.perf_counter()
    for at in range(0, len(data), size):
        if not parser.completed:
            parser.received(data[at : at + size])
    assert parser.completed
    return time.perf_counter() - began


@pytest.mark.parametrize("name", HEADS)
def test_a_head_needs_linear_time(name: str) -> None:
    """The main loop parses heads, so a slow one would delay everyone (quadratic: 1 to 2 s)."""
    data = HEADS[name] + b"\r\n\r\n"
    assert min(_seconds(data, len(data)) for _ in range(3)) < 0.3


@pytest.mark.parametrize(
    ("body", "is_strict"),
    [
        (b"5\r\nhello\r\n0\r\n\r\n", True),
        (b"5;x=y\r\nhello\r\n0\r\n\r\n", True),
        (b"0\r\n\r\n", True),
        (b"\r\n5\r\nhello\r\n0\r\n\r\n", False),
        (b"5\r\nhello\r\n\r\n0\r\n\r\n", False),
        (b"5\r\nhello\r\n0\r\nTrailer: x\r\n\r\n", False),
        (b"0\r\nX: y\n\nGET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n", False),
    ],
)
@pytest.mark.parametrize("size", [1, 1000])
def test_a_chunked_body_has_nothing_but_chunks(body: bytes, size: int, *, is_strict: bool) -> None:
    """Another server could take empty lines and trailers for another request."""
    head = b"POST /conference HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    parser = RequestParser(Adjustments())
    data = head + body
    while data and not parser.completed:
        taken = parser.received(data[:size])
        data = data[taken:]
    assert parser.completed
    assert (parser.error is None) == is_strict


@pytest.mark.parametrize(
    ("options", "kept"),
    [(b"close", b"close"), (b"foo, close", b"close"), (b"Keep-Alive, TE", b"Keep-Alive, TE")],
)
def test_close_may_be_one_of_several_options(options: bytes, kept: bytes) -> None:
    """`Connection` is a list (RFC 9110, section 7.6.1)."""
    parser = RequestParser(Adjustments())
    parser.received(b"GET / HTTP/1.1\r\nConnection: " + options + b"\r\n\r\n")
    assert parser.headers["CONNECTION"] == kept.decode()


def test_no_continue_is_ever_sent() -> None:
    """Prosody takes it for the answer (clients.md "framing")."""
    parser = RequestParser(Adjustments())
    parser.received(b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
    assert not parser.expect_continue


@pytest.mark.parametrize("first", range(1, 8))
@pytest.mark.parametrize(("method", "is_head"), [(b"HEAD", True), (b"HEADS", False)])
def test_head_is_recognized_in_pieces(first: int, method: bytes, *, is_head: bool) -> None:
    """The method may be divided between two packets."""
    parser = RequestParser(Adjustments())
    request = method + b" / HTTP/1.1\r\n\r\n"
    for piece in (request[:first], request[first:]):
        parser.received(piece)
    assert parser.completed
    assert parser.is_head == is_head
