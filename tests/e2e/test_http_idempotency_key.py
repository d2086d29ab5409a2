"""`Idempotency-Key`: the same for a repeated create, another one after a conference is over."""

from pathlib import Path

from jicofo_reservation_proxy.ledger.records import RecordState

from tests.unit.ledgers import eventually

from .http_support import HttpScript, Received, running_http
from .support import PROSODY


def test_a_backend_that_remembers_answers_by_key_opens_a_room_again(tmp_path: Path) -> None:
    """Prosody may open a room twice within a second, with the same bytes, so with the same key.

    The backend then names the conference that is over. The proxy asks again, with another key.
    """
    script, answers = HttpScript(), dict[str, bytes]()

    def create(request: Received) -> bytes:
        key = request.headers["idempotency-key"]
        if key not in answers:
            answers[key] = script.create_in_book(request)
        return answers[key]

    script.create = create
    with running_http(tmp_path, script, http={"idempotent": True}) as running:
        running.client.user_agent = PROSODY
        held: list[list[str]] = []
        for _ in range(2):
            answer = running.client.create("board")
            assert answer.status == 200
            held.append(list(script.book))
            assert running.client.delete(answer.json["id"]).status == 200
            eventually(lambda: running.proxy.ledger.counts[RecordState.PENDING] == 0)
    first, second = held
    assert (len(first), len(second)) == (1, 1)
    assert first != second
    keys = [request.headers["idempotency-key"] for request in script.of("POST")]
    assert keys[0] == keys[1] != keys[2]


def test_a_repeated_create_of_a_client_has_the_same_key(tmp_path: Path) -> None:
    """Prosody repeats a create after a 5xx; another room and another time have another key."""
    script = HttpScript()
    with running_http(tmp_path, script) as running:
        running.client.user_agent = PROSODY
        for room, start in (("board", "12"), ("board", "12"), ("hall", "12"), ("board", "13")):
            running.client.create(room, start_time=f"2048-04-20T17:55:{start}.000Z")
    keys = [request.headers["idempotency-key"] for request in script.of("POST")]
    assert keys[0] == keys[1]
    assert len(set(keys)) == 3
