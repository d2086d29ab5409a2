"""The fixture of the tests of the stub backends; it builds each stub once."""

import pytest

from .stubs import STUBS, Stub


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that need Go or Java, so that `make test` can exclude them."""
    for item in items:
        chosen = item.callspec.params.get("stub") if hasattr(item, "callspec") else None
        if isinstance(chosen, Stub) and chosen.tools:
            item.add_marker(pytest.mark.toolchain)


@pytest.fixture(scope="session", params=STUBS, ids=str)
def stub(request: pytest.FixtureRequest) -> Stub:
    """Return a stub that has been built; fail if it needs a tool that is not installed."""
    chosen: Stub = request.param
    if chosen.missing_tools:
        pytest.fail(f"the {chosen.title} stub needs {chosen.missing_tools}; install it")
    chosen.build()
    return chosen
