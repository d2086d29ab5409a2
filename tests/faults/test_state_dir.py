"""A proxy with an unusable state directory does not start, and does not change the files."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from jicofo_reservation_proxy.ledger.sqlite_database import (
    APPLICATION_ID,
    FILE_NAME,
    SCHEMA_VERSION,
)
from jicofo_reservation_proxy.ledger.state_directory import LOCK_NAME

from .processes import Proxy, Stage

BAD_STATE = 5
UNWRITABLE = Path("/proc/sys/kernel")
"""A directory in which no user can create a file, not even root."""

NOWHERE = "127.0.0.1:1"


def _refusal(proxy: Proxy) -> str:
    """Launch a proxy that must refuse to start; return its output."""
    proxy.launch()
    assert proxy.wait() == BAD_STATE
    assert "jicofo-reservation-proxy: cannot start" in proxy.text
    return proxy.text


def test_an_unwritable_state_directory_is_refused(stage: Stage) -> None:
    """A proxy does not start if it cannot write to the state directory; the error names it."""
    proxy = stage.proxy(NOWHERE, state_dir=UNWRITABLE)
    assert f"state_dir: cannot write to {UNWRITABLE}/ledger.sqlite3: " in _refusal(proxy)


def test_a_file_as_state_directory_is_refused(stage: Stage) -> None:
    """A proxy does not start if `state_dir` is a file; it does not change the file."""
    file = stage.directory / "file"
    file.write_text("mine")
    refusal = _refusal(stage.proxy(NOWHERE, state_dir=file))
    assert f"state_dir: wanted a writable directory, got {file}: " in refusal
    assert 'make it writable, or set state = "memory"' in refusal
    assert file.read_text() == "mine"


def _damage(file: Path) -> None:
    with closing(sqlite3.connect(file)) as connection:
        connection.executescript("CREATE TABLE t (x); CREATE INDEX i ON t (x);")
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    content = bytearray(file.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    file.write_bytes(content)


def _write_no_database(file: Path) -> None:
    file.write_bytes(b"no database" * 1000)


def _write_newer_version(file: Path) -> None:
    with closing(sqlite3.connect(file)) as connection:
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")


def _write_of_another_program(file: Path) -> None:
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE bookmark (url TEXT)")


@pytest.mark.parametrize(
    ("write", "sentence"),
    [
        (_damage, "got damage ("),
        (_write_no_database, "file is not a database"),
        (_write_newer_version, f"wanted a ledger of version {SCHEMA_VERSION}, got"),
        (_write_of_another_program, "another program's SQLite file"),
    ],
)
def test_a_file_that_is_not_a_valid_ledger_is_refused_and_unchanged(
    stage: Stage, write: Callable[[Path], None], sentence: str
) -> None:
    """The error message names the file and the problem, and the proxy does not change the file."""
    proxy = stage.proxy(NOWHERE)
    proxy.state_dir.mkdir()
    file = proxy.state_dir / FILE_NAME
    write(file)
    before = file.read_bytes()
    refusal = _refusal(proxy)
    assert str(file) in refusal
    assert sentence in refusal
    assert file.read_bytes() == before
    assert {path.name for path in proxy.state_dir.iterdir()} == {FILE_NAME, LOCK_NAME}


def test_state_in_memory_needs_no_directory(stage: Stage) -> None:
    """With `state = "memory"` the proxy serves, and warns that it can lose DELETEs."""
    backend, proxy = stage.pair(state="memory", state_dir=UNWRITABLE)
    client = proxy.client()
    assert client.delete(client.create("room").json["id"]).status == 200
    assert 'state = \\"memory\\": pending deletions will be lost at the next restart' in proxy.text
    assert not backend.has_ended


def test_a_second_proxy_on_the_same_state_directory_is_refused(stage: Stage) -> None:
    """The second proxy does not start while the first proxy runs, and starts after its end."""
    first, second = stage.proxy(NOWHERE), stage.proxy(NOWHERE)
    first.start()
    refusal = _refusal(second)
    assert "state_dir: wanted a directory that no other process uses" in refusal
    assert f"used by process {first.pid};" in refusal
    assert first.client().delete("default.1").status == 200
    first.kill()
    second.start()
