"""Raw calls to one backend, without retries or health checks.

The caller remembers every conference that it created, so that it can delete them.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeAlias, TypeVar, cast

import grpc
from grpc_health.v1 import health_pb2

from jicofo_reservation_proxy.backends import credentials
from jicofo_reservation_proxy.backends.backend import PROBE_ID
from jicofo_reservation_proxy.backends.grpc import contract
from jicofo_reservation_proxy.backends.grpc.auth_plugin import load_plugin
from jicofo_reservation_proxy.backends.grpc.channel import Options, bind, dial
from jicofo_reservation_proxy.errors import CredentialsError, UnreachableError
from jicofo_reservation_proxy.gen.jicofo.reservation.v1 import reservation_pb2 as pb
from jicofo_reservation_proxy.ids import new_incident_id
from jicofo_reservation_proxy.settings.schema import Backend

from .answer import OUTCOMES, Answer, from_response, from_status
from .case import Step
from .request import delete_message

MAX_HOLD = 2**63 - 1
CLEAN_UP_AT_ONCE = 50
CLEAN_UP_SECONDS = 15.0
"""The limit for one clean-up. A person who interrupts the kit must not wait for long, even if the
backend does not answer."""

_Item = TypeVar("_Item")

_RAW: Options = (("grpc.enable_retries", 0),)
_NO_ANSWER = frozenset({"UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED"})
"""Statuses that gRPC itself sets when the backend does not answer."""
_REFUSALS = frozenset({"INVALID_ARGUMENT", "PERMISSION_DENIED", "UNAUTHENTICATED", "UNIMPLEMENTED"})
"""Statuses that prove that the backend created no conference."""
_HEALTH_CHECK = "/grpc.health.v1.Health/Check"

Request: TypeAlias = (
    pb.CreateConferenceRequest
    | pb.GetConferenceRequest
    | pb.DeleteConferenceRequest
    | health_pb2.HealthCheckRequest
)


@dataclass(frozen=True, slots=True)
class Call:
    """One call to make. If `deadline_seconds` is `None`, the deadline of the settings applies."""

    request: Request
    deadline_seconds: float | None = None
    cancel_after_seconds: float | None = None


class Caller:
    """Calls one backend and remembers the conferences that it created. Any thread may use a caller.

    Raises `CredentialsError` if the credentials cannot be used. The caller connects at its first
    call.
    """

    def __init__(self, backend: Backend, key: str) -> None:
        plugin = load_plugin(f"{key}.auth", backend.auth)
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
        self._made: dict[str, set[str]] = {}
        """The conferences that the caller created, each with the holders that have it."""
        self._pending: set[grpc.Future[Any]] = set()
        self._cancellations = 0
        self.answered = 0
        """The number of calls that the backend answered, with a response or an error status."""
        self.lost = 0
        """The number of requests that got no answer and may have created a conference."""

    def reach(self) -> None:
        """Ask for a conference that does not exist.

        Raises `UnreachableError` if the backend does not answer, and `CredentialsError` if it does
        not accept the credentials.
        """
        (answer,) = self.make([Call(contract.get_message(PROBE_ID))])
        if answer.kind in {"UNAVAILABLE", "DEADLINE_EXCEEDED"}:
            raise UnreachableError(
                f"{self._target}: wanted an answer from the backend, "
                f"got {answer.kind}: {answer.detail}"
            )
        if answer.kind == "UNAUTHENTICATED":
            raise CredentialsError(
                f"{self._target}: wanted a backend that accepts the credentials, "
                f"got {answer.kind}: {answer.detail}"
            )

    def make(self, calls: Sequence[Call]) -> list[Answer]:
        """Make all calls at the same time. Return the answers in the order of the calls."""
        began, cancellations = time.monotonic(), self._cancellations
        pending = [self._start(call) for call in calls]
        self._pending.update(pending)
        if self._cancellations != cancellations:  # `cancel` did not see these calls
            _cancel(pending)
        try:
            _cancel_in_time(calls, pending, began)
            return [self._answer(*pair) for pair in zip(calls, pending, strict=True)]
        finally:
            self._pending.difference_update(pending)

    def cancel(self) -> None:
        """Cancel the unanswered calls of all threads."""
        self._cancellations += 1
        _cancel(tuple(self._pending))

    @property
    def made(self) -> tuple[str, ...]:
        """The ids of the conferences that the caller created and has not deleted yet."""
        return tuple(self._made)

    def clean_up(self, *, can_delete: bool) -> None:
        """Delete every conference that the caller created. Start no call after `CLEAN_UP_SECONDS`.

        The caller repeats each request that got no answer, exactly once, to learn the id of the
        conference that the request created.
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
        deletions = [(id_, holder) for id_ in ids for holder in self._made[id_]]
        answers = self.make([Call(_deletion(*deletion)) for deletion in deletions])
        for (id_, holder), answer in zip(deletions, answers, strict=True):
            if answer.kind in {"OK", "NOT_FOUND"}:
                self._made[id_].discard(holder)
                if not self._made[id_]:
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
        """Record the conference that a request created, and the holder that has it now.

        If a grant has no start_time, set it to the start_time of the request, as the contract says.
        """
        if answer.kind in OUTCOMES | _REFUSALS:
            self._unanswered.pop(request.request_id, None)
        if answer.kind == "conference" and answer.conference is not None:
            self._made.setdefault(answer.conference.id, set()).add(request.holder)
            if not answer.conference.HasField("start_time"):
                answer.conference.start_time.CopyFrom(request.start_time)
        elif answer.conference_id in self._made:
            self._made[answer.conference_id].add(request.holder)


def _deletion(conference_id: str, holder: str) -> pb.DeleteConferenceRequest:
    """Return the message that ends what a holder has of a conference, whatever its hold."""
    message = delete_message(conference_id, Step(call="delete"))
    message.holder, message.hold = holder, MAX_HOLD if holder else 0
    return message


def _cancel(futures: Iterable[grpc.Future[Any]]) -> None:
    for future in futures:
        future.cancel()


def _cancel_in_time(
    calls: Sequence[Call], pending: Sequence[grpc.Future[Any]], began: float
) -> None:
    """Cancel each call that has a `cancel_after_seconds`, at its time."""
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
