"""The last requests, and those in flight."""

from contextlib import suppress

from jicofo_reservation_proxy.http.access_log import AccessLog, AccessLogEntry
from jicofo_reservation_proxy.http.answers import render_not_found
from jicofo_reservation_proxy.http.dialects import recognition
from jicofo_reservation_proxy.http.recent_requests import MAX_REQUESTS, RecentRequests
from jicofo_reservation_proxy.model import NotFound
from jicofo_reservation_proxy.observability.metrics import Metrics
from jicofo_reservation_proxy.reservations.context import Handled


def _begin(recent: RecentRequests) -> AccessLogEntry:
    return AccessLog(Metrics(), recent).begin("get", recognition("auto")("curl"))


def test_a_request_is_in_flight_until_its_answer_is_ready() -> None:
    """A request is in flight in its block, and one of the last requests afterwards."""
    recent = RecentRequests()
    with _begin(recent) as entry:
        entry.subject = {"id": "7"}
        (seen,) = recent.in_flight()
        assert (seen.operation, seen.subject, seen.seconds, seen.status) == (
            "get",
            {"id": "7"},
            None,
            0,
        )
        assert not recent.last()
        entry.end(Handled(NotFound(), "default"), render_not_found())
    assert not recent.in_flight()
    (seen,) = recent.last()
    assert (seen.status, seen.handled) == (404, Handled(NotFound(), "default"))
    assert seen.seconds is not None
    assert seen.age_seconds >= seen.seconds


def test_a_request_that_ends_in_a_bug_is_remembered() -> None:
    """A handler that raises leaves no request in flight; the request has status 500."""
    recent = RecentRequests()
    with suppress(ZeroDivisionError), _begin(recent):
        _ = 1 // 0
    assert not recent.in_flight()
    (seen,) = recent.last()
    assert (seen.status, seen.handled) == (500, None)


def test_only_the_last_requests_are_remembered() -> None:
    """The number of remembered requests is bounded; the newest one is first."""
    recent = RecentRequests()
    for number in range(MAX_REQUESTS + 1):
        with _begin(recent) as entry:
            entry.subject = {"id": str(number)}
            entry.end(Handled(NotFound()), render_not_found())
    last = recent.last()
    assert len(last) == MAX_REQUESTS
    assert last[0].subject == {"id": str(MAX_REQUESTS)}
