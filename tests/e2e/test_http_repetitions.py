"""Requests to an HTTP backend whose answer is lost: which are repeated, and what waits for them."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from jicofo_reservation_proxy.backends import retries

from .http_support import RESET, Answer, Closing, HttpScript, Running, answered, running_http

LOST: Mapping[str, Answer] = {
    "closed": Closing(),
    "reset": RESET,
    "cut off": Closing(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"),
    "408": answered(408, {}),
    "502": answered(502, b"<h1>Bad Gateway</h1>"),
    "504": answered(504, b"<h1>Gateway Timeout</h1>"),
}
"""Answers after which the backend may still carry out the request."""


def _ended(found: Running, script: HttpScript, answer: Answer) -> object:
    """Open the room, and end it with a DELETE that the backend answers so; return the id."""
    opened = found.client.create("board").json["id"]
    script.delete = lambda _: answer
    assert found.client.delete(opened).status == 200
    script.wait("DELETE")
    return opened


@pytest.mark.parametrize("answer", LOST.values(), ids=LOST)
def test_a_deletion_without_an_answer_holds_its_room(tmp_path: Path, answer: Answer) -> None:
    """The room is refused with 503, and no other one; an answer to the repetition frees it."""
    script = HttpScript()
    with running_http(tmp_path, script) as found:
        first = _ended(found, script, answer)
        refused = found.client.create("board")
        assert refused.status == 503
        assert "not available right now" in refused.json["message"]
        assert found.client.create("hall").status == 200
        assert [request.fields["name"] for request in script.of("POST")] == ["board", "hall"]

        script.delete = script.delete_in_book
        second = found.client.create("board")
        assert second.status == 200
        assert second.json["id"] != first
    assert [fields["name"] for fields in script.book.values()] == ["hall", "board"]


@pytest.mark.parametrize("answer", LOST.values(), ids=LOST)
def test_a_create_is_sent_once(tmp_path: Path, answer: Answer) -> None:
    """A create whose answer is lost is not repeated: the backend may have granted the room."""
    script = HttpScript(lambda _: answer)
    with running_http(tmp_path, script) as found:
        assert found.client.create("board").status in {503, 504}
    assert len(script.of("POST")) == 1


@pytest.mark.parametrize("lost", ["closed", "reset", "cut off", "502"])
def test_a_create_with_a_key_is_repeated(tmp_path: Path, lost: str) -> None:
    """With `idempotent = true` it is sent again under the same `Idempotency-Key`."""
    script = HttpScript()

    def lose_two(request: object) -> Answer:
        is_lost = len(script.of("POST")) <= 2
        return LOST[lost] if is_lost else script.create_in_book(request)  # type: ignore[arg-type]

    script.create = lose_two
    with running_http(tmp_path, script, http={"idempotent": True}) as found:
        assert found.client.create("board").status == 200
    keys = [request.headers["idempotency-key"] for request in script.of("POST")]
    assert len(keys) == 3
    assert len(set(keys)) == 1


def test_a_repetition_ends(tmp_path: Path) -> None:
    """There are at most so many attempts as the documentation says."""
    script = HttpScript(lambda _: Closing())
    with running_http(tmp_path, script, http={"idempotent": True}) as found:
        assert found.client.create("board").status == 503
    assert len(script.of("POST")) == retries.MAX_ATTEMPTS
