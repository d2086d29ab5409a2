"""Raw calls: their order, their ends, and what is cleaned up after them."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from jicofo_reservation_proxy.backends.backend import PROBE_ID
from jicofo_reservation_proxy.conformance import Kit, Verdict, caller
from jicofo_reservation_proxy.conformance.caller import Call
from jicofo_reservation_proxy.errors import CredentialsError, UnreachableError
from jicofo_reservation_proxy.gen.jicofo.reservation.v1 import reservation_pb2 as pb

from tests.e2e.support import Context, Script, serving_grpc

from .kits import (
    CREATE,
    PATIENCE,
    calling,
    case,
    creates,
    grant,
    playing,
)


def test_requests_without_an_answer_are_made_once_more() -> None:
    """Whatever they made is deleted, though its id was never heard of before."""
    asked: Counter[str] = Counter()

    def create(
        request: pb.CreateConferenceRequest, context: Context
    ) -> pb.CreateConferenceResponse:
        asked[request.request_id] += 1
        if asked[request.request_id] == 1:
            context.abort(grpc.StatusCode.INTERNAL, "after it was made")
        return grant(request, context)

    backend = Script(create)
    with playing(backend) as kit:
        assert kit.run(CREATE).verdict is Verdict.FAILED
        assert list(asked.values()) == [2]
        assert [request.conference_id for request in backend.deletes] == list(asked)
        assert kit.left == ()


def test_a_request_that_is_never_answered_is_forgotten() -> None:
    """It is made once more after its own case, not after each that follows."""

    def create(_: pb.CreateConferenceRequest, context: Context) -> pb.CreateConferenceResponse:
        context.abort(grpc.StatusCode.INTERNAL, "as ever")

    backend = Script(create)
    with playing(backend) as kit:
        kit.run(CREATE)
        kit.run(CREATE)
    assert sorted(Counter(each.request_id for each in backend.creates).values()) == [2, 2]


@pytest.mark.parametrize(
    ("code", "left"), [(grpc.StatusCode.NOT_FOUND, 0), (grpc.StatusCode.INTERNAL, 1)]
)
def test_what_counts_as_deleted(code: grpc.StatusCode, left: int) -> None:
    """NOT_FOUND does, as for the proxy; any other status does not."""

    def delete(_: pb.DeleteConferenceRequest, context: Context) -> pb.DeleteConferenceResponse:
        context.abort(code, "")

    with playing(Script(grant, delete=delete)) as kit:
        kit.run(CREATE)
        assert len(kit.left) == left


def test_a_backend_that_deletes_nothing_is_asked_once_more_at_the_end() -> None:
    """Not after each case; and what is still there then is told."""

    def delete(_: pb.DeleteConferenceRequest, context: Context) -> pb.DeleteConferenceResponse:
        context.abort(grpc.StatusCode.INTERNAL, "no")

    backend = Script(grant, delete=delete)
    with playing(backend) as kit:
        for asked in (1, 1, 1):
            kit.run(CREATE)
            assert len(backend.deletes) == asked
    assert len(backend.deletes) == 4
    assert list(kit.left) == [request.request_id for request in backend.creates]


def test_a_backend_without_deletions_is_not_asked_for_any() -> None:
    """What was made is told as left."""
    backend = Script(grant)
    with playing(backend, {"delete"}) as kit:
        kit.run(CREATE)
    assert backend.deletes == []
    assert list(kit.left) == [request.request_id for request in backend.creates]


def test_cleaning_up_is_bounded_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """No deletion is begun after `CLEAN_UP_SECONDS`, however many conferences are left."""
    monkeypatch.setattr(caller, "CLEAN_UP_AT_ONCE", 1)
    monkeypatch.setattr(caller, "CLEAN_UP_SECONDS", 0.5)
    never = threading.Event()

    def delete(_: pb.DeleteConferenceRequest, __: Context) -> pb.DeleteConferenceResponse:
        never.wait(caller.CLEAN_UP_SECONDS)
        return pb.DeleteConferenceResponse()

    backend = Script(grant, delete=delete)
    with playing(backend) as kit:
        kit.run(case('call = "create"\n', rooms=10))
        assert len(kit.left) == 9
    assert len(kit.left) == 8, "once more at the end"


def test_cleaning_up_goes_on_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them are deleted, never more than `CLEAN_UP_AT_ONCE` at a time."""
    monkeypatch.setattr(caller, "CLEAN_UP_AT_ONCE", 3)
    lock, under_way, most = threading.Lock(), 0, 0

    def delete(_: pb.DeleteConferenceRequest, __: Context) -> pb.DeleteConferenceResponse:
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        with lock:
            under_way -= 1
        return pb.DeleteConferenceResponse()

    backend = Script(grant, delete=delete)
    with playing(backend) as kit:
        kit.run(case('call = "create"\n', rooms=10))
        assert kit.left == ()
    assert len(backend.deletes) == 10
    assert most <= 3


