"""The kit against broken backends: each case finds the backends that break its sentence."""

import re
from collections.abc import Mapping, Sequence

import grpc
import pytest
from google.protobuf.any_pb2 import Any
from google.rpc import error_details_pb2, status_pb2
from jicofo_reservation_proxy.backends.grpc.contract import DETAILS_KEY
from jicofo_reservation_proxy.conformance import Result, Verdict
from jicofo_reservation_proxy.conformance.case import Capability
from jicofo_reservation_proxy.conformance.kit import DENIED_ROOM
from jicofo_reservation_proxy.conformance.play import NO_ROWS
from jicofo_reservation_proxy.conformance.report import table
from jicofo_reservation_proxy.gen.jicofo.reservation.v1 import reservation_pb2 as pb

from .broken import BACKENDS, Backend
from .broken.backend import Context
from .broken.holders import KeepsNoRows
from .playing import CASES, Broken, play, play_on_each

pytestmark = pytest.mark.timeout(300)

Verdicts = Mapping[Broken, Sequence[Result]]


@pytest.fixture(scope="module")
def verdicts(request: pytest.FixtureRequest) -> Verdicts:
    """Return the results of the kit for the broken backends of the selected tests."""
    return play_on_each([each for each in BACKENDS if _is_chosen(each, request.session.items)])


@pytest.mark.parametrize("backend", BACKENDS, ids=lambda backend: backend.__name__)
def test_a_broken_backend_fails_exactly_its_own_cases(backend: Broken, verdicts: Verdicts) -> None:
    """The cases of a bug fail, each with its own complaint. All other cases pass."""
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


def test_every_case_has_a_backend_that_fails_only_this_case() -> None:
    """No case is superfluous: for each case there is a bug that no other case finds."""
    only = {name for backend in BACKENDS if len(backend.failures) == 1 for name in backend.failures}
    assert only == {case.name for case in CASES}


def test_a_correct_backend_passes_every_case() -> None:
    """The stub keeps the contract: it passes every case, and the kit skips none."""
    results = play(Backend(), CASES)
    assert [result for result in results if result.verdict is not Verdict.PASSED] == []


def test_a_backend_without_rows_passes_with_a_warning() -> None:
    """The kit skips the cases of the holders, and says that only one proxy may use the backend."""
    results = play(KeepsNoRows(), CASES)
    skipped = [result for result in results if result.verdict is Verdict.SKIPPED]
    passed = [result for result in results if result.verdict is Verdict.PASSED]
    assert {result.case.name for result in skipped} == {
        case.name for case in CASES if "holders" in case.needs
    }
    assert {result.detail for result in skipped} == {NO_ROWS}
    assert len(passed) + len(skipped) == len(CASES)
    assert table(results).count(f"warning: {NO_ROWS}") == 1


class DeniesByStatus(Backend):
    """Denies with an error status, as the contract allows for a library that can only fail."""

    def receive(self, request: pb.CreateConferenceRequest, context: Context) -> None:
        """Fail with a sentence for the user in the details of the status."""
        if request.room.raw == DENIED_ROOM:
            sentence = error_details_pb2.LocalizedMessage(locale="en", message="Not this room.")
            details = Any()
            details.Pack(sentence)
            status = status_pb2.Status(code=7, details=[details])
            context.set_trailing_metadata(((DETAILS_KEY, status.SerializeToString()),))
            context.abort(grpc.StatusCode.PERMISSION_DENIED, "denied")


def test_a_denial_may_be_an_error_status() -> None:
    """An error status with a `google.rpc.LocalizedMessage` is a denial with a sentence."""
    results = play(DeniesByStatus(), [case for case in CASES if "denial" in case.needs])
    assert {result.verdict for result in results} == {Verdict.PASSED}


@pytest.mark.parametrize("left_out", ["get", "delete", "health", "denial", "holders"])
def test_the_kit_skips_cases_that_need_a_missing_capability(left_out: Capability) -> None:
    """The kit skips the cases that need the capability, and says why."""
    needing = [case for case in CASES if left_out in case.needs]
    results = play(Backend(), needing, [left_out])
    assert {result.verdict for result in results} == {Verdict.SKIPPED}
    assert {result.detail for result in results} == {f"the backend leaves out {left_out}"}


def _is_chosen(backend: Broken, items: Sequence[pytest.Item]) -> bool:
    chosen = [item.callspec.params for item in items if hasattr(item, "callspec")]
    return any(params.get("backend") is backend for params in chosen)


def _is_as_told(complaint: str, wanted: str) -> bool:
    """Return whether a complaint is the wanted complaint, in which "…" stands for any text."""
    pattern = ".+".join(map(re.escape, wanted.split("…")))
    return re.fullmatch(pattern, complaint) is not None
