"""The threads for requests: few of them work at a time, but none of them blocks the others."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
from jicofo_reservation_proxy.http.processor import Processor
from jicofo_reservation_proxy.http.thread_pool import (
    FEW,
    LOOK_SECONDS,
    STUCK_SECONDS,
    ThreadPool,
)

WAIT_SECONDS = 60.0
IDLE, BUSY = 0.1, 0.9


@dataclass
class Surroundings:
    """A clock and a processor that a test controls."""

    seconds: float = 100.0
    used: float = BUSY

    def clock(self) -> float:
        """Return the time."""
        return self.seconds

    def share(self) -> float:
        """Return the share of the processor that was used."""
        return self.used

    def close(self) -> None:
        """Do nothing."""


@dataclass
class Hanging:
    """A task that works until the test releases it."""

    began: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)
    is_cancelled: bool = False

    def service(self) -> None:
        """Wait for the test."""
        self.began.set()
        assert self.released.wait(WAIT_SECONDS)

    def cancel(self) -> None:
        """Note that the pool gave the task up."""
        self.is_cancelled = True


@contextmanager
def pool_of(limit: int, around: Surroundings) -> Iterator[tuple[ThreadPool, list[Hanging]]]:
    """Yield a pool and eight tasks; release all tasks at the end."""
    tasks = [Hanging() for _ in range(8)]
    pool = ThreadPool(limit, around, around.clock)
    try:
        yield pool, tasks
    finally:
        for task in tasks:
            task.released.set()
        pool.shutdown(WAIT_SECONDS)
        assert pool.size == 0


def begun(tasks: list[Hanging], number: int) -> list[bool]:
    """Wait until this number of tasks has begun; return which of them have."""
    for task in tasks[:number]:
        assert task.began.wait(WAIT_SECONDS)
    return [task.began.is_set() for task in tasks]


def add(pool: ThreadPool, tasks: list[Hanging], number: int) -> None:
    """Queue the first tasks, and let the pool look once."""
    for task in tasks[:number]:
        pool.add_task(task)
    pool.look()


def test_few_threads_work_while_the_processor_is_busy() -> None:
    """With a busy processor, more requests wait."""
    around = Surroundings(used=BUSY)
    with pool_of(8, around) as (pool, tasks):
        add(pool, tasks, 4)
        around.seconds += 1.1 * LOOK_SECONDS
        assert pool.look() == LOOK_SECONDS
        assert begun(tasks, FEW) == [True] * FEW + [False] * (8 - FEW)
        tasks[0].released.set()
        assert begun(tasks, FEW + 1)[FEW + 1 :] == [False] * (7 - FEW)


def test_more_threads_work_while_the_processor_is_idle() -> None:
    """If requests wait and the processor does not, the number of threads doubles each time."""
    around = Surroundings(used=IDLE)
    with pool_of(8, around) as (pool, tasks):
        add(pool, tasks, 8)
        assert begun(tasks, FEW).count(True) == FEW
        for number in (2 * FEW, 4 * FEW):
            around.seconds += 1.1 * LOOK_SECONDS
            pool.look()
            assert begun(tasks, number)[number:] == [False] * (8 - number)


def test_the_pool_looks_at_intervals() -> None:
    """Within 2 ms the pool changes nothing. Without a request that waits it need not look."""
    around = Surroundings(used=IDLE)
    with pool_of(8, around) as (pool, tasks):
        assert pool.look() == float("inf")
        add(pool, tasks, 4)
        around.seconds += LOOK_SECONDS / 2
        assert pool.look() == LOOK_SECONDS
        assert begun(tasks, FEW).count(True) == FEW
        for task in tasks:
            task.released.set()
        begun(tasks, 4)
        assert pool.look() == float("inf")


def test_fewer_threads_work_when_the_processor_becomes_busy() -> None:
    """The number of threads that may work halves, down to the few of the start."""
    around = Surroundings(used=IDLE)
    with pool_of(8, around) as (pool, tasks):
        add(pool, tasks, 8)
        for used in (IDLE, BUSY):
            around.used = used
            around.seconds += 1.1 * LOOK_SECONDS
            pool.look()
        assert begun(tasks, 2 * FEW).count(True) == 2 * FEW
        for task in tasks[:FEW]:  # as many as before go on, so no other task begins
            task.released.set()
        around.seconds += 1.1 * LOOK_SECONDS
        pool.look()
        assert begun(tasks, 2 * FEW).count(True) == 2 * FEW


def test_a_thread_that_waits_for_something_else_does_not_count() -> None:
    """Requests to a backend that hangs delay no others, also if the processor is busy."""
    around = Surroundings(used=BUSY)
    with pool_of(8, around) as (pool, tasks):
        for task in tasks[:FEW]:
            pool.add_task(task)
        begun(tasks, FEW)
        around.seconds += 2 * STUCK_SECONDS
        pool.add_task(tasks[FEW])
        pool.look()
        assert begun(tasks, FEW + 1)[FEW]


def test_the_limit_holds() -> None:
    """There are never more threads than the limit, however long requests wait."""
    around = Surroundings(used=IDLE)
    with pool_of(3, around) as (pool, tasks):
        add(pool, tasks, 8)
        for _ in range(5):
            around.seconds += 2 * STUCK_SECONDS
            pool.look()
        assert begun(tasks, 3).count(True) == 3
        assert pool.size == 3


def test_an_idle_thread_takes_the_next_task() -> None:
    """The pool starts a thread only if no thread is idle."""
    with pool_of(8, Surroundings()) as (pool, tasks):
        for task in tasks:
            task.released.set()
            pool.add_task(task)
            assert task.began.wait(WAIT_SECONDS)
        assert pool.size <= FEW


def test_a_task_that_fails_ends_no_thread(caplog: pytest.LogCaptureFixture) -> None:
    """An exception of a task is logged, and its thread goes on."""

    class Failing(Hanging):
        def service(self) -> None:
            raise ZeroDivisionError

    with pool_of(1, Surroundings()) as (pool, tasks):
        pool.add_task(Failing())
        pool.add_task(tasks[0])
        assert tasks[0].began.wait(WAIT_SECONDS)
        assert pool.size == 1
    assert "ZeroDivisionError" in caplog.text


def test_a_shutdown_cancels_what_waits(caplog: pytest.LogCaptureFixture) -> None:
    """Tasks that no thread has begun are cancelled; a thread that hangs is logged."""
    with pool_of(1, Surroundings()) as (pool, tasks):
        pool.add_task(tasks[0])
        pool.add_task(tasks[1])
        assert tasks[0].began.wait(WAIT_SECONDS)
        pool.shutdown(0)
        assert tasks[1].is_cancelled
        assert not tasks[1].began.is_set()
    assert "1 threads still work on requests" in caplog.text


@dataclass
class Waiting:
    """A task that waits for the next request of a client."""

    pool: ThreadPool
    found: list[bool] = field(default_factory=list)
    began: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.ours, self.theirs = socket.socketpair()

    def service(self) -> None:
        """Wait until something comes, or the time is over."""
        with self.ours, self.theirs:
            self.began.set()
            while not self.found or not self.found[-1]:
                self.found.append(self.pool.waits_for_client(self.ours.fileno()))
                if self.ended.is_set():
                    break
        self.ended.set()

    def cancel(self) -> None:
        """Do nothing."""


def test_a_thread_waits_for_the_next_request_of_its_client() -> None:
    """The thread notices what the client sends."""
    with pool_of(1, Surroundings()) as (pool, _):
        task = Waiting(pool)
        pool.add_task(task)
        task.theirs.sendall(b"x")
        assert task.ended.wait(WAIT_SECONDS)
        assert task.found[-1]


def test_a_thread_waits_no_longer_if_another_request_needs_it() -> None:
    """A request that waits for a thread gets the one that waits for a client."""
    with pool_of(1, Surroundings()) as (pool, tasks):
        task = Waiting(pool)
        pool.add_task(task)
        assert task.began.wait(WAIT_SECONDS)
        pool.add_task(tasks[0])
        task.ended.set()  # it ends after the current wait
        assert tasks[0].began.wait(WAIT_SECONDS)
        assert not task.found[-1]


def test_a_thread_that_waits_for_a_client_does_not_count() -> None:
    """It does not work, so another request may."""
    with pool_of(FEW + 1, Surroundings()) as (pool, tasks):
        task = Waiting(pool)
        pool.add_task(task)
        assert task.began.wait(WAIT_SECONDS)
        add(pool, tasks, FEW)
        begun(tasks, FEW)
        task.theirs.sendall(b"x")
        assert task.ended.wait(WAIT_SECONDS)


def test_the_processor_of_an_idle_process_is_idle() -> None:
    """While all threads sleep, the share is small; while one works, it is large."""
    processor = Processor()
    try:
        threading.Event().wait(0.2)  # the time that is measured
        idle = processor.share()
        while processor.share() < 0.3:  # this loop uses the processor
            sum(range(100_000))
        assert idle < 0.5
    finally:
        processor.close()
