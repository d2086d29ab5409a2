"""The time budget of one request, with a clock that moves only when the test moves it."""

import time

import pytest
from jicofo_reservation_proxy.clock import Budget


class Clock:
    """A clock in seconds, with an arbitrary start."""

    now = 1000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """Return a clock."""
    return Clock()


def test_the_budget_counts_down(clock: Clock) -> None:
    """The rest of the budget shrinks with time, and is never negative."""
    budget = Budget(12, clock)
    assert budget.left_seconds == 12
    clock.now += 5
    assert budget.left_seconds == 7
    clock.now += 7
    assert budget.left_seconds == 0
    clock.now += 100
    assert budget.left_seconds == 0


def test_the_default_clock() -> None:
    """By default the budget counts real seconds of the monotonic clock."""
    before = time.monotonic()
    left = Budget(60).left_seconds
    assert 60 - (time.monotonic() - before) <= left <= 60
