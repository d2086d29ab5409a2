"""The verdicts of `check` about the answers of HTTP backends."""

import pytest
from jicofo_reservation_proxy.backends.probe import Probe, probe
from jicofo_reservation_proxy.model import (
    ClientKind,
    CreateOutcome,
    CreateRequest,
    DeleteOutcome,
    Deletion,
    Fault,
    FaultKind,
    GetOutcome,
    Hold,
    NotFound,
    Result,
)


class _Answering:
    """A backend that gives one answer to each GET, and is asked for nothing else."""

    drops_old_deletions = True

    def __init__(self, outcome: GetOutcome) -> None:
        self._outcome = outcome

    def get(self, _id: str, _incident_id: str, _within_seconds: float) -> Result[GetOutcome]:
        return Result(self._outcome, "404")

    def create(
        self, _request: CreateRequest, _client: ClientKind, _hold: Hold, _id: str, _seconds: float
    ) -> Result[CreateOutcome]:
        raise AssertionError

    def delete(self, _deletion: Deletion, _id: str, _seconds: float) -> Result[DeleteOutcome]:
        raise AssertionError


def _probed(outcome: GetOutcome) -> Probe:
    return probe("default", _Answering(outcome), is_xds=False)


@pytest.mark.parametrize(
    ("outcome", "verdict"),
    [
        (NotFound(), "ok, answered in "),
        (Fault(FaultKind.BROKEN, "404", "a page"), "ok, an HTTP server answered 404 (a page) "),
        (Fault(FaultKind.BROKEN, "200", "a page"), "ok, an HTTP server answered 200 (a page) "),
        (Fault(FaultKind.BROKEN, "", "http.get is switched off"), "ok, not asked: http.get is"),
    ],
)
def test_an_answer_shows_that_a_server_listens(outcome: GetOutcome, verdict: str) -> None:
    """Any answer but a redirect may come from a backend that has no GET."""
    found = _probed(outcome)
    assert found.fault is None
    assert found.verdict.startswith(verdict)


@pytest.mark.parametrize("status", ["301", "302", "308"])
def test_a_redirect_is_a_fault(status: str) -> None:
    """The proxy would follow no redirect of a create either; the verdict says what to do."""
    found = _probed(Fault(FaultKind.BROKEN, status, "the answer has nothing"))
    assert found.fault is FaultKind.BROKEN
    assert f"got a redirect ({status}: the answer has nothing)" in found.verdict
    assert "put the URL that it leads to into the target" in found.verdict


def test_an_answer_about_the_credentials_is_a_fault() -> None:
    """`check` then says that the credentials are wrong."""
    assert _probed(Fault(FaultKind.UNAUTHORIZED, "401", "")).fault is FaultKind.UNAUTHORIZED


def test_a_grpc_target_that_speaks_http_1() -> None:
    """The verdict says how the target of an HTTP backend begins."""
    hint = "begin its target with http://"
    detail = "last error: INTERNAL: Failed parsing HTTP/2 (Trying to connect an http1.x server)"
    assert hint in _probed(Fault(FaultKind.UNREACHABLE, "UNAVAILABLE", detail)).verdict
    assert hint not in _probed(Fault(FaultKind.UNREACHABLE, "UNAVAILABLE", "refused")).verdict
