"""The values of one exchange over HTTP: the request, the answer, or the error without one."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from jicofo_reservation_proxy.model import FaultKind

NOT_HTTP = "NOT_HTTP"
"""The code of an answer that is not HTTP/1: TLS on a plain port, or another protocol."""

BAD_BODY = "BAD_BODY"
"""The code of an answer with a body that is too large, or not compressed as its header says."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request: its method, its target, its own headers, and its body."""

    method: str
    target: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer: its status, its whole body, and where a redirect leads to."""

    status: int
    body: bytes = field(repr=False)
    location: str = ""


class NoAnswerError(Exception):
    """There is no usable answer; the text is for the log.

    `was_sent` is false if certainly no byte of the request was sent. `is_retryable` is false if the
    next attempt would end in the same way. `is_lost` is true if the request was sent, and the
    server may still be working on it.
    """

    def __init__(
        self,
        kind: FaultKind,
        code: str,
        detail: str,
        *,
        was_sent: bool,
        is_retryable: bool = True,
        is_lost: bool = False,
    ) -> None:
        super().__init__(detail)
        self.kind = kind
        self.code = code
        self.detail = detail
        self.was_sent = was_sent
        self.is_retryable = is_retryable
        self.is_lost = is_lost
