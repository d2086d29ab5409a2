"""Backends that fail the cases of repeat.toml: repetitions of the same request."""

import threading
from dataclasses import replace
from uuid import uuid4

import grpc
from jicofo_reservation_proxy.gen.jicofo.reservation.v1 import reservation_pb2 as pb
from jicofo_reservation_stub.store import NO_HOLDER, Booking, Hold, Outcome, Store

from .backend import Backend, Context, fails, is_given_up

LONG_SECONDS = 1.0
"""Longer than the deadlines of the case `deadline`, and shorter than the ordinary deadline."""


_CHANGED = "wanted the same answer as before, conference '…', got conflict '…'"


class _ForgetsRequests(Store):
    def create(self, booking: Booking, hold: Hold = NO_HOLDER) -> Outcome:
        """Treat every request as a new request."""
        return super().create(replace(booking, request_id=str(uuid4())), hold)


@fails(
    {
        "repeat": "step 2, create: wanted conference, got conflict",
        "repeat-at-once": "step 1, create: wanted conference, got 1 conference + 4 conflict",
        "deadline": "step 2, create: wanted conference, got conflict",
        "cancel": "step 2, create: wanted conference, got conflict",
        "delete-given-up": f"step 4, create: {_CHANGED}",
        "delete-too-late": f"step 4, create: {_CHANGED}",
    }
)
class IgnoresTheRequestId(Backend):
    """The backend ignores the request_id."""

    def __init__(self) -> None:
        super().__init__(_ForgetsRequests())


@fails(
    {
        "repeat": "step 2, create: start_time: wanted the same value as before, … s … ns, "
        "got … s … ns"
    }
)
class RepeatsInAnotherZone(Backend):
    """The backend reads times from its database in local time, an hour ahead."""

    def __init__(self) -> None:
        super().__init__()
        self._answered: set[str] = set()

    def send(
        self, _request: pb.CreateConferenceRequest, response: pb.CreateConferenceResponse
    ) -> None:
        """Shift the start_time of an existing conference by an hour."""
        if response.HasField("conference") and response.conference.id in self._answered:
            response.conference.start_time.seconds += 3600
        self._answered.add(response.conference.id)


@fails(
    {
        "repeat-at-once": "step 1, create: wanted conference, "
        "got … ABORTED + … conference ('this request is under way already')"
    }
)
class RefusesWhatIsUnderWay(Backend):
    """The backend refuses a repetition of a request that is in progress."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._under_way: dict[str, tuple[Context, threading.Event]] = {}

    def CreateConference(  # noqa: N802 - gRPC's name
        self, request: pb.CreateConferenceRequest, context: Context
    ) -> pb.CreateConferenceResponse:
        """Work on a request until its repetition arrives, or for 20 ms."""
        repeated = threading.Event()
        context.add_callback(repeated.set)
        with self._lock:
            first = self._under_way.setdefault(request.request_id, (context, repeated))
            if not first[0].is_active():
                first = self._under_way[request.request_id] = (context, repeated)
        if first[0] is not context:
            first[1].set()
            context.abort(grpc.StatusCode.ABORTED, "this request is under way already")
        try:
            repeated.wait(0.02)
            return super().CreateConference(request, context)
        finally:
            with self._lock:
                if self._under_way[request.request_id] is first:
                    del self._under_way[request.request_id]


@fails({"repeat": "step 4, create: wanted conference, got conflict"})
class KnowsThatJicofoNeverRepeats(Backend):
    """The backend treats requests of Jicofo as new. Jicofo repeats no POST, but the proxy does."""

    def receive(self, request: pb.CreateConferenceRequest, _context: Context) -> None:
        """Give every request of Jicofo a new request_id."""
        if request.client == pb.CLIENT_JICOFO:
            request.request_id = str(uuid4())


class _Remembers(Backend):
    """Keeps answers by request_id, as is usual for idempotency keys."""

    def __init__(self) -> None:
        super().__init__()
        self._answers: dict[str, pb.CreateConferenceResponse] = {}

    def CreateConference(  # noqa: N802 - gRPC's name
        self, request: pb.CreateConferenceRequest, context: Context
    ) -> pb.CreateConferenceResponse:
        """Repeat an earlier answer, or decide."""
        before = self._answers.get(request.request_id)
        if before is not None and self.is_fresh(before):
            return before
        answer = super().CreateConference(request, context)
        self._answers[request.request_id] = answer
        return answer

    def is_fresh(self, answer: pb.CreateConferenceResponse) -> bool:
        """Return whether an answer may be repeated."""
        raise NotImplementedError


@fails(
    {
        "repeat-after-delete": "step 4, create: wanted conflict, got conference",
        "repeat-after-conflict": "step 4, create: wanted conference, got conflict",
        "over": "step 3, create: wanted conflict or denial, got conference",
    }
)
class RemembersAnswers(_Remembers):
    """The backend keeps all answers for ever."""

    def is_fresh(self, _answer: pb.CreateConferenceResponse) -> bool:
        """Return true for every answer."""
        return True


@fails({"repeat-after-delete": "step 4, create: wanted conflict, got conference"})
class RemembersOpenMeetings(_Remembers):
    """The backend keeps a grant without an end, even if the conference is deleted."""

    def is_fresh(self, answer: pb.CreateConferenceResponse) -> bool:
        """Return true for a grant without an end."""
        return answer.HasField("conference") and not answer.conference.HasField("duration")


@fails({"repeat-after-conflict": "step 4, create: wanted conference, got conflict"})
class RemembersConflicts(_Remembers):
    """The backend keeps conflicts for ever, but not grants."""

    def is_fresh(self, answer: pb.CreateConferenceResponse) -> bool:
        """Return true for a conflict."""
        return answer.HasField("conflict")


class _HoldsTwice(Backend):
    """Stores room and request in two transactions. A given-up call rolls back the second one."""

    def _roll_back(self, request: pb.CreateConferenceRequest) -> None:
        request.request_id = str(uuid4())


@fails({"deadline": "step 2, create: wanted conference, got conflict"})
class RollsBackAtTheDeadline(_HoldsTwice):
    """A deadline that passes between the two transactions rolls back the second transaction."""

    def receive(self, request: pb.CreateConferenceRequest, context: Context) -> None:
        """Wait until a short deadline has passed."""
        if context.time_remaining() < LONG_SECONDS and is_given_up(context, LONG_SECONDS):
            self._roll_back(request)


@fails({"cancel": "step 2, create: wanted conference, got conflict"})
class RollsBackWhenCancelled(_HoldsTwice):
    """A cancellation between the two transactions rolls back the second transaction."""

    def receive(self, request: pb.CreateConferenceRequest, context: Context) -> None:
        """Wait for a cancellation, unless the deadline is short."""
        if context.time_remaining() > LONG_SECONDS and is_given_up(context, 0.06):
            self._roll_back(request)
