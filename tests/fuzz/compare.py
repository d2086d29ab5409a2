"""Compare the fast path of the server with the usual path: both must give the same answers.

Two proxies get the same requests, one after the other. One of them has no fast path. Each request
is sent twice, so the second one finds a head that the fast path knows, if it can know it.
"""

import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

from jicofo_reservation_proxy.app import Proxy
from jicofo_reservation_proxy.http import server
from jicofo_reservation_proxy.http.fast_path import FastRequest

from tests.e2e.support import serving_grpc, serving_http, settings

from .backend import granting_some
from .client import send
from .oracle import WrongAnswerError
from .streams import Stream, get, mutated, post, stream

MAX_BYTES = 4000
"""A server reads longer requests in pieces, and the first piece with a mistake decides."""

_DIFFERS = (
    (re.compile(rb"\r\nDate: [^\r]+"), b"\r\nDate: -"),
    (re.compile(rb"incident [0-9a-f]{12}"), b"incident -"),
    (re.compile(rb"(default\.[0-9]+)\.[0-9]{10,}"), rb"\1.-"),  # the hold in a string id
)
"""What differs between two proxies, or from one second to the next."""


class Comparison:
    """Two proxies, with and without the fast path."""

    def __init__(self, fast_port: int, usual_port: int, answered_fast: "Counter[int]") -> None:
        self.statuses: Counter[int] = Counter()
        self._fast_port = fast_port
        self._usual_port = usual_port
        self._answered_fast = answered_fast

    @property
    def answered_fast(self) -> int:
        """The number of requests that took the fast path."""
        return self._answered_fast.total()

    def play_random(self, seeds: Iterable[int]) -> None:
        """Send random requests to both proxies. Raises `WrongAnswerError` if an answer differs."""
        for seed in seeds:
            for played in _streams(random.Random(seed)):  # noqa: S311 - repeatable, no secret
                self._play(seed, played)

    def _play(self, seed: int, played: Stream) -> None:
        fast, usual = (_answers(port, played) for port in (self._fast_port, self._usual_port))
        if fast != usual:
            raise WrongAnswerError(
                f"seed {seed}, {played.data[:2000]!r}: the fast path gave {fast!r}, the usual path "
                f"{usual!r}"
            )
        self.statuses.update(int(status) for status in re.findall(rb"HTTP/1\.[01] (\d{3})", fast))


@contextmanager
def comparing(folder: Path) -> Iterator[Comparison]:
    """Run two proxies with one backend each, in this process."""
    answered: Counter[int] = Counter()
    answer = FastRequest.answer

    def count(self: FastRequest) -> object:
        answered[id(self)] += 1
        return answer(self)

    with (
        patch.object(FastRequest, "answer", count),
        _serving(folder / "fast") as fast_port,
        patch.object(server, "is_tested_waitress", lambda: False),
        _serving(folder / "usual") as usual_port,
    ):
        yield Comparison(fast_port, usual_port, answered)


@contextmanager
def _serving(folder: Path) -> Iterator[int]:
    with serving_grpc(granting_some()) as target:
        chosen = settings(folder, backends={"default": {"target": target}})
        with Proxy(chosen) as proxy, serving_http(proxy) as port:
            yield port


def _streams(rng: random.Random) -> Iterator[Stream]:
    """Yield a request of a client, and twice something that is almost that request."""
    request = rng.choice((post, post, get))(rng)
    yield Stream((request,))
    head, end, body = request.partition(b"\r\n\r\n")
    kind = rng.randrange(5)
    if kind == 0:  # another body with the same head
        other = mutated(rng, body)[: len(body)]
        request = head + end + other + b"x" * (len(body) - len(other))
    elif kind == 1:
        request = head + end + mutated(rng, body)
    elif kind == 2:
        request = mutated(rng, head) + end + body
    elif kind == 3:
        request = mutated(rng, request)
    else:
        request = rng.choice((request + post(rng), stream(rng).data))
    if len(request) <= MAX_BYTES:
        yield from [Stream((request,))] * 2


def _answers(port: int, played: Stream) -> bytes:
    """Return the answers to a stream, without what always differs; a reset is an answer too."""
    try:
        answers = send(port, played) or b""
    except ConnectionError:
        return b"reset"
    for pattern, text in _DIFFERS:
        answers = pattern.sub(text, answers)
    return answers
