"""README.md and the chart show the committed results."""

from xml.etree import ElementTree as ET

import pytest

from benchmarks import chart, publish, tables
from benchmarks.stats import Spread
from tests.benchmarks.results import REPORT

SVG = "{http://www.w3.org/2000/svg}"


def test_the_page_and_the_chart_are_those_of_the_results() -> None:
    """`make bench-chart` was run after the last change of the results."""
    page = publish.PAGE.read_text("utf-8")
    assert page == publish.page(page, REPORT)
    assert publish.CHART.read_text("utf-8") == chart.svg(REPORT)


def test_a_page_without_markers_is_refused() -> None:
    """Otherwise the results would be appended to the page."""
    with pytest.raises(ValueError, match="begin: `make bench-chart`"):
        publish.page("# Benchmark\n", REPORT)


def test_the_chart_has_a_text_alternative() -> None:
    """A reader who does not see the chart gets its title and every median that it shows."""
    root = ET.fromstring(chart.svg(REPORT))  # noqa: S314 - our own text
    assert root.get("role") == "img"
    assert root.get("aria-labelledby") == "title desc"
    assert root.findtext(f"{SVG}title") == chart.TITLE
    told = root.findtext(f"{SVG}desc") or ""
    shown = [
        "".join(text.itertext()) for text in root.iter(f"{SVG}text") if text.get("class") == "value"
    ]
    assert len(shown) >= 2 * len(chart.PANELS)
    assert all(f" {median}" in told for median in shown)


def test_the_bars_stay_inside_the_chart() -> None:
    """No bar and no quartile is longer than its panel."""
    root = ET.fromstring(chart.svg(REPORT))  # noqa: S314 - our own text
    end = chart.LABEL_WIDTH + chart.BAR_WIDTH
    for line in root.iterfind(f".//{SVG}g/{SVG}line"):
        assert float(line.attrib["x2"]) <= end + 0.1


@pytest.mark.parametrize(
    ("value", "text"), [(12345.6, "12,346"), (123.4, "123"), (12.34, "12.3"), (1.234, "1.23")]
)
def test_a_number_has_about_three_digits(value: float, text: str) -> None:
    """More digits would be noise."""
    assert chart.number(value) == text


def test_a_single_value_has_no_quartiles() -> None:
    """Brackets show quartiles only where there were several rounds."""
    assert tables.bracketed(Spread(1.5, 1.0, 2.0), 1) == "1.5 (1.0..2.0)"
    assert tables.bracketed(Spread.of([1.5]), 1) == "1.5"
