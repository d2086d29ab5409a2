"""A check after every test: it must leave no thread, no open file and no other logging behind."""

import logging
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")  # both limits are times, which a busy machine exceeds

ENDING_SECONDS = 5.0
"""How long a thread may take to stop. gRPC's threads check only every 0.2 s whether to stop."""


def pytest_xdist_auto_num_workers() -> int:
    """Return how many workers `-n auto` starts: two for each core, since many tests only wait."""
    return min(2 * len(os.sched_getaffinity(0)), 8)


@pytest.fixture(autouse=True)
def _own_logging() -> Iterator[None]:
    """Restore the logging, which commands configure: other tests read the log."""
    loggers = [logging.getLogger(), logging.getLogger("jicofo_reservation_proxy")]
    before = [(logger.level, list(logger.handlers)) for logger in loggers]
    yield
    for logger, (level, handlers) in zip(loggers, before, strict=True):
        logger.setLevel(level)
        logger.handlers[:] = handlers


@pytest.fixture(autouse=True)
def _no_leaks() -> Iterator[None]:
    threads, files = _threads(), _open_files()
    yield
    for thread in _threads() - threads:
        thread.join(ENDING_SECONDS)
    assert not _threads() - threads
    assert not _open_files() - files


def _threads() -> set[threading.Thread]:
    """Return the running threads, except threads of gRPC's core that once called into Python."""
    return {
        thread for thread in threading.enumerate() if not isinstance(thread, threading._DummyThread)
    }


def _open_files() -> set[str]:
    """Return the paths of the regular files that this process has open."""
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        try:
            path = entry.readlink()
        except FileNotFoundError:
            continue
        if path.is_file():
            found.add(str(path))
    return found
