"""Jicofo's bytes, its one connection, its retries, and the rooms that it keeps."""

import gzip
import zlib
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from jicofo_reservation_proxy.clock import now_ms
from jicofo_reservation_proxy.simulation import jicofo
from jicofo_reservation_proxy.simulation.client import Closing, Opening
from jicofo_reservation_proxy.simulation.jicofo import Jicofo, JicofoHabits
from jicofo_reservation_proxy.simulation.outcomes import (
    WAITS_FOR_EVER,
    Failed,
    Opened,
    Refused,
    Remark,
    Sent,
    Stuck,
)
from jicofo_reservation_proxy.simulation.wire import Address

from .servers import CLOSE, SILENCE, Act, Request, Script, answering, http, reservation

OWNER = "juliet@example.com"
MOMENT = datetime(2048, 4, 20, 17, 55, 12, 123_999, UTC)


def good(request: Request, **fields: Any) -> bytes:  # noqa: ANN401 - JSON
    """Return the answer of a good reservation system."""
    return http(200, reservation(request, **fields) if request.method == "POST" else {})


def test_a_post_has_jicofos_bytes() -> None:
    """A POST has Jicofo's order of headers and fields, and Jicofo's escaping."""
    with answering(good) as server:
        address = Address("127.0.0.1", server.port, "/base/")
        with Jicofo(address) as client:
            opening = client.open("[acme]caf%c3%a9 *~", OWNER)
    assert isinstance(opening.verdict, Opened)
    (request,) = server.requests
    start_time = request.form["start_time"]
    assert request.body.decode() == (
        "name=%5Bacme%5Dcaf%25c3%25a9+*%7E&mail_owner=juliet%40example.com"
        f"&start_time={start_time.replace(':', '%3A').replace('+', '%2B')}&duration=-1"
    )
    assert request.head == (
        b"POST /base/conference HTTP/1.1\r\n"
        b"Content-Length: %d\r\n"
        b"Content-Type: application/x-www-form-urlencoded; charset=UTF-8\r\n"
        b"Host: 127.0.0.1:%d\r\n"
        b"Connection: Keep-Alive\r\n"
        b"User-Agent: Apache-HttpClient/4.5.13 (Java/17)\r\n"
        b"Accept-Encoding: gzip,deflate\r\n" % (len(request.body), server.port)
    )


def test_get_and_delete_have_jicofos_bytes() -> None:
    """GET and DELETE have no body and no header about a body."""
    with answering(_held()) as server, Jicofo(server.address) as client:
        verdict = client.open("board", OWNER).verdict
        assert isinstance(verdict, Opened)
        client.close("board", verdict)
    for request, method in zip(server.requests[1:], (b"GET", b"DELETE"), strict=True):
        assert request.body == b""
        assert request.head == (
            method + b" /conference/12 HTTP/1.1\r\n"
            b"Host: 127.0.0.1:%d\r\n"
            b"Connection: Keep-Alive\r\n"
            b"User-Agent: Apache-HttpClient/4.5.13 (Java/17)\r\n"
            b"Accept-Encoding: gzip,deflate\r\n" % server.port
        )


def _held(**changes: object) -> Script:
    """Answer a POST with 409, and a GET with the conference that holds the room."""
    posted: list[Request] = []

    def script(request: Request) -> bytes:
        if request.method == "POST":
            posted.append(request)
            return http(409, {"conflict_id": 12})
        if request.method == "GET":
            fields = reservation(posted[-1], id=12) | changes
            return http(200, {key: fields[key] for key in fields if key != "name"})
        return http(200, {})

    return script


def test_after_409_only_the_same_owner_gets_in() -> None:
    """The room opens with the id of the conference that holds it."""
    with answering(_held()) as server, Jicofo(server.address) as client:
        verdict = client.open("board", OWNER).verdict
        assert isinstance(verdict, Opened)
        assert verdict.reservation_id == "12"
    with (
        answering(_held(mail_owner="romeo@example.com")) as server,
        Jicofo(server.address) as client,
    ):
        assert isinstance(client.open("board", OWNER).verdict, Refused)
        assert isinstance(client.open("board", None).verdict, Opened)


