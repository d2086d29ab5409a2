"""What a backend may answer: nearly right conferences, any JSON, any status, any header, any bytes.

A small change of a right answer finds more mistakes than random bytes.
"""

import gzip
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from hypothesis import strategies as st

from .raw_backend import Reaction

SECRET = "Traceback-hunter2"
"""A text that many answers have. A client must not get it unless it is the sentence of a denial."""


class Recipe(NamedTuple):
    """An answer, except the id and the name of the conference.

    `body` has the changes of the right conference, or is the whole body. `framing` says how the end
    of the body is marked.
    """

    status: bytes
    body: Mapping[str, Any] | bytes
    headers: Sequence[tuple[bytes, bytes]] = ()
    framing: str = "length"
    coding: str = ""
    is_raw: bool = False
    """Whether `body` is all bytes of the answer."""

    def reaction(self, conference_id: int, room: str) -> Reaction:
        """Return the answer for a conference."""
        if self.is_raw:
            assert isinstance(self.body, bytes)
            return Reaction(self.body)
        body = (
            self.body if isinstance(self.body, bytes) else _changed(self.body, conference_id, room)
        )
        headers = list(self.headers)
        if self.coding == "gzip":
            body = gzip.compress(body, 1, mtime=0)
            headers.append((b"Content-Encoding", b"gzip"))
        if self.framing == "length":
            headers.append((b"Content-Length", str(len(body)).encode()))
        elif self.framing == "chunked":
            headers.append((b"Transfer-Encoding", b"chunked"))
            body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if body else b"0\r\n\r\n"
        lines = [self.status, *(name + b": " + value for name, value in headers)]
        keeps = self.framing == "length" and not self.headers
        return Reaction(b"\r\n".join(lines) + b"\r\n\r\n" + body, keeps)


def _changed(changes: Mapping[str, Any], conference_id: int, room: str) -> bytes:
    right = {
        "id": conference_id,
        "name": room,
        "mail_owner": "juliet@example.com",
        "start_time": "2048-04-20T17:55:12.000Z",
        "duration": 3600,
    }
    fields = right | dict(changes)
    for key in [key for key, value in fields.items() if value is MISSING]:
        del fields[key]
    return json.dumps(fields).encode()


MISSING = object()
"""The value of a field that is left out."""

FIELDS = [
    *("id", "name", "mail_owner", "start_time", "duration", "max_occupants", "lobby", "password"),
    *("pin", "url", "sip_id", "conflict_id", "message", "error", "detail", "title"),
]

_texts = st.one_of(
    st.text(max_size=20),  # also halves of surrogate pairs
    st.sampled_from(
        [
            *(SECRET, "<html>", "a\nb", "\x00", "\ud800", "..", "a/../b", "%2e%2e", "x" * 300),
            *("2048-04-20 17:55:12", "2048-04-20T17:55:12+0000", "0001-01-01T00:00:00+14:00"),
            *("9999-12-31T23:59:59Z", "-1", "1e999", "99999999999999999999", "007", "7.0", "true"),
            *("juliet@example.com", "JULIET@example.com", "x" * 4000, "https://example.com/7"),
        ]
    ),
)
_numbers = st.one_of(
    st.integers(-(2**70), 2**70),
    st.sampled_from([0, -1, 1, 2**31, 10**13, 10**14, 10**15, 10**400, 1e308, 1e22, -0.0, 0.5]),
    st.sampled_from([float("inf"), float("nan")]),  # Python writes them, and they are no JSON
    st.floats(),
)
json_values = st.recursive(
    st.none() | st.booleans() | _texts | _numbers,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS) | _texts, inner)
    ),
    max_leaves=6,
)
_changes = st.dictionaries(
    st.sampled_from(FIELDS), json_values | st.just(MISSING), min_size=0, max_size=3
)
LARGE = {
    "too deep": b"[" * 2000,
    "nearly too deep": b'{"id":' * 990 + b"1" + b"}" * 990,
    "a long number": b'{"id": ' + b"9" * 4200 + b"}",
    "a number that is too long": b'{"id": ' + b"9" * 4400 + b"}",
    "64 KiB": b"x" * 65536,
    "more than 64 KiB": b'{"id": 7, "x": "' + b"x" * 65536 + b'"}',
}
"""Large bodies, by names that Hypothesis can show."""

