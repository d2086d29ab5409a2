"""The state directory: only one process uses it, and only the user of that process can read it."""

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
"""What the operator can do if the directory is not writable."""


def make(state_dir: Path) -> None:
    """Create the directory if it does not exist. Raises `StateError`."""
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StateError(
            f"state_dir: wanted a writable directory, got {state_dir}: {error.strerror}; {HINT}"
        ) from error


@contextmanager
def held(state_dir: Path, *files: str) -> Iterator[None]:
    """Lock the directory against other processes; create these files in it, for this user only.

    The kernel holds the lock, so the lock ends with the process, even if the process is killed.
    Raises `StateInUseError`, and `OSError` if the directory is not writable.
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
    """Return whether a process uses the directory. This changes nothing in the directory."""
    try:
        with (state_dir / LOCK_NAME).open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # missing or not readable: the caller sees the error when it opens the ledger
        return False
    return False


def _lock(file: IO[str], state_dir: Path) -> None:
    """Lock the file; retry, because `is_in_use` of another process locks it for microseconds."""
    for _ in range(_LOCK_ATTEMPTS):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_LOCK_PAUSE_SECONDS)
        else:
            return
    raise StateInUseError(
        f"state_dir: wanted a directory that no other process uses, got {state_dir}, used by "
        f"process {file.read(20).strip() or '(id unknown)'}; stop that process, or "
        "set another state_dir"
    )
