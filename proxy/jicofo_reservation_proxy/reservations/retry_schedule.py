"""The retry schedule: when each deletion is tried, and when its backend.

What a backend does not take is tried again with exponential back-off and jitter. A backend that
cannot be reached, or refuses everything, is paused as a whole.
"""

import random
import threading
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field

from jicofo_reservation_proxy.model import ConferenceRef, Fault, FaultKind

FIRST_RETRY_SECONDS = 1.0
MAX_RETRY_SECONDS = 60.0
"""The back-off doubles from the one to the other; each wait is cut by up to a half, at random."""

MANY_REFUSALS = 5
"""A backend that refused so many deletions, and took none in between, is paused as a whole."""

MANY_ATTEMPTS = 1000
"""How many entries may be added before those of unknown conferences are dropped."""

_OF_THE_BACKEND = {
    FaultKind.UNREACHABLE,
    FaultKind.OVERLOADED,
    FaultKind.SLOW,
    FaultKind.SATURATED,
    FaultKind.UNAUTHORIZED,
}
"""Faults that the next call would meet as well."""


@dataclass(slots=True)
class _Attempts:
    """What was tried for one conference.

    `is_uncertain` is whether a DELETE may have been carried out, or may still be: it was sent, by
    this process or perhaps by an earlier one, and the backend has not said that it took it.
    """

    count: int = 0
    next_at: float = 0.0
    is_uncertain: bool = False


@dataclass(slots=True)
class _Pause:
    """For how long a backend as a whole is left alone.

    `faults` counts what a pause is for, `count` the pauses in a row. `refused` are the conferences
    whose deletion the backend refused since it last took one.
    """

    faults: int = 0
    count: int = 0
    until: float = 0.0
    refused: set[ConferenceRef] = field(default_factory=set)
    woken: threading.Event = field(default_factory=threading.Event)

    @property
    def is_for_refusals(self) -> bool:
        """Whether it refuses them all, rather than some."""
        return len(self.refused) >= MANY_REFUSALS


class RetrySchedule:
    """The schedule of the deletions for these backends.

    `left_over` are the conferences whose deletion an earlier process left pending: whether it was
    sent is uncertain. `clock` counts seconds from anywhere.
    """

    def __init__(
        self,
        backends: Collection[str],
        left_over: Iterable[ConferenceRef],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._pauses = {name: _Pause() for name in backends}
        self._attempts = {ref: _Attempts(is_uncertain=True) for ref in left_over}
        self._most_attempts = 2 * len(self._attempts) + MANY_ATTEMPTS

    def wake(self, backend: str) -> None:
        """Say that there is something to deliver to a backend, or that it answers again."""
        if pause := self._pauses.get(backend):
            pause.woken.set()

    def sleep(self, backend: str, seconds: float) -> None:
        """Wait until somebody says so, or until the time is over."""
        pause = self._pauses[backend]
        pause.woken.wait(seconds)
        pause.woken.clear()

    def wait_seconds(self, ref: ConferenceRef) -> float:
        """Return in how many seconds a deletion is due; 0 if it is."""
        attempts = self._attempts.get(ref)
        own = attempts.next_at - self._clock() if attempts else 0.0
        return max(0.0, own, self.pause_seconds(ref.backend))

    def pause_seconds(self, backend: str) -> float:
        """Return for how many seconds a backend is left alone."""
        return max(0.0, self._pauses[backend].until - self._clock())

    def faults(self, backend: str) -> int:
        """Return how many faults so far were the backend's as a whole."""
        return self._pauses[backend].faults

    def count(self, ref: ConferenceRef) -> int:
        """Return how often a deletion was tried in vain, in this process."""
        attempts = self._attempts.get(ref)
        return attempts.count if attempts else 0

    def is_uncertain(self, ref: ConferenceRef) -> bool:
        """Whether the backend may have been told that this conference is over."""
        attempts = self._attempts.get(ref)
        return attempts is not None and attempts.is_uncertain

    def note_sent(self, ref: ConferenceRef) -> None:
        """Take note that a deletion was sent, and may have been carried out."""
        self._attempts.setdefault(ref, _Attempts()).is_uncertain = True

    def delivered(self, ref: ConferenceRef) -> None:
        """Take note that a backend took a deletion."""
        self.forget(ref)
        self._pauses[ref.backend].refused.clear()
        self.backend_answers(ref.backend)

    def backend_answers(self, backend: str) -> None:
        """Take note that a backend does its work: what could not be sent because of it is due."""
        pause = self._pauses[backend]
        if pause.count and not pause.is_for_refusals:
            pause.count, pause.until = 0, 0.0
            self.wake(backend)

    def put_off(self, ref: ConferenceRef, fault: Fault, *, was_sent: bool) -> None:
        """Take note that a deletion was tried in vain."""
        is_of_the_backend = fault.kind in _OF_THE_BACKEND
        attempts = self._attempts.setdefault(ref, _Attempts())
        attempts.count += 1
        # One that hangs whenever it is told must not be the first to be tried again.
        is_its_own = was_sent or not is_of_the_backend
        attempts.next_at = self._clock() + (_back_off(attempts.count) if is_its_own else 0.0)
        attempts.is_uncertain |= was_sent
        pause = self._pauses[ref.backend]
        if not is_of_the_backend:
            pause.refused.add(ref)
        if is_of_the_backend or pause.is_for_refusals:
            self._pause(pause)

    def forget(self, ref: ConferenceRef) -> None:
        """Forget what was tried for a conference."""
        self._attempts.pop(ref, None)

    def trim(self, is_known: Callable[[ConferenceRef], bool]) -> None:
        """Forget the attempts for conferences that are not known any more, if there are many."""
        if len(self._attempts) > self._most_attempts:
            for ref in list(self._attempts):
                if not is_known(ref):
                    self.forget(ref)
            self._most_attempts = 2 * len(self._attempts) + MANY_ATTEMPTS

    def _pause(self, pause: _Pause) -> None:
        pause.faults += 1
        now = self._clock()
        if pause.until <= now:
            pause.count += 1
            pause.until = now + _back_off(pause.count)


def _back_off(count: int) -> float:
    """Return how long to wait after so many failures in a row, in seconds."""
    longest = min(MAX_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2.0 ** min(count - 1, 16))
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 - it spreads load, it hides nothing
