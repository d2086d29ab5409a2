"""Streams of bytes for one connection: requests of both clients, and mutations of them."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import quote_plus

Rng = random.Random

ROOMS = [f"fuzz{number}" for number in range(20)]
"""The backend grants only these rooms, so that its memory and the proxy's stay small."""

AGENTS = ["Apache-HttpClient/4.5.13 (Java/17)", "Prosody (0.12.3; posix)", "curl/8.5.0", ""]
NASTY = [
    b"\x00",
    b"\r",
    b"\n",
    b"\r\n",
    b"\r\n\r\n",
    b" ",
    b"\t",
    b"\xff",
    b"\xc3\xa9",
    b"%",
    b"%00",
    b"%zz",
    b"//",
    b"/../",
    b"?",
    b"#",
    b":",
    b"@",
    b"[",
    b"]",
    b",",
    b";",
    b"\x16\x03\x01",
    b"0",
    b"-1",
    b"99999999999999999999",
    b"1" * 4301,
    b"x" * 20_000,
]
METHODS = [b"GET", b"POST", b"DELETE", b"HEAD", b"PUT", b"OPTIONS", b"TRACE", b"CONNECT", b"BREW"]
TARGETS = [
    b"/conference",
    b"/conference/",
    b"//conference",
    b"/conference/default.x",
    b"/conference/1",
    b"/conference/1.0",
    b"/conference/1e+14",
    b"/conference/null",
    b"/conference/a/b c",
    b"/conference/%ff%00",
    b"/api/v1/conference",
    b"/",
    b"*",
    b"",
    b"http://[/",
    b"http://a]b/conference/x",
    b"http://localhost/conference/x",
    b"http://evil.example.com/conference/x",
    b"http://a@b/",
    b"example.com:443",
    b"/conference?x=y",
    b"/conference#x",
    b"\\conference",
    b"/" + b"conference/" * 700,
]
VERSIONS = [b"HTTP/1.1"] * 6 + [b"HTTP/1.0", b"HTTP/2.0", b"HTTP/0.9", b"HTTP/1.2", b"http/1.1"]
HEADERS = [
    b"Host: localhost",
    b"Host: evil.example.com",
    b"Host:",
    b"Host: [::1]:7777",
    b"Origin: null",
    b"Connection: close",
    b"Connection: Keep-Alive",
    b"Connection: Upgrade, HTTP2-Settings",
    b"Upgrade: h2c",
    b"Expect: 100-continue",
    b"Content-Length: 0",
    b"Content-Length: 5",
    b"Content-Length: 5, 5",
    b"Content-Length: -5",
    b"Content-Length: 70000",
    b"Content-Length: " + b"9" * 4301,
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: chunked, chunked",
    b"Transfer-Encoding: gzip",
    b"Transfer-Encoding:",
    b"Transfer-Encoding : chunked",
    b"transfer_encoding: chunked",
    b"Content-Type: application/x-www-form-urlencoded",
    b"Content-Type: multipart/form-data; boundary=x",
    b"Content-Encoding: gzip",
    b"Authorization: Bearer x",
    b" folded: line",
    b"no colon",
    b": no name",
    b"X: \x00",
    b"X: " + b"y" * 9000,
]
_JICOFO = [
    b"Accept: application/json",
    b"Content-Type: application/x-www-form-urlencoded; charset=UTF-8",
    b"Host: localhost:7777",
    b"Connection: Keep-Alive",
    b"User-Agent: Apache-HttpClient/4.5.13 (Java/17)",
    b"Accept-Encoding: gzip,deflate",
]
_PROSODY = [
    b"Host: localhost:7777",
    b"Connection: close",
    b"Content-Type: application/x-www-form-urlencoded",
    b"User-Agent: Prosody (0.12.3; posix)",
]
CHUNKS = [
    b"0\r\n\r\n",
    b"5\r\nhello\r\n0\r\n\r\n",
    b"5;x=y\r\nhello\r\n0\r\nTrailer: x\r\n\r\n",
    b"5 \r\nhello\r\n0\r\n\r\n",
    b"0x5\r\nhello\r\n0\r\n\r\n",
    b"-5\r\nhello\r\n0\r\n\r\n",
    b"5\nhello\n0\n\n",
    b"6\r\nhello\r\n0\r\n\r\n",
    b"fffffffffffffffff\r\nhello",
    b"g\r\n\r\n",
    b";\r\n\r\n",
    b"5\r\nhello",
    b"1\r\na\r\n" * 50 + b"0\r\n\r\n",
    b"0\r\n" + b"x" * 70_000,
]
VALUES = ["board", "", "a" * 3000, "\x00", "\u00e9", "[acme]board", "%", "2048-04-20T17:55:12.000Z"]


@dataclass(frozen=True, slots=True)
class Stream:
    """What one client sends. `pieces` are sent one after the other.

    `is_reset` means that the client then resets the connection instead of reading the answers.
    """

    pieces: tuple[bytes, ...]
    is_reset: bool = False

    @property
    def data(self) -> bytes:
        """All bytes."""
        return b"".join(self.pieces)


