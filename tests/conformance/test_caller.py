"""Raw calls: their order, their end, and the clean-up after them."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from jicofo_reservation_proxy.backends.backend import PROBE_ID
from jicofo_reservation_proxy.conformance import Kit, Verdict, caller, cases
from jicofo_reservation_proxy.conformance.caller import Call
from jicofo_reservation_proxy.errors import CredentialsError, UnreachableError
from jicofo_reservation_proxy.gen.jicofo.reservation.v1 import reservation_pb2 as pb
from jicofo_reservation_stub import ReservationService, Store

from tests.e2e.support import Context, Script, serving_grpc
from tests.unit.ledgers import LONG_SECONDS

from .kits import (
    CREATE,
    PATIENCE,
    calling,
    case,
    creates,
    grant,
    playing,
)


def test_requests_without_an_answer_are_repeated_once() -> None:
    """If a request gets no answer, the kit repeats it once, and then deletes the conference."""
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
    """The kit repeats the request once after its own case, and not after later cases."""

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
def test_the_statuses_that_count_as_deleted(code: grpc.StatusCode, left: int) -> None:
    """For the kit, a conference is deleted after NOT_FOUND, but not after INTERNAL."""

    def delete(_: pb.DeleteConferenceRequest, context: Context) -> pb.DeleteConferenceResponse:
        context.abort(code, "")

    with playing(Script(grant, delete=delete)) as kit:
        kit.run(CREATE)
        assert len(kit.left) == left


def test_failed_deletions_are_retried_once_at_the_end() -> None:
    """After a failed deletion, the kit deletes nothing until it closes. It lists what is left."""

    def delete(_: pb.DeleteConferenceRequest, context: Context) -> pb.DeleteConferenceResponse:
        context.abort(grpc.StatusCode.INTERNAL, "no")

    backend = Script(grant, delete=delete)
    with playing(backend) as kit:
        for asked in (1, 1, 1):
            kit.run(CREATE)
            assert len(backend.deletes) == asked
    assert len(backend.deletes) == 4
    assert list(kit.left) == [request.request_id for request in backend.creates]


def test_the_kit_deletes_its_conferences_for_every_holder() -> None:
    """After each case, no holder of the kit has a conference any more."""
    store = Store()
    holders = [played for played in cases() if "holders" in played.needs and played.rounds == 1]
    with serving_grpc(ReservationService(store)) as target, Kit(target) as kit:
        for played in holders:
            assert kit.run(played).verdict is Verdict.PASSED
            assert len(store) == 0, played
        assert kit.left == ()


def test_the_kit_sends_no_deletions_with_without_delete() -> None:
    """The kit sends no deletion, and `left` lists the conferences that it created."""
    backend = Script(grant)
    with playing(backend, {"delete"}) as kit:
        kit.run(CREATE)
    assert backend.deletes == []
    assert list(kit.left) == [request.request_id for request in backend.creates]


def test_the_clean_up_is_limited_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller starts no deletion after `CLEAN_UP_SECONDS`, even if conferences are left."""
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
    assert len(kit.left) == 8, "the kit deletes one more when it closes"


def test_the_clean_up_works_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller deletes all conferences, never more than `CLEAN_UP_AT_ONCE` at the same time."""
    monkeypatch.setattr(caller, "CLEAN_UP_AT_ONCE", 3)
    changed, began, ended, most = threading.Condition(), 0, 0, 0

    def delete(_: pb.DeleteConferenceRequest, __: Context) -> pb.DeleteConferenceResponse:
        nonlocal began, ended, most
        with changed:
            began += 1
            changed.notify_all()
            # Wait for the whole batch, and then a moment for a call that is one too many.
            changed.wait_for(lambda: began in {3, 6, 9, 10}, LONG_SECONDS)
            changed.wait_for(lambda: began - ended > 3, 0.1)
            most = max(most, began - ended)
            ended += 1
        return pb.DeleteConferenceResponse()

    backend = Script(grant, delete=delete)
    with playing(backend) as kit:
        kit.run(case('call = "create"\n', rooms=10))
        assert kit.left == ()
    assert len(backend.deletes) == 10
    assert most == 3


def test_answers_are_in_the_order_of_the_calls_in_every_thread() -> None:
    """Each thread gets its answers in order. The shared caller remembers all conferences."""
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
    """Each pending call gets CANCELLED. A later call is not cancelled."""
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
        assert not shared._pending, "the caller keeps no call that has its answer"
        assert [answer.kind for answer in shared.make(creates("later"))] == ["conference"]


def test_each_call_is_cancelled_at_its_own_time() -> None:
    """The cancellation of one call does not affect another call, which still gets its answer."""
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


def test_a_grant_without_a_start_time_has_that_of_its_request() -> None:
    """The caller fills in a missing start_time, so that later answers can be compared with it."""

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
def test_the_kit_plays_no_case_against_an_unusable_backend(
    code: grpc.StatusCode, error: type[Exception]
) -> None:
    """If its first call fails, the kit raises an error with the target, the status and its text."""

    def get(_: pb.GetConferenceRequest, context: Context) -> pb.GetConferenceResponse:
        context.abort(code, "not today")

    with (
        serving_grpc(Script(grant, get)) as target,
        pytest.raises(error, match=rf"^{target}: wanted .*, got {code.name}: not today$"),
        Kit(target),
    ):
        pass


def test_the_kit_first_asks_for_an_unknown_id() -> None:
    """The first call of the kit is GetConference. The kit accepts the answer UNIMPLEMENTED."""
    backend = Script(grant, None)
    with serving_grpc(backend) as target, Kit(target):
        pass
    assert [request.conference_id for request in backend.gets] == [PROBE_ID]
