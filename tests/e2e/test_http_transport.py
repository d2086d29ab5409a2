"""What HTTP backends may send: redirects, 1xx, framing, sizes, compression, garbage."""

import gzip
import itertools
import json
import logging
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .http_support import (
    RESET,
    Answer,
    Closing,
    HttpScript,
    Received,
    answered,
    backend,
    conference_of,
    granting_by_http,
    running_http,
    serving,
)
from .support import JICOFO, PROSODY, Client, running
from .tls import SERVER_NAME, Authority

LIMIT = 64 * 1024


def granted(request: Received) -> bytes:
    """Return the body of an answer that grants a room; each room has an id of its own."""
    conference_id = zlib.crc32(request.body) % 2**31
    return json.dumps(conference_of(request, conference_id)).encode()


def framed(*lines: str) -> Callable[[Received], bytes]:
    """Return a handler that grants, with these lines between the status line and the body."""
    return lambda request: "\r\n".join([*lines, "", ""]).encode() + granted(request)


def chunked(request: Received) -> bytes:
    """Grant in chunks, with an extension and a trailer."""
    body = granted(request)
    chunks = [body[:5], body[5:6], body[6:]]
    coded = [b"%x;name=value\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks]
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"".join(coded) + b"0\r\nX-Trailer: 1\r\n\r\n"


def early(*heads: bytes) -> Callable[[Received], Iterator[bytes]]:
    """Return a handler that grants after these interim heads, each sent on its own."""

    def create(request: Received) -> Iterator[bytes]:
        yield from heads
        yield answered(200, granted(request))

    return create


GOOD = {
    "chunked": chunked,
    "HTTP/1.0": lambda request: Closing(framed("HTTP/1.0 200 OK")(request)),
    "until the end of the connection": lambda request: Closing(
        framed("HTTP/1.1 200 OK", "Connection: close")(request)
    ),
    "no reason phrase": lambda request: answered(200, granted(request)).replace(b" OK", b" ", 1),
    "gzip": lambda request: answered(
        200, gzip.compress(granted(request)), {"Content-Encoding": "gzip"}
    ),
    "100 Continue": early(b"HTTP/1.1 100 Continue\r\n\r\n"),
    "102 Processing": early(b"HTTP/1.1 102 Processing\r\n\r\n"),
    "103 Early Hints, twice": early(
        *2 * [b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n"]
    ),
    "100 headers": lambda request: answered(
        200, granted(request), {f"X-{number}": "v" for number in range(90)}
    ),
    "64 KiB": lambda request: answered(200, granted(request).ljust(LIMIT)),
    "64 KiB after gzip": lambda request: answered(
        200, gzip.compress(granted(request).ljust(LIMIT)), {"Content-Encoding": "gzip"}
    ),
}


@pytest.mark.parametrize("create", GOOD.values(), ids=GOOD)
@pytest.mark.parametrize("user_agent", [JICOFO, PROSODY])
def test_every_framing_of_an_answer_is_read(
    tmp_path: Path, create: Callable[[Received], Answer], user_agent: str
) -> None:
    """The proxy reads each framing of HTTP/1.1, and the next request on the same connection."""
    script = HttpScript(create)
    with running_http(tmp_path, script) as running:
        client = Client(running.client.port, user_agent)
        for name in ("board", "hallo"):
            reply = client.create(name)
            assert reply.status == 200, reply.body
            assert script.requests[-1].fields["name"] == name
            assert user_agent == JICOFO or reply.json["name"] == name


def stripped(status: int) -> Callable[[Received], Answer]:
    """Return a handler that answers with a status, and no body."""
    return lambda _: answered(status)


def endless(line: bytes, head: bytes = b"") -> Callable[[Received], Iterator[bytes]]:
    """Return a handler that never stops sending a line."""

    def create(_: Received) -> Iterator[bytes]:
        yield head
        yield from itertools.repeat(line * 1000)

    return create


BAD = {
    "204": (stripped(204), 502),
    "304": (stripped(304), 502),
    "101": (stripped(101), 502),
    "Content-Length too large": (
        lambda request: Closing(
            answered(200, granted(request)).replace(b"Length: ", b"Length: 1", 1)
        ),
        503,
    ),
    "Content-Length too small": (framed("HTTP/1.1 200 OK", "Content-Length: 5"), 502),
    "two Content-Lengths": (
        framed("HTTP/1.1 200 OK", "Content-Length: 5", "Content-Length: 6"),
        502,
    ),
    "closed in a chunk": (
        lambda _: Closing(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n{"),
        503,
    ),
    "no hexadecimal chunk": (
        lambda _: b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nlong\r\n{",
        503,
    ),
    "64 KiB and a byte": (lambda request: answered(200, granted(request).ljust(LIMIT + 1)), 502),
    "64 KiB and a byte after gzip": (
        lambda request: answered(
            200, gzip.compress(granted(request).ljust(LIMIT + 1)), {"Content-Encoding": "gzip"}
        ),
        502,
    ),
    "gzip that is none": (
        lambda request: answered(200, granted(request), {"Content-Encoding": "gzip"}),
        502,
    ),
    "gzip that was cut": (
        lambda request: answered(
            200, gzip.compress(granted(request))[:-12], {"Content-Encoding": "gzip"}
        ),
        502,
    ),
    "deflate": (
        lambda request: answered(
            200, zlib.compress(granted(request)), {"Content-Encoding": "deflate"}
        ),
        502,
    ),
    "101 headers": (
        lambda request: answered(200, granted(request), {f"X-{n}": "v" for n in range(101)}),
        502,
    ),
    "a header of 64 KiB": (
        lambda request: answered(200, granted(request), {"X": "v" * LIMIT}),
        502,
    ),
    "endless headers": (endless(b"X: v\r\n", b"HTTP/1.1 200 OK\r\n"), 502),
    "an endless status line": (endless(b"HTTP/1.1 200"), 502),
    "an endless body": (endless(b"{", b"HTTP/1.1 200 OK\r\n\r\n"), 502),
    "endless chunks": (
        endless(b"1\r\n{\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        502,
    ),
    "an endless size of a chunk": (
        endless(b"0", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        502,
    ),
    "garbage": (lambda _: Closing(b"\x00\xff\x80garbage" * 50), 502),
    "HTTP/2": (lambda _: Closing(b"\x00\x00\x12\x04\x00\x00\x00\x00\x00" + b"\x00" * 18), 502),
    "HTTP/3": (framed("HTTP/3 200 OK"), 502),
    "HTTP/0.9": (lambda request: Closing(granted(request)), 502),
    "a status of letters": (framed("HTTP/1.1 OK 200"), 502),
    "a status of four digits": (framed("HTTP/1.1 2000 OK"), 502),
    "a status below 100": (framed("HTTP/1.1 099 OK", "Content-Length: 2"), 502),
    "nothing": (lambda _: Closing(), 503),
    "a reset": (lambda _: RESET, 503),
}


@pytest.mark.parametrize(("create", "status"), BAD.values(), ids=BAD)
@pytest.mark.parametrize("user_agent", [JICOFO, PROSODY])
def test_an_unusable_answer_is_a_fault(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    create: Callable[[Received], Answer],
    status: int,
    user_agent: str,
) -> None:
    """The client gets a fixed sentence; the POST is not repeated; the next request is answered."""
    caplog.set_level(logging.INFO)
    script = HttpScript(create)
    with running_http(tmp_path, script) as running:
        client = Client(running.client.port, user_agent)
        reply = client.create()
        assert reply.status == status, (reply.body, caplog.text)
        assert "garbage" not in str(reply.json)
        assert len(script.of("POST")) == 1
        script.create = granting_by_http()
        assert client.create("hallo").status == 200
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308])
@pytest.mark.parametrize("method", ["POST", "GET", "DELETE"])
def test_no_redirect_is_followed(tmp_path: Path, status: int, method: str) -> None:
    """A redirect is a fault, and the other server gets no request, with whatever secret."""
    (tmp_path / "key").write_text("s3cret")
    other, script = HttpScript(), HttpScript()
    with serving(other) as elsewhere:

        def redirect(_: Received) -> bytes:
            return answered(status, {"id": 7}, {"Location": f"{elsewhere}/conference"})

        auth = {"api_key_file": str(tmp_path / "key")}
        with running_http(tmp_path, script, auth=auth) as running:
            jicofo = running.client
            if method == "POST":
                script.create = redirect
                assert jicofo.create().status == 502
            else:
                public_id = jicofo.create().json["id"]
                script.get = script.delete = redirect
                # A GET is answered from the ledger, and a DELETE is kept until it is delivered.
                send = jicofo.get if method == "GET" else jicofo.delete
                assert send(public_id).status == 200
            script.wait(method)
    assert not other.connections


def test_a_gzip_bomb_costs_no_memory(tmp_path: Path) -> None:
    """A body that becomes 60 MB after decompression is refused, without being decompressed."""
    bomb = gzip.compress(b"{" + b" " * 60_000_000)
    assert len(bomb) < LIMIT
    script = HttpScript(lambda _: answered(200, bomb, {"Content-Encoding": "gzip"}))
    with running_http(tmp_path, script) as running:
        tracemalloc.start()
        try:
            assert running.client.create().status == 502
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < 4_000_000


def test_tls_on_a_plain_port_is_a_fault(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """An https:// target whose server speaks no TLS ends in 503, and the log says why."""
    script = HttpScript()
    with serving(script) as target:
        default = backend(target.replace("http:", "https:"), answer_within="2s")
        with running(tmp_path, backends={"default": default}) as client:
            assert client.create().status == 503
    assert not script.requests
    assert "SSL" in caplog.text


def test_plain_http_on_a_tls_port_is_a_fault(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """An http:// target whose server speaks TLS ends in a fault, and the log says why."""
    script = HttpScript()
    with serving(script, Authority(tmp_path / "ca").server_context(SERVER_NAME)) as target:
        default = backend(target.replace("https:", "http:"), answer_within="2s")
        with running(tmp_path, backends={"default": default}) as client:
            assert client.create().status in {502, 503}
    assert not script.requests
    assert "lost" in caplog.text or "ERROR" in caplog.text


def test_the_rest_of_an_answer_is_not_the_next_answer(tmp_path: Path) -> None:
    """Bytes after the end of an answer are no answer to the next request."""
    stolen = answered(200, {"id": 666, "name": "other", "mail_owner": "x@example.com"})
    script = HttpScript(lambda request: answered(200, granted(request)) + stolen)
    with running_http(tmp_path, script) as running:
        prosody = Client(running.client.port, PROSODY)
        for name in ("board", *"12345"):
            assert prosody.create(name).json["name"] == name
