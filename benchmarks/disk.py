"""The disk below the state directories: a DELETE waits until it is written there."""

import os
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.stats import Spread

BYTES = 4096  # about what the ledger appends to its write-ahead log for a DELETE
PROBES = 20
IN_MEMORY = {"tmpfs", "ramfs"}
ON_DISK = Path("/var/tmp")  # noqa: S108 - unlike /tmp, it is hardly ever in memory; files are random

_sync = getattr(os, "fdatasync", os.fsync)  # macOS has no fdatasync


@dataclass(frozen=True, slots=True)
class Disk:
    """The file system, and the time that it needs to append 4 kB and make them durable."""

    file_system: str
    fsync_ms: Spread


def folder() -> str | None:
    """Return a folder for the state directories, on a disk; None for the system's choice."""
    return str(ON_DISK) if os.access(ON_DISK, os.W_OK) else None


def fsync_ms(folder: Path) -> float:
    """Return the median of some appends to a file in the folder, each with its fdatasync."""
    path = folder / "fsync"
    with path.open("ab", buffering=0) as file:
        probes = [_append_ms(file.fileno()) for _ in range(PROBES)]
    path.unlink()
    return statistics.median(probes)


def _append_ms(file: int) -> float:
    began = time.perf_counter()
    os.write(file, bytes(BYTES))
    _sync(file)
    return (time.perf_counter() - began) * 1000


def file_system(path: Path) -> str:
    """Return the type of the file system of a path, such as `ext4`; without /proc, `unknown`."""
    mounts = Path("/proc/mounts")
    if not mounts.exists():
        return "unknown"
    known = [line.split()[1:3] for line in mounts.read_text().splitlines()]
    around = [(len(point), n, kind) for n, (point, kind) in enumerate(known) if _is_in(path, point)]
    return max(around)[2]


def _is_in(path: Path, point: str) -> bool:
    return path.resolve().is_relative_to(point)