@pytest.mark.parametrize(
    ("hours", "minutes", "zone"),
    [(0, 0, "Z"), (-6, 0, "-06"), (5, 30, "+05"), (-3, -30, "-03"), (14, 0, "+14")],
)
def test_the_zone_is_sent_as_hours_only(hours: int, minutes: int, zone: str) -> None:
    """Jicofo sends only the hours of the time zone, and cuts the time to milliseconds."""
    moment = MOMENT.replace(tzinfo=timezone(timedelta(hours=hours, minutes=minutes)))
    assert jicofo.start_time(moment) == f"2048-04-20T17:55:12.123{zone}"


def test_the_form_without_an_owner_has_no_mail_owner() -> None:
    """Without authentication, Jicofo sends no mail_owner."""
    assert jicofo.form(Sent("board", None, 0), MOMENT) == (
        "name=board&start_time=2048-04-20T17%3A55%3A12.123Z&duration=-1"
    )


def test_all_requests_use_one_connection() -> None:
    """Jicofo uses one connection as long as the server keeps it open."""
    with answering(good) as server, Jicofo(server.address) as client:
        for room in ("a", "b", "c"):
            client.open(room, OWNER)
    assert {request.connection for request in server.requests} == {1}


@pytest.mark.parametrize(
    "header", ["Connection: close", "Keep-Alive: max=5, timeout=0", "Connection: Close"]
)
def test_a_connection_that_is_announced_to_end_is_not_used_again(header: str) -> None:
    """Jicofo opens a new connection if the server has announced the end of the old one."""
    script = _closing(header)
    with answering(script) as server, Jicofo(server.address) as client:
        for room in ("a", "b"):
            assert isinstance(client.open(room, OWNER).verdict, Opened)
    assert [request.connection for request in server.requests] == [1, 2]


def _closing(*headers: str) -> Script:
    def script(request: Request) -> Act:
        return Act(http(200, reservation(request), *headers), closes=True)

    return script


def test_a_connection_that_is_closed_silently_fails_the_next_post() -> None:
    """Within 2 s after an answer, Jicofo does not check the connection. Only one POST fails."""
    with answering(_closing()) as server, Jicofo(server.address) as client:
        verdicts = [client.open(room, OWNER).verdict for room in ("a", "b", "c")]
    assert isinstance(verdicts[0], Opened)
    assert isinstance(verdicts[2], Opened)
    assert isinstance(verdicts[1], Failed)
    assert "announce its end" in verdicts[1].remarks[0].text


def test_a_connection_that_is_closed_silently_is_noticed_after_2_s() -> None:
    """After 2 s, Jicofo checks the connection before it sends a request."""
    habits = JicofoHabits(trust=0)
    with answering(_closing()) as server, Jicofo(server.address, habits) as client:
        opened = client.open("a", OWNER).verdict
        assert isinstance(opened, Opened)
        connection = client._connection
        assert connection is not None
        connection._socket.settimeout(10)
        assert connection._socket.recv(1) == b""  # the server has closed
        assert isinstance(client.open("b", OWNER).verdict, Opened)


def _always(act: bytes) -> Script:
    return lambda _: act


def test_a_post_is_never_repeated() -> None:
    """A POST whose connection drops fails at once."""
    with answering(lambda _: CLOSE) as server, Jicofo(server.address) as client:
        opening = client.open("board", OWNER)
    assert server.methods == ["POST"]
    assert isinstance(opening.verdict, Failed)
    assert opening.repeats == 0


def test_get_and_delete_are_repeated_three_times() -> None:
    """If the connection drops, Jicofo repeats a GET or a DELETE three times."""

    def script(request: Request) -> Act | bytes:
        return http(409, {"conflict_id": 12}) if request.method == "POST" else CLOSE

    with answering(script) as server, Jicofo(server.address) as client:
        opening = client.open("board", OWNER)
        closing = client.close("board", Opened("12", 0))
    assert server.methods == ["POST"] + 4 * ["GET"] + 4 * ["DELETE"]
    assert (opening.repeats, closing.repeats) == (3, 3)
    assert isinstance(opening.verdict, Failed)
    assert closing.remark is not None


def test_a_5xx_is_not_repeated() -> None:
    """Jicofo repeats a request only if the connection drops."""
    script = _always(http(503, {"message": "x"}))
    with answering(script) as server, Jicofo(server.address) as client:
        assert client.open("board", OWNER) == Opening(Failed('503, "x"'))
        assert client.close("board", Opened("12", 0)).remark is not None
    assert server.methods == ["POST", "DELETE"]


