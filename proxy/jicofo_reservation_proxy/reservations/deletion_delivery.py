"""Delivery: the backends are told of every conference that is over, however long that takes.

The invariant: no conference that a client has is deleted at its backend.

- A DELETE is sent only while its conference is over in the ledger, by whoever holds the locks of
  its room and of the conference itself. So no two are ever sent at once for one conference.
- Whoever gives a conference to a client holds the same locks from the moment in which the backend
  was asked for the room, and notes in the ledger, before the client hears of it, that the
  conference is not over. So no DELETE is sent from then on, nor is one under way.

Each backend has a thread of its own, so that one which hangs holds up no other's. What is not
taken is tried again (retry_schedule.py), in this process or the next one.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from datetime import timedelta

from jicofo_reservation_proxy.backends.backend import Deleter
from jicofo_reservation_proxy.clock import now_ms
from jicofo_reservation_proxy.errors import StateError
from jicofo_reservation_proxy.ledger.ledger import Store
from jicofo_reservation_proxy.observability.metrics import Metrics

from .deletions import Deletions
from .expiry import Expiry
from .retry_schedule import MAX_RETRY_SECONDS, RetrySchedule

LOOK_SECONDS = 1.0
"""How often a thread looks for conferences whose end has passed."""

BUSY_SECONDS = 0.1
"""How soon it comes back to a room that is being asked for."""

logger = logging.getLogger(__name__)


class Delivery:
    """Delivers the deletions that are pending in the ledger, and ends what has expired.

    `deletions` sends them, also for the use cases. `clock` counts seconds from anywhere, for
    back-offs; `now_ms` is the time of day. Raises `StateError` where the store cannot be read.
    """

    def __init__(
        self,
        backends: Mapping[str, Deleter],
        store: Store,
        metrics: Metrics,
        *,
        expire_after: timedelta,
        give_up_after: timedelta,
        now_ms: Callable[[], int] = now_ms,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._backends = backends
        self._ledger = store.ledger
        self._clock = clock
        left_over = [record.ref for name in backends for record in store.ledger.pending(name)]
        self._schedule = RetrySchedule(backends, left_over, clock)
        self.deletions = Deletions(backends, store, self._schedule, metrics, now_ms)
        self._expiry = Expiry(
            backends,
            store.ledger,
            self._schedule,
            self.deletions,
            expire_after=expire_after,
            give_up_after=give_up_after,
            now_ms=now_ms,
        )
        self._workers: list[_Worker] = []

    def start(self) -> None:
        """Start the threads."""
        self._workers = [_Worker(self.step, self._schedule, name) for name in self._backends]

    def stop(self, within_seconds: float) -> None:
        """Deliver what can be delivered in this time, and end the threads."""
        until = self._clock() + within_seconds
        for worker in self._workers:
            worker.stop(until)
        for worker in self._workers:
            worker.join(max(0.0, until - self._clock()))
        self._workers = []

    def step(self, name: str, until: Callable[[], float | None] = lambda: None) -> float:
        """Deliver what is due to a backend; return in how many seconds to come again.

        Once `until` has a time, by `clock`, everything is due, and nothing is begun after it.
        Raises `StateError`.
        """
        self._expiry.run()
        pause_seconds = self._schedule.pause_seconds(name)
        if pause_seconds > 0 and until() is None:
            return min(LOOK_SECONDS, pause_seconds)
        waits = [LOOK_SECONDS]
        waiting_rooms: set[str] = set()
        for record in self._ledger.pending(name):
            if record.room in waiting_rooms:
                continue
            now, end = self._clock(), until()
            if end is not None and now >= end:
                break
            faults = self._schedule.faults(name)
            is_due = end is not None or self._schedule.wait_seconds(record.ref) <= 0
            left_seconds = float("inf") if end is None else end - now
            if is_due and self.deletions.attempt_if_free(record, left_seconds):
                continue
            waits.append(max(BUSY_SECONDS, self._schedule.wait_seconds(record.ref)))
            waiting_rooms |= {record.room} - {""}
            if end is not None and self._schedule.faults(name) > faults:
                break
        return min(waits)


class _Worker:
    """The thread that delivers to one backend."""

    def __init__(
        self,
        step: Callable[[str, Callable[[], float | None]], float],
        schedule: RetrySchedule,
        backend: str,
    ) -> None:
        self._deliver = step
        self._schedule = schedule
        self._backend = backend
        self._until: float | None = None
        self._complaint = ""
        self._thread = threading.Thread(target=self._run, name=f"delivery-{backend}", daemon=True)
        self._thread.start()

    def stop(self, until: float) -> None:
        self._until = until
        self._schedule.wake(self._backend)

    def join(self, within_seconds: float) -> None:
        self._thread.join(within_seconds)

    def _run(self) -> None:
        while self._until is None:
            self._schedule.sleep(self._backend, self._step())
        self._step()

    def _step(self) -> float:
        try:
            seconds = self._deliver(self._backend, lambda: self._until)
        except StateError as error:
            self._complain(str(error))
        except Exception:  # what goes wrong here must not end the deliveries
            logger.exception("a fault of the proxy in the delivery to %s", self._backend)
        else:
            self._complaint = ""
            return seconds
        return MAX_RETRY_SECONDS

    def _complain(self, complaint: str) -> None:
        """Say once, and not at each attempt, that the store cannot be used."""
        if complaint != self._complaint:
            self._complaint = complaint
            logger.error("no deletions to backends.%s: %s", self._backend, complaint)
