"""The play of a case in one of its rooms, step by step."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from grpc_health.v1 import health_pb2

from jicofo_reservation_proxy.backends import contract
from jicofo_reservation_proxy.gen.jicofo.reservation.v1 import reservation_pb2 as pb

from .answer import Answer
from .caller import Call, Caller, Request
from .case import Case, Range, Step
from .checks import complaint
from .request import create_messages, delete_message, filled

LONGEST_END_SECONDS = 10.0
"""How far away the end of a conference may be that a case waits for."""

LATE_SECONDS = 5.0
"""How much later the backend may notice that a conference is over: its clock is another one."""

REPEAT_SECONDS = 0.05

CLOCK_SECONDS = 60
"""A conference shorter than this may be over, or not yet, by a clock that is wrong."""


class Skip(Exception):  # noqa: N818 - it is no error
    """The case cannot be played against this backend; the text says why."""


class Failure(Exception):  # noqa: N818 - the backend's, not ours
    """The backend does not keep the sentence; the text says what was wanted and got."""


@dataclass(frozen=True, slots=True)
class Stage:
    """What the plays of a case share. `stopped` ends them early.

    `pace` is how long a call takes, in seconds, by `Step.call`: the unit of a step's moments.
    """

    caller: Caller
    case: Case
    denied_room: str
    pace: Mapping[str, float] = field(default_factory=dict)
    stopped: threading.Event = field(default_factory=threading.Event)


class Play:
    """The play of a case in its room of this number and name, as `number` of `case.rooms`."""

    def __init__(self, stage: Stage, number: int, room: str) -> None:
        self._stage = stage
        self._number = number
        self._room = room
        self._requests: dict[str, Sequence[Request]] = {}
        self._answers: dict[str, Sequence[Answer]] = {}

    def run(self) -> list[Sequence[Answer]]:
        """Play all steps; return the answers to each. Raises `Failure` or `Skip`."""
        answers = []
        for number, step in enumerate(self._stage.case.step, 1):
            try:
                answers.append(self._perform(step))
            except Failure as failure:
                raise Failure(f"step {number}, {step.call}: {failure}") from None
        return answers

    def _perform(self, step: Step) -> Sequence[Answer]:
        """Make the calls of a step, as often as it says, until its answers are as they must be."""
        until = time.monotonic() + step.for_seconds
        patient_until = self._wait_for_end(step)
        while True:
            requests = self._requests_of(step)
            answers = self._stage.caller.make(self._calls(step, requests))
            problem = complaint(self._filled(step), answers, self._answers)
            now = time.monotonic()
            if problem and now >= patient_until:
                raise Failure(f"{problem}{_hint(step, answers)}")
            if not problem and now >= until:
                break
            self._pause(REPEAT_SECONDS)
        if step.save_as:
            self._requests[step.save_as], self._answers[step.save_as] = requests, answers
        return answers

    def _wait_for_end(self, step: Step) -> float:
        """Wait until a conference is over; return until when it may still be there."""
        if step.after_end_of is None:
            return 0.0
        left = _seconds_left(self._answers[step.after_end_of][0])
        if left > LONGEST_END_SECONDS:
            raise Skip(f"the backend gave it more than the {LONGEST_END_SECONDS:g} s to wait for")
        self._pause(left)
        return time.monotonic() + LATE_SECONDS

    def _pause(self, seconds: float) -> None:
        if self._stage.stopped.wait(max(0.0, seconds)):
            raise Skip("the kit was stopped")

    def _requests_of(self, step: Step) -> Sequence[Request]:
        match step.call:
            case "create" if step.again:
                return self._requests[step.again]
            case "create":
                return create_messages(step, self._room, self._stage.denied_room)
            case "get":
                return [contract.get_message(self._id(step))]
            case "delete":
                return [delete_message(self._id(step), step)]
            case _:
                return [health_pb2.HealthCheckRequest()]

    def _id(self, step: Step) -> str:
        if step.of is not None:
            return self._answers[step.of][0].conference_id
        return filled(step.unknown_id or "", self._room, self._stage.denied_room)

    def _filled(self, step: Step) -> Step:
        fields = {
            name: filled(text, self._room, self._stage.denied_room)
            for name, text in step.fields.items()
        }
        return replace(step, fields=fields)

    def _calls(self, step: Step, requests: Sequence[Request]) -> list[Call]:
        return [
            Call(request, self._moment(step, step.deadline), self._moment(step, step.cancel_after))
            for request in requests
        ]

    def _moment(self, step: Step, moments: Range | None) -> float | None:
        """Return this room's moment of those that are spread over the rooms, in seconds."""
        if moments is None:
            return None
        first, last = moments
        gaps = max(1, self._stage.case.rooms - 1)
        return (first + (last - first) * self._number / gaps) * self._stage.pace[step.call]


def _seconds_left(answer: Answer) -> float:
    conference = answer.conference or pb.Conference()
    if not conference.HasField("duration"):
        return float("inf")
    start, duration = conference.start_time, conference.duration
    ends_at = start.seconds + start.nanos / 1e9 + duration.seconds + duration.nanos / 1e9
    return ends_at - time.time()


def _hint(step: Step, answers: Sequence[Answer]) -> str:
    """Say how to check a backend that leaves out what the step is about."""
    kinds = {answer.kind for answer in answers}
    if step.call != "create" and "UNIMPLEMENTED" in kinds:
        return f"; a backend that leaves this out is checked with --without {step.call}"
    if step.after_end_of or (step.duration_seconds or CLOCK_SECONDS) < CLOCK_SECONDS:
        return "; is the backend's clock right? It may differ from the kit's by 2 s"
    if step.expect.kinds == ("denial",) and "denial" not in kinds:
        return "; --denied-room names a room that the backend denies, --without denial says none"
    return ""
