"""Kits, callers and cases for the tests of how cases are played."""

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
