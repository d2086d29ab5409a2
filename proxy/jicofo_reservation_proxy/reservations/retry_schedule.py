"""The retry schedule: when the proxy tries each deletion, and when it pauses a backend.

The proxy retries a deletion that the backend does not acknowledge, with exponential back-off and
jitter. It pauses all deletions to a backend after a fault of the backend as a whole (for example,
the backend is unreachable), or if the backend rejects many deletions in a row.
"""

import random
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from jicofo_reservation_proxy.model import ConferenceRef, Fault, FaultKind

FIRST_RETRY_SECONDS = 1.0
MAX_RETRY_SECONDS = 60.0
"""The first back-off, and the longest one. Each further back-off is twice as long as the one before
it. Jitter shortens each back-off by up to half."""

MANY_REJECTIONS = 5
"""The proxy pauses a backend after it rejected the deletions of this many conferences and
acknowledged none."""

MIN_NEW_ENTRIES = 1000
"""The schedule removes the entries of unknown conferences only after at least this many entries
were added since the last removal."""

_OF_THE_BACKEND = {
    FaultKind.UNREACHABLE,
    FaultKind.OVERLOADED,
    FaultKind.SLOW,
    FaultKind.SATURATED,
    FaultKind.UNAUTHORIZED,
}
"""Faults that concern the whole backend: a call for another conference would probably end in the
same fault. Every other fault is a rejection of one deletion."""


@dataclass(slots=True)
class _Attempts:
    """The attempts to deliver the deletion of one conference.

    `count` is the number of failed attempts, and `next_at` is the time of the next attempt.
    `is_uncertain` is true if this process has sent the deletion, or an earlier process may have
    sent it, and no acknowledgement is recorded. The backend may then carry it out at any time.
    `may_happen_later` is true if the backend has not answered it, and does not promise to drop it
    after its deadline.
    """

    count: int = 0
    next_at: float = 0.0
    is_uncertain: bool = False
    may_happen_later: bool = False


@dataclass(slots=True)
class _Pause:
    """The pause of a backend, during which the delivery sends it no deletions.

    The proxy still sends deletions during a pause while it answers a POST, while it answers a
    DELETE that it cannot store, and during the graceful shutdown.

    `faults` is the number of faults so far that required a pause. `count` is the number of pauses
    since the backend last answered. `rejected` contains the conferences whose deletion the backend
    rejected since it last acknowledged a deletion. `last_fault` is the last
    fault since then.
    """

    faults: int = 0
    count: int = 0
    until: float = 0.0
    rejected: set[ConferenceRef] = field(default_factory=set)
    last_fault: Fault | None = None
    woken: threading.Event = field(default_factory=threading.Event)

    @property
    def is_for_rejections(self) -> bool:
        """Whether the backend rejected the deletions of many conferences, and acknowledged none."""
        return len(self.rejected) >= MANY_REJECTIONS


