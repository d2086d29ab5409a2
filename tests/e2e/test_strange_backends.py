"""The proxy works correctly with backends and ingresses that behave strangely."""

import itertools
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from jicofo_reservation_proxy.app import Proxy
from jicofo_reservation_proxy.backends.grpc import missing_delete
from jicofo_reservation_proxy.errors import StateError
from jicofo_reservation_proxy.gen.jicofo.reservation.v1 import reservation_pb2 as pb
from jicofo_reservation_proxy.ledger.packed_records import state_of
from jicofo_reservation_proxy.ledger.records import RecordState
from jicofo_reservation_proxy.model import ConferenceRef

from tests.unit.ledgers import Changes, eventually

from .http2 import answering
from .support import (
    JICOFO,
    PATIENT,
    PROSODY,
    TIMEOUT_SECONDS,
    Client,
    Context,
    Script,
    conference,
    free_port,
    granting,
    serving_grpc,
    serving_http,
    settings,
)

DELETE_PATH = "/jicofo.reservation.v1.ReservationService/DeleteConference"


@contextmanager
def serving(
    state_dir: Path, target: str, own: Mapping[str, object] | None = None, **values: object
) -> Iterator[tuple[Proxy, Client]]:
    """Run a proxy with one backend, which has its `own` settings; yield it and a client."""
    backend = {**PATIENT, "target": target, **(own or {})}
    with Proxy(settings(state_dir, backends={"default": backend}, **values)) as proxy:
        with serving_http(proxy) as port:
            yield proxy, Client(port, PROSODY)
        proxy.close(0)


@contextmanager
def served(
    state_dir: Path, script: Script, own: Mapping[str, object] | None = None, **values: object
) -> Iterator[tuple[Proxy, Client]]:
    """Run a proxy with this backend."""
    with serving_grpc(script) as target, serving(state_dir, target, own, **values) as both:
        yield both


def count(proxy: Proxy, state: RecordState) -> int:
    """Return the number of conferences in a state."""
    return proxy.ledger.counts[state]


def abort(code: grpc.StatusCode, detail: str = "") -> Callable[[object, Context], None]:
    """Return a method that answers an error status."""

    def method(_: object, context: Context) -> None:
        context.abort(code, detail)

    return method


def missing(_: object, context: Context) -> pb.GetConferenceResponse:
    """Answer NOT_FOUND."""
    context.abort(grpc.StatusCode.NOT_FOUND, "")
    raise AssertionError


@pytest.mark.parametrize("status", [200, 400, 401, 403, 404, 500, 502, 503])
def test_deletions_survive_a_route_that_answers_an_http_status(tmp_path: Path, status: int) -> None:
    """No deletion is lost while an ingress answers in place of the backend."""
    address = f"127.0.0.1:{free_port()}"
    with serving(tmp_path, address) as (proxy, client):
        with answering(status, address):
            answers = [client.delete(f"default.{number}").status for number in range(5)]
            assert answers == [200] * 5
            attempts = proxy.metrics.deletion_attempts.labels("default", "ended", "failed")
            eventually(attempts._value.get)
            assert count(proxy, RecordState.PENDING) == 5
            refs = [ConferenceRef("default", str(number)) for number in range(5)]
            if status != 200:  # gRPC does not show that the status is of HTTP
                assert not any(map(proxy.delivery.deletions.is_uncertain, refs)), "one was sent"
        backend = granting()
        with serving_grpc(backend, address=address):
            eventually(lambda: count(proxy, RecordState.PENDING) == 0)
    assert {deletion.conference_id for deletion in backend.deletes} == set("01234")


