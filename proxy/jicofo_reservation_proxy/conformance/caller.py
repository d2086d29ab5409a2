"""Raw calls to a backend: no retries, no health checks, and nothing that was made is forgotten."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeAlias, TypeVar, cast

import grpc
from grpc_health.v1 import health_pb2

from jicofo_reservation_proxy.backends import contract, credentials
from jicofo_reservation_proxy.backends.backend import PROBE_ID
from jicofo_reservation_proxy.backends.channel import Options, bind, dial
from jicofo_reservation_proxy.errors import CredentialsError, UnreachableError
from jicofo_reservation_proxy.gen.jicofo.reservation.v1 import reservation_pb2 as pb
from jicofo_reservation_proxy.ids import new_incident_id
from jicofo_reservation_proxy.settings.schema import Backend

from .answer import OUTCOMES, Answer, from_response, from_status
from .case import Step
from .request import delete_message

CLEAN_UP_AT_ONCE = 50
CLEAN_UP_SECONDS = 15.0
"""People who interrupt the kit, and a backend that answers nothing, shall not wait for long."""

_Item = TypeVar("_Item")

_RAW: Options = (("grpc.enable_retries", 0),)
_NO_ANSWER = frozenset({"UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED"})
_REFUSALS = frozenset({"INVALID_ARGUMENT", "PERMISSION_DENIED", "UNAUTHENTICATED", "UNIMPLEMENTED"})
"""Statuses that leave no doubt that nothing was made."""
_HEALTH_CHECK = "/grpc.health.v1.Health/Check"

Request: TypeAlias = (
    pb.CreateConferenceRequest
    | pb.GetConferenceRequest
    | pb.DeleteConferenceRequest
    | health_pb2.HealthCheckRequest
)


@dataclass(frozen=True, slots=True)
class Call:
    """One call to make; without a deadline of its own it has that of the backend's settings."""

    request: Request
    deadline_seconds: float | None = None
    cancel_after_seconds: float | None = None


