"""How cases are played: rooms side by side, moments, patience; and what is cleaned up after."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

import grpc
import pytest
from jicofo_reservation_proxy import contract
from jicofo_reservation_proxy.conformance import Case, Kit, Verdict, caller, play
from jicofo_reservation_proxy.conformance.answer import Answer
from jicofo_reservation_proxy.conformance.caller import Call, Caller
from jicofo_reservation_proxy.conformance.case import Capability, Step, parse
from jicofo_reservation_proxy.conformance.play import Failure, Play, Skip, Stage
from jicofo_reservation_proxy.conformance.request import create_messages
from jicofo_reservation_proxy.errors import CredentialsError, UnreachableError
from jicofo_reservation_proxy.gen.jicofo.reservation.v1 import reservation_pb2 as pb
from jicofo_reservation_proxy.settings import Backend, Deadline, Target

from tests.e2e.support import Context, Script, conference, serving_grpc

PATIENCE = timedelta(seconds=20)
"""The deadline of calls that are not about deadlines: a busy machine must not matter."""

CONFLICT = Answer("conflict")


class Told(Caller):
    """A caller that makes no calls: `answer` says what each gets, by how many there were before."""

    def __init__(self, answer: Callable[[int], Answer]) -> None:
        self.calls: list[Call] = []
        self._answer_of = answer

    def make(self, calls: Sequence[Call]) -> list[Answer]:
        """Answer as told."""
        number = len(self.calls)
        self.calls += calls
        return [self._answer_of(number + n) for n in range(len(calls))]


def granted(conference_id: str = "1", *, ends_in: float | None = None) -> Answer:
    """Return a grant, of a conference that began an hour ago where it has an end."""
    found = pb.Conference(id=conference_id)
    if ends_in is not None:
        found.start_time.FromMilliseconds(round((time.time() - 3600) * 1000))
        found.duration.FromMilliseconds(round((3600 + ends_in) * 1000))
    return Answer("conference", found)


def case(steps: str, rooms: int = 1) -> Case:
    """Return a case of these steps; each begins with a line that names its call."""
    head = f'[[case]]\nname = "tried"\nsentence = "None."\nrooms = {rooms}\n'
    (found,) = parse(head + steps.replace("call =", "[[case.step]]\ncall ="))
    return found


CREATE = case('call = "create"\nexpect = "conference"')
GIVEN_UP = 'call = "create"\nexpect = ["conference", "CANCELLED"]\n'
OVER = case(
    """
    call = "create"
    save_as = "first"
    expect = "conference"
    call = "create"
    after_end_of = "first"
    expect = "conference"
    """
)
STEADY = case(
    """
    call = "create"
    save_as = "first"
    call = "create"
    again = "first"
    for_seconds = 0.5
    same = "first"
    """
)


def grant(request: pb.CreateConferenceRequest, _: Context) -> pb.CreateConferenceResponse:
    """Grant every room, with the request's id as that of the conference."""
    return pb.CreateConferenceResponse(conference=conference(request, request.request_id))


@contextmanager
def playing(backend: Script, without: Collection[Capability] = ()) -> Iterator[Kit]:
    """Yield a kit that plays against this backend."""
    with (
        serving_grpc(backend) as target,
        Kit(
            Backend(target=Target(target), answer_within=Deadline(PATIENCE)),
            without=without,
        ) as kit,
    ):
        yield kit


@contextmanager
def calling(backend: Script) -> Iterator[Caller]:
    """Yield a caller of this backend."""
    with serving_grpc(backend) as target:
        settings = Backend(target=Target(target), answer_within=Deadline(PATIENCE))
        found = Caller(settings, "backend")
        try:
            yield found
        finally:
            found.close()


def creates(room: str) -> list[Call]:
    """Return one call for this room."""
    return [Call(message) for message in create_messages(Step(call="create"), room, "denied")]


@pytest.mark.parametrize(
    ("rooms", "moments"), [(5, [0.0, 5.0, 10.0, 15.0, 20.0]), (2, [0.0, 20.0]), (1, [0.0])]
)
def test_moments_are_spread_over_the_rooms(rooms: int, moments: list[float]) -> None:
    """Evenly from the first to the last, both included; the unit is how long such a call takes."""
    played = case(GIVEN_UP + "cancel_after = [0, 2]\ndeadline = [10, 12]\n", rooms)
    told = Told(lambda _: granted())
    stage = Stage(told, played, "denied", {"create": 0.01})
    for number in range(rooms):
        Play(stage, number, f"room-{number}").run()
    assert [(call.cancel_after_seconds or 0.0) * 1000 for call in told.calls] == pytest.approx(
        moments
    )
    assert [(call.deadline_seconds or 0.0) * 1000 for call in told.calls] == pytest.approx(
        [100 + moment for moment in moments]
    )


def test_calls_without_moments_have_none() -> None:
    """They have the deadline of the settings, and nobody cancels them."""
    told = Told(lambda _: granted())
    Play(Stage(told, CREATE, "denied"), 0, "room").run()
    assert [(call.deadline_seconds, call.cancel_after_seconds) for call in told.calls] == [
        (None, None)
    ]


def test_a_step_is_repeated_for_its_time() -> None:
    """With the very same request, until the time has passed and not only once."""
    told = Told(lambda _: granted())
    began = time.monotonic()
    first, last = Play(Stage(told, STEADY, "denied"), 0, "room").run()
    assert time.monotonic() - began >= 0.5
    assert len(told.calls) >= 3
    assert len({id(call.request) for call in told.calls}) == 1
    assert (len(first), len(last)) == (1, 1)