_bodies = st.one_of(
    _changes,
    _changes,
    _changes,
    json_values.map(lambda value: json.dumps(value).encode()),
    st.binary(max_size=60),
    st.sampled_from([b"", b"null", b"{", b"\xef\xbb\xbf{}", b"\xff", SECRET.encode()]),
    st.just(b"<html>" + SECRET.encode() + b"</html>"),
    st.sampled_from(sorted(LARGE)).map(lambda name: LARGE[name]),
)
_codes = st.one_of(
    st.sampled_from([200, 200, 200, 201, 204, 409, 409, 403, 404, 400, 500, 502, 503]),
    st.integers(100, 599),
)
_lines = st.one_of(
    _codes.map(lambda code: b"HTTP/1.1 %d OK" % code),
    _codes.map(lambda code: b"HTTP/1.0 %d" % code),
    st.sampled_from(
        [
            b"HTTP/1.1 600 X",
            b"HTTP/1.1 +20 X",
            b"HTTP/2 200",
            b"200 OK",
            b"",
            b"HTTP/1.1 +200 X",
            b"HTTP/1.1 200 \xff\x00",
        ]
    ),
)
_header_texts = st.binary(max_size=12).map(
    lambda data: data.replace(b"\n", b"").replace(b"\r", b"")
)
_headers = st.lists(
    st.one_of(
        st.tuples(_header_texts, _header_texts),
        st.sampled_from(
            [
                (b"Content-Length", b"5"),
                (b"Content-Length", b"-1"),
                (b"Content-Length", b"1, 2"),
                (b"Content-Length", b"\xb2"),
                (b"Content-Length", b"99999999999999999999"),
                (b"Transfer-Encoding", b"gzip, chunked"),
                (b"Transfer-Encoding", b"identity"),
                (b"Content-Encoding", b"gzip"),
                (b"Content-Encoding", b"br"),
                (b"Content-Type", b"multipart/mixed; boundary=x"),
                (b"Content-Type", b"message/rfc822"),
                (b"Content-Type", b"text/html; charset=\xff"),
                (b"Location", b"http://127.0.0.1:1/"),
                (b"Retry-After", b"\xff"),
                (b"Connection", b"close"),
                (b"Upgrade", b"h2c"),
                (b"X", b"a\n b"),
                (b"X", b"\r\n\r\n"),
                (b" X", b"folded"),
            ]
        ),
        st.just(70_000).map(lambda size: (b"X" * size, b"")),
    ),
    max_size=3,
)
_recipes = st.one_of(
    st.builds(Recipe, _codes.map(lambda code: b"HTTP/1.1 %d OK" % code), _changes),
    st.builds(Recipe, _codes.map(lambda code: b"HTTP/1.1 %d OK" % code), _bodies),
    st.builds(
        Recipe,
        _lines,
        _bodies,
        _headers,
        st.sampled_from(["length", "chunked", "close"]),
        st.sampled_from(["", "", "gzip"]),
    ),
    st.builds(Recipe, st.just(b""), st.binary(max_size=80), is_raw=st.just(value=True)),
)


@st.composite
def recipes(draw: st.DrawFn) -> Recipe:
    """Return any answer; this strategy has a short name in messages."""
    drawn: Recipe = draw(_recipes)
    return drawn


_CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
STRANGE = [
    Recipe(b"", data, is_raw=True)
    for data in (
        b"",
        b"\x16\x03\x01\x02\x00",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 20,
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\nPRI * HTTP/2.0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}HTTP/1.1 200 OK\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{} ",
        *(_CHUNKED + body for body in (b"", b"-5\r\n{}", b"-1\r\n{}", b"0x2\r\n{}\r\n0\r\n\r\n")),
        *(
            _CHUNKED + body
            for body in (b"fffffffffffffffff\r\n{}", b"2\r\n{}XX", b"zz\r\n", b"\r\n")
        ),
        *(
            _CHUNKED + body
            for body in (b"2;a=b\r\n{}\r\n0\r\nX: y\r\n\r\n", b"1_0\r\n" + b"x" * 16)
        ),
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n\x1f\x8b\x08\x00",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n{}",
    )
]
"""Answers that are broken in a way that random bytes hardly find."""
