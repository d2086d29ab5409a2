"""The benchmark says on which disk the state directories are."""

from pathlib import Path

import pytest

from benchmarks import disk


def test_the_file_system_is_that_of_the_nearest_mount_point(tmp_path: Path) -> None:
    """/proc is below / too, but it has a mount point of its own."""
    assert disk.file_system(Path("/proc/self")) == "proc"
    assert disk.file_system(tmp_path) == disk.file_system(tmp_path / "later")


def test_the_probe_leaves_no_file(tmp_path: Path) -> None:
    """It appends to a file of its own, and removes it."""
    assert disk.fsync_ms(tmp_path) > 0
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_not_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The system's own choice is used instead."""
    monkeypatch.setattr(disk, "ON_DISK", tmp_path)
    assert disk.folder() == str(tmp_path)
    monkeypatch.setattr(disk, "ON_DISK", tmp_path / "missing")
    assert disk.folder() is None
