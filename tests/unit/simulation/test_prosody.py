"""Prosody's bytes, its retries, and the refusals that it remembers."""

from itertools import permutations
from typing import Any

import pytest
from jicofo_reservation_proxy.clock import now_ms
from jicofo_reservation_proxy.simulation import prosody
from jicofo_reservation_proxy.simulation.outcomes import Failed, Opened, Refused, Sent, Stuck
from jicofo_reservation_proxy.simulation.prosody import FIELDS, Prosody, ProsodyHabits
from jicofo_reservation_proxy.simulation.prosody_answers import FIXED_TEXT
from jicofo_reservation_proxy.simulation.wire import Address

from .servers import CLOSE, SILENCE, Act, Request, Script, Scripted, answering, http, reservation

OWNER = "4a8c@guest.example.com"
FAST = ProsodyHabits(time_out=0.2, pause=3.0, memory=30.0, sweep=60.0)


class Pauses(list[float]):
    """A `pause` that does not wait, and records the seconds."""

    def __call__(self, seconds: float) -> None:
        """Do not wait."""
        self.append(seconds)


def client_of(server: Scripted, **options: Any) -> Prosody:  # noqa: ANN401 - for Prosody
    """Return a Prosody that does not wait before it repeats a request."""
    return Prosody(server.address, 4, **({"pause": Pauses()} | options))


def test_a_post_has_prosodys_bytes() -> None:
    """A POST has Prosody's headers, lower-case escapes, whole seconds and no duration."""
    with answering(lambda request: http(200, reservation(request))) as server:
        address = Address("127.0.0.1", server.port, "/")
        client = Prosody(address, 1, order=("start_time", "mail_owner", "name"))
        opening = client.open("[acme]caf%c3%a9 ~", OWNER)
    assert isinstance(opening.verdict, Opened)
    (request,) = server.requests
    start_time = request.form["start_time"]
    assert start_time.endswith(".000Z")
    assert request.body.decode() == (
        f"start_time={start_time.replace(':', '%3a')}&mail_owner=4a8c%40guest.example.com"
        "&name=%5bacme%5dcaf%25c3%25a9+~"
    )
    assert request.head == (
        b"POST //conference HTTP/1.1\r\n"
        b"Content-Type: application/x-www-form-urlencoded\r\n"
        b"Host: 127.0.0.1:%d\r\n"
        b"Accept: */*\r\n"
        b"Connection: close\r\n"
        b"Content-Length: %d\r\n"
        b"User-Agent: Prosody (0.12.3; posix)\r\n" % (server.port, len(request.body))
    )


@pytest.mark.parametrize(
    ("given", "in_path"),
    [("default.x", b"default.x"), (7, b"7.0"), ("a b/c%#\u00e9", "a b/c%#é".encode())],
)
def test_get_and_delete_have_prosodys_bytes(given: object, in_path: bytes) -> None:
    """The id is not escaped; a number has the form that lua-cjson gives it."""
    with answering(_held(given)) as server:
        client = client_of(server)
        verdict = client.open("board", OWNER).verdict
        assert isinstance(verdict, Opened)
        assert client.close("board", verdict).remark is None
    for request, method in zip(server.requests[1:], (b"GET", b"DELETE"), strict=True):
        assert request.body == b""
        assert request.head == (
            method + b" /conference/" + in_path + b" HTTP/1.1\r\n"
            b"Host: 127.0.0.1:%d\r\n"
            b"Accept: */*\r\n"
            b"Connection: close\r\n"
            b"User-Agent: Prosody (0.12.3; posix)\r\n" % server.port
        )
    assert [request.connection for request in server.requests] == [1, 2, 3]


def _held(conflict_id: object) -> Script:
    posted: list[Request] = []

    def script(request: Request) -> bytes:
        if request.method == "POST":
            posted.append(request)
            return http(409, {"conflict_id": conflict_id})
        fields = reservation(posted[-1], id=conflict_id, mail_owner="romeo@example.com")
        return http(200, fields if request.method == "GET" else {})

    return script


def test_the_order_of_the_fields_is_random() -> None:
    """Each start of Prosody chooses one of all possible orders."""
    sent = Sent("a", "b", 0)
    times = "1970-01-01T00%3a00%3a00.000Z"
    assert prosody.form(sent, FIELDS) == f"name=a&mail_owner=b&start_time={times}"
    starts = [tuple(Prosody(Address("127.0.0.1", 1), 1)._order) for _ in range(200)]
    assert set(starts) == set(permutations(FIELDS))


