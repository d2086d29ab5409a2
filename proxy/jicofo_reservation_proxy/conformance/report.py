"""Results → a table for people, JUnit XML for build servers, JSON for other programs."""

import json
import re
from collections import Counter
from collections.abc import Sequence
from xml.etree import ElementTree as ET

from .play import NO_ROWS
from .result import Result, Verdict

SUITE = "jicofo.reservation.v1.ReservationService"

MAX_CELL = 100
"""The maximum number of characters of a detail in the table. The whole text is below the table."""

MAX_WANTED = 120
"""The maximum number of characters of the wanted answers in the table. The JSON has the whole."""

_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""The characters that an XML document must not contain (XML 1.0, production 2)."""

_WORDS = {
    Verdict.PASSED: "passed",
    Verdict.FAILED: "failed",
    Verdict.KNOWN: "known to fail",
    Verdict.SKIPPED: "skipped",
}


def table(results: Sequence[Result]) -> str:
    """Return a table with a row for each case, the details of the failures, and the summary."""
    rows = [("", "CASE", "WANTED", "GOT"), *map(_row, results)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return "\n".join([*lines, "", *_explanations(results), *_warnings(results), summary(results)])


def summary(results: Sequence[Result]) -> str:
    """Return the number of cases for each verdict: `42 cases: 40 passed, 2 skipped`."""
    counts = Counter(result.verdict for result in results)
    parts = [f"{counts[verdict]} {word}" for verdict, word in _WORDS.items() if counts[verdict]]
    return f"{len(results)} cases: {', '.join(parts) or 'none was played'}"


NOT_ENDED = "the kit stopped before it had played all cases"


def leftovers(left: Sequence[str], lost: int) -> list[str]:
    """Return the lines about conferences that the kit did not delete, at most two.

    `left` and `lost` are as in `json_text`.
    """
    lines = []
    if left:
        ids = ", ".join(ascii(_shortened(each)) for each in left[:3]) + (", ..." * (len(left) > 3))
        lines.append(
            f"conferences that the kit did not delete, still at the backend: {len(left)} ({ids})"
        )
    if lost:
        lines.append(f"requests without an answer that may have created a conference: {lost}")
    return lines


def junit(results: Sequence[Result], *, has_ended: bool = True) -> bytes:
    """Return the results as JUnit XML. A known failure is a skipped test case there.

    If the kit did not play all cases, the XML has an extra test case `kit` with an error.
    """
    counts = Counter(result.verdict for result in results)
    suite = ET.Element(
        "testsuite",
        name=SUITE,
        tests=str(len(results) + (not has_ended)),
        failures=str(counts[Verdict.FAILED]),
        errors=str(int(not has_ended)),
        skipped=str(counts[Verdict.SKIPPED] + counts[Verdict.KNOWN]),
        time=_seconds(sum(result.seconds for result in results)),
    )
    for result in results:
        _add_case(suite, result)
    if not has_ended:
        kit = ET.SubElement(suite, "testcase", classname=SUITE, name="kit", time=_seconds(0))
        ET.SubElement(kit, "error", message=NOT_ENDED)
    root = ET.Element("testsuites")
    root.append(suite)
    ET.indent(root)
    document: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return document + b"\n"


def json_text(target: str, results: Sequence[Result], left: Sequence[str], lost: int) -> str:
    """Return the results as JSON.

    `left` are the ids of the conferences that the kit created and did not delete. `lost` is the
    number of requests that got no answer and may have created a conference.
    """
    tree = {
        "target": target,
        "counts": Counter(result.verdict.value.lower() for result in results),
        "cases": [
            {
                "name": result.case.name,
                "verdict": result.verdict.value.lower(),
                "sentence": result.case.sentence,
                "wanted": result.case.wanted,
                "detail": result.detail,
                "reason": result.reason,
                "seconds": round(result.seconds, 3),
            }
            for result in results
        ],
        "left": list(left),
        "lost": lost,
    }
    return json.dumps(tree, indent=2, ensure_ascii=False)


def _row(result: Result) -> tuple[str, str, str, str]:
    got = {
        Verdict.PASSED: "as wanted",
        Verdict.FAILED: _shortened(result.detail),
        Verdict.KNOWN: f"known: {result.reason}",
        Verdict.SKIPPED: result.detail,
    }
    wanted = _shortened(result.case.wanted, MAX_WANTED)
    return (result.verdict.value, result.case.name, wanted, got[result.verdict])


def _shortened(text: str, most: int = MAX_CELL) -> str:
    return text if len(text) <= most else f"{text[: most - 3]}..."


def _explanations(results: Sequence[Result]) -> list[str]:
    return [
        line
        for result in results
        if result.verdict in {Verdict.FAILED, Verdict.KNOWN}
        for line in (
            f"{result.verdict.value} {result.case.name}: {result.detail}",
            f"    The contract: {result.case.sentence}",
            "",
        )
    ]


def _warnings(results: Sequence[Result]) -> list[str]:
    if any(result.detail == NO_ROWS for result in results):
        return [f"warning: {NO_ROWS} (docs/backends.md)", ""]
    return []


def _add_case(suite: ET.Element, result: Result) -> None:
    case = ET.SubElement(
        suite,
        "testcase",
        classname=SUITE,
        name=result.case.name,
        time=_seconds(result.seconds),
    )
    text = _NO_XML.sub("\ufffd", result.detail)
    if result.verdict is Verdict.FAILED:
        ET.SubElement(case, "failure", message=text).text = result.case.sentence
    elif result.verdict is Verdict.KNOWN:
        reason = _NO_XML.sub("\ufffd", result.reason)
        ET.SubElement(case, "skipped", message=f"known: {reason}").text = text
    elif result.verdict is Verdict.SKIPPED:
        ET.SubElement(case, "skipped", message=text)


def _seconds(seconds: float) -> str:
    return f"{seconds:.3f}"
