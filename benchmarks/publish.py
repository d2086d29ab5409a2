"""Write the results of a run into README.md and results.svg.

The results are those in results.json, which `make bench ARGS='--json benchmarks/results.json'`
writes.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script, from anywhere

from benchmarks import chart, tables
from benchmarks.report import Report

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results.json"
CHART = HERE / "results.svg"
PAGE = HERE / "README.md"
BEGIN = "<!-- begin: `make bench-chart` writes the rest of this section -->"
END = "<!-- end -->"


def page(text: str, report: Report) -> str:
    """Return the text of README.md with the results of a run between its two markers.

    Raises ValueError if a marker is missing.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{PAGE.name}: wanted the lines {BEGIN!r} and {END!r}, got none")
    picture = f"![{chart.TITLE}: a chart. The tables below have its figures.]({CHART.name})"
    return f"{before}{BEGIN}\n\n{picture}\n\n{tables.markdown(report)}\n\n{END}{after}"


def main() -> None:
    """Write both files."""
    report = Report.from_json(RESULTS.read_text("utf-8"))
    CHART.write_text(chart.svg(report), "utf-8")
    PAGE.write_text(page(PAGE.read_text("utf-8"), report), "utf-8")


if __name__ == "__main__":
    main()
