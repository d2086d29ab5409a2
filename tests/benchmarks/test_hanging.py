"""The calls of the hanging backend hang until they are released."""

from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from jicofo_reservation_proxy.gen.jicofo.reservation.v1 import (
    reservation_pb2 as pb,
)
from jicofo_reservation_proxy.gen.jicofo.reservation.v1 import (
    reservation_pb2_grpc as pb_grpc,
)

from benchmarks import hanging
from benchmarks.wire import HOST

WAIT_SECONDS = 30.0


def test_a_call_is_answered_only_after_the_release() -> None:
    """The backend says when a call has come, and grants the room when it is released."""
    with (
        hanging.hanging_backend() as (backend, port),
        grpc.insecure_channel(f"{HOST}:{port}") as channel,
        ThreadPoolExecutor(1) as threads,
    ):
        stub = pb_grpc.ReservationServiceStub(channel)
        question = pb.CreateConferenceRequest(room=pb.Room(raw="hang"))
        asked = threads.submit(stub.CreateConference, question, timeout=WAIT_SECONDS)
        assert backend.wait_until_called()
        assert not asked.done()
        backend.release()
        assert asked.result(WAIT_SECONDS).conference.room == "hang"


def test_a_call_that_does_not_come_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The benchmark does not wait for ever."""
    monkeypatch.setattr(hanging, "PATIENCE_SECONDS", 0.01)
    assert not hanging.HangingBackend().wait_until_called()
