"""What the tests of the stub backends share: each is built once, or left out and said so."""

import pytest

from .stubs import IN_CI, STUBS, Stub


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the stubs whose tools are missing, and say so in one line; but not in CI."""
    left_out = [item for item in items if _lacks_tools(item)]
    if IN_CI or not left_out:
        return
    missing = [f"{stub.title} ({stub.missing_tools})" for stub in STUBS if stub.missing_tools]
    reason = f"tools are missing for the stubs in {', '.join(missing)}"
    first, *others = left_out  # one is skipped for all of them, since each has a line of its own
    first.add_marker(pytest.mark.skip(reason=reason))
    config.hook.pytest_deselected(items=others)
    items[:] = [item for item in items if item not in others]


def _lacks_tools(item: pytest.Item) -> bool:
    chosen = getattr(item, "callspec", None) and item.callspec.params.get("stub")  # type: ignore[attr-defined]
    return isinstance(chosen, Stub) and bool(chosen.missing_tools)


@pytest.fixture(scope="session", params=STUBS, ids=str)
def stub(request: pytest.FixtureRequest) -> Stub:
    """Return a stub that has been built."""
    chosen: Stub = request.param
    if chosen.missing_tools:
        pytest.fail(f"the {chosen.title} stub needs {chosen.missing_tools}")
    chosen.build()
    return chosen
