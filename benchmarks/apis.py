"""The proxy with an HTTP backend beside the proxy with a gRPC backend, in the same rounds."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Self

from benchmarks import kinds
from benchmarks.bursts import Bursts, Kind
from benchmarks.contenders import DIRECT, DIRECT_HTTP, HTTP_PROXY, PROXY
from benchmarks.footprint import Footprint
from benchmarks.stats import Spread, ratios

CALLS = (
    ("time of a call, kept connection, p50, µs", kinds.KEPT, "p50_us"),
    ("processor time of a call, kept connection, µs", kinds.KEPT, "cpu_us"),
    ("time of a call, new connection each, p50, µs", kinds.NEW, "p50_us"),
    ("answers per second, 16 connections", kinds.MIDDLE, "answers_per_second"),
    ("p99, 16 connections, µs", kinds.MIDDLE, "p99_us"),
    ("answers per second, 64 connections", kinds.MOST, "answers_per_second"),
    ("a room's life, p50, µs", kinds.LIFE, "p50_us"),
)
"""The rows with figures of bursts: what, the kind of burst, and its figure."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A figure with a gRPC backend and with an HTTP backend, and the second divided by the first.

    `digits` is the number of decimal digits that are worth showing.
    """

    what: str
    digits: int
    grpc: Spread
    http: Spread
    ratio: Spread

    @classmethod
    def of(cls, what: str, digits: int, grpc: Spread, http: Spread) -> Self:
        """Return a pair of figures that have no rounds in common: the ratio is of the medians."""
        return cls(what, digits, grpc, http, Spread.of([http.median / grpc.median]))


def pairs(
    bursts: Mapping[str, Bursts],
    memory: Mapping[str, Footprint],
    start_up: Mapping[str, Spread],
) -> list[Pair]:
    """Return all pairs; `bursts` has those of each kind, by its name."""
    return [
        _of_bursts(
            "a call without a proxy, p50, µs", bursts, kinds.KEPT, "p50_us", DIRECT, DIRECT_HTTP
        ),
        *(_of_bursts(what, bursts, kind, figure) for what, kind, figure in CALLS),
        *_of_memory(memory),
        Pair.of("first answer, s", 3, start_up[PROXY], start_up[HTTP_PROXY]),
    ]


def _of_bursts(
    what: str,
    bursts: Mapping[str, Bursts],
    kind: Kind,
    figure: str,
    grpc: str = PROXY,
    http: str = HTTP_PROXY,
) -> Pair:
    first, second = (
        [getattr(each, figure) for each in bursts[kind.name][name]] for name in (grpc, http)
    )
    return Pair(what, 0, Spread.of(first), Spread.of(second), ratios(second, first))


def _of_memory(memory: Mapping[str, Footprint]) -> Iterator[Pair]:
    if PROXY in memory:
        grpc, http = (Spread.of([memory[name].idle_mb]) for name in (PROXY, HTTP_PROXY))
        yield Pair.of("memory with one Jicofo, MB", 1, grpc, http)
