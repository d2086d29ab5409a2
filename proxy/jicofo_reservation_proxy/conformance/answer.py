"""What a backend answered to one call."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

import grpc
from grpc_health.v1 import health_pb2

from jicofo_reservation_proxy.backends import contract
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
"""The kinds of answers that decide about a room."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer. `kind` is what an `Expectation` speaks of; `detail` is a status's text.

    `conference` is the one that is granted, found, or holds the room, and `None` in other answers.
    """

    kind: str
    conference: pb.Conference | None = None
    message: str = ""
    detail: str = ""

    @property
    def conference_id(self) -> str:
        """The id of the conference, empty where there is none."""
        return "" if self.conference is None else self.conference.id


def from_response(response: Response) -> Answer:
    """Return what a response says."""
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
    """Return what an error status says, which may be a denial in gRPC's own words."""
    if message := contract.localized_message(trailers):
        return Answer("denial", message=message)
    return Answer(code.name, detail=detail or "")


def _from_outcome(response: pb.CreateConferenceResponse) -> Answer:
    match response.WhichOneof("outcome"):
        case "conference":
            return Answer("conference", response.conference)
        case "conflict":
            return Answer("conflict", response.conflict.conference)
        case "denial":
            return Answer("denial", message=response.denial.message)
        case _:
            return Answer(NO_OUTCOME)
