"""Tasks in their time, by a bounded number of threads."""

import threading

import pytest
from jicofo_reservation_proxy.simulation.schedule import Schedule

from .interruption import interrupt_start_of


def test_one_thread_does_the_tasks_as_they_fall_due() -> None:
    """Those that are due together keep their order, and tasks may add tasks."""
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
    """They meet at a barrier that only all of them together can pass."""
    barrier = threading.Barrier(4)
    schedule = Schedule(4)

    def task() -> None:
        barrier.wait(10)

    for _ in range(8):
        schedule.add(0, task)
    schedule.start()
    assert schedule.wait()


def test_no_more_tasks_run_at_once_than_there_are_threads() -> None:
    """A third one would be counted."""
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


def test_waiting_has_an_end() -> None:
    """`wait` tells whether all is done; hurry makes every task due."""
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
    """The first one; the other tasks are done, so that they can clean up."""
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
def test_a_start_that_was_cut_short_goes_on(
    monkeypatch: pytest.MonkeyPatch, number: int, is_running: bool
) -> None:
    """Before or after the thread ran; then as many tasks run at once as were wanted."""
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


def test_a_thread_too_many_finds_no_task() -> None:
    """One that nobody knows to run, after an interruption, breaks no promise."""
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


def test_nothing_to_do_is_done_at_once() -> None:
    """The threads end."""
    schedule = Schedule(3)
    schedule.start()
    assert schedule.wait()
