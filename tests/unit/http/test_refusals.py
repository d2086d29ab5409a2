"""The memory of refusals."""

from jicofo_reservation_proxy.http.refusals import Refusal, Refusals
from jicofo_reservation_proxy.observability.metrics import Metrics


def test_refusals_are_remembered_by_kind() -> None:
    """Each kind has its number, its last peer and its explanation; the newest kind is first."""
    refusals = Refusals(Metrics())
    refusals.note(Refusal.TOKEN, "192.0.2.1", "POST")
    refusals.note(Refusal.TOKEN, "192.0.2.2", "POST")
    (seen,) = refusals.seen()
    assert (seen.kind, seen.number, seen.peer) == (Refusal.TOKEN, 2, "192.0.2.2")
    assert "client_token_file" in seen.explanation
    assert seen.first_ms <= seen.last_ms