@pytest.fixture
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let one report of a missing method be a proof if the service itself makes it."""
    monkeypatch.setattr(missing_delete, "CONFIRM_SECONDS", 0.0)


HTTP_404 = "Received http2 header with status: 404"


def test_a_probe_is_answered_ok(tmp_path: Path) -> None:
    """The probe before a deletion reads the conference itself, so a healthy backend answers OK.

    A balancer counts other statuses as failures of the replica (outlier detection).
    """
    backend = granting("1")
    backend.get = lambda request, _: pb.GetConferenceResponse(
        conference=pb.Conference(id=request.conference_id, room="board")
    )
    with served(tmp_path, backend) as (proxy, client):
        created = client.create("board")
        assert client.delete(created.json["id"]).status == 200
        eventually(lambda: backend.deletes)
        probed = proxy.metrics.calls.labels("default", "probe", "OK")
        assert probed._value.get() == 1
    assert [request.conference_id for request in backend.gets] == ["1"]


@pytest.mark.usefixtures("_at_once")
@pytest.mark.parametrize(
    ("probed", "deleted", "path", "is_kept"),
    [
        (grpc.StatusCode.NOT_FOUND, "Method not found!", DELETE_PATH, False),
        (grpc.StatusCode.INTERNAL, "Method not found!", DELETE_PATH, False),
        (grpc.StatusCode.UNIMPLEMENTED, "Method not found!", DELETE_PATH, True),
        (grpc.StatusCode.NOT_FOUND, HTTP_404, DELETE_PATH, True),
        (grpc.StatusCode.NOT_FOUND, "Method not found!", "/acme.Rooms/Close", True),
    ],
)
def test_unimplemented_is_a_proof_only_from_the_service_itself(
    tmp_path: Path, probed: grpc.StatusCode, deleted: str, path: str, *, is_kept: bool
) -> None:
    """UNIMPLEMENTED proves that the method is missing only under three conditions.

    The service answered the probe, UNIMPLEMENTED did not come from an HTTP status, and the path is
    that of the contract.
    """
    backend = granting()
    backend.get = abort(probed)  # type: ignore[assignment]
    backend.delete = abort(grpc.StatusCode.UNIMPLEMENTED, deleted)  # type: ignore[assignment]
    with served(tmp_path, backend, own={"methods": {"delete": path}}) as (proxy, client):
        assert client.delete("default.1").status == 200
        result = "failed" if is_kept else "delivered"
        attempts = proxy.metrics.deletion_attempts.labels("default", "ended", result)
        eventually(attempts._value.get)
        eventually(lambda: count(proxy, RecordState.PENDING) == is_kept)


@pytest.mark.usefixtures("_at_once")
@pytest.mark.parametrize("code", [grpc.StatusCode.OK, grpc.StatusCode.NOT_FOUND])
def test_a_backend_that_acknowledged_a_deletion_has_the_method(
    tmp_path: Path, code: grpc.StatusCode
) -> None:
    """After one acknowledged deletion, UNIMPLEMENTED proves nothing any more."""
    backend = granting()
    backend.get = missing
    if code is not grpc.StatusCode.OK:
        backend.delete = abort(code)  # type: ignore[assignment]
    with served(tmp_path, backend) as (proxy, client):
        client.delete("default.1")
        eventually(lambda: count(proxy, RecordState.PENDING) == 0)
        backend.delete = abort(grpc.StatusCode.UNIMPLEMENTED)  # type: ignore[assignment]
        client.delete("default.2")
        attempts = proxy.metrics.deletion_attempts.labels("default", "ended", "failed")
        eventually(attempts._value.get)
        assert count(proxy, RecordState.PENDING) == 1


def test_a_backend_that_reports_a_missing_method_for_less_than_ten_minutes(
    tmp_path: Path,
) -> None:
    """In the first ten minutes, a report of the service itself is not a proof."""
    backend = granting()
    backend.get = missing
    backend.delete = abort(grpc.StatusCode.UNIMPLEMENTED)  # type: ignore[assignment]
    with served(tmp_path, backend) as (proxy, client):
        client.delete("default.1")
        attempts = proxy.metrics.deletion_attempts.labels("default", "ended", "failed")
        eventually(attempts._value.get)
        assert count(proxy, RecordState.PENDING) == 1
        backend.delete = None
        eventually(lambda: count(proxy, RecordState.PENDING) == 0)


def test_without_a_path_the_proxy_sends_no_deletion(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With `methods.delete = ""` no deletion is sent, and the rooms open again."""
    backend = granting("7")
    with served(tmp_path, backend, own={"methods": {"delete": ""}}) as (proxy, client):
        for _ in range(3):
            public_id = client.create().json["id"]
            assert client.delete(public_id).status == 200
        eventually(lambda: not count(proxy, RecordState.PENDING))
    assert not backend.deletes
    assert not backend.gets
    warnings = [
        record for record in caplog.records if "does not support deletions" in record.getMessage()
    ]
    assert len(warnings) == 1