class RetrySchedule:
    """The schedule of the deletions to the backends that were added.

    `clock` counts seconds from an arbitrary start.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._pauses: dict[str, _Pause] = {}
        self._attempts: dict[ConferenceRef, _Attempts] = {}
        self._most_attempts = MIN_NEW_ENTRIES

    def add(
        self, backend: str, left_over: Iterable[ConferenceRef], *, drops_old_deletions: bool = True
    ) -> None:
        """Schedule the deletions to a backend from now on.

        `left_over` are the conferences whose deletion an earlier process left pending. These
        deletions are uncertain, because that process may have sent them. Unless the backend drops
        deletions that were given up, it may also carry them out later.
        """
        self._pauses.setdefault(backend, _Pause())
        for ref in left_over:
            before = _Attempts(is_uncertain=True, may_happen_later=not drops_old_deletions)
            self._attempts.setdefault(ref, before)
        self._most_attempts = max(self._most_attempts, 2 * len(self._attempts) + MIN_NEW_ENTRIES)

    @property
    def backends(self) -> Sequence[str]:
        """The names of the backends that were added."""
        return list(self._pauses)

    def end_pause(self, backend: str) -> None:
        """Try the deletions to a backend again soon, for example at its new address."""
        pause = self._pauses[backend]
        pause.rejected.clear()
        pause.count, pause.until = 0, 0.0
        self.wake(backend)

    def wake(self, backend: str) -> None:
        """Wake the thread that delivers deletions to a backend."""
        if pause := self._pauses.get(backend):
            pause.woken.set()

    def sleep(self, backend: str, seconds: float) -> None:
        """Wait until `wake` is called for this backend, or until the time is over."""
        pause = self._pauses[backend]
        pause.woken.wait(seconds)
        pause.woken.clear()

    def wait_seconds(self, ref: ConferenceRef) -> float:
        """Return the seconds until a deletion is due; 0 if it is due now."""
        attempts = self._attempts.get(ref)
        own = attempts.next_at - self._clock() if attempts else 0.0
        return max(0.0, own, self.pause_seconds(ref.backend))

    def pause_seconds(self, backend: str) -> float:
        """Return the remaining seconds of the pause of a backend; 0 if it is not paused."""
        return max(0.0, self._pauses[backend].until - self._clock())

    def faults(self, backend: str) -> int:
        """Return the number of faults so far that required a pause of the backend."""
        return self._pauses[backend].faults

    def is_rejected(self, backend: str) -> bool:
        """Return whether a backend rejected many deletions and acknowledged none since then."""
        return self._pauses[backend].is_for_rejections

    def count(self, ref: ConferenceRef) -> int:
        """Return the number of failed attempts at a deletion since its entry was last removed."""
        attempts = self._attempts.get(ref)
        return attempts.count if attempts else 0

    def last_fault(self, backend: str) -> Fault | None:
        """Return the fault of the last deletion, if the backend has acknowledged none since."""
        pause = self._pauses.get(backend)
        return pause.last_fault if pause else None

    def is_uncertain(self, ref: ConferenceRef) -> bool:
        """Return whether the deletion of this conference is uncertain."""
        attempts = self._attempts.get(ref)
        return attempts is not None and attempts.is_uncertain

    def may_happen_later(self, ref: ConferenceRef) -> bool:
        """Return whether the backend may carry out a deletion after the proxy has given it up."""
        attempts = self._attempts.get(ref)
        return attempts is not None and attempts.may_happen_later

    def note_sent(self, ref: ConferenceRef) -> None:
        """Mark a deletion as uncertain."""
        self._attempts.setdefault(ref, _Attempts()).is_uncertain = True

    def delivered(self, ref: ConferenceRef) -> None:
        """Record that a backend acknowledged a deletion."""
        self.forget(ref)
        self._pauses[ref.backend].rejected.clear()
        self._pauses[ref.backend].last_fault = None
        self.backend_answers(ref.backend)

    def backend_answers(self, backend: str) -> None:
        """Record that a backend answered.

        End its pause and reset the back-off of its pauses, unless it has rejected many deletions.
        """
        pause = self._pauses[backend]
        if pause.count and not pause.is_for_rejections:
            pause.count, pause.until = 0, 0.0
            self.wake(backend)

    def put_off(self, ref: ConferenceRef, fault: Fault, *, was_sent: bool) -> None:
        """Record a failed attempt at a deletion, and schedule the next attempt."""
        is_of_the_backend = fault.kind in _OF_THE_BACKEND
        attempts = self._attempts.setdefault(ref, _Attempts())
        attempts.count += 1
        # A deletion that was sent may itself be the cause of the fault. So it gets a back-off of
        # its own, and the proxy tries other deletions first. A deletion that was not sent waits
        # only for the pause of the backend.
        is_its_own = was_sent or not is_of_the_backend
        attempts.next_at = self._clock() + (back_off(attempts.count) if is_its_own else 0.0)
        attempts.is_uncertain |= was_sent
        if was_sent:
            # Only a backend that has handled this attempt shows that it handles no earlier one.
            is_unhandled = is_of_the_backend or fault.is_elsewhere
            is_still_unknown = attempts.may_happen_later and is_unhandled
            attempts.may_happen_later = fault.may_happen_later or is_still_unknown
        pause = self._pauses[ref.backend]
        pause.last_fault = fault
        if not is_of_the_backend:
            pause.rejected.add(ref)
        if is_of_the_backend or pause.is_for_rejections:
            self._pause(pause)

    def forget(self, ref: ConferenceRef) -> None:
        """Forget the attempts at the deletion of a conference."""
        self._attempts.pop(ref, None)

    def trim(self, is_known: Callable[[ConferenceRef], bool]) -> None:
        """If there are many entries, remove those of conferences that are no longer known."""
        if len(self._attempts) > self._most_attempts:
            for ref in list(self._attempts):
                if not is_known(ref):
                    self.forget(ref)
            self._most_attempts = 2 * len(self._attempts) + MIN_NEW_ENTRIES

    def _pause(self, pause: _Pause) -> None:
        pause.faults += 1
        now = self._clock()
        if pause.until <= now:
            pause.count += 1
            pause.until = now + back_off(pause.count)


def back_off(count: int) -> float:
    """Return the seconds to wait after this many failures in a row."""
    longest = min(MAX_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2.0 ** min(count - 1, 16))
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 - it spreads load; it protects no secret
