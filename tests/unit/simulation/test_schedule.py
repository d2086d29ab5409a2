"""The schedule: a bounded number of threads run tasks at their times."""

import threading

import pytest
from jicofo_reservation_proxy.simulation.schedule import Schedule

from .interruption import interrupt_start_of


def test_one_thread_runs_the_tasks_in_the_order_of_their_times() -> None:
    """Tasks with the same time keep their order, and tasks may add tasks."""
    done: list[str] = []
    schedule = Schedule(1)
    schedule.add(0.02, lambda: done.append("late"))
    for name in ("a", "b", "c"):
        schedule.add(0, lambda name=name: done.append(name))  # type: ignore[misc]
    schedule.add(0, lambda: schedule.add(0.05, lambda: done.append("later")))
    schedule.start()
    assert schedule.wait()
    assert done == ["a", "b", "c", "late", "later"]


def test_as_many_tasks_run_at_once_as_there_are_threads() -> None:
    """Four tasks wait at a barrier that only four simultaneous tasks can pass."""
    barrier = threading.Barrier(4)
    schedule = Schedule(4)

    def task() -> None:
        barrier.wait(10)

    for _ in range(8):
        schedule.add(0, task)
    schedule.start()
    assert schedule.wait()


def test_no_more_tasks_run_at_once_than_there_are_threads() -> None:
    """With two threads, never more than two tasks run at once."""
    schedule = Schedule(2)
    running, most = set(), set()
    lock = threading.Lock()

    def task() -> None:
        with lock:
            running.add(threading.get_ident())
            most.add(len(running))
        threading.Event().wait(0.005)
        with lock:
            running.discard(threading.get_ident())

    for _ in range(10):
        schedule.add(0, task)
    schedule.start()
    assert schedule.wait()
    assert max(most) <= 2


def test_wait_returns_false_before_the_schedule_is_over() -> None:
    """`wait` returns whether the schedule is over; `hurry` makes every task due."""
    done = threading.Event()
    schedule = Schedule(2)
    schedule.add(3600, done.set)
    schedule.start()
    assert not schedule.wait(0.01)
    schedule.hurry()
    assert schedule.wait()
    assert done.is_set()


def _fail() -> None:
    raise ZeroDivisionError


def _fail_later() -> None:
    raise LookupError


def test_an_error_of_a_task_is_kept() -> None:
    """The schedule keeps the first error, and runs the other tasks, so that they can clean up."""
    later = threading.Event()
    schedule = Schedule(1)
    assert schedule.error is None
    schedule.add(0, _fail)
    schedule.add(0, _fail_later)
    schedule.add(0.01, later.set)
    schedule.start()
    assert schedule.wait()
    assert isinstance(schedule.error, ZeroDivisionError)
    assert later.is_set()


@pytest.mark.parametrize("number", [0, 2])
@pytest.mark.parametrize("is_running", [False, True])
def test_a_second_start_continues_an_interrupted_one(
    monkeypatch: pytest.MonkeyPatch, number: int, is_running: bool
) -> None:
    """If an interrupt ends `start` early, a second `start` starts the remaining threads."""
    interrupt_start_of(f"simulation-{number}", monkeypatch, is_running=is_running)
    barrier = threading.Barrier(3)
    schedule = Schedule(3)

    def task() -> None:
        barrier.wait(10)

    for _ in range(6):
        schedule.add(0, task)
    with pytest.raises(KeyboardInterrupt):
        schedule.start()
    schedule.start()
    assert schedule.wait()
    assert schedule.error is None


def test_one_thread_too_many_does_not_exceed_the_limit() -> None:
    """An additional thread does not increase the number of simultaneous tasks."""
    schedule = Schedule(1)
    stranger = threading.Thread(target=schedule._work)
    running: list[int] = []
    most: list[int] = []

    def task() -> None:
        running.append(1)
        most.append(len(running))
        threading.Event().wait(0.01)
        running.pop()

    for _ in range(5):
        schedule.add(0, task)
    schedule.start()
    stranger.start()
    assert schedule.wait()
    stranger.join()
    assert most == [1] * 5


def test_a_schedule_without_tasks_is_over_at_once() -> None:
    """A schedule without tasks ends its threads."""
    schedule = Schedule(3)
    schedule.start()
    assert schedule.wait()
