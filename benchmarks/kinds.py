"""The kinds of bursts of a run."""

from dataclasses import replace

from benchmarks.bursts import Kind

KEPT = Kind("one kept connection (Jicofo)", "kept", 1, rounds=60, calls=40)
NEW = Kind("a new connection each (Prosody)", "new", 1, rounds=60, calls=40)
MIDDLE = Kind("16 connections", "kept", 16, rounds=12, seconds=0.7)
MOST = Kind("64 connections", "kept", 64, rounds=12, seconds=0.7)
LIFE = Kind("a room's life", "life", 1, rounds=20, calls=20)
HANGING = Kind("16 calls hang, one connection", "kept", 1, rounds=15, calls=200)
HANGING_4 = Kind("16 calls hang, 4 connections", "kept", 4, rounds=15, calls=100)

CALLS = (KEPT, NEW, MIDDLE, MOST)
"""The kinds in which every contender takes part; the others have their own files."""


def quick(kind: Kind) -> Kind:
    """Return a short form of a kind, to see that the benchmark works."""
    return replace(
        kind,
        rounds=max(2, kind.rounds // 8),
        calls=kind.calls // 2,
        seconds=kind.seconds / 2,
    )
