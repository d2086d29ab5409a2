"""A schedule: a few threads run tasks at given times."""

import heapq
import itertools
import threading
import time
from collections.abc import Callable

Task = Callable[[], None]


class Schedule:
    """Runs each task when it is due, or later, as soon as a thread is free.

    Tasks may add tasks. The schedule is over when no task is left.
    """

    def __init__(self, thread_count: int) -> None:
        self._thread_count = thread_count
        self._condition = threading.Condition()
        self._heap: list[tuple[float, int, Task]] = []
        self._order = itertools.count()
        self._busy = 0
        self._hurries = False
        self._error: Exception | None = None
        self._threads: list[threading.Thread] = []

    @property
    def error(self) -> Exception | None:
        """The first error that a task raised. The schedule still runs the other tasks."""
        with self._condition:
            return self._error

    def add(self, delay_seconds: float, task: Task) -> None:
        """Add a task that is due after a delay. Tasks with the same time keep their order."""
        with self._condition:
            due = time.monotonic() + delay_seconds
            heapq.heappush(self._heap, (due, next(self._order), task))
            self._condition.notify_all()

    def start(self) -> None:
        """Start the threads, after the first tasks have been added.

        If Ctrl-C interrupted `start`, a second call starts the missing threads. The second call may
        start one thread too many, because it does not see a thread that Ctrl-C interrupted during
        its start. `_seconds_to_next` still limits the number of simultaneous tasks.
        """
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        for number in range(len(self._threads), self._thread_count):
            # Daemon threads: after the second Ctrl-C, the process ends without waiting for them.
            thread = threading.Thread(target=self._work, name=f"simulation-{number}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def hurry(self) -> None:
        """Make every task due now, also the tasks that are added later."""
        with self._condition:
            self._hurries = True
            self._condition.notify_all()

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until the schedule is over or the seconds have passed; return whether it is over.

        If the schedule is over, its threads have ended.
        """
        with self._condition:
            if not self._condition.wait_for(self._is_over, seconds):
                return False
        for thread in self._threads:
            thread.join()
        return True

    def _is_over(self) -> bool:
        return self._busy == 0 and not self._heap

    def _work(self) -> None:
        while (task := self._next()) is not None:
            raised = None
            try:
                task()
            except Exception as error:  # noqa: BLE001 - the property `error` reports it
                raised = error
            with self._condition:
                self._error = self._error or raised
                self._busy -= 1
                self._condition.notify_all()

    def _next(self) -> Task | None:
        with self._condition:
            while not self._is_over():
                seconds = self._seconds_to_next()
                if seconds is not None and seconds <= 0:
                    self._busy += 1
                    return heapq.heappop(self._heap)[2]
                self._condition.wait(seconds)
            self._condition.notify_all()
            return None

    def _seconds_to_next(self) -> float | None:
        """Return the seconds to the next task, or `None` if no task may run at present."""
        if not self._heap or self._busy == self._thread_count:
            return None
        return 0.0 if self._hurries else self._heap[0][0] - time.monotonic()