def test_a_repeated_step_fails_with_its_first_wrong_answer() -> None:
    """It names the step, what was wanted and what was got, and asks no more."""
    told = Told(lambda number: CONFLICT if number == 3 else granted())
    with pytest.raises(
        Failure,
        match=r"^step 2, create: wanted what was answered before, conference '1', got conflict ''$",
    ):
        Play(Stage(told, STEADY, "denied"), 0, "room").run()
    assert len(told.calls) == 4


def test_an_end_is_waited_for() -> None:
    """The next call is not made before the conference is over."""
    made_at: list[float] = []

    def answer(_: int) -> Answer:
        made_at.append(time.monotonic())
        return granted(ends_in=0.3)

    Play(Stage(Told(answer), OVER, "denied"), 0, "room").run()
    # The end is given in whole milliseconds of another clock.
    assert made_at[1] - made_at[0] >= 0.25


def test_a_backend_may_notice_an_end_late() -> None:
    """A conference that is still there is asked for again; its clock is not ours."""
    told = Told(lambda number: CONFLICT if number in {1, 2} else granted(ends_in=-1))
    Play(Stage(told, OVER, "denied"), 0, "room").run()
    assert len(told.calls) == 4


def test_patience_with_an_end_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """After `LATE_SECONDS` the last wrong answer is the complaint."""
    monkeypatch.setattr(play, "LATE_SECONDS", 0.5)
    told = Told(lambda number: CONFLICT if number else granted(ends_in=-1))
    with pytest.raises(Failure, match=r"got conflict; is the backend's clock right\?"):
        Play(Stage(told, OVER, "denied"), 0, "room").run()
    assert len(told.calls) >= 3


@pytest.mark.parametrize("ends_in", [None, play.LONGEST_END_SECONDS + 5])
def test_a_far_end_is_not_waited_for(ends_in: float | None) -> None:
    """Backends may give more time than was asked for: the case is skipped, at once."""
    told = Told(lambda _: granted(ends_in=ends_in))
    with pytest.raises(Skip, match=r"^the backend gave it more than the 10 s to wait for$"):
        Play(Stage(told, OVER, "denied"), 0, "room").run()
    assert len(told.calls) == 1


def test_a_skipped_case_is_a_result() -> None:
    """With the reason, and what it made is deleted."""
    backend = Script(grant)
    with playing(backend) as kit:
        result = kit.run(OVER)
        assert (result.verdict, result.detail) == (
            Verdict.SKIPPED,
            "the backend gave it more than the 10 s to wait for",
        )
        assert len(backend.deletes) == 1


@pytest.mark.parametrize(
    ("played", "answer"),
    [(OVER, granted(ends_in=play.LONGEST_END_SECONDS - 1)), (STEADY, granted())],
    ids=["waiting", "repeating"],
)
def test_what_is_stopped_waits_no_longer(played: Case, answer: Answer) -> None:
    """Neither for an end nor between two calls."""
    stage = Stage(Told(lambda _: answer), played, "denied")
    stage.stopped.set()
    began = time.monotonic()
    with pytest.raises(Skip, match=r"^the kit was stopped$"):
        Play(stage, 0, "room").run()
    assert time.monotonic() - began < play.LONGEST_END_SECONDS / 2


def test_a_failure_ends_the_other_rooms() -> None:
    """Calls that are under way there are cancelled, long before their deadline."""
    under_way, given_up = threading.Event(), threading.Event()

    def create(
        request: pb.CreateConferenceRequest, context: Context
    ) -> pb.CreateConferenceResponse:
        if request.room.raw.endswith("-0"):
            under_way.wait(PATIENCE.total_seconds())
            context.abort(grpc.StatusCode.INTERNAL, "out of order")
        if not under_way.is_set():
            context.add_callback(given_up.set)
            under_way.set()
            given_up.wait(PATIENCE.total_seconds())
        return grant(request, context)

    backend = Script(create)
    with playing(backend) as kit:
        result = kit.run(case('call = "create"\nexpect = "conference"', rooms=2))
        assert given_up.is_set()
        assert result.seconds < PATIENCE.total_seconds() / 2
    assert result.detail == "step 1, create: wanted conference, got INTERNAL ('out of order')"


def test_a_failure_ends_the_waits_of_the_other_rooms() -> None:
    """A room that would go on for long stops between two calls."""

    def create(
        request: pb.CreateConferenceRequest, context: Context
    ) -> pb.CreateConferenceResponse:
        asked = sum(each.request_id == request.request_id for each in backend.creates)
        if request.room.raw.endswith("-0") and asked == 2:
            context.abort(grpc.StatusCode.INTERNAL, "out of order")
        return grant(request, context)

    backend = Script(create)
    with playing(backend) as kit:
        result = kit.run(replace(STEADY, rooms=2, step=_for_seconds(STEADY, 30)))
    assert result.verdict is Verdict.FAILED
    assert result.seconds < 15


def _for_seconds(played: Case, seconds: float) -> tuple[Step, ...]:
    return tuple(
        replace(step, for_seconds=seconds) if step.for_seconds else step for step in played.step
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
    assert [request.conference_id for request in backend.gets] == [contract.PROBE_ID]
