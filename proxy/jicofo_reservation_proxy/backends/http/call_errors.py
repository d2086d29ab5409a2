"""What it means that a call to an HTTP backend failed: for the next attempt, and for its status."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import cast

from jicofo_reservation_proxy.backends.backend_status import Failure
from jicofo_reservation_proxy.backends.watched_calls import Code
from jicofo_reservation_proxy.model import CreateOutcome, Fault, Result
from jicofo_reservation_proxy.text_rules import one_line

from . import http_statuses
from .exchange import NOT_HTTP, Answer, NoAnswerError


class CallError(Exception):
    """A call that ended in a fault, and what the fault says about the backend."""

    def __init__(self, fault: Fault, *, is_retryable: bool, failure: Failure) -> None:
        super().__init__(fault.detail)
        self.fault = fault
        self.is_retryable = is_retryable
        self.failure = failure

    @classmethod
    def of(cls, error: NoAnswerError, *, may_repeat: bool) -> CallError:
        """Return the error of a request without an answer."""
        fault = Fault(
            error.kind,
            error.code,
            error.detail,
            may_happen_later=error.is_lost,
            is_elsewhere=error.code == NOT_HTTP,
        )
        is_retryable = error.is_retryable and (may_repeat or not error.was_sent)
        failure = Failure(fault, is_elsewhere=fault.is_elsewhere)
        return cls(fault, is_retryable=is_retryable, failure=failure)

    @classmethod
    def answered(
        cls, operation: str, answer: Answer, fault: Fault, *, may_repeat: bool
    ) -> CallError:
        """Return the error of an answer that is a fault."""
        status, fault = answer.status, _with_location(fault, answer)
        failure = Failure(
            fault,
            is_elsewhere=fault.is_elsewhere,
            is_missing=operation == "create" and status in http_statuses.NO_ROUTE,
        )
        is_retryable = may_repeat and status in http_statuses.RETRYABLE
        return cls(fault, is_retryable=is_retryable, failure=failure)


class HttpErrors:
    """What answers and errors mean for the calls to a backend (`watched_calls.Statuses`)."""

    errors: type[Exception] = CallError

    def of_response(self, response: object) -> Code:
        """Return the status of an answer."""
        code = cast("Result[CreateOutcome]", response).code
        return Code(code, int(code))

    def of_error(self, error: Exception) -> Code:
        """Return the status of an answer that is a fault, or a word for a missing answer."""
        code = cast("CallError", error).fault.code
        return Code(code, int(code) if code.isdecimal() else 0)

    def is_too_slow(self, error: BaseException) -> bool:
        """Return whether the deadline of a call has passed."""
        return isinstance(error, CallError) and error.fault.code == "TIMEOUT"

    def is_retryable(self, error: Exception) -> bool:
        """Return whether a request may be repeated."""
        return isinstance(error, CallError) and error.is_retryable

    def failure(self, _operation: str, error: Exception) -> Failure | None:
        """Return what an error says about the backend."""
        return cast("CallError", error).failure


def _with_location(fault: Fault, answer: Answer) -> Fault:
    """Return a fault whose text says where a redirect leads to, without its query and fragment."""
    if not (300 <= answer.status < 400 and answer.location):
        return fault
    location = one_line(re.split(r"[?#]", answer.location)[0], 200)
    return replace(fault, detail=f"{fault.detail}, and leads to {location}")
