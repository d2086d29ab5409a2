"""Holders and holds on the wire: what a backend gets, and what follows from its answers."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest
from jicofo_reservation_proxy.gen.jicofo.reservation.v1 import reservation_pb2 as pb
from jicofo_reservation_stub import ReservationService, Store

from tests.unit.ledgers import eventually

from .support import JICOFO, PROSODY, Client, Context, running


@dataclass
class Rows(ReservationService):
    """The stub, which notes its requests. `statuses` end the next deletions, one each."""

    store: Store = field(default_factory=Store)
    creates: list[pb.CreateConferenceRequest] = field(default_factory=list)
    gets: list[pb.GetConferenceRequest] = field(default_factory=list)
    deletes: list[pb.DeleteConferenceRequest] = field(default_factory=list)
    statuses: list[grpc.StatusCode] = field(default_factory=list)
    keeps_rows: bool = True

    def __post_init__(self) -> None:
        """Make the stub."""
        super().__init__(self.store)

    def CreateConference(  # noqa: N802 - gRPC's name
        self, request: pb.CreateConferenceRequest, context: Context
    ) -> pb.CreateConferenceResponse:
        """Note the request; a backend that keeps no rows ignores its holder."""
        self.creates.append(request)
        known = pb.CreateConferenceRequest()
        known.CopyFrom(request)
        if not self.keeps_rows:
            known.ClearField("holder")
            known.ClearField("hold")
        return super().CreateConference(known, context)

    def GetConference(  # noqa: N802 - gRPC's name
        self, request: pb.GetConferenceRequest, context: Context
    ) -> pb.GetConferenceResponse:
        """Note the request."""
        self.gets.append(request)
        return super().GetConference(request, context)

    def DeleteConference(  # noqa: N802 - gRPC's name
        self, request: pb.DeleteConferenceRequest, context: Context
    ) -> pb.DeleteConferenceResponse:
        """Note the request, and end it with the next status."""
        self.deletes.append(request)
        if self.statuses:
            context.abort(self.statuses.pop(0), "as told")
        return super().DeleteConference(request, context)


@contextmanager
def served(tmp_path: Path, **settings: object) -> Iterator[tuple[Rows, Client]]:
    """Run a proxy with such a backend, for Prosody."""
    backend = Rows()
    with running(tmp_path, backend, **settings) as proxy:
        yield backend, Client(proxy.port, PROSODY)


def test_the_fields_of_the_calls(tmp_path: Path) -> None:
    """Each create has the holder and a greater hold; the deletion has the hold of its grant."""
    with served(tmp_path) as (backend, client):
        client.create("other")
        public_id = client.create().json["id"]
        client.delete(public_id)
        eventually(lambda: backend.deletes)
        first, second = backend.creates
        (deletion,) = backend.deletes
    assert first.holder == second.holder == deletion.holder
    assert len(first.holder) == 36
    assert 0 < first.hold < second.hold == deletion.hold
    assert public_id.endswith(f".{second.hold}")
    assert deletion.room == ""


def test_a_ledger_in_memory_has_no_holder(tmp_path: Path) -> None:
    """With `state = "memory"` the backend gets neither a holder nor a hold."""
    with served(tmp_path, state="memory") as (backend, client):
        client.delete(client.create().json["id"])
        eventually(lambda: backend.deletes)
        assert {(message.holder, message.hold) for message in backend.creates} == {("", 0)}
        assert {(message.holder, message.hold) for message in backend.deletes} == {("", 0)}
        eventually(lambda: not len(backend.store))


@pytest.mark.parametrize("user_agent", [PROSODY, JICOFO])
def test_a_conference_from_before_and_after_an_upgrade(tmp_path: Path, user_agent: str) -> None:
    """The proxy deletes it without a holder and with its holder, also if the first is unknown."""
    with served(tmp_path) as (backend, prosody):
        client = Client(prosody.port, user_agent)
        backend.keeps_rows = False
        client.create()
        backend.keeps_rows = True
        public_id = client.create().json["id"]
        backend.statuses = [grpc.StatusCode.NOT_FOUND]
        client.delete(public_id)
        eventually(lambda: len(backend.deletes) == 2)
        without, with_holder = backend.deletes
    assert (without.holder, without.hold) == ("", 0)
    assert (with_holder.holder, with_holder.hold) == (
        backend.creates[0].holder,
        backend.creates[1].hold,
    )


def test_the_second_deletion_fails(tmp_path: Path) -> None:
    """The deletion stays pending until the backend has acknowledged both calls."""
    with served(tmp_path) as (backend, client):
        backend.keeps_rows = False
        client.create()
        backend.keeps_rows = True
        public_id = client.create().json["id"]
        backend.statuses = [grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INTERNAL]
        client.delete(public_id)
        eventually(lambda: len(backend.deletes) == 4)
        eventually(lambda: not len(backend.store))
    assert [deletion.holder != "" for deletion in backend.deletes] == [False, True] * 2


def test_a_create_that_timed_out_is_withdrawn(tmp_path: Path) -> None:
    """The backend gets the room and the hold of the create, and no id and no probe."""
    with served(tmp_path) as (backend, client):
        client.create("first")
        slow, answer = len(backend.creates), backend.store.create
        backend.store.create = lambda *given: (answer(*given), 1 / 0)[0]  # type: ignore[method-assign]
        assert client.create("lost").status == 502
        backend.store.create = answer  # type: ignore[method-assign]
        eventually(lambda: backend.deletes)
        (withdrawal,) = backend.deletes
        eventually(lambda: len(backend.store) == 1)
    assert backend.gets == []
    assert (withdrawal.conference_id, withdrawal.room) == ("", "lost")
    assert withdrawal.hold == backend.creates[slow].hold
    assert withdrawal.holder == backend.creates[slow].holder


def test_a_backend_without_rows_is_reported_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says once that only one proxy may use the backend."""
    caplog.set_level(logging.INFO)
    with served(tmp_path) as (backend, client):
        backend.keeps_rows = False
        client.create("one")
        client.create("two")
    lines = [line for line in caplog.messages if "keeps no rows" in line]
    assert len(lines) == 1
    assert lines[0].startswith("backends.default keeps no rows for holders")


@pytest.mark.parametrize(
    "hold", ["9223372036854775807", "9223372036854775808", "9999999999999999999", "1"]
)
def test_a_hold_that_no_grant_has(tmp_path: Path, hold: str) -> None:
    """A person may type any id. A hold that is greater than all grants names the newest grant."""
    with served(tmp_path) as (backend, client):
        public_id = client.create().json["id"].rpartition(".")[0]
        assert client.delete(f"{public_id}.{hold}").status == 200
        if hold == "1":
            assert client.get(public_id).status == 200
            assert client.delete(public_id).status == 200
        eventually(lambda: not len(backend.store))
        assert backend.deletes[-1].hold == backend.creates[0].hold


def test_a_backend_that_knows_a_greater_hold(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says once that another proxy uses a copy of the ledger."""
    with served(tmp_path) as (backend, client):
        client.create()
        raise_row = backend.store._raise_row
        backend.store._raise_row = lambda *given: raise_row(*given) + 1  # type: ignore[method-assign]
        assert [client.create(name).status for name in ("one", "two")] == [200, 200]
    lines = [line for line in caplog.messages if "copy of this ledger" in line]
    assert len(lines) == 1
    assert lines[0].startswith("backends.default answers a greater hold")
