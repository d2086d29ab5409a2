"""What the contenders hold in memory once they have worked."""

from dataclasses import dataclass

from benchmarks.children import Child, Memory

MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True)
class FootprintFigures:
    """Megabytes (10^6 bytes) in memory after the load, and at the most since the start."""

    resident_mb: float
    peak_mb: float

    @classmethod
    def of(cls, memory: Memory) -> "FootprintFigures":
        """Return the figures of one reading."""
        return cls(memory.resident_bytes / MEGABYTE, memory.peak_bytes / MEGABYTE)


def measure(children: dict[str, Child]) -> dict[str, FootprintFigures]:
    """Return the figures of each process; none on a system without /proc."""
    readings = {name: child.memory() for name, child in children.items()}
    return {name: FootprintFigures.of(known) for name, known in readings.items() if known}
