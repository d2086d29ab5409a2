"""Backends that fail the last cases of delete.toml: deletions that nobody waits for any more."""

import grpc
from jicofo_reservation_proxy.gen.jicofo.reservation.v1 import reservation_pb2 as pb

from .backend import Backend, Context, fails, is_given_up, told

LONG_SECONDS = 1.0
"""More than the deadlines of `delete-too-late`, and less than that of an ordinary call."""

WORK_SECONDS = 0.05
"""How long a deletion takes: more than until the last one of these cases is given up."""


_CHANGED = "step 4, create: wanted what was answered before, conflict '…', got conference '…'"


@fails({"delete-given-up": _CHANGED, "delete-too-late": _CHANGED})
class DeletesInTheBackground(Backend):
    """It carries every deletion out, however late, whether or not anybody still waits for it."""

    def __init__(self) -> None:
        super().__init__()
        self._late: set[str] = set()

    def send(
        self, _request: pb.CreateConferenceRequest, response: pb.CreateConferenceResponse
    ) -> None:
        """Carry out what was given up, in the moment in which it does the most harm."""
        if (id_ := told(response).id) in self._late:
            self._store.delete(id_)

    def DeleteConference(  # noqa: N802 - gRPC's name
        self, request: pb.DeleteConferenceRequest, context: Context
    ) -> pb.DeleteConferenceResponse:
        """Need some time."""
        has_short_deadline = context.time_remaining() < LONG_SECONDS
        if is_given_up(context, WORK_SECONDS):
            if self.goes_on(has_short_deadline=has_short_deadline):
                self._late.add(request.conference_id)
            context.abort(grpc.StatusCode.CANCELLED, "given up")
        return super().DeleteConference(request, context)

    def goes_on(self, *, has_short_deadline: bool) -> bool:  # noqa: ARG002 - others do
        """Tell whether a deletion that was given up is carried out."""
        return True


@fails({"delete-given-up": _CHANGED})
class HeedsDeadlines(DeletesInTheBackground):
    """It looks at the deadline before it deletes, and not at whether the call was cancelled."""

    def goes_on(self, *, has_short_deadline: bool) -> bool:
        """Tell whether a deletion that was given up is carried out."""
        return not has_short_deadline


@fails({"delete-too-late": _CHANGED})
class HeedsCancellations(DeletesInTheBackground):
    """It looks at whether the call was cancelled before it deletes, and not at the deadline."""

    def goes_on(self, *, has_short_deadline: bool) -> bool:
        """Tell whether a deletion that was given up is carried out."""
        return has_short_deadline
