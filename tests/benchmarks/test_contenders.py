"""The contenders answer the requests of the load client."""

import shutil
from dataclasses import replace
from functools import partial

import pytest

from benchmarks import bench, contenders, kinds
from benchmarks.bursts import Kind
from benchmarks.contenders import DISTRIBUTIONS, ENVOY, UVICORN
from benchmarks.ends import Ends


@pytest.mark.parametrize("name", [UVICORN, ENVOY])
@pytest.mark.parametrize("kind", [kinds.KEPT, kinds.NEW], ids=lambda kind: kind.way)
def test_an_optional_contender_grants_rooms(
    monkeypatch: pytest.MonkeyPatch, name: str, kind: Kind
) -> None:
    """It grants them on kept and on new connections, also to the load client in Python."""
    if name in contenders.left_out():
        pytest.skip(f"needs {DISTRIBUTIONS[name]}, of the extra `bench`")
    monkeypatch.setattr(shutil, "which", lambda _: None)
    short = partial(replace, rounds=1, calls=3)
    with bench.started(short) as run:
        chosen = [program for program in run.programs if program.name == name]
        running = run.start(chosen, run.backends)
        (burst,) = run.bursts(short(kind), running)[name]
    assert burst.p50_us > 0


def test_a_contender_without_its_packages_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The benchmark runs without the extra `bench`."""
    monkeypatch.setattr(contenders, "DISTRIBUTIONS", {UVICORN: ("no-such",), ENVOY: ("no-such",)})
    assert contenders.left_out() == [UVICORN, ENVOY]
    python = Ends({}, ("load",), None, "Python")
    assert contenders.programs(python) == [
        contenders.NAIVE_PROGRAM,
        contenders.PROXY_PROGRAM,
        contenders.HTTP_PROXY_PROGRAM,
    ]
