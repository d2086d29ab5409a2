"""Known failures: a file of cases and reasons."""

from pathlib import Path

import pytest
from jicofo_reservation_proxy.conformance import Result, Verdict, cases
from jicofo_reservation_proxy.conformance.known_failures import PASSES, judged, load
from jicofo_reservation_proxy.errors import SettingsError

NAMES = ("get", "get-deleted")
CASE = cases()[0]
REASONS = {CASE.name: "ticket 42"}


def test_a_file_has_reasons_by_case(tmp_path: Path) -> None:
    """A line is a case and why it fails."""
    file = tmp_path / "known.toml"
    file.write_text('get-deleted = "we keep them for a day"\n', "utf-8")
    assert load(file, NAMES) == {"get-deleted": "we keep them for a day"}


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b'gte = "typo"', "gte: wanted the name of a case (--list shows them), got another"),
        (b'get = ""', "get: wanted the reason why it fails, got ''"),
        (b'get = " "', "get: wanted the reason why it fails, got ' '"),
        (b"get = true", "get: wanted the reason why it fails, got True"),
        (b"[get]\nwhy = 'x'", "get: wanted the reason why it fails, got {'why': 'x'}"),
    ],
)
def test_a_fault_names_the_case(tmp_path: Path, content: bytes, fault: str) -> None:
    """It says what was wanted and got, and in which file."""
    file = tmp_path / "known.toml"
    file.write_bytes(content)
    with pytest.raises(SettingsError) as error:
        load(file, NAMES)
    assert str(error.value) == f"{fault} (in {file})"


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    """One run is enough to mend the file."""
    file = tmp_path / "known.toml"
    file.write_text("gte = 'x'\nget = 1\n", "utf-8")
    with pytest.raises(SettingsError) as error:
        load(file, NAMES)
    assert [fault.key for fault in error.value.faults] == ["gte", "get"]


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (None, "cannot be read: No such file or directory"),
        (b"get", "wanted TOML: "),
        (b"get = '\xff'", "wanted TOML: "),
    ],
)
def test_a_file_that_is_none_is_refused(tmp_path: Path, content: bytes | None, fault: str) -> None:
    """It says whether it cannot be read, or is not TOML."""
    file = tmp_path / "known.toml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SettingsError) as error:
        load(file, NAMES)
    assert str(error.value).startswith(f"{file}: {fault}")


def test_a_known_failure_does_not_count() -> None:
    """It keeps what is wrong with it, and has its reason."""
    failed = Result(CASE, Verdict.FAILED, "wanted conference, got denial")
    known = judged(failed, REASONS)
    assert (known.verdict, known.detail, known.reason) == (
        Verdict.KNOWN,
        failed.detail,
        "ticket 42",
    )
    known.raise_for_failure()


def test_a_known_failure_that_passes_fails() -> None:
    """A list that is out of date is told."""
    result = judged(Result(CASE, Verdict.PASSED), REASONS)
    assert (result.verdict, result.detail) == (Verdict.FAILED, PASSES)
    assert PASSES == "it is listed as a known failure, but passes; take it off the list"


@pytest.mark.parametrize("verdict", [Verdict.PASSED, Verdict.FAILED, Verdict.SKIPPED])
def test_other_results_stay_as_they_are(verdict: Verdict) -> None:
    """What is not on the list, or was skipped, is not judged anew."""
    result = Result(CASE, verdict, "detail")
    assert judged(result, {}) is result
    skipped = Result(CASE, Verdict.SKIPPED)
    assert judged(skipped, REASONS) is skipped


def test_a_failure_is_an_assertion_error_for_pytest() -> None:
    """It says which case, what is wrong, and the contract's sentence."""
    failed = Result(CASE, Verdict.FAILED, "wanted conference, got denial")
    with pytest.raises(AssertionError) as error:
        failed.raise_for_failure()
    wanted = f"{CASE.name}: wanted conference, got denial\n{CASE.sentence}"
    assert str(error.value) == wanted
