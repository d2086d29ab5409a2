"""The comparison of the contenders in one kind of burst."""

from dataclasses import dataclass, fields
from typing import Self

from benchmarks.bursts import Burst, Bursts
from benchmarks.stats import Spread, ratios

FIGURES = tuple(field.name for field in fields(Burst))

Table = dict[str, dict[str, Spread]]
"""Contender → figure (a field of `Burst`) → median and quartiles over all rounds."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """The figures of the contenders, and their ratios to one of them, the base.

    `ratios` is without the base, and empty if the base was not measured.
    """

    kind: str
    base: str
    figures: Table
    ratios: Table

    @classmethod
    def of(cls, kind: str, base: str, bursts: Bursts) -> Self:
        """Compare the bursts of one kind."""
        others = [name for name in bursts if name != base and base in bursts]
        return cls(
            kind,
            base,
            {name: _figures(bursts, name) for name in bursts},
            {name: _ratios(bursts, name, base) for name in others},
        )


def _figures(bursts: Bursts, name: str) -> dict[str, Spread]:
    return {figure: Spread.of(_values(bursts, name, figure)) for figure in FIGURES}


def _ratios(bursts: Bursts, name: str, base: str) -> dict[str, Spread]:
    return {
        figure: ratios(
            _values(bursts, name, figure),
            [value or 1e-9 for value in _values(bursts, base, figure)],
        )
        for figure in FIGURES
    }


def _values(bursts: Bursts, name: str, figure: str) -> list[float]:
    return [getattr(burst, figure) for burst in bursts[name]]
