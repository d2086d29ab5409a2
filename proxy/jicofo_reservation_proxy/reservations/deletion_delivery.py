"""Delivery: when a conference is over, the proxy delivers its deletion to the backend.

The invariant: the proxy never deletes a conference at its backend while a client has it.

- The proxy sends a deletion only while the conference is over in the ledger. The sending thread
  holds the lock of the conference, and the lock of its room if the room is known. So the proxy
  never sends two deletions of one conference at the same time.
- A thread that gives a conference to a client takes the lock of the room before it asks the
  backend. Then it takes the lock of the conference that the backend named. With these locks, and
  before the client gets the conference, the thread records in the ledger that the conference is
  open. So no deletion of this conference is in progress at that time, and the proxy sends no
  deletion afterwards. For a conference from the ledger, the lock of the room is enough, because the
  ledger knows the room.

Each backend has its own thread, so a backend that hangs does not delay the deletions of another
backend. The proxy retries a deletion that the backend does not acknowledge (retry_schedule.py),
also after a restart.
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
from jicofo_reservation_proxy.observability.health import Component, Words
from jicofo_reservation_proxy.observability.metrics import Metrics

from .deletions import Deletions
from .expiry import Expiry
from .retry_schedule import MANY_REJECTIONS, MAX_RETRY_SECONDS, RetrySchedule
from .withdrawals import Withdrawals

LOOK_SECONDS = 1.0
"""The longest time between two checks of a thread for conferences whose end has passed."""

BUSY_SECONDS = 0.1
"""How long a thread waits before it retries a deletion whose room or conference is locked."""

SETTLING_SECONDS = 600.0
"""The proxy abandons nothing in this time after its start: the system's clock may be wrong then."""

WORDS = Words("fails", "works again", level=logging.ERROR, tells_each_reason=True)
"""The words of the component of the delivery."""

logger = logging.getLogger(__name__)


class Delivery:
    """Delivers the pending deletions of the ledger, and ends the conferences that have expired.

    `deletions` sends the deletions, also for the use cases. `withdrawals` withdraws the creates
    whose conference no client got. `backends` may change at any time; the caller tells it by `add`,
    `backend_changed` and `remove`. `clock` counts seconds from an arbitrary start, for back-offs.
    `now_ms` is the time of day. While `is_in_doubt` returns true, that time may be wrong, and
    nothing expires. `component` is its health. The constructor raises `StateError` if the store
    cannot be read.
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
        is_in_doubt: Callable[[], bool] = lambda: False,
    ) -> None:
        self.component = Component("delivery", WORDS)
        self._backends = backends
        self._ledger = store.ledger
        self._clock = clock
        self._schedule = RetrySchedule(clock)
        self.deletions = Deletions(backends, store, self._schedule, metrics, now_ms)
        self.withdrawals = Withdrawals(
            backends,
            store,
            self._schedule,
            metrics,
            give_up_after_ms=give_up_after // timedelta(milliseconds=1),
            now_ms=now_ms,
            clock=clock,
        )
        self._expiry = Expiry(
            backends,
            store.ledger,
            self._schedule,
            self.deletions,
            expire_after=expire_after,
            give_up_after=give_up_after,
            now_ms=now_ms,
        )
        self._is_in_doubt = is_in_doubt
        self._settled_at = clock() + SETTLING_SECONDS
        self._workers: dict[str, _Worker] = {}
        self._is_started = False
        for name in backends:
            self.add(name)

    def add(self, backend: str) -> None:
        """Deliver to a backend from now on. Raises `StateError` if the store cannot be read."""
        self._schedule.add(
            backend,
            (record.ref for record in self._ledger.pending(backend)),
            drops_old_deletions=self._backends[backend].drops_old_deletions,
        )
        if self._is_started:
            self._start_worker(backend)

    def backend_changed(self, backend: str) -> None:
        """Try again soon, and forget what was learned: another server answers for this backend."""
        self.deletions.backend_changed(backend)
        self.withdrawals.backend_changed(backend)
        self._schedule.end_pause(backend)

    def remove(self, backend: str) -> None:
        """End the thread of a backend that holds no conference of this proxy any more."""
        if worker := self._workers.pop(backend, None):
            worker.stop(self._clock())

    def change(self, expire_after: timedelta, give_up_after: timedelta) -> None:
        """Use other settings from now on."""
        self._expiry.change(expire_after, give_up_after)
        self.withdrawals.give_up_after_ms = give_up_after // timedelta(milliseconds=1)

    def start(self) -> None:
        """Start a thread for each backend."""
        self._is_started = True
        for name in self._schedule.backends:
            self._start_worker(name)

    def stop(self, within_seconds: float) -> None:
        """Try to deliver the pending deletions within this time, then end the threads."""
        until = self._clock() + within_seconds
        for worker in self._workers.values():
            worker.stop(until)
        for worker in self._workers.values():
            worker.join(max(0.0, until - self._clock()))
        self._workers = {}

    def _start_worker(self, backend: str) -> None:
        if backend not in self._workers:
            self._workers[backend] = _Worker(self.step, self._schedule, backend, self.component)

    def step(self, name: str, until: Callable[[], float | None] = lambda: None) -> float:
        """Deliver the due deletions of a backend; return the seconds until the next call.

        `until` returns `None` until the proxy stops, and then the end of the drain, as a time of
        `clock`. During the drain every pending deletion is due. No attempt begins after the
        end of the drain. Raises `StateError`.
        """
        if not self._is_in_doubt():
            self._expiry.run(may_abandon=self._clock() >= self._settled_at)
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
            if is_due and self.deletions.attempt_if_free(record, _left_seconds(end, now)):
                continue
            waits.append(max(BUSY_SECONDS, self._schedule.wait_seconds(record.ref)))
            waiting_rooms |= {record.room} - {""}
            if end is not None and self._schedule.faults(name) > faults:
                break
        else:
            if self.withdrawals.deliver(name, lambda: _left_seconds(until(), self._clock())):
                waits.append(0.0)
        return min(waits)


def _left_seconds(end: float | None, now: float) -> float:
    """Return the time until the end of the drain; infinity until the proxy stops."""
    return float("inf") if end is None else end - now


class _Worker:
    """The thread that delivers to one backend."""

    def __init__(
        self,
        step: Callable[[str, Callable[[], float | None]], float],
        schedule: RetrySchedule,
        backend: str,
        component: Component,
    ) -> None:
        self._component = component
        self._deliver = step
        self._schedule = schedule
        self._backend = backend
        self._until: float | None = None
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
            self._fail(f"cannot deliver deletions to backends.{self._backend}: {error}")
        except Exception:  # a bug in one step must not end the thread
            self._fail(f"a fault of the proxy in the delivery to backends.{self._backend}")
            logger.exception(
                "a fault of the proxy in the delivery of deletions to backends.%s", self._backend
            )
        else:
            if self._schedule.is_rejected(self._backend):
                self._fail(
                    f"backends.{self._backend} rejected the deletions of {MANY_REJECTIONS} or more "
                    'conferences and acknowledged none; the lines "deletion pending" have its '
                    "answers"
                )
            else:
                self._component.recover(self._backend)
            return seconds
        return MAX_RETRY_SECONDS

    def _fail(self, reason: str) -> None:
        self._component.fail(reason, self._backend)