def stream(rng: Rng) -> Stream:
    """Return a random stream."""
    make = rng.choice(_KINDS)
    data = b"".join(make(rng) for _ in range(rng.choice((1, 1, 1, 2, 3, 8))))
    if rng.random() < 0.5:
        data = mutated(rng, data)
    return Stream(_divided(rng, data), is_reset=rng.random() < 0.02)


def mutated(rng: Rng, data: bytes) -> bytes:
    """Return data with some bytes changed, removed, repeated or inserted."""
    for _ in range(rng.choice((1, 1, 2, 5))):
        at = rng.randrange(len(data) + 1)
        end = min(len(data), at + rng.choice((0, 1, 1, 4, 30)))
        middle = rng.choice(
            (b"", rng.choice(NASTY), rng.randbytes(rng.randrange(1, 5)), data[at:end] * 2)
        )
        data = data[:at] + middle + data[end:]
    return data.replace(b"\r\n", b"\n") if rng.random() < 0.02 else data


def create(rng: Rng) -> bytes:
    """Return a POST as a client sends it, for one of the rooms that the backend grants."""
    fields = {"name": rng.choice(ROOMS), "start_time": "2048-04-20T17:55:12.000Z"}
    if rng.random() < 0.7:
        fields["mail_owner"] = "juliet@example.com"
    if rng.random() < 0.5:
        fields["duration"] = "-1"
    return _post(rng, fields)


def post(rng: Rng) -> bytes:
    """Return a POST with exactly the head of one of the two clients."""
    fields = {
        "name": rng.choice((*ROOMS, "[acme]caf%c3%a9", "not granted")),
        "start_time": "2048-04-20T17:55:12.000Z",
    }
    if rng.random() < 0.7:
        fields["mail_owner"] = "juliet@example.com"
    if rng.random() < 0.5:
        fields["duration"] = rng.choice(("-1", "3600", "x"))
    body = "&".join(f"{name}={quote_plus(value)}" for name, value in fields.items()).encode()
    headers = rng.choice((_JICOFO, _PROSODY))
    length = b"Content-Length: %d" % len(body)
    return _head(b"POST", b"/conference", b"HTTP/1.1", [*headers, length]) + body


def get(rng: Rng) -> bytes:
    """Return a GET with a head of one of the two clients."""
    public_id = rng.choice((b"1", b"default.7", b"default.7.12", b"null", b"91234567890123"))
    headers = [line for line in rng.choice((_JICOFO, _PROSODY)) if b"Content" not in line]
    return _head(b"GET", b"/conference/" + public_id, b"HTTP/1.1", headers)


def _strange_form(rng: Rng) -> bytes:
    names = ["name", "mail_owner", "start_time", "duration", "x"]
    return _post(rng, {rng.choice(names): rng.choice(VALUES) for _ in range(4)})


def _post(rng: Rng, fields: dict[str, str]) -> bytes:
    body = "&".join(f"{name}={quote_plus(value)}" for name, value in fields.items()).encode()
    headers = [
        b"Host: localhost:7777",
        b"Content-Type: application/x-www-form-urlencoded; charset=UTF-8",
        b"Content-Length: %d" % len(body),
        b"User-Agent: " + rng.choice(AGENTS).encode(),
    ]
    return _head(b"POST", b"/conference", b"HTTP/1.1", headers) + body


def _read_or_delete(rng: Rng) -> bytes:
    headers = [b"Host: localhost", b"User-Agent: " + rng.choice(AGENTS).encode()]
    method = rng.choice((b"GET", b"DELETE"))
    return _head(method, rng.choice(TARGETS[3:10]), b"HTTP/1.1", headers)


def _strange_head(rng: Rng) -> bytes:
    headers = [rng.choice(HEADERS) for _ in range(rng.randrange(6))]
    head = _head(rng.choice(METHODS), rng.choice(TARGETS), rng.choice(VERSIONS), headers)
    return head + rng.choice((b"", b"", b"hello", rng.choice(CHUNKS)))


def _chunked(rng: Rng) -> bytes:
    headers = [b"Host: localhost", b"Transfer-Encoding: chunked", HEADERS[22]]
    return _head(b"POST", b"/conference", b"HTTP/1.1", headers) + rng.choice(CHUNKS)


def _noise(rng: Rng) -> bytes:
    return rng.randbytes(rng.randrange(1, 200)) + rng.choice((b"", b"\r\n\r\n"))


_KINDS: Sequence[Callable[[Rng], bytes]] = (
    create,
    _read_or_delete,
    _read_or_delete,
    _strange_form,
    _strange_head,
    _strange_head,
    _chunked,
    _noise,
)


def _head(method: bytes, target: bytes, version: bytes, headers: Sequence[bytes]) -> bytes:
    return b"\r\n".join([b" ".join((method, target, version)), *headers, b"", b""])


def _divided(rng: Rng, data: bytes) -> tuple[bytes, ...]:
    cuts = sorted(rng.randrange(len(data) + 1) for _ in range(rng.choice((0, 0, 0, 1, 2, 6))))
    ends = [*cuts, len(data)]
    pieces = (data[begin:end] for begin, end in zip([0, *cuts], ends, strict=True))
    return tuple(piece for piece in pieces if piece)
