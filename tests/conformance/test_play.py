"""The play of cases: rooms at the same time, moments, waiting for an end, and stopping."""

import threading
import time
from collections.abc import Callable
from dataclasses import replace

import grpc
import pytest
from jicofo_reservation_proxy.conformance import Case, Kit, Verdict, cases, play
from jicofo_reservation_proxy.conformance.answer import Answer
from jicofo_reservation_proxy.conformance.case import Step
from jicofo_reservation_proxy.conformance.play import Failure, Play, Skip, Stage
from jicofo_reservation_proxy.gen.jicofo.reservation.v1 import reservation_pb2 as pb
from jicofo_reservation_stub import ReservationService, Store
from jicofo_reservation_stub.store import NO_HOLDER, Ending, Hold

from tests.e2e.support import Context, Script, serving_grpc

from .kits import (
    CONFLICT,
    CREATE,
    GIVEN_UP,
    OVER,
    PATIENCE,
    STEADY,
    Told,
    case,
    grant,
    granted,
    playing,
)


@pytest.mark.parametrize(
    ("rooms", "moments"), [(5, [0.0, 5.0, 10.0, 15.0, 20.0]), (2, [0.0, 20.0]), (1, [0.0])]
)
def test_moments_are_spread_over_the_rooms(rooms: int, moments: list[float]) -> None:
    """The moments are evenly spread over the rooms, from first to last, in units of the pace."""
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
    """Calls of a step without moments have the deadline of the settings and are not cancelled."""
    told = Told(lambda _: granted())
    Play(Stage(told, CREATE, "denied"), 0, "room").run()
    assert [(call.deadline_seconds, call.cancel_after_seconds) for call in told.calls] == [
        (None, None)
    ]


def test_a_step_is_repeated_for_the_given_time() -> None:
    """The kit repeats the same request until the time of the step has passed."""
    told = Told(lambda _: granted())
    began = time.monotonic()
    played = replace(STEADY, step=_for_seconds(STEADY, 1.5))
    first, last = Play(Stage(told, played, "denied"), 0, "room").run()
    assert time.monotonic() - began >= 1.5
    assert len(told.calls) >= 3
    assert len({id(call.request) for call in told.calls}) == 1
    assert (len(first), len(last)) == (1, 1)


def test_a_repeated_step_fails_with_its_first_wrong_answer() -> None:
    """The failure names the step, the wanted answer and the actual answer. The kit stops there."""
    told = Told(lambda number: CONFLICT if number == 3 else granted())
    with pytest.raises(
        Failure,
        match=r"^step 2, create: wanted the same answer as before, conference '1', "
        r"got conflict ''$",
    ):
        Play(Stage(told, replace(STEADY, step=_for_seconds(STEADY, 30)), "denied"), 0, "room").run()
    assert len(told.calls) == 4


def test_the_kit_waits_for_the_end_of_a_conference() -> None:
    """The kit makes the next call only after the conference is over."""
    made_at: list[float] = []

    def answer(_: int) -> Answer:
        made_at.append(time.monotonic())
        return granted(ends_in=0.3)

    Play(Stage(Told(answer), OVER, "denied"), 0, "room").run()
    # The end is in whole milliseconds of another clock.
    assert made_at[1] - made_at[0] >= 0.25


def test_a_backend_may_notice_an_end_late() -> None:
    """The kit repeats the call, because the clock of the backend may differ from its own clock."""
    told = Told(lambda number: CONFLICT if number in {1, 2} else granted(ends_in=-1))
    Play(Stage(told, OVER, "denied"), 0, "room").run()
    assert len(told.calls) == 4


def test_the_wait_for_a_late_end_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    """After `LATE_SECONDS`, the kit reports the last wrong answer."""
    monkeypatch.setattr(play, "LATE_SECONDS", 1.5)
    told = Told(lambda number: CONFLICT if number else granted(ends_in=-1))
    with pytest.raises(
        Failure, match=r"got conflict; check the clock of the backend: it may differ"
    ):
        Play(Stage(told, OVER, "denied"), 0, "room").run()
    assert len(told.calls) >= 3


@pytest.mark.parametrize("ends_in", [None, play.LONGEST_END_SECONDS + 5])
def test_the_kit_does_not_wait_for_a_distant_end(ends_in: float | None) -> None:
    """The kit skips the case at once if the backend grants a much longer time than requested."""
    told = Told(lambda _: granted(ends_in=ends_in))
    with pytest.raises(
        Skip,
        match=r"^the conference lasts longer at this backend than the 10 s that the kit waits$",
    ):
        Play(Stage(told, OVER, "denied"), 0, "room").run()
    assert len(told.calls) == 1


def test_a_skipped_case_has_a_result() -> None:
    """The result has the reason, and the kit deletes the conference of the case."""
    backend = Script(grant)
    with playing(backend) as kit:
        result = kit.run(OVER)
        assert (result.verdict, result.detail) == (
            Verdict.SKIPPED,
            "the conference lasts longer at this backend than the 10 s that the kit waits",
        )
        assert len(backend.deletes) == 1


@pytest.mark.parametrize(
    ("played", "answer"),
    [(OVER, granted(ends_in=play.LONGEST_END_SECONDS - 1)), (STEADY, granted())],
    ids=["waiting", "repeating"],
)
def test_a_stopped_play_waits_no_longer(played: Case, answer: Answer) -> None:
    """A stopped play waits neither for the end of a conference nor between two calls."""
    stage = Stage(Told(lambda _: answer), played, "denied")
    stage.stopped.set()
    began = time.monotonic()
    with pytest.raises(Skip, match=r"^the kit was stopped$"):
        Play(stage, 0, "room").run()
    assert time.monotonic() - began < play.LONGEST_END_SECONDS / 2


def test_a_failure_cancels_the_calls_in_other_rooms() -> None:
    """The kit cancels the pending calls of the other rooms, long before their deadline."""
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


def test_a_failure_ends_the_waits_in_other_rooms() -> None:
    """A play that would repeat its calls for a long time stops between two calls."""

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


class _Late(Store):
    """Checks late whether a deletion is still wanted, and deletes some time after this check."""

    def delete(
        self,
        conference_id: str,
        hold: Hold = NO_HOLDER,
        is_wanted: Callable[[], bool] = lambda: True,
    ) -> Ending:
        """Delete the conference if the caller still waited at the time of the check."""
        pause = threading.Event()
        pause.wait(0.08)
        was_wanted = is_wanted()
        pause.wait(0.08)
        return super().delete(conference_id, hold, lambda: was_wanted)


@pytest.mark.parametrize("name", ["delete-given-up", "delete-too-late"])
def test_moments_follow_the_pace_of_the_backend(name: str) -> None:
    """For a slow backend, the kit gives up a deletion later, so that it finds a late deletion."""
    (played,) = (each for each in cases() if each.name == name)
    with serving_grpc(ReservationService(_Late())) as target, Kit(target) as kit:
        # On a busy machine, all calls of one run may be too late.
        verdicts = (kit.run(played).verdict for _ in range(5))
        assert Verdict.FAILED in verdicts
