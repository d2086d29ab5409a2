"""A body that comes after an answer which must not have one."""

from pathlib import Path

import pytest
from jicofo_reservation_proxy.ledger.records import RecordState

from tests.e2e.http_support import HttpScript, Received, answered, conference_of, running_http
from tests.unit.ledgers import eventually

ROOMS = ("attic", "board", "cellar", "den")


@pytest.mark.parametrize("header", [b"", b"Content-Length: 71\r\n"], ids=["no length", "length"])
def test_the_body_of_a_204_is_no_answer_to_a_later_request(tmp_path: Path, header: bytes) -> None:
    """Scripts send a body though a 204 has none. Here it comes late, and looks like an answer."""
    late = answered(200, {"id": "id-of-nobody"})
    deleted: dict[int, str] = {}

    def create(request: Received) -> bytes:
        room = request.fields["name"]
        own = answered(200, conference_of(request, f"id-of-{room}"))
        return late + own if request.connection in deleted else own

    def delete(request: Received) -> bytes:
        deleted[request.connection] = request.id
        return b"HTTP/1.1 204 No Content\r\n%s\r\n" % header

    script = HttpScript(create)
    script.delete = delete
    with running_http(tmp_path, script) as running:
        for room in ROOMS:
            answer = running.client.create(room)
            assert answer.status == 200
            assert running.client.delete(answer.json["id"]).status == 200
            eventually(lambda: running.proxy.ledger.counts[RecordState.PENDING] == 0)
    assert [request.id for request in script.of("DELETE")] == [f"id-of-{room}" for room in ROOMS]
