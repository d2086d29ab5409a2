"""Medians and quartiles: the only figures that a noisy machine cannot bend far."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class Spread:
    """A median and the quartiles around it, in the unit of what was measured."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Self:
        """Return the spread of at least one value."""
        known = sorted(values)
        if len(known) == 1:
            return cls(known[0], known[0], known[0])
        low, median, high = statistics.quantiles(known, n=4, method="inclusive")
        return cls(median, low, high)


def ratios(numerators: Sequence[float], denominators: Sequence[float]) -> Spread:
    """Return the spread of round by round ratios: what disturbs a whole round cancels out."""
    return Spread.of(a / b for a, b in zip(numerators, denominators, strict=True))


def differences(of: Sequence[float], over: Sequence[float]) -> list[float]:
    """Return the round by round differences."""
    return [a - b for a, b in zip(of, over, strict=True)]
