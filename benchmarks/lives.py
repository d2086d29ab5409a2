"""A room's life: the POST and the DELETE of a room, as the client waits for both.

Each answer of the backend takes 10 ms. A bridge that calls the backend for the DELETE waits for it
twice. The proxy writes the deletion to the disk instead, so the speed of the disk is measured too.
"""

from collections.abc import Mapping
from pathlib import Path

from jicofo_reservation_proxy.commands.progress import Progress

from benchmarks import disk
from benchmarks.bursts import Bursts, Kind, collected, rounds
from benchmarks.contenders import Contender
from benchmarks.disk import Disk
from benchmarks.load_process import LoadProcess
from benchmarks.stats import Spread

BACKEND_SECONDS = 0.01


def measure(
    load: LoadProcess,
    kind: Kind,
    contenders: Mapping[str, Contender],
    folder: Path,
    progress: Progress,
) -> tuple[Bursts, Disk]:
    """Return the bursts, and the disk of the folder, which is probed in each round."""
    made, probes = [], []
    for each in rounds(load, kind, contenders, progress):
        made.append(each)
        probes.append(disk.fsync_ms(folder))
    return collected(made), Disk(disk.file_system(folder), Spread.of(probes))
