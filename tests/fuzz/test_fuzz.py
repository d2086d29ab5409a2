"""The seeds of the fuzzer, and some new random streams in each run. `make fuzz` sends more."""

import time
from pathlib import Path

import pytest

from tests.e2e.support import running

from .backend import granting_some
from .compare import comparing
from .oracle import WrongAnswerError, judge
from .play import play, play_random
from .streams import Stream

SEEDS = sorted(Path(__file__).with_name("seeds").glob("*.bin"))


def test_every_seed_is_answered(tmp_path: Path) -> None:
    """What once failed is answered now, in one piece and byte by byte."""
    assert len(SEEDS) >= 10
    with running(tmp_path, granting_some()) as client:
        for seed in SEEDS:
            data = seed.read_bytes()
            play(client.port, Stream((data,)))
            if len(data) < 2000:
                play(client.port, Stream(tuple(data[at : at + 1] for at in range(len(data)))))


def test_random_streams_are_answered(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Random requests get answers, and no trace appears in the log."""
    first = time.time_ns() // 10**6
    with running(tmp_path, granting_some()) as client:
        statuses = play_random(client.port, range(first, first + 1000))
        assert client.create("fuzz1").status == 200
    assert {200, 400, 404, 405} <= statuses.keys()
    assert not [record for record in caplog.records if record.exc_info]


def test_the_fast_path_answers_as_the_usual_path_does(tmp_path: Path) -> None:
    """Both paths give the same bytes for requests of both clients and for mutations of them."""
    first = time.time_ns() // 10**6
    with comparing(tmp_path) as comparison:
        comparison.play_random(range(first, first + 300))
    assert comparison.answered_fast > 300
    assert {200, 400, 403} <= comparison.statuses.keys()


@pytest.mark.parametrize(
    ("sent", "received"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", b""),
        (b"x", b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n"),
        (b"x", b"HTTP/1.1 400 Bad Request\r\nContent-Length: 5\r\n\r\n{}"),
        (b"x", b"HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\n\r\n{}"),
        (b"x", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]"),
        (b"x", b'HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n{"a":[]}'),
        (b"x", b"HTTP/1.1 200 OK\r\nContent-Le"),
        (b"x", b"HTTP/1.1 100 Continue\r\n\r\n"),
    ],
)
def test_the_oracle_finds_wrong_answers(sent: bytes, received: bytes) -> None:
    """Silence, a 5xx, a body that is cut off or is no flat JSON object with a message."""
    with pytest.raises(WrongAnswerError):
        judge(sent, received)


def test_the_oracle_accepts_right_answers() -> None:
    """Several answers may follow each other; nothing is due for a TLS handshake."""
    answer = b'HTTP/1.1 404 Not Found\r\nContent-Length: 15\r\n\r\n{"message":"x"}'
    assert judge(b"GET / HTTP/1.1\r\n\r\n" * 2, answer * 2) == [404, 404]
    assert judge(b"HEAD / HTTP/1.1\r\n\r\n", answer.partition(b"{")[0]) == [404]
    assert judge(b"\x16\x03\x01", b"") == []
    assert judge(b"\r\n", b"") == []
