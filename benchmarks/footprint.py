"""The memory of the contenders, with one client and after the load."""

from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.contenders import Contender
from benchmarks.load_process import Job, LoadProcess

MEGABYTE = 1_000_000
IDLE_CALLS = 200


@dataclass(frozen=True, slots=True)
class Footprint:
    """Resident memory in megabytes (10^6 bytes).

    `idle_mb` is after `IDLE_CALLS` calls on one connection, as one Jicofo makes them; `peak_mb` is
    the maximum since the start, read after the load.
    """

    idle_mb: float
    peak_mb: float


def idle(load: LoadProcess, contenders: Mapping[str, Contender]) -> dict[str, int]:
    """Let one client call each contender; return the resident bytes. Without /proc: nothing."""
    held = {}
    for name, contender in contenders.items():
        load.run(Job("kept", contender.speaks, contender.port, 1, 0.0, IDLE_CALLS))
        if memory := contender.child.memory():
            held[name] = memory.resident_bytes
    return held


def footprints(
    idle: Mapping[str, int], contenders: Mapping[str, Contender]
) -> dict[str, Footprint]:
    """Return the memory of each process, which has run since `idle` was measured.

    Linux updates the peak late, so it can be a little below the other figure.
    """
    peaks = {name: contender.child.memory() for name, contender in contenders.items()}
    return {
        name: Footprint(idle[name] / MEGABYTE, max(idle[name], peak.peak_bytes) / MEGABYTE)
        for name, peak in peaks.items()
        if peak
    }
