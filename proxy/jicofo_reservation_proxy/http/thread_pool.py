"""The threads that answer requests: few while they are enough, many while requests wait.

In Python only one thread runs at a time, and each switch from one thread to another takes longer
than most steps of a request. So two threads answer more requests each second than sixteen. But a
thread may also wait for a backend that hangs. So the number of threads that may work follows two
rules:

- If requests wait although all threads that may work have worked for 2 ms, and the process hardly
  used the processor in that time, twice as many may work. If it used the processor well, half as
  many may work.
- A thread that has been at one request for 20 ms does not count: it waits for something else.
"""

import logging
import math
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from jicofo_reservation_proxy.observability.throttle import Throttle

from .processor import Processor

FEW = 2
"""How many threads may work at the start, and at least."""

LOOK_SECONDS = 0.002
"""How often the pool looks at the requests that wait."""

IDLE_SHARE = 0.6
"""The processor is idle if the process uses less of a core."""

BUSY_SHARE = 0.8
"""The processor is busy if the process uses more of a core."""

STUCK_SECONDS = 0.02
"""A thread that has been at one request for this time waits, for example for a slow backend."""

NEXT_REQUEST_MILLISECONDS = 5
"""How long a thread waits for the next request of the same client, if no other request waits."""

logger = logging.getLogger(__name__)


class Task(Protocol):
    """Something for a thread to do."""

    def service(self) -> None:
        """Do it."""

    def cancel(self) -> None:
        """Give it up."""


class ProcessorUse(Protocol):
    """A measure of the processor (processor.py)."""

    def share(self) -> float:
        """Return the share of a core that this process used since the last call."""

    def close(self) -> None:
        """Measure no more."""


class _Worker:
    """A thread of the pool, with its task and the time at which it began a request."""

    def __init__(self, lock: threading.Lock, task: Task) -> None:
        self.task: Task | None = task
        self.wakes = threading.Condition(lock)
        self.began = 0.0


