"""The time of one request, by a clock that only moves when it is told to."""

import time

import pytest
from jicofo_reservation_proxy.clock import Budget


class Clock:
    """A clock in seconds, from anywhere."""

    now = 1000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """Return a clock."""
    return Clock()


def test_it_counts_down(clock: Clock) -> None:
    """What is left gets less with time, and is never less than nothing."""
    budget = Budget(12, clock)
    assert budget.left_seconds == 12
    clock.now += 5
    assert budget.left_seconds == 7
    clock.now += 7
    assert budget.left_seconds == 0
    clock.now += 100
    assert budget.left_seconds == 0


def test_the_usual_clock() -> None:
    """By itself it counts real seconds, by a clock that nobody sets."""
    before = time.monotonic()
    left = Budget(60).left_seconds
    assert 60 - (time.monotonic() - before) <= left <= 60
