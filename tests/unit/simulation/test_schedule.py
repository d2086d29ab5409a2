"""Tasks in their time, by a bounded number of threads."""

import threading

import pytest
from jicofo_reservation_proxy.simulation.schedule import Schedule


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


def test_an_error_of_a_task_ends_all() -> None:
    """It is raised where the end is waited for, and the other tasks are left."""
    later = threading.Event()
    schedule = Schedule(2)
    schedule.add(0, _fail)
    schedule.add(3600, later.set)
    schedule.start()
    with pytest.raises(ZeroDivisionError):
        schedule.wait()
    assert not later.is_set()


def test_nothing_to_do_is_done_at_once() -> None:
    """The threads end."""
    schedule = Schedule(3)
    schedule.start()
    assert schedule.wait()
