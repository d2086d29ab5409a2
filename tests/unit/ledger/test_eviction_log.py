"""The log of evictions: at most one line each minute, with the number of evictions."""

import pytest
from jicofo_reservation_proxy.ledger.eviction_log import EvictionLog
from jicofo_reservation_proxy.observability.throttle import SECONDS_BETWEEN_LINES


def test_at_most_one_line_each_minute(caplog: pytest.LogCaptureFixture) -> None:
    """The log has at most one line each minute. A line counts the evictions since the last line."""
    now = [1000.0]
    evictions = EvictionLog("aliases", 3, lambda: now[0])
    for number in range(5):
        evictions.note(f"entry {number}")
        now[0] += SECONDS_BETWEEN_LINES / 4
    assert caplog.messages == [
        (
            "the ledger is full (3 aliases): evicted 1 since the last such line; the last one was "
            "entry 0"
        ),
        (
            "the ledger is full (3 aliases): evicted 4 since the last such line; the last one was "
            "entry 4"
        ),
    ]
