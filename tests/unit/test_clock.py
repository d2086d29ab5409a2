"""The budget of one request and the time of day, with clocks that only the test moves."""

import time
from dataclasses import dataclass

import pytest
from jicofo_reservation_proxy.clock import BELIEVE_MS, Budget, SteadyClock, elapsed_ms, now_ms


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


DAYS_MS = 8 * 86_400_000


@dataclass
class Machine:
    """The clocks of a machine. `pass_by` lets time pass; `jump_ms` is the error of its clock."""

    elapsed: int = 5_000
    jump_ms: int = 0

    def __post_init__(self) -> None:
        self.clock = SteadyClock(
            lambda: 1_000_000 + self.elapsed + self.jump_ms, lambda: self.elapsed
        )

    @property
    def right(self) -> int:
        """The right time of day."""
        return 1_000_000 + self.elapsed

    def pass_by(self, milliseconds: int, step: int = 1000) -> None:
        """Let time pass; ask for the time each second, as the delivery does."""
        until = self.elapsed + milliseconds
        while self.elapsed < until:
            self.elapsed = min(until, self.elapsed + step)
            self.clock.now_ms()


@pytest.mark.parametrize("jump_ms", [DAYS_MS, -DAYS_MS, 2001, -2001])
def test_a_jump_for_seconds_changes_nothing(jump_ms: int, caplog: pytest.LogCaptureFixture) -> None:
    """While the system's clock is wrong for some seconds, the time goes on, and is in doubt."""
    machine = Machine()
    machine.jump_ms = jump_ms
    assert machine.clock.now_ms() == machine.right
    assert machine.clock.is_in_doubt
    machine.pass_by(4000)
    assert machine.clock.now_ms() == machine.right
    machine.jump_ms = 0
    assert machine.clock.now_ms() == machine.right
    assert not machine.clock.is_in_doubt
    assert [message[:40] for message in caplog.messages] == [
        f"the system's clock has jumped by {jump_ms / 1000:.0f} s; until it"[:40],
        "the system's clock is right again",
    ]


@pytest.mark.parametrize("jump_ms", [DAYS_MS, -DAYS_MS])
def test_a_jump_is_believed_after_ten_minutes(
    jump_ms: int, caplog: pytest.LogCaptureFixture
) -> None:
    """After a jump, the proxy follows the clock when it has been stable for ten minutes."""
    machine = Machine()
    machine.jump_ms = jump_ms
    machine.clock.now_ms()
    machine.pass_by(BELIEVE_MS - 1)
    assert machine.clock.now_ms() == machine.right
    machine.pass_by(1)
    assert machine.clock.now_ms() == machine.right + jump_ms
    assert not machine.clock.is_in_doubt
    assert len(caplog.messages) == 2


def test_a_clock_that_keeps_jumping_is_not_believed() -> None:
    """Each further jump begins the ten minutes again."""
    machine = Machine()
    for _ in range(10):
        machine.jump_ms += 10_000
        machine.pass_by(BELIEVE_MS - 1000)
        assert machine.clock.is_in_doubt
        assert machine.clock.now_ms() == machine.right


@pytest.mark.parametrize("step_ms", [500, -500, 2000])
def test_small_differences_are_followed_at_once(step_ms: int) -> None:
    """A small change of the clock, as from NTP or drift, is followed at once."""
    machine = Machine()
    for _ in range(100):
        machine.jump_ms += step_ms
        assert machine.clock.now_ms() == machine.right + machine.jump_ms
        assert not machine.clock.is_in_doubt


def test_the_clocks_of_this_machine() -> None:
    """By default the time is the time of day."""
    assert abs(SteadyClock().now_ms() - now_ms()) < 5000
    assert elapsed_ms() > 0