class Caller:
    """Calls one backend, from any thread, and knows which conferences it made there.

    Raises `CredentialsError` where the credentials cannot be used. Connecting happens with the
    first call.
    """

    def __init__(self, backend: Backend, key: str) -> None:
        plugin = credentials.load_plugin(f"{key}.auth", backend.auth)
        found = credentials.load(key, backend)
        self._target = backend.target
        self._deadline_seconds = backend.answer_within.total_seconds()
        self._channel = dial(backend, found, plugin, _RAW)
        calls = bind(self._channel, backend.methods, found.metadata)
        self._metadata = found.metadata
        self._methods: dict[type[Request], grpc.UnaryUnaryMultiCallable[Any, Any]] = {
            pb.CreateConferenceRequest: calls.create,
            pb.GetConferenceRequest: calls.get,
            pb.DeleteConferenceRequest: calls.delete,
            health_pb2.HealthCheckRequest: self._channel.unary_unary(
                _HEALTH_CHECK,
                request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
                response_deserializer=health_pb2.HealthCheckResponse.FromString,
            ),
        }
        self._unanswered: dict[str, pb.CreateConferenceRequest] = {}
        self._made: dict[str, None] = {}
        self._pending: set[grpc.Future[Any]] = set()
        self.answered = 0
        """How many calls the backend has answered, with whatever status."""
        self.lost = 0
        """How many requests may have made a conference, and never got an answer."""

    def reach(self) -> None:
        """Ask for a conference that nobody has.

        Raises `UnreachableError` or `CredentialsError` where the answer shows that no case can
        be played.
        """
        (answer,) = self.make([Call(contract.get_message(PROBE_ID))])
        if answer.kind in {"UNAVAILABLE", "DEADLINE_EXCEEDED"}:
            raise UnreachableError(
                f"{self._target}: wanted a backend that answers, got {answer.kind}: {answer.detail}"
            )
        if answer.kind == "UNAUTHENTICATED":
            raise CredentialsError(
                f"{self._target}: wanted a backend that takes the credentials, "
                f"got {answer.kind}: {answer.detail}"
            )

    def make(self, calls: Sequence[Call]) -> list[Answer]:
        """Make all calls at once; return their answers in the same order."""
        began = time.monotonic()
        pending = [self._start(call) for call in calls]
        self._pending.update(pending)
        try:
            _cancel_in_time(calls, pending, began)
            return [self._answer(*pair) for pair in zip(calls, pending, strict=True)]
        finally:
            self._pending.difference_update(pending)

    def cancel(self) -> None:
        """Cancel all calls that are under way, in whatever threads."""
        for future in tuple(self._pending):
            future.cancel()

    @property
    def made(self) -> tuple[str, ...]:
        """The ids of the conferences that were made and are not deleted yet."""
        return tuple(self._made)

    def clean_up(self, *, can_delete: bool) -> None:
        """Delete every conference that was made, in `CLEAN_UP_SECONDS` as far as possible.

        A request that got no answer is made once more, and no more, to learn which conference it
        made.
        """
        until = time.monotonic() + CLEAN_UP_SECONDS
        if can_delete:
            for requests in _batches(list(self._unanswered.values()), until):
                self.make([Call(request) for request in requests])
        self.lost += len(self._unanswered)
        self._unanswered.clear()
        if can_delete:
            for ids in _batches(self.made, until):
                self._delete(ids)

    def _delete(self, ids: Sequence[str]) -> None:
        answers = self.make([Call(delete_message(id_, Step(call="delete"))) for id_ in ids])
        for id_, answer in zip(ids, answers, strict=True):
            if answer.kind in {"OK", "NOT_FOUND"}:
                del self._made[id_]

    def close(self) -> None:
        """Close the channel."""
        self._channel.close()

    def _start(self, call: Call) -> grpc.Future[Any]:
        if isinstance(call.request, pb.CreateConferenceRequest):
            self._unanswered[call.request.request_id] = call.request
        return self._methods[type(call.request)].future(
            call.request,
            timeout=self._deadline(call),
            metadata=((contract.INCIDENT_KEY, new_incident_id()), *self._metadata),
        )

    def _deadline(self, call: Call) -> float:
        own = call.deadline_seconds
        return self._deadline_seconds if own is None else own

    def _answer(self, call: Call, future: grpc.Future[Any]) -> Answer:
        status = cast("grpc.Call", future)
        code = status.code()
        if code is grpc.StatusCode.OK:
            answer = from_response(future.result())
        else:
            answer = from_status(code, status.details(), status.trailing_metadata() or ())
        if answer.kind not in _NO_ANSWER:
            self.answered += 1
        if isinstance(call.request, pb.CreateConferenceRequest):
            self._note(call.request, answer)
        return answer

    def _note(self, request: pb.CreateConferenceRequest, answer: Answer) -> None:
        """Note what was made; a grant begins at the start of its request unless it says when."""
        if answer.kind in OUTCOMES | _REFUSALS:
            self._unanswered.pop(request.request_id, None)
        if answer.kind == "conference" and answer.conference is not None:
            self._made[answer.conference.id] = None
            if not answer.conference.HasField("start_time"):
                answer.conference.start_time.CopyFrom(request.start_time)


def _cancel_in_time(
    calls: Sequence[Call], pending: Sequence[grpc.Future[Any]], began: float
) -> None:
    """Cancel the calls that are to be cancelled, each when its time has come."""
    due = [
        (began + call.cancel_after_seconds, future)
        for call, future in zip(calls, pending, strict=True)
        if call.cancel_after_seconds is not None
    ]
    for moment, future in sorted(due, key=lambda entry: entry[0]):
        time.sleep(max(0.0, moment - time.monotonic()))
        future.cancel()


def _batches(items: Iterable[_Item], until: float) -> Iterator[list[_Item]]:
    remaining = iter(items)
    while time.monotonic() < until and (batch := list(islice(remaining, CLEAN_UP_AT_ONCE))):
        yield batch
