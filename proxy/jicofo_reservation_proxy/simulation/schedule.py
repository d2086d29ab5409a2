"""Tasks that fall due one after the other, done by a few threads."""

import heapq
import itertools
import threading
import time
from collections.abc import Callable

Task = Callable[[], None]


class Schedule:
    """Does each task when it is due, or as soon after as one of its threads is free.

    Tasks may add tasks. It is over when none is left, or one has raised an error.
    """

    def __init__(self, thread_count: int) -> None:
        self._condition = threading.Condition()
        self._heap: list[tuple[float, int, Task]] = []
        self._order = itertools.count()
        self._busy = 0
        self._hurries = False
        self._error: Exception | None = None
        # Daemons: the second Ctrl-C leaves at once, whatever they wait for.
        self._threads = [
            threading.Thread(target=self._work, name=f"simulation-{number}", daemon=True)
            for number in range(thread_count)
        ]

    def add(self, delay_seconds: float, task: Task) -> None:
        """Let a task fall due in some seconds; those that are due together keep their order."""
        with self._condition:
            due = time.monotonic() + delay_seconds
            heapq.heappush(self._heap, (due, next(self._order), task))
            self._condition.notify_all()

    def start(self) -> None:
        """Begin, when the first tasks have been added."""
        for thread in self._threads:
            thread.start()

    def hurry(self) -> None:
        """Let every task be due, those that are yet to come too."""
        with self._condition:
            self._hurries = True
            self._condition.notify_all()

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until all is done, or for some seconds; tell whether it is. Raises a task's error.

        Its threads have ended then.
        """
        with self._condition:
            if not self._condition.wait_for(self._is_over, seconds):
                return False
        for thread in self._threads:
            thread.join()
        if self._error is not None:
            raise self._error
        return True

    def _is_over(self) -> bool:
        return self._busy == 0 and (not self._heap or self._error is not None)

    def _work(self) -> None:
        while (task := self._next()) is not None:
            try:
                task()
            except Exception as error:  # noqa: BLE001 - wait() raises it
                self._error = error
            with self._condition:
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
        """Return when a task is due; `None` where none is, unless something changes."""
        if not self._heap or self._error is not None:
            return None
        return 0.0 if self._hurries else self._heap[0][0] - time.monotonic()
