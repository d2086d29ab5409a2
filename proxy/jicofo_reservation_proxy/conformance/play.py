"""The play of a case in one of its rooms, step by step."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from grpc_health.v1 import health_pb2

from jicofo_reservation_proxy.backends.grpc import contract
from jicofo_reservation_proxy.gen.jicofo.reservation.v1 import reservation_pb2 as pb

from .answer import Answer
from .caller import Call, Caller, Request
from .case import Case, Range, Step
from .checks import complaint
from .request import create_messages, delete_messages, filled, for_holder

LONGEST_END_SECONDS = 10.0
"""The longest time that the kit waits for the end of a conference."""

LATE_SECONDS = 5.0
"""The maximum delay until the backend notices the end of a conference. A delay is allowed because
the clocks of the backend and the kit may differ."""

REPEAT_SECONDS = 0.05
"""The pause between two repetitions of a step."""

CLOCK_SECONDS = 60
"""If a conference is shorter than this, a wrong clock of the backend can make its case fail."""


NO_ROWS = "the backend keeps no rows for holders: only one proxy may use it"
"""Why the kit skips a case. To keep rows is a SHOULD of the contract."""


class Skip(Exception):  # noqa: N818 - not an error
    """The kit cannot play the case against this backend. The text says why."""


class Failure(Exception):  # noqa: N818 - a fault of the backend
    """The backend does not follow the sentence of the case.

    The text says what the kit wanted and what it got.
    """


@dataclass(frozen=True, slots=True)
class Stage:
    """The values that all plays of a case share.

    `pace` maps each `Step.call` to the seconds that such a call takes; it is the unit of `Range`.
    When `stopped` is set, all plays end early.
    """

    caller: Caller
    case: Case
    denied_room: str
    pace: Mapping[str, float] = field(default_factory=dict)
    stopped: threading.Event = field(default_factory=threading.Event)


class Play:
    """The play of a case in one room. `number` is the number of the room, from 0."""

    def __init__(self, stage: Stage, number: int, room: str) -> None:
        self._stage = stage
        self._number = number
        self._room = room
        self._requests: dict[str, Sequence[Request]] = {}
        self._answers: dict[str, Sequence[Answer]] = {}

    def run(self) -> list[Sequence[Answer]]:
        """Play all steps. Return the answers of each step. Raises `Failure` or `Skip`."""
        answers = []
        for number, step in enumerate(self._stage.case.step, 1):
            try:
                answers.append(self._perform(step))
            except Failure as failure:
                raise Failure(f"step {number}, {step.call}: {failure}") from None
        return answers

    def _perform(self, step: Step) -> Sequence[Answer]:
        """Make the calls of a step and check the answers, as often as the step says."""
        until = time.monotonic() + step.for_seconds
        patient_until = self._wait_for_end(step)
        while True:
            requests = self._requests_of(step)
            answers = self._stage.caller.make(self._calls(step, requests))
            if step is self._stage.case.step[0] and step.holder:
                _refuse_missing_rows(answers)
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
        """Wait until a conference is over. Return the latest time at which it may still exist.

        The time is in seconds of `time.monotonic`.
        """
        if step.after_end_of is None:
            return 0.0
        left = _seconds_left(self._answers[step.after_end_of][0])
        if left > LONGEST_END_SECONDS:
            raise Skip(
                "the conference lasts longer at this backend than the "
                f"{LONGEST_END_SECONDS:g} s that the kit waits"
            )
        self._pause(left)
        return time.monotonic() + LATE_SECONDS

    def _pause(self, seconds: float) -> None:
        if self._stage.stopped.wait(max(0.0, seconds)):
            raise Skip("the kit was stopped")

    def _requests_of(self, step: Step) -> Sequence[Request]:
        match step.call:
            case "create" if step.again and not step.holder:
                return self._requests[step.again]
            case "create" if step.again:
                return [
                    for_holder(request, step, self._room)
                    for request in self._requests[step.again]
                    if isinstance(request, pb.CreateConferenceRequest)
                ]
            case "create":
                return create_messages(step, self._room, self._stage.denied_room)
            case "get":
                return [contract.get_message(self._id(step))]
            case "delete":
                return delete_messages(self._id(step), step, self._room, self._stage.denied_room)
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
        """Return the moment of this room in seconds (`Range`)."""
        if moments is None:
            return None
        first, last = moments
        gaps = max(1, self._stage.case.rooms - 1)
        return (first + (last - first) * self._number / gaps) * self._stage.pace[step.call]


def _refuse_missing_rows(answers: Sequence[Answer]) -> None:
    """Raise `Skip` if the first answers of a case show that the backend keeps no rows."""
    if all(answer.conference is not None and not answer.hold for answer in answers):
        raise Skip(NO_ROWS)


def _seconds_left(answer: Answer) -> float:
    conference = answer.conference or pb.Conference()
    if not conference.HasField("duration"):
        return float("inf")
    start, duration = conference.start_time, conference.duration
    ends_at = start.seconds + start.nanos / 1e9 + duration.seconds + duration.nanos / 1e9
    return ends_at - time.time()


def _hint(step: Step, answers: Sequence[Answer]) -> str:
    """Return advice for a likely cause of the failure; empty if there is none."""
    kinds = {answer.kind for answer in answers}
    if step.call != "create" and "UNIMPLEMENTED" in kinds:
        return f"; if the backend does not implement this method, use --without {step.call}"
    if step.after_end_of or (step.duration_seconds or CLOCK_SECONDS) < CLOCK_SECONDS:
        return "; check the clock of the backend: it may differ from the kit's clock by at most 2 s"
    if step.expect.kinds == ("denial",) and "denial" not in kinds:
        return (
            "; name a room that the backend denies with --denied-room, "
            "or use --without denial if the backend denies no room"
        )
    return ""
