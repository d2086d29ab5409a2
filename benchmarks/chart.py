"""The results of a run as a chart: an SVG for README.md, readable on light and on dark pages."""

from collections.abc import Iterator
from dataclasses import dataclass
from xml.sax.saxutils import escape

from benchmarks import kinds
from benchmarks.bursts import Kind
from benchmarks.contenders import DIRECT_CALLS, ENVOY, HTTP_PROXY, PROXY
from benchmarks.report import Report
from benchmarks.stats import Spread

TITLE = "The proxy and other bridges in front of the same backend"
COLUMNS = 2
WIDTH, PANEL_WIDTH = 920, 445
LABEL_WIDTH, BAR_WIDTH = 135, 215
MARGIN, TOP, BOTTOM, ROW, HEAD = 15, 50, 40, 22, 40

STYLE = """
  .page { fill: #ffffff } text { fill: #1f2328; font: 13px sans-serif }
  .title { font-size: 17px; font-weight: bold } .head { font-weight: bold }
  .unit, .value { fill: #59636e } .unit { font-weight: normal } .value { font-size: 12px }
  .other { fill: #8c959f } .proxy { fill: #0969da }
  .less { fill: #8c959f; fill-opacity: 0.3; stroke: #8c959f; stroke-dasharray: 3 2 }
  .quartiles { stroke: #1f2328; stroke-width: 1.5 }
  @media (prefers-color-scheme: dark) {
    .page { fill: #0d1117 } text { fill: #f0f6fc }
    .unit, .value { fill: #9198a1 }
    .other { fill: #656c76 } .proxy { fill: #4493f8 }
    .less { fill: #656c76; stroke: #9198a1 }
    .quartiles { stroke: #f0f6fc }
  }
"""


TIME = "ms; less is better"
RATE = "answers/s; more is better"


@dataclass(frozen=True, slots=True)
class Panel:
    """One diagram: a figure of one kind of burst."""

    title: str
    unit: str
    kind: Kind
    figure: str

    def values(self, report: Report) -> dict[str, Spread]:
        """Return the figure of each bridge; microseconds as milliseconds."""
        (figures,) = (each.figures for each in report.comparisons if each.kind == self.kind.name)
        scale = 1000 if self.figure.endswith("_us") else 1
        return {
            name: figures[name][self.figure].divided_by(scale)
            for name in figures
            if name not in DIRECT_CALLS
        }


PANELS = (
    Panel("A call on a kept connection", TIME, kinds.KEPT, "p50_us"),
    Panel("A call on a new connection", TIME, kinds.NEW, "p50_us"),
    Panel("Processor time of a call", TIME, kinds.KEPT, "cpu_us"),
    Panel("p99, 16 connections", TIME, kinds.MIDDLE, "p99_us"),
    Panel("Throughput, 16 connections", RATE, kinds.MIDDLE, "answers_per_second"),
    Panel("Throughput, 64 connections", RATE, kinds.MOST, "answers_per_second"),
)


def svg(report: Report) -> str:
    """Return the chart of a run."""
    shown = [(panel, panel.values(report)) for panel in PANELS]
    panel_height = HEAD + ROW * max(len(values) for _, values in shown)
    height = TOP + panel_height * -(-len(shown) // COLUMNS) + BOTTOM
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}"',
        ' role="img" aria-labelledby="title desc">',
        f'<title id="title">{escape(TITLE)}</title>',
        f'<desc id="desc">{escape(description(report))}</desc>',
        f"<style>{STYLE}</style>",
        f'<rect class="page" width="{WIDTH}" height="{height}"/>',
        f'<text class="title" x="{MARGIN}" y="30">{escape(TITLE)}</text>',
    ]
    for number, (panel, values) in enumerate(shown):
        down, across = divmod(number, COLUMNS)
        x, y = MARGIN + across * PANEL_WIDTH, TOP + down * panel_height
        lines += [f'<g transform="translate({x} {y})">', *_panel(panel, values), "</g>"]
    lines += [*_legend(height - BOTTOM / 2), "</svg>"]
    return "\n".join(lines) + "\n"


def description(report: Report) -> str:
    """Return the medians of the chart as text, for readers who do not see it."""
    return " ".join(_sentence(panel, panel.values(report)) for panel in PANELS)


def _sentence(panel: Panel, values: dict[str, Spread]) -> str:
    medians = ", ".join(f"{name} {number(spread.median)}" for name, spread in values.items())
    return f"{panel.title} ({panel.unit}): {medians}."


def number(value: float) -> str:
    """Return a number with about three digits."""
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _panel(panel: Panel, values: dict[str, Spread]) -> Iterator[str]:
    title = f'{escape(panel.title)} <tspan class="unit">{escape(panel.unit)}</tspan>'
    yield f'<text class="head" x="0" y="18">{title}</text>'
    per_unit = BAR_WIDTH / max(spread.high for spread in values.values())
    for line, (name, spread) in enumerate(values.items()):
        yield from _bar(name, spread, per_unit, HEAD - 12 + line * ROW)


def _bar(name: str, spread: Spread, per_unit: float, y: float) -> Iterator[str]:
    kind = {PROXY: "proxy", HTTP_PROXY: "proxy", ENVOY: "less"}.get(name, "other")
    low, length, high = (value * per_unit for value in (spread.low, spread.median, spread.high))
    middle = y + ROW / 2
    text_y = middle + 4
    yield f'<text x="{LABEL_WIDTH - 8}" y="{text_y:g}" text-anchor="end">{escape(name)}</text>'
    yield (
        f'<rect class="{kind}" x="{LABEL_WIDTH}" y="{y + 4:g}" width="{length:.1f}"'
        f' height="{ROW - 8}"/>'
    )
    yield (
        f'<line class="quartiles" x1="{LABEL_WIDTH + low:.1f}" x2="{LABEL_WIDTH + high:.1f}"'
        f' y1="{middle:g}" y2="{middle:g}"/>'
    )
    end = LABEL_WIDTH + max(length, high) + 6
    yield f'<text class="value" x="{end:.1f}" y="{text_y:g}">{number(spread.median)}</text>'


def _legend(y: float) -> Iterator[str]:
    """Yield the meaning of the colours and of the line."""
    x = float(MARGIN)
    for kind, text in (
        ("proxy", "the proxy"),
        ("other", "other bridges, the happy path only"),
        ("less", "less work: no form, no id, no answer for Jitsi"),
    ):
        yield f'<rect class="{kind}" x="{x:g}" y="{y - 7:g}" width="14" height="14"/>'
        yield f'<text x="{x + 20:g}" y="{y + 5:g}">{escape(text)}</text>'
        x += 50 + 6.5 * len(text)
    yield f'<line class="quartiles" x1="{x:g}" x2="{x + 20:g}" y1="{y:g}" y2="{y:g}"/>'
    yield f'<text x="{x + 26:g}" y="{y + 5:g}">quartiles</text>'