def test_a_post_that_is_never_answered_hangs_every_room() -> None:
    """Jicofo sends no more requests, because the hanging request holds its lock."""
    habits = JicofoHabits(give_up=0.05)
    with answering(lambda _: SILENCE) as server, Jicofo(server.address, habits) as client:
        for _ in range(2):
            verdict = client.open("board", OWNER).verdict
            assert isinstance(verdict, Stuck)
            assert verdict.seen == WAITS_FOR_EVER
        assert client.close("other", Opened("1", 0)).remark is not None
    assert server.methods == ["POST"]


def test_a_delete_that_is_never_answered_hangs_every_room() -> None:
    """A DELETE holds the same lock as a POST."""
    habits = JicofoHabits(give_up=0.05)
    with answering(lambda _: SILENCE) as server, Jicofo(server.address, habits) as client:
        closing = client.close("board", Opened("1", 0))
        assert closing.remark is not None
        assert closing.remark.text == jicofo.HANGS
        assert isinstance(client.open("board", OWNER).verdict, Stuck)
    assert server.methods == ["DELETE"]


@pytest.mark.parametrize("status", [204, 404, 500])
def test_a_room_whose_delete_was_not_200_is_kept(status: int) -> None:
    """The same owner gets in again without a request. A 204 also stops the timer."""
    answers = iter([status, 200])

    def script(request: Request) -> bytes:
        is_post = request.method == "POST"
        return http(200, reservation(request)) if is_post else http(next(answers), b"")

    with answering(script) as server, Jicofo(server.address) as client:
        opened = client.open("board", OWNER).verdict
        assert isinstance(opened, Opened)
        assert client.close("board", opened).remark is not None
        assert client.open("board", OWNER).verdict == opened
        assert server.methods == ["POST", "DELETE"]
        assert client.ends_rooms is (status != 204)
        assert client.close("board", opened).remark is None
        client.open("board", OWNER)
    assert server.methods == ["POST", "DELETE", "DELETE", "POST"]


@pytest.mark.parametrize(
    ("encoding", "compress"),
    [("gzip", gzip.compress), ("deflate", zlib.compress), ("identity", bytes)],
)
def test_jicofo_reads_compression_and_interim_answers(
    encoding: str,
    compress: Any,  # noqa: ANN401
) -> None:
    """Jicofo decompresses gzip and deflate, and ignores a 103 before the answer."""

    def script(request: Request) -> bytes:
        whole = http(200, reservation(request)).partition(b"\r\n\r\n")[2]
        body = compress(whole)
        return b"HTTP/1.1 103 Early Hints\r\n\r\n" + http(
            200, body, f"Content-Encoding: {encoding}"
        )

    with answering(script) as server, Jicofo(server.address) as client:
        assert isinstance(client.open("board", OWNER).verdict, Opened)


def test_bad_compression_is_a_failure() -> None:
    """A body that is not compressed as announced is a failure, not an exception."""
    script = _always(http(200, b"{}", "Content-Encoding: gzip"))
    with answering(script) as server, Jicofo(server.address) as client:
        assert isinstance(client.open("board", OWNER).verdict, Failed)
        closing = client.close("board", Opened("1", 0))
    assert closing == Closing(
        Remark(
            "a DELETE failed: the body is not compressed as its Content-Encoding says; "
            "Jicofo keeps the room"
        )
    )
    assert server.methods == ["POST", "DELETE"]


def test_an_answer_that_is_not_http_gets_no_advice_on_idle_connections() -> None:
    """The connection was not closed, so the advice on idle connections would be wrong."""
    rooms: list[str] = []

    def script(request: Request) -> bytes:
        rooms.append(request.form["name"])
        return http(200, reservation(request)) if rooms == ["a"] else b"PRI\r\n\r\n"

    with answering(script) as server, Jicofo(server.address) as client:
        client.open("a", OWNER)
        verdict = client.open("b", OWNER).verdict
    assert rooms == ["a", "b"]
    assert verdict.remarks == (Remark("a POST failed: the answer is not HTTP/1.1"),)


def test_a_room_ends_up_to_a_tick_early() -> None:
    """A room ends at most 5 s before its time. A room with less time than that ends within 5 s."""
    client = Jicofo(Address("127.0.0.1", 1))
    for left, earliest in ((60.0, 55.0), (7.0, 2.0), (3.0, 0.0), (-9.0, 0.0)):
        opened = Opened("1", now_ms() + int(1000 * left))
        seconds = client.seconds_to_end(opened)
        assert earliest - 0.1 < seconds <= max(left, 5.0) + 0.1
