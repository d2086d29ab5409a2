"""The reports: the table for people, and the documents for programs."""

import json
from xml.etree import ElementTree as ET

import pytest
from jicofo_reservation_proxy.conformance import Case, Result, Verdict
from jicofo_reservation_proxy.conformance.case import parse
from jicofo_reservation_proxy.conformance.report import (
    MAX_CELL,
    json_text,
    junit,
    leftovers,
    summary,
    table,
)

LONG = "step 1, create: " + "x" * 100


def case(name: str) -> Case:
    """Return a case of this name."""
    step = '[[case.step]]\ncall = "create"\nexpect = "conference"\n'
    (made,) = parse(f'[[case]]\nname = "{name}"\nsentence = "{name} MUST be so."\n{step}')
    return made


RESULTS = (
    Result(case("good"), Verdict.PASSED, seconds=0.25),
    Result(case("bad"), Verdict.FAILED, LONG, seconds=1.0),
    Result(case("old"), Verdict.KNOWN, "got denial", seconds=0.5, reason="ticket 42"),
    Result(case("out"), Verdict.SKIPPED, "the backend leaves out get"),
)


def test_the_table_has_a_row_for_each_case_and_explains_the_failures() -> None:
    """A row shortens a long complaint. The whole complaint and the sentence are below the table."""
    assert table(RESULTS).splitlines() == [
        "       CASE  WANTED      GOT",
        "pass   good  conference  as wanted",
        f"FAIL   bad   conference  {LONG[: MAX_CELL - 3]}...",
        "known  old   conference  known: ticket 42",
        "skip   out   conference  the backend leaves out get",
        "",
        f"FAIL bad: {LONG}",
        "    The contract: bad MUST be so.",
        "",
        "known old: got denial",
        "    The contract: old MUST be so.",
        "",
        "4 cases: 1 passed, 1 failed, 1 known to fail, 1 skipped",
    ]


def test_a_complaint_that_fits_is_not_shortened() -> None:
    """A row shows a complaint of the maximum length completely."""
    fitting = Result(case("bad"), Verdict.FAILED, "x" * MAX_CELL)
    assert table([fitting]).splitlines()[1].endswith("  " + "x" * MAX_CELL)


@pytest.mark.parametrize(
    ("results", "text"),
    [
        (RESULTS[:1] * 2, "2 cases: 2 passed"),
        (RESULTS[1:3], "2 cases: 1 failed, 1 known to fail"),
        ((), "0 cases: none was played"),
    ],
)
def test_the_summary_counts_the_verdicts(results: tuple[Result, ...], text: str) -> None:
    """The summary leaves out a verdict that no case has."""
    assert summary(results) == text


def test_junit_has_the_counts_and_a_testcase_for_each_case() -> None:
    """A known failure is a skipped test case with its reason. Times are in seconds."""
    root = ET.fromstring(junit(RESULTS))  # noqa: S314 - it is our own
    (suite,) = root
    assert (root.tag, suite.tag) == ("testsuites", "testsuite")
    assert suite.attrib == {
        "name": "jicofo.reservation.v1.ReservationService",
        "tests": "4",
        "failures": "1",
        "errors": "0",
        "skipped": "2",
        "time": "1.750",
    }
    good, bad, old, out = suite
    assert good.attrib == {
        "classname": "jicofo.reservation.v1.ReservationService",
        "name": "good",
        "time": "0.250",
    }
    assert len(good) == 0
    assert [(child.tag, child.get("message"), child.text) for child in (*bad, *old, *out)] == [
        ("failure", LONG, "bad MUST be so."),
        ("skipped", "known: ticket 42", "got denial"),
        ("skipped", "the backend leaves out get", None),
    ]


def test_junit_is_well_formed_with_any_text_from_a_backend() -> None:
    """JUnit XML replaces characters that XML does not allow, and keeps all others."""
    nasty = 'got INTERNAL ("<&>\x00\x1b[31m\ufffe ü 🚀")'
    root = ET.fromstring(junit([Result(case("bad"), Verdict.FAILED, nasty)]))  # noqa: S314
    failure = root.find("testsuite/testcase/failure")
    assert failure is not None
    assert failure.get("message") == 'got INTERNAL ("<&>\ufffd\ufffd[31m\ufffd ü 🚀")'


def test_junit_accepts_a_reason_with_any_characters() -> None:
    """JUnit XML replaces characters that XML does not allow in a reason too."""
    known = Result(case("old"), Verdict.KNOWN, "\x01", reason="\x02")
    root = ET.fromstring(junit([known]))  # noqa: S314
    skipped = root.find("testsuite/testcase/skipped")
    assert skipped is not None
    assert (skipped.get("message"), skipped.text) == ("known: \ufffd", "\ufffd")


def test_json_has_all_results() -> None:
    """JSON has the target, the counts, each case, and the conferences left at the backend."""
    tree = json.loads(json_text("127.0.0.1:50051", RESULTS, ["17"], 3))
    assert tree["target"] == "127.0.0.1:50051"
    assert tree["counts"] == {"pass": 1, "fail": 1, "known": 1, "skip": 1}
    assert (tree["left"], tree["lost"]) == (["17"], 3)
    assert [entry["verdict"] for entry in tree["cases"]] == ["pass", "fail", "known", "skip"]
    assert tree["cases"][2] == {
        "name": "old",
        "verdict": "known",
        "sentence": "old MUST be so.",
        "wanted": "conference",
        "detail": "got denial",
        "reason": "ticket 42",
        "seconds": 0.5,
    }


def test_json_keeps_characters_outside_ascii() -> None:
    """JSON contains such characters without escapes, so that people can read it."""
    assert "größe" in json_text("größe:1", [], [], 0)


def test_an_interrupted_kit_is_an_error_in_junit() -> None:
    """If the kit was interrupted, the JUnit document has an error that says so."""
    suite = ET.fromstring(junit(RESULTS, has_ended=False))[0]  # noqa: S314
    assert (suite.get("tests"), suite.get("errors")) == ("5", "1")
    error = suite[-1].find("error")
    assert error is not None
    assert error.get("message") == "the kit stopped before it had played all cases"


def test_each_kind_of_leftover_has_one_line() -> None:
    """The report shortens ids and escapes their control characters before it prints them."""
    assert leftovers([], 0) == []
    left, lost = leftovers(["a\n\x1b[31m", "b" * 1000, "c", "d"], 2)
    assert left.startswith(
        "conferences that the kit did not delete, still at the backend: 4 ('a\\n\\x1b[31m', 'bbb"
    )
    assert left.endswith("...', 'c', ...)")
    assert len(left) < 300
    assert lost == "requests without an answer that may have created a conference: 2"
