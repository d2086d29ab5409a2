"""The state directory: only one process uses it, and only the user of that process can read it."""

import errno
import fcntl
import logging
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from jicofo_reservation_proxy.errors import StateError, StateInUseError

LOCK_NAME = "ledger.lock"

logger = logging.getLogger(__name__)

_LOCK_ATTEMPTS = 5
_LOCK_PAUSE_SECONDS = 0.02

HINT = 'make it writable, or set state = "memory"'
"""What the operator can do if the directory is not writable."""


def make(state_dir: Path) -> None:
    """Create the directory if it does not exist. Raises `StateError`, also if it is not safe.

    Whoever can write the directory can replace the ledger. So a directory that all users can write
    is refused, and one that a group can write is logged. Kubernetes makes such a directory for
    `fsGroup`.
    """
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        mode = stat.S_IMODE(state_dir.stat().st_mode)
    except OSError as error:
        raise StateError(
            f"state_dir: wanted a writable directory, got {state_dir}: {error.strerror}; {HINT}"
        ) from error
    if mode & stat.S_IWOTH:
        raise StateError(
            f"state_dir: wanted a directory that only the proxy's user can write, got {state_dir} "
            f"with mode {mode:04o}; run: chmod 700 {state_dir}"
        )
    if mode & stat.S_IWGRP:
        logger.warning(
            "state_dir: %s has mode %04o: its group can replace the ledger", state_dir, mode
        )


@contextmanager
def held(state_dir: Path, *files: str) -> Iterator[None]:
    """Lock the directory against other processes; create these files in it, for this user only.

    The kernel holds the lock, so the lock ends with the process, even if the process is killed.
    Raises `StateInUseError`, `StateError` if a file is a symbolic link, and `OSError` if the
    directory is not writable.
    """
    for name in files:
        create(state_dir / name)
    # The lock of the directory stays if somebody removes the file.
    directory = os.open(state_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    with _closing(directory), _open(state_dir / LOCK_NAME) as file:
        _lock(directory, file, state_dir)
        _lock(file.fileno(), file, state_dir)
        file.truncate()
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def create(path: Path) -> None:
    """Create a file for this user only, if it does not exist. Raises as `held` does."""
    _open(path).close()


def _open(path: Path) -> IO[str]:
    """Open a file for reading and writing; create it if it does not exist.

    Do not follow a symbolic link, which may lead to a file of another program.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.fdopen(os.open(path, flags, 0o600), "r+", encoding="ascii", errors="replace")
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise StateError(
            f"state_dir: wanted a regular file, got the symbolic link {path}; remove the link, or "
            "set state_dir to the directory that holds the ledger"
        ) from error


def is_in_use(state_dir: Path) -> bool:
    """Return whether a process uses the directory. This changes nothing in the directory."""
    return any(_is_locked(path) for path in (state_dir, state_dir / LOCK_NAME))


def _is_locked(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:  # missing or not readable: the caller sees the error when it opens the ledger
        return False
    with _closing(descriptor):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


@contextmanager
def _closing(descriptor: int) -> Iterator[None]:
    """Close a file descriptor at the end."""
    try:
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, file: IO[str], state_dir: Path) -> None:
    """Lock a descriptor; retry, because `is_in_use` of another process locks it for microseconds.

    `file` has the id of the process that holds the lock.
    """
    for _ in range(_LOCK_ATTEMPTS):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_LOCK_PAUSE_SECONDS)
        else:
            return
    raise StateInUseError(
        f"state_dir: wanted a directory that no other process uses, got {state_dir}, used by "
        f"process {file.read(20).strip() or '(id unknown)'}; stop that process, or "
        "set another state_dir"
    )
