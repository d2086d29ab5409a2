"""The table of the proxy with both kinds of backends compares what belongs together."""

from benchmarks import apis, kinds
from benchmarks.bursts import Burst, Bursts
from benchmarks.contenders import DIRECT, DIRECT_HTTP, HTTP_PROXY, PROXY
from benchmarks.footprint import Footprint
from benchmarks.stats import Spread

MEMORY = {PROXY: Footprint(60.0, 75.0), HTTP_PROXY: Footprint(45.0, 70.0)}
START_UP = {PROXY: Spread(0.2, 0.1, 0.3), HTTP_PROXY: Spread(0.3, 0.2, 0.4)}


def test_a_ratio_is_that_of_the_http_backend_to_the_grpc_backend() -> None:
    """Of bursts it compares those of one round; of the rest the medians."""
    found = {pair.what: pair for pair in apis.pairs(_bursts(), MEMORY, START_UP)}
    called = found["time of a call, kept connection, p50, µs"]
    assert (called.grpc.median, called.http.median) == (200.0, 300.0)
    assert called.ratio == Spread.of([1.5])
    assert found["a call without a proxy, p50, µs"].ratio == Spread.of([0.25])
    assert found["memory with one Jicofo, MB"].ratio.median == 0.75
    assert found["first answer, s"].ratio.median == 0.3 / 0.2
    assert len(found) == len(apis.CALLS) + 3


def test_without_proc_the_memory_is_left_out() -> None:
    """The other rows stay."""
    found = apis.pairs(_bursts(), {}, START_UP)
    assert len(found) == len(apis.CALLS) + 2
    assert not [pair for pair in found if "memory" in pair.what]


def _bursts() -> dict[str, Bursts]:
    """Return two rounds of each kind; the second has three times the figures of the first."""
    figures = {DIRECT: 40.0, DIRECT_HTTP: 10.0, PROXY: 100.0, HTTP_PROXY: 150.0}
    made = {name: [_burst(value), _burst(3 * value)] for name, value in figures.items()}
    return {kind.name: made for kind in (*kinds.CALLS, kinds.LIFE)}


def _burst(figure: float) -> Burst:
    return Burst(figure, figure, figure, figure, 1.0, 1.0)
