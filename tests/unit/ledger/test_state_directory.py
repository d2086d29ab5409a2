"""The state directory: a check whether a process uses it, without any change in it."""

import fcntl
import threading
from contextlib import closing
from pathlib import Path

import pytest
from jicofo_reservation_proxy.ledger.sqlite_database import Database
from jicofo_reservation_proxy.ledger.state_directory import LOCK_NAME, is_in_use


def test_a_directory_is_in_use_while_a_database_is_open(tmp_path: Path) -> None:
    """The directory is in use while a database in it is open, and not before or after."""
    state_dir = tmp_path / "state"
    assert not is_in_use(state_dir)
    assert not state_dir.exists()
    with closing(Database(state_dir)):
        written = (state_dir / LOCK_NAME).read_text("ascii")
        assert is_in_use(state_dir)
        assert is_in_use(state_dir)
        assert (state_dir / LOCK_NAME).read_text("ascii") == written
    assert not is_in_use(state_dir)


def test_a_check_does_not_prevent_a_start(tmp_path: Path) -> None:
    """A proxy can start at once after a check."""
    Database(tmp_path).close()
    assert not is_in_use(tmp_path)
    Database(tmp_path).close()


def test_several_checks_at_once(tmp_path: Path) -> None:
    """A check does not mistake another check for a proxy."""
    Database(tmp_path).close()
    with (tmp_path / LOCK_NAME).open() as asking:
        fcntl.flock(asking, fcntl.LOCK_SH | fcntl.LOCK_NB)
        assert not is_in_use(tmp_path)


def test_a_start_waits_for_a_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If a check holds the lock, a starting proxy waits and tries again."""
    Database(tmp_path).close()
    with (tmp_path / LOCK_NAME).open() as asking:
        fcntl.flock(asking, fcntl.LOCK_SH | fcntl.LOCK_NB)
        monkeypatch.setattr("time.sleep", lambda _: fcntl.flock(asking, fcntl.LOCK_UN))
        Database(tmp_path).close()


def test_a_start_during_frequent_checks(tmp_path: Path) -> None:
    """Frequent checks do not prevent a start."""
    stopped, asking = threading.Event(), threading.Event()

    def ask() -> None:
        while not stopped.is_set():
            is_in_use(tmp_path)
            asking.set()

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        asking.wait()
        for _ in range(50):
            Database(tmp_path).close()
    finally:
        stopped.set()
        thread.join()


def test_an_unreadable_directory_is_not_in_use(tmp_path: Path) -> None:
    """A path that is not a directory counts as not in use; opening it reports the error."""
    (tmp_path / "file").touch()
    assert not is_in_use(tmp_path / "file")
