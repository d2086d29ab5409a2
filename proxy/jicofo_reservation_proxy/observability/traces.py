"""Traces: what the other packages see of them.

A proxy has a tracer only if the operator asks for one (chosen_tracer.py). opentelemetry_tracer.py
is the tracer.

No span has a room, an owner or the id of a conference. The log has them, under the incident id.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import NamedTuple, Protocol


class Parent(NamedTuple):
    """The span that sent a request, as in its headers `traceparent` and `tracestate`."""

    traceparent: str = ""
    tracestate: str = ""


NO_PARENT = Parent()
"""The request names no span."""


@dataclass(frozen=True, slots=True)
class Answered:
    """What the span of a request says about its answer.

    `status` is the HTTP status. `outcome`, `client`, `backend`, `source` and `fault` have the same
    values as in the log line, and are "" if they do not apply.
    """

    status: int
    incident_id: str
    outcome: str
    client: str = ""
    backend: str = ""
    source: str = ""
    fault: str = ""


class RequestSpan(Protocol):
    """The span of a request of the reservation API."""

    def answer(self, answered: Answered) -> None:
        """Store what the answer was."""


class CallSpan(Protocol):
    """The span of a call to a backend, with its retries. `metadata` names it to the backend."""

    @property
    def metadata(self) -> Sequence[tuple[str, str]]:
        """The metadata `traceparent`, and `tracestate` if the request had one."""

    def retry(self) -> None:
        """Store that the call begins once more."""

    def end(self, code: str, number: int) -> None:
        """Store how the call ended: the name and the number of its gRPC or HTTP status.

        Without an HTTP answer the number is 0, and the name says why.
        """


class Tracer(Protocol):
    """Makes spans, and exports them in the background. Any thread may use it.

    A span that is made while another one of the same thread is not over is its child.
    """

    def request(
        self, method: str, route: str, parent: Parent
    ) -> AbstractContextManager[RequestSpan]:
        """Begin the span of a request; an invalid `parent` counts as none."""

    def call(
        self, backend: str, method_path: str, incident_id: str
    ) -> AbstractContextManager[CallSpan]:
        """Begin the span of a gRPC call. `method_path` has the form /package.Service/Method."""

    def http_call(
        self, backend: str, endpoint: str, incident_id: str
    ) -> AbstractContextManager[CallSpan]:
        """Begin the span of an HTTP request. `endpoint` is a method and the template of a path."""

    def deletion(self, backend: str, incident_id: str) -> AbstractContextManager[None]:
        """Begin the span of an attempt to deliver a deletion, with all its calls."""

    def close(self, within_seconds: float) -> None:
        """Export what is left, at most for this time, and end the thread."""
