"""The health of the components, and the log lines about their changes."""

import logging
import threading

import pytest
from jicofo_reservation_proxy.observability.health import Component, Health, Words

BACKEND = Words(subject="backends.default")


class Clock:
    """A clock that a test sets."""

    seconds = 100.0

    def __call__(self) -> float:
        """Return the time."""
        return self.seconds


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the log lines, with their levels."""
    return [f"{record.levelname} {record.message}" for record in caplog.records]


def test_a_component_is_well_until_it_fails(caplog: pytest.LogCaptureFixture) -> None:
    """A failure has a reason, and it begins a state of its own."""
    component = Component("ledger", Words())
    before = component.state
    assert (before.is_well, before.reason) == (True, "")
    component.fail("disk full")
    assert not component.state.is_well
    assert component.state.reason == "disk full"
    assert component.state.since_ms >= before.since_ms
    assert lines(caplog) == ["WARNING ledger: lost: disk full"]


def test_each_change_is_one_line_with_its_duration(caplog: pytest.LogCaptureFixture) -> None:
    """A repeated failure, and work that goes on, log nothing."""
    clock = Clock()
    component = Component("backends.default", BACKEND, clock)
    component.recover()
    for _ in range(3):
        component.fail("refused")
        clock.seconds += 66.7
    for _ in range(3):
        component.recover()
    assert lines(caplog) == [
        "WARNING backends.default: lost: refused",
        "WARNING backends.default: back after 3m20s",
    ]
    assert component.state.is_well
    assert component.state.reason == ""


def test_another_reason_changes_the_state_but_not_its_begin(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The last reason is shown, and only the first one is logged."""
    component = Component("backends.default", BACKEND)
    component.fail("refused")
    since_ms = component.state.since_ms
    component.fail("timed out")
    assert component.state.reason == "timed out"
    assert component.state.since_ms == since_ms
    assert len(caplog.records) == 1


def test_other_reasons_are_logged_if_the_words_say_so(caplog: pytest.LogCaptureFixture) -> None:
    """Of credentials, each different fault is worth a line; the same one is not."""
    words = Words("broken", "well again", level=logging.ERROR, tells_each_reason=True)
    component = Component("credentials", words)
    component.fail("no file")
    component.fail("no file")
    component.fail("no PEM")
    assert lines(caplog) == [
        "ERROR credentials: broken: no file",
        "ERROR credentials: broken: no PEM",
    ]


def test_a_component_is_well_when_all_its_sources_are(caplog: pytest.LogCaptureFixture) -> None:
    """Two tables that fail for one reason log one line, and the second one to recover another."""
    component = Component("ledger", Words("cannot be written", "can be written again"))
    component.fail("disk full", "conferences")
    component.fail("disk full", "aliases")
    component.recover("conferences")
    assert not component.state.is_well
    component.recover("aliases")
    assert component.state.is_well
    assert lines(caplog) == [
        "WARNING ledger: cannot be written: disk full",
        "WARNING ledger: can be written again after 0s",
    ]


def test_a_remark_holds_until_the_first_result(caplog: pytest.LogCaptureFixture) -> None:
    """A backend that was not called yet is well, and its first answer is no change."""
    component = Component("backends.default", Words(remark="not called yet"))
    assert component.state.reason == "not called yet"
    component.recover()
    assert component.state.is_well
    assert component.state.reason == ""
    assert not caplog.records


def test_health_has_one_component_of_each_name() -> None:
    """Two parts of the proxy that name the same component share it."""
    health = Health()
    assert health.component("ledger") is health.component("ledger")
    health.component("delivery")
    assert [state.name for state in health.states()] == ["ledger", "delivery"]


def test_a_component_is_forgotten_with_those_below_it() -> None:
    """The components of a backend that was removed are gone; those of another one stay."""
    health = Health()
    names = ["backends.a", "backends.a.credentials", "backends.ab"]
    components = [health.component(name) for name in names]
    health.forget("backends.a")
    assert [state.name for state in health.states()] == ["backends.ab"]
    components[0].fail("late")  # a call that ends later does no harm
    assert [state.name for state in health.states()] == ["backends.ab"]


def test_many_threads_log_one_line(caplog: pytest.LogCaptureFixture) -> None:
    """If many calls fail at the same time, the change is one line."""
    component = Component("backends.default", BACKEND)
    barrier = threading.Barrier(8)

    def fail() -> None:
        barrier.wait()
        component.fail("refused")

    threads = [threading.Thread(target=fail) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(caplog.records) == 1
