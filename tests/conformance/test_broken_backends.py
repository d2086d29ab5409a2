"""The kit, against backends that break the contract: each case finds the ones that it is for."""

import re
from collections.abc import Mapping, Sequence

import grpc
import pytest
from google.protobuf.any_pb2 import Any
from google.rpc import error_details_pb2, status_pb2
from jicofo_reservation_proxy.backends.contract import DETAILS_KEY
from jicofo_reservation_proxy.conformance import Result, Verdict
from jicofo_reservation_proxy.conformance.case import Capability
from jicofo_reservation_proxy.conformance.kit import DENIED_ROOM
from jicofo_reservation_proxy.gen.jicofo.reservation.v1 import reservation_pb2 as pb

from .broken import BACKENDS, Backend
from .broken.backend import Context
from .playing import CASES, Broken, play, play_on_each

pytestmark = pytest.mark.timeout(300)

Verdicts = Mapping[Broken, Sequence[Result]]


@pytest.fixture(scope="module")
def verdicts(request: pytest.FixtureRequest) -> Verdicts:
    """Return what the kit says of the broken backends that the chosen tests ask for."""
    return play_on_each([each for each in BACKENDS if _is_chosen(each, request.session.items)])


@pytest.mark.parametrize("backend", BACKENDS, ids=lambda backend: backend.__name__)
def test_a_broken_backend_fails_exactly_the_cases_that_are_for_it(
    backend: Broken, verdicts: Verdicts
) -> None:
    """The cases that a bug breaks fail, each with its own complaint, and no others do."""
    results = verdicts[backend]
    assert len(results) == len(CASES)
    found = {
        result.case.name: result.detail
        for result in results
        if result.verdict is not Verdict.PASSED
    }
    assert found.keys() == backend.failures.keys(), found
    for name, complaint in backend.failures.items():
        assert _is_as_told(found[name], complaint), f"{name}: {found[name]}"


def test_every_case_has_a_backend_that_only_it_catches() -> None:
    """No case can be left out: for each there is a bug that nothing else finds."""
    only = {name for backend in BACKENDS if len(backend.failures) == 1 for name in backend.failures}
    assert only == {case.name for case in CASES}


def test_a_sound_backend_passes_everything() -> None:
    """The stub, which keeps the contract, fails no case and has none skipped."""
    results = play(Backend(), CASES)
    assert [result for result in results if result.verdict is not Verdict.PASSED] == []


class DeniesByStatus(Backend):
    """Denies in gRPC's own words, as the contract lets a backend do that can only fail."""

    def receive(self, request: pb.CreateConferenceRequest, context: Context) -> None:
        """Fail with a sentence for people in the details."""
        if request.room.raw == DENIED_ROOM:
            sentence = error_details_pb2.LocalizedMessage(locale="en", message="Not this room.")
            details = Any()
            details.Pack(sentence)
            status = status_pb2.Status(code=7, details=[details])
            context.set_trailing_metadata(((DETAILS_KEY, status.SerializeToString()),))
            context.abort(grpc.StatusCode.PERMISSION_DENIED, "denied")


def test_a_denial_may_be_a_status() -> None:
    """An error status with a `google.rpc.LocalizedMessage` is a denial, with its sentence."""
    results = play(DeniesByStatus(), [case for case in CASES if "denial" in case.needs])
    assert {result.verdict for result in results} == {Verdict.PASSED}


@pytest.mark.parametrize("left_out", ["get", "delete", "health", "denial"])
def test_what_a_backend_leaves_out_is_skipped(left_out: Capability) -> None:
    """The cases that need it are skipped, and say why."""
    needing = [case for case in CASES if left_out in case.needs]
    results = play(Backend(), needing, [left_out])
    assert {result.verdict for result in results} == {Verdict.SKIPPED}
    assert {result.detail for result in results} == {f"the backend is without {left_out}"}


def _is_chosen(backend: Broken, items: Sequence[pytest.Item]) -> bool:
    chosen = [item.callspec.params for item in items if hasattr(item, "callspec")]
    return any(params.get("backend") is backend for params in chosen)


def _is_as_told(complaint: str, wanted: str) -> bool:
    """Tell whether a complaint is the wanted one, in which "…" stands for anything."""
    pattern = ".+".join(map(re.escape, wanted.split("…")))
    return re.fullmatch(pattern, complaint) is not None
