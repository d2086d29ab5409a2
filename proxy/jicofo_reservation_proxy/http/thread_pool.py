"""The threads that answer requests."""

import logging

from waitress.task import ThreadedTaskDispatcher

logger = logging.getLogger(__name__)


class ThreadPool(ThreadedTaskDispatcher):  # type: ignore[misc]
    """Threads that the server starts when it needs them, up to a limit.

    waitress itself starts all threads at once, and gives a request to the thread that has been idle
    longest. With 64 threads this costs each request 0.04 ms (benchmarks/README.md). Each thread
    that has worked costs about 45 kB of memory.
    """

    def __init__(self, limit: int) -> None:
        super().__init__()
        self._limit = limit

    def add_task(self, task: object) -> None:
        """Queue a task, and start a thread for it if no thread is idle."""
        with self.lock:
            self.queue.append(task)
            self.queue_cv.notify()
            is_short = len(self.queue) > len(self.threads) - self.active_count
            if is_short and len(self.threads) < self._limit:
                self._start_thread()

    def _start_thread(self) -> None:
        number = len(self.threads)
        try:
            self.start_new_thread(self.handler_thread, number)
        except RuntimeError as error:
            logger.error(  # noqa: TRY400 - a traceback would add nothing
                "cannot start one more thread for requests: %s; %d threads are running",
                error,
                number,
            )
            return
        self.threads.add(number)
        self.active_count += 1
