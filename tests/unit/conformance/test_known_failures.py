"""Known failures: the file with cases and reasons."""

from pathlib import Path

import pytest
from jicofo_reservation_proxy.conformance import Result, Verdict, cases
from jicofo_reservation_proxy.conformance.known_failures import PASSES, judged, load
from jicofo_reservation_proxy.errors import SettingsError

NAMES = ("get", "get-deleted")
CASE = cases()[0]
REASONS = {CASE.name: "ticket 42"}


def test_a_file_contains_reasons_by_case(tmp_path: Path) -> None:
    """Each line contains the name of a case and the reason why it fails."""
    file = tmp_path / "known.toml"
    file.write_text('get-deleted = "we keep them for a day"\n', "utf-8")
    assert load(file, NAMES) == {"get-deleted": "we keep them for a day"}


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (
            b'gte = "typo"',
            "gte: wanted the name of a case (--list shows the names), got an unknown name",
        ),
        (b'get = ""', "get: wanted the reason why the case fails, got ''"),
        (b'get = " "', "get: wanted the reason why the case fails, got ' '"),
        (b"get = true", "get: wanted the reason why the case fails, got True"),
        (b"[get]\nwhy = 'x'", "get: wanted the reason why the case fails, got {'why': 'x'}"),
    ],
)
def test_a_fault_names_the_case(tmp_path: Path, content: bytes, fault: str) -> None:
    """The error names the case, and says what was wanted, what was got, and in which file."""
    file = tmp_path / "known.toml"
    file.write_bytes(content)
    with pytest.raises(SettingsError) as error:
        load(file, NAMES)
    assert str(error.value) == f"{fault} (in {file})"


def test_one_error_shows_all_faults(tmp_path: Path) -> None:
    """One error lists every fault in the file, so that one run is enough to correct it."""
    file = tmp_path / "known.toml"
    file.write_text("gte = 'x'\nget = 1\n", "utf-8")
    with pytest.raises(SettingsError) as error:
        load(file, NAMES)
    assert [fault.key for fault in error.value.faults] == ["gte", "get"]


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (None, "cannot be read: No such file or directory"),
        (b"get", "is not valid TOML: "),
        (b"get = '\xff'", "is not valid TOML: "),
    ],
)
def test_an_unreadable_file_is_refused(tmp_path: Path, content: bytes | None, fault: str) -> None:
    """The error says whether the file cannot be read, or is not TOML."""
    file = tmp_path / "known.toml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SettingsError) as error:
        load(file, NAMES)
    assert str(error.value).startswith(f"{file}: {fault}")


def test_a_known_failure_does_not_count() -> None:
    """A known failure keeps its detail, gets its reason, and raises nothing."""
    failed = Result(CASE, Verdict.FAILED, "wanted conference, got denial")
    known = judged(failed, REASONS)
    assert (known.verdict, known.detail, known.reason) == (
        Verdict.KNOWN,
        failed.detail,
        "ticket 42",
    )
    known.raise_for_failure()


def test_a_known_failure_that_passes_fails() -> None:
    """If a listed case passes, the result is a failure that tells the user to correct the list."""
    result = judged(Result(CASE, Verdict.PASSED), REASONS)
    assert (result.verdict, result.detail) == (Verdict.FAILED, PASSES)
    assert PASSES == "the case is listed as a known failure, but it passes; remove it from the list"


@pytest.mark.parametrize("verdict", [Verdict.PASSED, Verdict.FAILED, Verdict.SKIPPED])
def test_other_results_are_not_changed(verdict: Verdict) -> None:
    """The list does not change the result of a case that is not listed, or was skipped."""
    result = Result(CASE, verdict, "detail")
    assert judged(result, {}) is result
    skipped = Result(CASE, Verdict.SKIPPED)
    assert judged(skipped, REASONS) is skipped


def test_a_failure_raises_an_assertion_error() -> None:
    """The error contains the name, the detail, and the sentence of the case."""
    failed = Result(CASE, Verdict.FAILED, "wanted conference, got denial")
    with pytest.raises(AssertionError) as error:
        failed.raise_for_failure()
    wanted = f"{CASE.name}: wanted conference, got denial\n{CASE.sentence}"
    assert str(error.value) == wanted
