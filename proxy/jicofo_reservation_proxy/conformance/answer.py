"""The answer of a backend to one call."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

import grpc
from grpc_health.v1 import health_pb2

from jicofo_reservation_proxy.backends.grpc import contract
from jicofo_reservation_proxy.gen.jicofo.reservation.v1 import reservation_pb2 as pb

from .case import NO_OUTCOME

Response: TypeAlias = (
    pb.CreateConferenceResponse
    | pb.GetConferenceResponse
    | pb.DeleteConferenceResponse
    | health_pb2.HealthCheckResponse
)


Trailers: TypeAlias = Iterable[tuple[str, str | bytes]]

OUTCOMES = frozenset({"conference", "conflict", "denial"})
"""The kinds of answers that are a decision about a room."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer.

    `kind` is one of the kinds of `Expectation`. `conference` is the conference that was granted or
    found, or that holds the room; `None` in other answers. `message` is the sentence of a denial.
    `detail` is the text of an error status. `hold` is the hold of an answer to CreateConference.
    """

    kind: str
    conference: pb.Conference | None = None
    message: str = ""
    detail: str = ""
    hold: int = 0

    @property
    def conference_id(self) -> str:
        """The id of the conference; empty if the answer has no conference."""
        return "" if self.conference is None else self.conference.id


def from_response(response: Response) -> Answer:
    """Convert a response to an answer."""
    match response:
        case pb.CreateConferenceResponse():
            return _from_outcome(response)
        case pb.GetConferenceResponse():
            return Answer("conference", response.conference)
        case health_pb2.HealthCheckResponse():
            return Answer(health_pb2.HealthCheckResponse.ServingStatus.Name(response.status))
        case _:
            return Answer("OK")


def from_status(code: grpc.StatusCode, detail: str | None, trailers: Trailers) -> Answer:
    """Convert an error status to an answer.

    A status with a `google.rpc.LocalizedMessage` in its details is a denial.
    """
    if message := contract.localized_message(trailers):
        return Answer("denial", message=message)
    return Answer(code.name, detail=detail or "")


def _from_outcome(response: pb.CreateConferenceResponse) -> Answer:
    match response.WhichOneof("outcome"):
        case "conference":
            return Answer("conference", response.conference, hold=response.hold)
        case "conflict":
            return Answer("conflict", response.conflict.conference, hold=response.hold)
        case "denial":
            return Answer("denial", message=response.denial.message)
        case _:
            return Answer(NO_OUTCOME)
