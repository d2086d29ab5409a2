"""Backends that fail the last cases of delete.toml: deletions that the caller gave up."""

import grpc
from jicofo_reservation_proxy.gen.jicofo.reservation.v1 import reservation_pb2 as pb

from .backend import Backend, Context, fails, is_given_up, told

LONG_SECONDS = 1.0
"""Longer than the deadlines of `delete-too-late`, and shorter than the ordinary deadline."""

WORK_SECONDS = 0.05
"""How long a deletion takes. The caller gives up all deletions of these cases in less time."""


_CHANGED = "step 4, create: wanted the same answer as before, conflict '…', got conference '…'"


@fails({"delete-given-up": _CHANGED, "delete-too-late": _CHANGED})
class DeletesInTheBackground(Backend):
    """The backend carries out every deletion, even if the caller gave it up."""

    def __init__(self) -> None:
        super().__init__()
        self._late: set[str] = set()

    def send(
        self, _request: pb.CreateConferenceRequest, response: pb.CreateConferenceResponse
    ) -> None:
        """Carry out a given-up deletion after the response names its conference: the worst time."""
        if (id_ := told(response).id) in self._late:
            self._store.delete(id_)

    def DeleteConference(  # noqa: N802 - gRPC's name
        self, request: pb.DeleteConferenceRequest, context: Context
    ) -> pb.DeleteConferenceResponse:
        """Delete after `WORK_SECONDS`, or record the deletion if the caller gives it up."""
        has_short_deadline = context.time_remaining() < LONG_SECONDS
        if is_given_up(context, WORK_SECONDS):
            if self.goes_on(has_short_deadline=has_short_deadline):
                self._late.add(request.conference_id)
            context.abort(grpc.StatusCode.CANCELLED, "given up")
        return super().DeleteConference(request, context)

    def goes_on(self, *, has_short_deadline: bool) -> bool:  # noqa: ARG002 - subclasses use it
        """Return whether the backend carries out a deletion that was given up."""
        return True


@fails({"delete-given-up": _CHANGED})
class HeedsDeadlines(DeletesInTheBackground):
    """The backend checks the deadline before it deletes, but not whether the call was cancelled."""

    def goes_on(self, *, has_short_deadline: bool) -> bool:
        """Return whether the backend carries out a deletion that was given up."""
        return not has_short_deadline


@fails({"delete-too-late": _CHANGED})
class HeedsCancellations(DeletesInTheBackground):
    """The backend checks whether the call was cancelled before it deletes, but not the deadline."""

    def goes_on(self, *, has_short_deadline: bool) -> bool:
        """Return whether the backend carries out a deletion that was given up."""
        return has_short_deadline
