"""Kits, callers and cases for the tests of the conformance kit."""

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

from jicofo_reservation_proxy.conformance import Case, Kit
from jicofo_reservation_proxy.conformance.answer import Answer
from jicofo_reservation_proxy.conformance.caller import Call, Caller
from jicofo_reservation_proxy.conformance.case import Capability, Step, parse
from jicofo_reservation_proxy.conformance.request import create_messages
from jicofo_reservation_proxy.gen.jicofo.reservation.v1 import reservation_pb2 as pb
from jicofo_reservation_proxy.settings.schema import Backend, Deadline, Target

from tests.e2e.support import Context, Script, conference, serving_grpc

PATIENCE = timedelta(seconds=20)
"""The deadline in tests that do not test deadlines, long enough for a busy machine."""

CONFLICT = Answer("conflict")


class Told(Caller):
    """A caller that makes no calls. `answer` maps the number of a call, from 0, to its answer."""

    def __init__(self, answer: Callable[[int], Answer]) -> None:
        self.calls: list[Call] = []
        self._answer_of = answer

    def make(self, calls: Sequence[Call]) -> list[Answer]:
        """Record the calls, and return the answers of `answer`."""
        number = len(self.calls)
        self.calls += calls
        return [self._answer_of(number + n) for n in range(len(calls))]


def granted(conference_id: str = "1", *, ends_in: float | None = None) -> Answer:
    """Return a grant.

    With `ends_in`, the conference began an hour ago and ends `ends_in` seconds from now.
    """
    found = pb.Conference(id=conference_id)
    if ends_in is not None:
        found.start_time.FromMilliseconds(round((time.time() - 3600) * 1000))
        found.duration.FromMilliseconds(round((3600 + ends_in) * 1000))
    return Answer("conference", found)


def case(steps: str, rooms: int = 1) -> Case:
    """Return a case with these steps. Each step begins with a line `call = ...`."""
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
    """Grant every room. The id of the conference is the request_id."""
    return pb.CreateConferenceResponse(conference=conference(request, request.request_id))


@contextmanager
def playing(backend: Script, without: Collection[Capability] = ()) -> Iterator[Kit]:
    """Yield a kit that plays its cases against this backend."""
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
    """Yield a caller that calls this backend."""
    with serving_grpc(backend) as target:
        settings = Backend(target=Target(target), answer_within=Deadline(PATIENCE))
        found = Caller(settings, "backend")
        try:
            yield found
        finally:
            found.close()


def creates(room: str) -> list[Call]:
    """Return a list with one CreateConference call for this room."""
    return [Call(message) for message in create_messages(Step(call="create"), room, "denied")]