@pytest.mark.parametrize("act", [CLOSE, http(500, {"message": "x"}), http(503, b"")])
def test_a_5xx_or_a_drop_is_repeated_three_times(act: Act | bytes) -> None:
    """Prosody repeats a POST or DELETE with the same bytes, 3 s apart, and then gives up."""
    pauses = Pauses()
    with answering(lambda _: act) as server:
        client = client_of(server, pause=pauses)
        opening = client.open("board", OWNER)
        closing = client.close("board", Opened("1", 0))
    assert server.methods == 4 * ["POST"] + 4 * ["DELETE"]
    assert len({request.head + request.body for request in server.requests}) == 2
    assert pauses == 6 * [3.0]
    assert isinstance(opening.verdict, Failed)
    assert (opening.repeats, closing.repeats) == (3, 3)
    assert closing.remark is not None


def test_a_repeat_may_open_the_room() -> None:
    """If a repeat succeeds, the user only waits longer."""
    acts: list[object] = [CLOSE, 503]

    def script(request: Request) -> Act | bytes:
        act = acts.pop(0) if acts else http(200, reservation(request))
        return http(act, {"message": "x"}) if isinstance(act, int) else act  # type: ignore[return-value]

    with answering(script) as server:
        opening = client_of(server).open("board", OWNER)
    assert isinstance(opening.verdict, Opened)
    assert opening.repeats == 2


def test_a_get_is_repeated_too() -> None:
    """If the connection drops, Prosody repeats a GET three times."""

    def script(request: Request) -> Act | bytes:
        return http(409, {"conflict_id": "x"}) if request.method == "POST" else CLOSE

    with answering(script) as server:
        opening = client_of(server).open("board", OWNER)
    assert server.methods == ["POST"] + 4 * ["GET"]
    assert isinstance(opening.verdict, Failed)
    assert opening.repeats == 3


def test_a_time_out_is_not_repeated() -> None:
    """After a time-out, Prosody refuses the room, and does not send the DELETE again."""
    with answering(lambda _: SILENCE) as server:
        client = client_of(server, habits=FAST)
        opening = client.open("board", OWNER)
        closing = client.close("board", Opened("1", 0))
    assert server.methods == ["POST", "DELETE"]
    assert isinstance(opening.verdict, Failed)
    assert opening.verdict.seen == FIXED_TEXT
    assert closing.remark is not None


def test_a_connection_that_cannot_be_made_is_repeated() -> None:
    """Prosody treats a refused connection as a dropped one."""
    with answering(lambda _: CLOSE) as server:
        port = server.port
    client = Prosody(Address("127.0.0.1", port), 1, pause=Pauses())
    assert client.open("board", OWNER).repeats == 3


def test_a_refusal_is_repeated_from_memory() -> None:
    """Prosody sends no second request, and the repeated refusal has no remarks."""
    with answering(lambda _: http(403, {})) as server:
        client = client_of(server)
        first, second = (client.open("board", OWNER).verdict for _ in range(2))
        client.open("other", OWNER)
    assert server.methods == ["POST", "POST"]
    assert isinstance(first, Refused)
    assert first.remarks
    assert second == Refused(first.seen)


def test_a_refusal_is_forgotten_at_a_sweep() -> None:
    """Prosody forgets a refusal at the first sweep after 30 s. The sweeps are 60 s apart."""
    habits = ProsodyHabits(memory=0.0, sweep=1e-9)
    with answering(lambda _: http(403, {"message": "x"})) as server:
        client = client_of(server, habits=habits)
        for _ in range(2):
            assert isinstance(client.open("board", OWNER).verdict, Refused)
    assert server.methods == ["POST", "POST"]
    until = Prosody(Address("127.0.0.1", 1), 1)._seconds_to_sweep(30.0)
    assert 59.0 < until <= 60.0
    assert 89.0 < Prosody(Address("127.0.0.1", 1), 1)._seconds_to_sweep(60.1) <= 120.0


def test_a_stuck_room_stays_stuck() -> None:
    """Prosody sends no second request for a stuck room."""
    with answering(lambda _: http(200, b"null")) as server:
        client = client_of(server)
        for _ in range(2):
            assert isinstance(client.open("board", OWNER).verdict, Stuck)
    assert server.methods == ["POST"]


def test_a_message_that_is_not_a_string_leaves_no_room_stuck() -> None:
    """Prosody sends a new request for the next user."""
    with answering(lambda _: http(403, {"message": 5})) as server:
        client = client_of(server)
        for _ in range(2):
            assert isinstance(client.open("board", OWNER).verdict, Stuck)
    assert server.methods == ["POST", "POST"]


def test_a_room_ends_at_a_sweep_after_its_end() -> None:
    """A room ends at the first sweep after its end; the sweeps are 60 s apart."""
    client = Prosody(Address("127.0.0.1", 1), 1)
    for left, sweep in ((-5.0, 60.0), (30.0, 60.0), (61.0, 120.0)):
        seconds = client.seconds_to_end(Opened("1", now_ms() + int(1000 * left)))
        assert sweep - 1.0 < seconds <= sweep
