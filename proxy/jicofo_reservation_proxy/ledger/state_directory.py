"""The state directory: it belongs to one process at a time, and its files to one user."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from jicofo_reservation_proxy.errors import StateError, StateInUseError

LOCK_NAME = "ledger.lock"

_LOCK_ATTEMPTS = 5
_LOCK_PAUSE_SECONDS = 0.02

HINT = 'make it writable, or set state = "memory"'
"""What to do where it cannot be written."""


def make(state_dir: Path) -> None:
    """Make the directory where it is missing. Raises `StateError`."""
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StateError(
            f"state_dir: wanted a writable directory, got {state_dir}: {error.strerror}; {HINT}"
        ) from error


@contextmanager
def held(state_dir: Path, *files: str) -> Iterator[None]:
    """Keep other processes out of the directory; make these files in it for this user only.

    The lock is the kernel's, so it ends with the process, however that ends. Raises
    `StateInUseError`, and `OSError` where the directory cannot be written.
    """
    for name in (LOCK_NAME, *files):
        (state_dir / name).touch(mode=0o600)
    with (state_dir / LOCK_NAME).open("r+") as file:
        _lock(file, state_dir)
        file.truncate()
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def is_in_use(state_dir: Path) -> bool:
    """Tell whether a process has the directory; nothing in it is changed."""
    try:
        with (state_dir / LOCK_NAME).open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # missing, or not for this user: whoever opens it will say so
        return False
    return False


def _lock(file: IO[str], state_dir: Path) -> None:
    """Lock the file; try again, since `is_in_use` in another process holds it for microseconds."""
    for _ in range(_LOCK_ATTEMPTS):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_LOCK_PAUSE_SECONDS)
        else:
            return
    raise StateInUseError(
        f"state_dir: wanted a directory of this proxy's own, got {state_dir}, which the "
        f"process {file.read(20).strip() or 'of unknown number'} is using; stop that one, or "
        "set another state_dir"
    )
