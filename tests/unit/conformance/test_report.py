"""The reports: a table for people, and documents for machines."""

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
    Result(case("out"), Verdict.SKIPPED, "the backend is without get"),
)


def test_the_table_has_a_row_for_each_case_and_explains_the_failures() -> None:
    """A long complaint is cut in its row, and whole below, with the contract's sentence."""
    assert table(RESULTS).splitlines() == [
        "       CASE  WANTED      GOT",
        "pass   good  conference  the same",
        f"FAIL   bad   conference  {LONG[: MAX_CELL - 3]}...",
        "known  old   conference  known: ticket 42",
        "skip   out   conference  the backend is without get",
        "",
        f"FAIL bad: {LONG}",
        "    The contract: bad MUST be so.",
        "",
        "known old: got denial",
        "    The contract: old MUST be so.",
        "",
        "4 cases: 1 passed, 1 failed, 1 known to fail, 1 skipped",
    ]


def test_a_complaint_that_fits_is_not_cut() -> None:
    """A row holds as many characters as it may."""
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
def test_the_summary_counts(results: tuple[Result, ...], text: str) -> None:
    """What there is none of is not told."""
    assert summary(results) == text


def test_junit_has_the_counts_and_a_testcase_for_each_case() -> None:
    """A known failure is skipped there, with its reason; times are in seconds."""
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
        ("skipped", "the backend is without get", None),
    ]


def test_junit_is_well_formed_whatever_a_backend_said() -> None:
    """What XML cannot hold is replaced, and the rest is kept."""
    nasty = 'got INTERNAL ("<&>\x00\x1b[31m\ufffe ü 🚀")'
    root = ET.fromstring(junit([Result(case("bad"), Verdict.FAILED, nasty)]))  # noqa: S314
    failure = root.find("testsuite/testcase/failure")
    assert failure is not None
    assert failure.get("message") == 'got INTERNAL ("<&>\ufffd\ufffd[31m\ufffd ü 🚀")'


def test_junit_takes_a_reason_of_any_characters() -> None:
    """A reason stands in a file of the team's, which may hold anything, too."""
    known = Result(case("old"), Verdict.KNOWN, "\x01", reason="\x02")
    root = ET.fromstring(junit([known]))  # noqa: S314
    skipped = root.find("testsuite/testcase/skipped")
    assert skipped is not None
    assert (skipped.get("message"), skipped.text) == ("known: \ufffd", "\ufffd")


def test_json_has_everything() -> None:
    """The target, the counts, all about each case, and what is left at the backend."""
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


def test_json_is_for_people_too() -> None:
    """Characters are written as they are."""
    assert "größe" in json_text("größe:1", [], [], 0)


def test_a_kit_that_did_not_end_is_an_error_of_its_own() -> None:
    """Else a build server takes the cases that were played for all of them."""
    suite = ET.fromstring(junit(RESULTS, has_ended=False))[0]  # noqa: S314
    assert (suite.get("tests"), suite.get("errors")) == ("5", "1")
    error = suite[-1].find("error")
    assert error is not None
    assert error.get("message") == "the kit did not come to its end"


def test_leftovers_are_told_on_one_line_each() -> None:
    """Whatever an id holds, it is cut and does not reach the terminal as it is."""
    assert leftovers([], 0) == []
    left, lost = leftovers(["a\n\x1b[31m", "b" * 1000, "c", "d"], 2)
    assert left.startswith("left at the backend until their time is over: 4 ('a\\n\\x1b[31m', 'bbb")
    assert left.endswith("...', 'c', ...)")
    assert len(left) < 300
    assert lost == "never answered, and perhaps made and left as well: 2"