def fields(caplog: pytest.LogCaptureFixture, message: str) -> list[dict[str, object]]:
    """Return the fields of the log lines with this message."""
    found = [record for record in caplog.records if record.getMessage() == message]
    return [vars(record)["fields"] for record in found]


@pytest.mark.parametrize("field", ["room", "owner"])
def test_every_field_of_an_answer_is_bounded(
    tmp_path: Path, field: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A room or an owner that is longer than any JID is a breach of the contract."""
    with served(tmp_path, granting("7", **{field: "x" * 3072})) as (_, client):
        assert client.create().status == 502
    (create,) = fields(caplog, "create")
    wanted = f"wanted a {field} of at most 3071 bytes, got 3072 bytes"
    assert create["detail"] == f"breach of the contract: {wanted}"
    with served(tmp_path / "next", granting("7", **{field: "x" * 3071})) as (_, client):
        assert client.create().status == 200


def test_an_answer_that_is_too_large_is_not_read_as_overloaded(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """An answer of 2 MB is the fault `broken`, although gRPC reports it as RESOURCE_EXHAUSTED."""
    with served(tmp_path, granting("7", room="x" * 2_000_000)) as (_, client):
        assert client.create().status == 502
    (create,) = fields(caplog, "create")
    assert (create["fault"], create["code"]) == ("broken", "RESOURCE_EXHAUSTED")


@pytest.mark.parametrize("kind", ["text", "trailer", "compressed"])
def test_no_way_to_send_too_much_is_read_as_overloaded(tmp_path: Path, kind: str) -> None:
    """A status text, a trailer and a compressed answer that are too large are broken too."""

    def create(_: object, context: Context) -> pb.CreateConferenceResponse:
        if kind == "compressed":
            context.set_compression(grpc.Compression.Gzip)
            return pb.CreateConferenceResponse(denial=pb.Denial(message="x" * 200_000))
        if kind == "trailer":
            context.set_trailing_metadata((("k", "x" * 100_000),))
        context.abort(grpc.StatusCode.INTERNAL, "x" * (100_000 if kind == "text" else 1))
        raise AssertionError

    with served(tmp_path, Script(create)) as (_, client):
        assert client.create().status == 502


class Rows:
    """A backend that uses the row number of a booking as the id, so it uses ids again.

    `rooms` maps the room of each row to its id; a row is free after the deletion.
    """

    def __init__(self, *, has_get: bool = True) -> None:
        self.rooms: dict[str, str] = {}
        self.script = Script(self._create, self._get if has_get else None, self._delete)

    def _create(
        self, request: pb.CreateConferenceRequest, _: Context
    ) -> pb.CreateConferenceResponse:
        taken = self.rooms.values()
        row = next(str(row) for row in itertools.count(1) if str(row) not in taken)
        self.rooms[request.room.raw] = row
        return pb.CreateConferenceResponse(conference=conference(request, row))

    def _get(self, request: pb.GetConferenceRequest, context: Context) -> pb.GetConferenceResponse:
        for room, row in self.rooms.items():
            if row == request.conference_id:
                found = pb.Conference(id=row, room=room)
                found.start_time.GetCurrentTime()
                return pb.GetConferenceResponse(conference=found)
        return missing(request, context)

    def _delete(
        self, request: pb.DeleteConferenceRequest, _: Context
    ) -> pb.DeleteConferenceResponse:
        self.rooms = {room: row for room, row in self.rooms.items() if row != request.conference_id}
        return pb.DeleteConferenceResponse()


@pytest.mark.parametrize("has_get", [True, False])
@pytest.mark.parametrize("user_agent", [PROSODY, JICOFO])
def test_a_room_is_opened_again_under_the_same_id(
    tmp_path: Path, user_agent: str, caplog: pytest.LogCaptureFixture, *, has_get: bool
) -> None:
    """A backend that uses ids again gets one create and one deletion for each meeting."""
    rows = Rows(has_get=has_get)
    with served(tmp_path, rows.script) as (proxy, prosody):
        client = Client(prosody.port, user_agent)
        for number in range(1, 4):
            reply = client.create()
            assert reply.status == 200
            assert rows.rooms == {"testroom": "1"}
            assert client.delete(reply.json["id"]).status == 200
            eventually(lambda: count(proxy, RecordState.PENDING) == 0)
            assert (len(rows.script.creates), len(rows.script.deletes)) == (number, number)
    warnings = [
        line for line in caplog.messages if "after it has acknowledged its deletion" in line
    ]
    assert len(warnings) == 1


def test_a_row_that_moved_to_another_room(tmp_path: Path) -> None:
    """A room opens and can be ended even if its id was the id of another room's lost conference."""
    rows = Rows()
    with served(tmp_path, rows.script) as (proxy, client):
        assert client.create("kitchen").status == 200
        rows.rooms.clear()
        public_id = client.create("board").json["id"]
        assert client.delete(public_id).status == 200
        eventually(lambda: count(proxy, RecordState.PENDING) == 0)
    assert [deletion.conference_id for deletion in rows.script.deletes] == ["1"]
    assert rows.rooms == {}


def test_one_id_for_two_open_rooms_is_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The second room gets 502, no deletion is sent, and the log says why."""
    backend = granting("364758328")
    backend.get = missing
    with served(tmp_path, backend) as (proxy, client):
        first = client.create("kitchen").json["id"]
        assert client.create("board").status == 502
        assert not backend.deletes
        assert client.delete(first).status == 200
        # Until the backend has acknowledged the deletion, the id is the one of a pending deletion.
        eventually(lambda: count(proxy, RecordState.PENDING) == 0)
        assert client.create("board").status == 200
    refused = fields(caplog, "create")[0]
    assert str(refused["detail"]).startswith("'364758328' is the id of a conference in another")


@pytest.mark.parametrize("user_agent", [PROSODY, JICOFO])
def test_a_conference_that_is_over_already_is_not_passed_on(
    tmp_path: Path, user_agent: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The proxy replaces a conference that is over. If the next one is over too, it answers 403."""
    over = {"start_time": Timestamp(seconds=1_600_000_000), "duration": Duration(seconds=60)}
    names = itertools.count(1)

    def create(request: pb.CreateConferenceRequest, _: Context) -> pb.CreateConferenceResponse:
        number = next(names)
        values = over if number != 2 else {}
        return pb.CreateConferenceResponse(conference=conference(request, str(number), **values))

    backend = Script(create)
    with served(tmp_path, backend) as (proxy, prosody):
        client = Client(prosody.port, user_agent)
        assert client.create("board").status == 200
        assert [deletion.conference_id for deletion in backend.deletes] == ["1"]
        refused = client.create("kitchen")
        assert (refused.status, refused.json) == (
            403,
            {"message": "The time of this meeting is over."},
        )
        eventually(lambda: count(proxy, RecordState.PENDING) == 0)
    assert {deletion.conference_id for deletion in backend.deletes} == {"1", "3", "4"}
    assert {deletion.reason for deletion in backend.deletes} == {pb.DELETE_REASON_EXPIRED}
    warned = fields(caplog, "the backend named a conference that is over")
    assert [line["id"] for line in warned] == ["default.1", "default.3", "default.4"]


def test_a_delete_that_is_answered_503_ends_no_meeting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A POST that arrives while the write of a DELETE fails does not deliver that DELETE."""
    backend = granting("7")
    backend.delete = abort(grpc.StatusCode.UNAVAILABLE)  # type: ignore[assignment]
    began, goes_on, statuses = threading.Event(), threading.Event(), list[int]()
    with served(tmp_path, backend, state="memory") as (proxy, client):
        writes = proxy.ledger._writes  # type: ignore[attr-defined]
        commit = writes._commit

        def fail(changes: Changes) -> None:
            if any(packed and state_of(packed) is RecordState.PENDING for _, packed in changes):
                began.set()
                assert goes_on.wait(TIMEOUT_SECONDS)
                raise StateError("the disk is full")
            commit(changes)

        public_id = client.create().json["id"]
        monkeypatch.setattr(writes, "_commit", fail)
        deleting = threading.Thread(target=lambda: statuses.append(client.delete(public_id).status))
        deleting.start()
        assert began.wait(TIMEOUT_SECONDS)
        asking = threading.Thread(target=lambda: statuses.append(client.create().status))
        asking.start()
        eventually(lambda: len(backend.creates) == 2)
        assert not backend.deletes
        goes_on.set()
        deleting.join(TIMEOUT_SECONDS)
        asking.join(TIMEOUT_SECONDS)
        monkeypatch.setattr(writes, "_commit", commit)
        assert 200 in statuses
        assert count(proxy, RecordState.OPEN) == 1
        assert not backend.deletes


def test_a_granted_conference_that_cannot_be_used_is_ended(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A grant with an unusable password is 502, and the backend learns that the room is free."""
    backend = granting("7", password="\n")
    with served(tmp_path, backend) as (_, client):
        assert client.create().status == 502
        eventually(lambda: backend.deletes)
    assert [deletion.conference_id for deletion in backend.deletes] == ["7"]
    assert [line["id"] for line in fields(caplog, "granted, but no client got it")] == ["default.7"]


def test_one_slow_room_does_not_refuse_other_rooms(tmp_path: Path) -> None:
    """Of 64 POSTs for a slow room one calls, four wait, and the others get 503 at once."""
    released, statuses = threading.Event(), list[int]()

    def create(request: pb.CreateConferenceRequest, _: Context) -> pb.CreateConferenceResponse:
        if request.room.raw == "slow":
            assert released.wait(TIMEOUT_SECONDS)
        return pb.CreateConferenceResponse(conference=conference(request, request.room.raw))

    backend = Script(create)
    with served(tmp_path, backend, threads=64) as (_, client):

        def ask() -> None:
            statuses.append(client.create("slow").status)

        asking = [threading.Thread(target=ask) for _ in range(64)]
        for thread in asking:
            thread.start()
        eventually(lambda: len(statuses) == 59)
        assert [client.create(f"room{number}").status for number in range(40)] == [200] * 40
        released.set()
        for thread in asking:
            thread.join(TIMEOUT_SECONDS)
    assert sorted(statuses) == [200] * 5 + [503] * 59


@pytest.mark.parametrize(
    "public_id", ["91234567890123", "gone.c0ffee", "null", "default.", "caf%C3%A9", "1e+14"]
)
def test_a_delete_that_leads_nowhere_is_200_with_one_warning(
    tmp_path: Path, public_id: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The proxy logs a DELETE whose id is invalid or has an unknown alias or backend."""
    backend = granting()
    with served(tmp_path, backend) as (_, client):
        assert client.delete(public_id).status == 200
    warned = fields(caplog, "DELETE of an unknown conference")
    assert [line["id"] for line in warned] == [public_id.replace("%C3%A9", "\u00e9")]
    assert not backend.deletes
