"""The threads that answer requests."""

import logging

from waitress.task import ThreadedTaskDispatcher

logger = logging.getLogger(__name__)


class ThreadPool(ThreadedTaskDispatcher):  # type: ignore[misc]
    """Threads that are started as they are needed, up to a limit.

    waitress wakes the thread that has slept longest, so that with all of them at work from the
    start each request meets a cold one; each costs some 45 kB once it has been at work.
    """

    def __init__(self, limit: int) -> None:
        super().__init__()
        self._limit = limit

    def add_task(self, task: object) -> None:
        """Queue a task, and start a thread for it if none is idle."""
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
            logger.error("%s; %d are at work", error, number)  # noqa: TRY400 - the line says it all
            return
        self.threads.add(number)
        self.active_count += 1
