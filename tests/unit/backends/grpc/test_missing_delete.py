"""Which reports prove that a backend has no DeleteConference."""

from dataclasses import dataclass

import pytest
from jicofo_reservation_proxy.backends.grpc.missing_delete import CONFIRM_SECONDS, MissingDelete


@dataclass
class Clock:
    """A clock that a test sets."""

    now: float = 1000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """Return a clock."""
    return Clock()


def missing(clock: Clock, *, is_default_path: bool = True) -> MissingDelete:
    """Return the state of a backend that has not reported anything yet."""
    return MissingDelete(is_default_path=is_default_path, clock=clock)


def test_ten_minutes_of_reports_are_a_proof(clock: Clock) -> None:
    """The service itself must report the missing method for ten minutes."""
    method = missing(clock)
    assert not method.is_proven(by_the_service=True)
    clock.now += CONFIRM_SECONDS - 1
    assert not method.is_proven(by_the_service=True)
    clock.now += 1
    assert method.is_proven(by_the_service=True)


def test_a_report_of_something_else_begins_the_time_again(clock: Clock) -> None:
    """After a report that is not of the service itself, the ten minutes begin again."""
    method = missing(clock)
    method.is_proven(by_the_service=True)
    clock.now += CONFIRM_SECONDS
    assert not method.is_proven(by_the_service=False)
    assert not method.is_proven(by_the_service=True)
    clock.now += CONFIRM_SECONDS
    assert method.is_proven(by_the_service=True)


def test_another_path_is_never_a_proof(clock: Clock) -> None:
    """If the operator set another path, no report is a proof, because the path may be mistyped."""
    method = missing(clock, is_default_path=False)
    method.is_proven(by_the_service=True)
    clock.now += CONFIRM_SECONDS
    assert not method.is_proven(by_the_service=True)


@pytest.mark.parametrize("is_before", [True, False])
def test_a_backend_that_acknowledged_a_deletion_has_the_method(
    clock: Clock, *, is_before: bool
) -> None:
    """After the backend has acknowledged a deletion, no report is a proof."""
    method = missing(clock)
    if is_before:
        method.note_acknowledged()
    method.is_proven(by_the_service=True)
    clock.now += CONFIRM_SECONDS
    if not is_before:
        method.note_acknowledged()
    assert not method.is_proven(by_the_service=True)
