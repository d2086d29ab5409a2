"""Backends that were built from an older contract, without holders."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import json_format
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.unknown_fields import UnknownFieldSet
from jicofo_reservation_proxy.conformance import Kit, Verdict, cases
from jicofo_reservation_proxy.conformance.play import NO_ROWS

from tests.unit.ledgers import eventually

from .support import PROSODY, Client, backends, running

CONTRACT = Path(__file__).parent / "contract_without_holders.json"
"""The contract before it had holders, as `buf build` wrote it."""

PACKAGE = "jicofo.reservation.v1"


class OlderBackend:
    """A backend with the messages of the older contract; it keeps its conferences in memory.

    `deletes` has the deletions that it got.
    """

    def __init__(self) -> None:
        pool = DescriptorPool()
        files = FileDescriptorSet()
        json_format.Parse(CONTRACT.read_text("utf-8"), files, ignore_unknown_fields=True)
        for file in files.file:
            pool.Add(file)
        self._pool = pool
        self.rooms: dict[str, Any] = {}
        self.requests: dict[str, Any] = {}
        self.deletes: list[Any] = []

    def message(self, name: str) -> Any:  # noqa: ANN401 - a class that is made at run time
        """Return a class of the older contract."""
        return GetMessageClass(self._pool.FindMessageTypeByName(f"{PACKAGE}.{name}"))

    def create(self, request: Any, context: grpc.ServicerContext) -> Message:  # noqa: ANN401
        """Grant a free room."""
        del context
        response = self.message("CreateConferenceResponse")()
        if request.request_id in self.requests:
            response.conference.CopyFrom(self.requests[request.request_id])
        elif request.room.raw in self.rooms:
            response.conflict.conference.CopyFrom(self.rooms[request.room.raw])
        else:
            held = response.conference
            held.id, held.room = f"{len(self.requests) + 1000}", request.room.raw
            held.owner = request.owner.raw
            held.start_time.CopyFrom(request.start_time)
            self.rooms[held.room] = self.requests[request.request_id] = held
        return response  # type: ignore[no-any-return]

    def delete(self, request: Any, context: grpc.ServicerContext) -> Message:  # noqa: ANN401
        """Delete the conference, whoever has it."""
        del context
        self.deletes.append(request)
        for found in (self.rooms, self.requests):
            for key, held in list(found.items()):
                if held.id == request.conference_id:
                    del found[key]
        return self.message("DeleteConferenceResponse")()  # type: ignore[no-any-return]

    @contextmanager
    def serving(self) -> Iterator[str]:
        """Serve the backend; yield its address."""
        methods: dict[str, Any] = {
            name: grpc.unary_unary_rpc_method_handler(
                method,
                self.message(f"{name}Request").FromString,
                lambda response: response.SerializeToString(),
            )
            for name, method in _methods(self).items()
        }
        with ThreadPoolExecutor(64) as executor:
            server = grpc.server(executor)
            service = f"{PACKAGE}.ReservationService"
            server.add_generic_rpc_handlers(
                (grpc.method_handlers_generic_handler(service, methods),)
            )
            port = server.add_insecure_port("127.0.0.1:0")
            server.start()
            try:
                yield f"127.0.0.1:{port}"
            finally:
                server.stop(0).wait()


def _methods(backend: OlderBackend) -> dict[str, Callable[[Any, grpc.ServicerContext], Message]]:
    return {"CreateConference": backend.create, "DeleteConference": backend.delete}


def test_the_older_contract_has_no_holders() -> None:
    """The fixture of these tests has none of the newer fields."""
    names = {
        field["name"]
        for file in json.loads(CONTRACT.read_text("utf-8"))["file"]
        if file["package"] == PACKAGE
        for message in file["messageType"]
        for field in message.get("field", ())
    }
    assert "conference_id" in names
    assert not names & {"holder", "hold"}


def test_a_backend_of_the_older_contract(tmp_path: Path) -> None:
    """Rooms are granted, given again and deleted as before; deletions have no newer field."""
    backend = OlderBackend()
    with backend.serving() as target, running(tmp_path, backends=backends(default=target)) as proxy:
        client = Client(proxy.port, PROSODY)
        first, second = client.create(), client.create()
        assert [first.status, second.status] == [200, 200]
        assert client.delete(first.json["id"]).status == 200  # void: the second POST came later
        assert client.delete(second.json["id"]).status == 200
        eventually(lambda: backend.deletes)
        eventually(lambda: not backend.rooms)
        assert client.create().status == 200
    (deletion,) = backend.deletes
    assert deletion.conference_id == "1000"
    assert len(UnknownFieldSet(deletion)) == 0


def test_the_kit_and_a_backend_of_the_older_contract() -> None:
    """The kit skips the cases of the holders, and all other cases pass."""
    chosen = [case for case in cases() if case.name in {"repeat", "delete", "conflict"}]
    holders = [case for case in cases() if "holders" in case.needs]
    with OlderBackend().serving() as target, Kit(target) as kit:
        results = [kit.run(case) for case in (*chosen, *holders)]
    assert {result.verdict for result in results[:3]} == {Verdict.PASSED}
    assert {(result.verdict, result.detail) for result in results[3:]} == {
        (Verdict.SKIPPED, NO_ROWS)
    }
