"""What the tests of the stub backends share: each is built once, or left out and said so."""

import os

import pytest

from .stubs import STUBS, Stub


@pytest.fixture(scope="session", params=STUBS, ids=str)
def stub(request: pytest.FixtureRequest) -> Stub:
    """Return a stub that has been built; without its tools it is skipped, but never in CI."""
    chosen: Stub = request.param
    if missing := chosen.missing_tools:
        complaint = f"the {chosen.title} backend is not tested: {missing} not found"
        if os.environ.get("CI") == "true":
            pytest.fail(complaint)
        pytest.skip(complaint)
    chosen.build()
    return chosen
