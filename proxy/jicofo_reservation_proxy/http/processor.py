"""How much of a processor this process used, of what it could get."""

import os
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class _Times:
    """Seconds so far: elapsed, used by the process, and what its thread ran and waited to run."""

    elapsed: float
    used: float
    ran: float
    waited: float


class Processor:
    """Measures the processor from one call of `share` to the next.

    The main thread makes the object and calls `share`.

    Other programs may take the processor, as a Jitsi server on the same machine does. So the share
    is relative to what the thread could get: Linux counts how long a thread had to wait to run.
    """

    def __init__(self) -> None:
        self._file = -1
        with suppress(OSError):  # not Linux: the share is then that of one core
            path = Path(f"/proc/self/task/{threading.get_native_id()}/schedstat")
            self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._last = self._times()

    def close(self) -> None:
        """Close the file."""
        if self._file >= 0:
            os.close(self._file)

    def share(self) -> float:
        """Return the share of one core that was used since the last call; 1 is a whole core."""
        last, self._last = self._last, self._times()
        elapsed = self._last.elapsed - last.elapsed
        ran, waited = self._last.ran - last.ran, self._last.waited - last.waited
        could_run = ran / (ran + waited) if waited else 1.0
        return (self._last.used - last.used) / max(elapsed * could_run, 1e-9)

    def _times(self) -> _Times:
        ran = waited = 0.0
        if self._file >= 0:
            ran, waited = (
                float(number) / 1e9 for number in os.pread(self._file, 64, 0).split()[:2]
            )
        return _Times(time.monotonic(), time.process_time(), ran, waited)
