"""Medians and quartiles: other work on the machine changes them less than it changes a mean."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class Spread:
    """A median and its quartiles, in the unit of the measurement."""

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

    def divided_by(self, divisor: float) -> Self:
        """Return the spread in another unit."""
        return type(self)(self.median / divisor, self.low / divisor, self.high / divisor)


def ratios(numerators: Sequence[float], denominators: Sequence[float]) -> Spread:
    """Return the spread of the ratios of each round.

    A disturbance of a whole round changes both values, so it hardly changes the ratio.
    """
    return Spread.of(a / b for a, b in zip(numerators, denominators, strict=True))
