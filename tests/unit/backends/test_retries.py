"""Retries: which failures are repeated, when, and within which time."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import grpc
import pytest
from jicofo_reservation_proxy.backends.grpc.grpc_statuses import GrpcStatuses
from jicofo_reservation_proxy.backends.retries import JITTER, MAX_ATTEMPTS, retried


class Failure(grpc.RpcError):
    """A call that failed with a status."""

    def __init__(self, status: grpc.StatusCode) -> None:
        super().__init__(status)
        self._status = status

    def code(self) -> grpc.StatusCode:
        """Return the status."""
        return self._status


@dataclass
class Call:
    """A call whose attempts have these results, each after `seconds`, on a clock of its own."""

    results: Iterable[Exception | str]
    seconds: float = 0.0
    now: float = 1000.0
    left: list[float] = field(default_factory=list)
    backoffs: list[float] = field(default_factory=list)
    retries: int = 0

    def __post_init__(self) -> None:
        self._results = iter(self.results)

    def __call__(self, timeout_seconds: float) -> str:
        """Make the call with its retries."""
        return retried(
            self._attempt,
            timeout_seconds,
            is_retryable=GrpcStatuses().is_retryable,
            on_retry=self._count,
            clock=lambda: self.now,
            sleep=self._sleep,
        )

    def _attempt(self, left_seconds: float) -> str:
        self.left.append(left_seconds)
        self.now += self.seconds
        result = next(self._results)
        if isinstance(result, Exception):
            raise result
        return result

    def _sleep(self, seconds: float) -> None:
        self.backoffs.append(seconds)
        self.now += seconds

    def _count(self) -> None:
        self.retries += 1


def unavailable(count: int) -> list[Failure]:
    """Return this number of failures with UNAVAILABLE."""
    return [Failure(grpc.StatusCode.UNAVAILABLE) for _ in range(count)]


def test_a_call_that_succeeds_is_made_once() -> None:
    """A call that succeeds is not repeated, and gets its whole time."""
    call = Call(["granted"])
    assert call(5.0) == "granted"
    assert (call.left, call.backoffs, call.retries) == ([5.0], [], 0)


def test_unavailable_is_repeated_with_a_growing_back_off() -> None:
    """Five attempts are made, with back-offs of about 0.1, 0.2, 0.4 and 0.8 s."""
    call = Call([*unavailable(4), "granted"])
    assert call(5.0) == "granted"
    assert call.retries == MAX_ATTEMPTS - 1 == 4
    for backoff, wanted in zip(call.backoffs, [0.1, 0.2, 0.4, 0.8], strict=True):
        assert wanted * (1 - JITTER) <= backoff <= wanted * (1 + JITTER)


def test_the_last_failure_is_raised() -> None:
    """After the last attempt, its own failure is raised."""
    failures = unavailable(5)
    call = Call(failures)
    with pytest.raises(Failure) as caught:
        call(5.0)
    assert caught.value is failures[-1]


@pytest.mark.parametrize(
    "code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.UNAVAILABLE]
)
@pytest.mark.parametrize("before", [0, 1])
def test_no_other_status_is_repeated(code: grpc.StatusCode, before: int) -> None:
    """Another status ends the call, at the first attempt and after a retry."""
    call = Call([*unavailable(before), Failure(code), "granted"])
    with pytest.raises(Failure) as caught:
        call(5.0)
    assert caught.value.code() is code
    assert call.retries == before


def test_the_attempts_share_the_deadline() -> None:
    """Each attempt gets the time that is left."""
    call = Call([*unavailable(1), "granted"], seconds=1.0)
    call(5.0)
    assert call.left == pytest.approx([5.0, 5.0 - 1.0 - call.backoffs[0]])


def test_no_attempt_is_made_after_the_deadline() -> None:
    """If the next back-off would pass the deadline, the failure is raised at once."""
    call = Call([*unavailable(5), "granted"])
    with pytest.raises(Failure):
        call(0.05)
    assert (call.left, call.backoffs) == ([0.05], [])


def test_a_sleep_that_takes_too_long_makes_no_attempt() -> None:
    """If a busy machine wakes the thread after the deadline, the failure is raised."""
    call = Call([*unavailable(1), "granted"])

    def sleep(_: float) -> None:
        call.now += 10.0

    with pytest.raises(Failure):
        retried(
            call._attempt,
            1.0,
            is_retryable=GrpcStatuses().is_retryable,
            on_retry=call._count,
            clock=lambda: call.now,
            sleep=sleep,
        )
    assert (len(call.left), call.retries) == (1, 0)


def test_a_closed_channel_before_the_first_attempt() -> None:
    """The caller learns that the call was certainly not sent."""
    with pytest.raises(ValueError, match="closed"):
        Call([ValueError("closed channel")])(5.0)


def test_a_channel_that_closes_during_the_retries() -> None:
    """The first attempt may have been sent, so its failure is raised."""
    failures = unavailable(1)
    with pytest.raises(Failure) as caught:
        Call([*failures, ValueError("closed channel")])(5.0)
    assert caught.value is failures[0]
