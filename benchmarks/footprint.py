"""The memory of the contenders after the load."""

from dataclasses import dataclass

from benchmarks.children import Child, Memory

MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True)
class FootprintFigures:
    """Resident memory after the load, and its peak since the start, in megabytes (10^6 bytes)."""

    resident_mb: float
    peak_mb: float

    @classmethod
    def of(cls, memory: Memory) -> "FootprintFigures":
        """Convert the memory of a process to megabytes."""
        return cls(memory.resident_bytes / MEGABYTE, memory.peak_bytes / MEGABYTE)


def measure(children: dict[str, Child]) -> dict[str, FootprintFigures]:
    """Return the figures of each process; an empty dict on a system without /proc."""
    readings = {name: child.memory() for name, child in children.items()}
    return {name: FootprintFigures.of(known) for name, known in readings.items() if known}
