"""Tasks that fall due one after the other, done by a few threads."""

import heapq
import itertools
import threading
import time
from collections.abc import Callable

Task = Callable[[], None]


class Schedule:
    """Does each task when it is due, or as soon after as one of its threads is free.

    Tasks may add tasks. It is over when none is left.
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
        """The first error that a task has raised; the other tasks are done all the same."""
        with self._condition:
            return self._error

    def add(self, delay_seconds: float, task: Task) -> None:
        """Let a task fall due in some seconds; those that are due together keep their order."""
        with self._condition:
            due = time.monotonic() + delay_seconds
            heapq.heappush(self._heap, (due, next(self._order), task))
            self._condition.notify_all()

    def start(self) -> None:
        """Begin, when the first tasks have been added; again, go on where Ctrl-C cut it short.

        A thread that Ctrl-C kept from being known to run may be one too many: it finds no task.
        """
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        for number in range(len(self._threads), self._thread_count):
            # Daemons: the second Ctrl-C leaves at once, whatever they wait for.
            thread = threading.Thread(target=self._work, name=f"simulation-{number}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def hurry(self) -> None:
        """Let every task be due, those that are yet to come too."""
        with self._condition:
            self._hurries = True
            self._condition.notify_all()

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until all is done, or for some seconds; tell whether it is.

        Its threads have ended then.
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
            except Exception as error:  # noqa: BLE001 - whoever waits for the end looks at it
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
        """Return when a task is due; `None` where none can be done, unless something changes."""
        if not self._heap or self._busy == self._thread_count:
            return None
        return 0.0 if self._hurries else self._heap[0][0] - time.monotonic()
