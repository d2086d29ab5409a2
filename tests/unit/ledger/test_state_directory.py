"""The state directory: whether somebody has it can be asked without a trace."""

import fcntl
import threading
from contextlib import closing
from pathlib import Path

import pytest
from jicofo_reservation_proxy.ledger.sqlite_database import Database
from jicofo_reservation_proxy.ledger.state_directory import LOCK_NAME, is_in_use


def test_whether_it_is_in_use(tmp_path: Path) -> None:
    """It is while a database in it is open, and not before and after."""
    state_dir = tmp_path / "state"
    assert not is_in_use(state_dir)
    assert not state_dir.exists()
    with closing(Database(state_dir)):
        written = (state_dir / LOCK_NAME).read_text("ascii")
        assert is_in_use(state_dir)
        assert is_in_use(state_dir)
        assert (state_dir / LOCK_NAME).read_text("ascii") == written
    assert not is_in_use(state_dir)


def test_to_ask_does_not_keep_anybody_out(tmp_path: Path) -> None:
    """A proxy can start at once after the question."""
    Database(tmp_path).close()
    assert not is_in_use(tmp_path)
    Database(tmp_path).close()


def test_many_may_ask_at_once(tmp_path: Path) -> None:
    """Whoever asks is not taken for a proxy by another who does."""
    Database(tmp_path).close()
    with (tmp_path / LOCK_NAME).open() as asking:
        fcntl.flock(asking, fcntl.LOCK_SH | fcntl.LOCK_NB)
        assert not is_in_use(tmp_path)


def test_a_start_waits_for_a_question(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It tries again after a pause, in which whoever asked has let go."""
    Database(tmp_path).close()
    with (tmp_path / LOCK_NAME).open() as asking:
        fcntl.flock(asking, fcntl.LOCK_SH | fcntl.LOCK_NB)
        monkeypatch.setattr("time.sleep", lambda _: fcntl.flock(asking, fcntl.LOCK_UN))
        Database(tmp_path).close()


def test_a_start_in_the_moment_of_the_question(tmp_path: Path) -> None:
    """Whoever asks keeps nobody out, however often."""
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


def test_what_cannot_be_looked_into_is_not_in_use(tmp_path: Path) -> None:
    """Whoever opens it will be told what is wrong with it."""
    (tmp_path / "file").touch()
    assert not is_in_use(tmp_path / "file")