def test_answers_come_in_the_order_of_the_calls_in_every_thread() -> None:
    """Many threads share one caller, and nothing that any of them made is lost."""
    with calling(Script(grant)) as shared:

        def rooms(number: int) -> list[str]:
            calls = [call for n in range(10) for call in creates(f"room-{number}-{n}")]
            answers = shared.make(calls)
            return [answer.conference.room for answer in answers if answer.conference]

        with ThreadPoolExecutor(8) as threads:
            got = list(threads.map(rooms, range(8)))
        assert got == [[f"room-{number}-{n}" for n in range(10)] for number in range(8)]
        assert len(shared.made) == 80
        shared.clean_up(can_delete=True)
        assert shared.made == ()


def test_cancel_ends_the_calls_of_all_threads() -> None:
    """Each is answered CANCELLED; a call that is made later is not concerned."""
    asked = threading.Barrier(4)
    may_answer = threading.Event()

    def create(
        request: pb.CreateConferenceRequest, context: Context
    ) -> pb.CreateConferenceResponse:
        if not may_answer.is_set():
            asked.wait(PATIENCE.total_seconds())
            may_answer.wait(PATIENCE.total_seconds())
        return grant(request, context)

    with calling(Script(create)) as shared, ThreadPoolExecutor(3) as threads:
        pending = [threads.submit(shared.make, creates(f"room-{n}")) for n in range(3)]
        asked.wait(PATIENCE.total_seconds())
        shared.cancel()
        kinds = [answer.kind for each in pending for answer in each.result()]
        may_answer.set()
        assert kinds == ["CANCELLED"] * 3
        assert not shared._pending, "what is answered is kept no longer"
        assert [answer.kind for answer in shared.make(creates("later"))] == ["conference"]


def test_each_call_is_cancelled_at_its_own_moment() -> None:
    """One that is to be cancelled later, or never, still gets its answer."""
    given_up = threading.Event()

    def create(
        request: pb.CreateConferenceRequest, context: Context
    ) -> pb.CreateConferenceResponse:
        if request.room.raw == "first":
            context.add_callback(given_up.set)
        given_up.wait(PATIENCE.total_seconds())
        return grant(request, context)

    with calling(Script(create)) as shared:
        (first,), (second,) = creates("first"), creates("second")
        answers = shared.make([Call(second.request), Call(first.request, None, 0.05)])
        assert [answer.kind for answer in answers] == ["conference", "CANCELLED"]


def test_a_grant_begins_when_its_request_says() -> None:
    """The start may be left out there, so that later answers can be compared with it."""

    def create(request: pb.CreateConferenceRequest, _: Context) -> pb.CreateConferenceResponse:
        return pb.CreateConferenceResponse(conference=pb.Conference(id="1", room=request.room.raw))

    with calling(Script(create)) as shared:
        (call,) = creates("room")
        (answer,) = shared.make([call])
    assert answer.conference is not None
    assert isinstance(call.request, pb.CreateConferenceRequest)
    assert answer.conference.start_time == call.request.start_time


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (grpc.StatusCode.UNAVAILABLE, UnreachableError),
        (grpc.StatusCode.DEADLINE_EXCEEDED, UnreachableError),
        (grpc.StatusCode.UNAUTHENTICATED, CredentialsError),
    ],
)
def test_no_case_is_played_where_none_can_be(code: grpc.StatusCode, error: type[Exception]) -> None:
    """The first answer shows it: the error names the target and the status's text."""

    def get(_: pb.GetConferenceRequest, context: Context) -> pb.GetConferenceResponse:
        context.abort(code, "not today")

    with (
        serving_grpc(Script(grant, get)) as target,
        pytest.raises(error, match=rf"^{target}: wanted .*, got {code.name}: not today$"),
        Kit(target),
    ):
        pass


def test_a_backend_is_reached_by_an_id_that_nobody_has() -> None:
    """Whatever it answers to that, but what shows that nothing works, is good enough."""
    backend = Script(grant, None)
    with serving_grpc(backend) as target, Kit(target):
        pass
    assert [request.conference_id for request in backend.gets] == [PROBE_ID]
