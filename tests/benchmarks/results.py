"""The committed results, as the tests read them."""

from benchmarks import publish
from benchmarks.report import Report

REPORT = Report.from_json(publish.RESULTS.read_text("utf-8"))