class ThreadPool:
    """At most `limit` threads, started when the server needs them; `limit` may change at any time.

    A lower limit ends no thread. Each thread that has worked costs about 45 kB of memory.
    `processor` measures how much of the processor this process uses, and `clock` counts seconds
    from an arbitrary start.
    """

    def __init__(
        self,
        limit: int,
        processor: ProcessorUse | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.limit = limit
        self._clock = clock
        self._most_working = min(FEW, limit)
        self._queue: deque[Task] = deque()
        self._lock = threading.Lock()
        self._ended = threading.Condition(self._lock)
        self._workers: set[_Worker] = set()
        self._idle: list[_Worker] = []
        self._working: set[_Worker] = set()
        self._waiting_for_clients = 0
        self._is_stopped = False
        self._looked_at: float | None = None
        self._processor = processor or Processor()
        self._of_this_thread = threading.local()
        self._start_failures = Throttle()
        self._wake_reader, self._wake_writer = os.pipe()
        os.set_blocking(self._wake_reader, False)
        os.set_blocking(self._wake_writer, False)

    @property
    def size(self) -> int:
        """The number of threads."""
        return len(self._workers)

    def add_task(self, task: Task) -> None:
        """Queue a task, and give it to a thread if one more may work."""
        with self._lock:
            self._queue.append(task)
            self._hand_out()

    def look(self) -> float:
        """Let more or fewer threads work; return after how many seconds to look again.

        The main loop calls this method. It returns infinity if no request waits.
        """
        with self._lock:
            if not self._queue:
                self._looked_at = None
                return math.inf
            now = self._clock()
            if self._looked_at is None or now - self._looked_at >= LOOK_SECONDS:
                self._adapt(now)
                self._hand_out()
            return LOOK_SECONDS

    def waits_for_client(self, file_number: int) -> bool:
        """Wait until a client sends its next request; return whether it has sent something.

        A thread calls this method after an answer. It returns false after a short time, and as soon
        as another request needs the thread.
        """
        worker: _Worker = self._of_this_thread.worker
        with self._lock:
            if self._queue or self._is_stopped:
                return False
            self._rest(worker)
            self._waiting_for_clients += 1
        poll = select.poll()
        poll.register(file_number, select.POLLIN)
        poll.register(self._wake_reader, select.POLLIN)
        found = dict(poll.poll(NEXT_REQUEST_MILLISECONDS))
        with self._lock:
            self._waiting_for_clients -= 1
            self._begin(worker)
            if self._wake_reader in found:
                with suppress(BlockingIOError):  # another thread was faster
                    os.read(self._wake_reader, 1024)
                return False
        return file_number in found

    def shutdown(self, timeout: float) -> None:
        """End all threads, and wait at most `timeout` seconds for them; cancel what is queued."""
        with self._lock:
            self._is_stopped = True
            for worker in self._idle:
                worker.wakes.notify()
            self._ended.wait_for(lambda: not self._workers, timeout)
            if self._workers:
                logger.warning("%d threads still work on requests", len(self._workers))
            tasks = list(self._queue)
            self._queue.clear()
            if not self._workers:
                self._processor.close()
                os.close(self._wake_reader)
                os.close(self._wake_writer)
        for task in tasks:
            task.cancel()

    def _hand_out(self) -> None:
        """Give the tasks of the queue to threads that may work. The caller holds the lock."""
        while self._queue and len(self._working) < self._most_working and not self._is_stopped:
            if self._idle:
                worker = self._idle.pop()
                worker.task = self._queue.popleft()
                self._begin(worker)
                worker.wakes.notify()
            elif len(self._workers) >= self.limit or not self._start():
                break
        if self._queue and self._waiting_for_clients:
            with suppress(BlockingIOError):  # the threads have enough to read
                os.write(self._wake_writer, b"\0")

    def _start(self) -> bool:
        """Start a thread for the next task; return whether that was possible."""
        worker = _Worker(self._lock, self._queue[0])
        try:
            self._start_thread(worker)
        except RuntimeError as error:
            if self._start_failures.note():
                logger.error(  # noqa: TRY400 - a traceback would add nothing
                    "cannot start one more thread for requests: %s; %d threads are running",
                    error,
                    self.size,
                )
            return False
        self._queue.popleft()
        self._workers.add(worker)
        self._begin(worker)
        return True

    def _start_thread(self, worker: _Worker) -> None:
        name = f"request-{self.size}"
        threading.Thread(target=self._run, args=(worker,), name=name, daemon=True).start()

    def _run(self, worker: _Worker) -> None:
        self._of_this_thread.worker = worker
        while (task := self._next_task(worker)) is not None:
            try:
                task.service()
            except BaseException:  # whatever a task raises, the thread must go on
                if not self._is_stopped:  # the server has closed what this thread still used
                    logger.exception("a fault of the proxy")

    def _next_task(self, worker: _Worker) -> Task | None:
        """Return the next task of a thread, after a wait; `None` if the pool is stopped."""
        with self._lock:
            if worker.task is None:
                self._rest(worker)
                self._take(worker)
            while worker.task is None and not self._is_stopped:
                self._idle.append(worker)
                worker.wakes.wait()
            task, worker.task = worker.task, None
            if task is None:
                self._workers.discard(worker)
                self._ended.notify_all()
            return task

    def _take(self, worker: _Worker) -> None:
        """Give the next task to a thread that is not idle, if it may work."""
        if self._queue and len(self._working) < self._most_working and not self._is_stopped:
            worker.task = self._queue.popleft()
            self._begin(worker)

    def _begin(self, worker: _Worker) -> None:
        worker.began = self._clock()
        self._working.add(worker)

    def _rest(self, worker: _Worker) -> None:
        self._working.discard(worker)

    def _adapt(self, now: float) -> None:
        """Change the number of threads that may work, by the rules above."""
        self._working -= {each for each in self._working if now - each.began > STUCK_SECONDS}
        share = self._processor.share()
        if self._looked_at is not None and share < IDLE_SHARE:
            self._most_working = min(2 * self._most_working, self.limit)
        elif self._looked_at is not None and share > BUSY_SHARE:
            self._most_working = max(self._most_working // 2, min(FEW, self.limit))
        self._looked_at = now
