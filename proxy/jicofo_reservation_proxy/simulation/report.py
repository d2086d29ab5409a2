"""The report of a run, as text or JSON: what users saw, and the problems that they did not see."""

import json
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import median

from .meetings import Meeting, Plan

MAX_LINES = 20
"""The maximum number of messages in a section of the text report; JSON has no such limit."""

MAX_CHARACTERS = 300
INTERRUPTED = "The run was interrupted: the open rooms were closed, and no more rooms were opened."

_INCIDENT = re.compile(r"\((incident [^()]*)\)")


@dataclass(frozen=True, slots=True)
class Count:
    """How often a message occurred, and the first room where it occurred.

    `detail` is the part that is specific to that room, such as an incident id.
    """

    text: str
    count: int
    room: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Milliseconds:
    """The times to open a room, from its first request, including the pauses between retries."""

    median: float
    percent_95: float
    slowest: float


@dataclass(frozen=True, slots=True)
class Report:
    """The report of a run."""

    client: str
    address: str
    plan: Plan
    meetings: Sequence[Meeting]
    seconds: float
    is_interrupted: bool = False

    @property
    def is_all_well(self) -> bool:
        """Whether every planned meeting opened and closed its room, without any problem."""
        is_whole = len(self.meetings) == self.plan.openings
        return is_whole and not self.seen and not self.wrong

    @property
    def counts(self) -> dict[str, int]:
        """The number of openings for each result."""
        opened = sum(meeting.is_opened for meeting in self.meetings)
        refused = sum(meeting.is_refused for meeting in self.meetings)
        return {
            "openings": len(self.meetings),
            "opened": opened,
            "refused": refused,
            "failed": len(self.meetings) - opened - refused,
            "closed": sum(meeting.is_closed for meeting in self.meetings),
            "repeats": sum(meeting.repeats for meeting in self.meetings),
        }

    @property
    def seen(self) -> list[Count]:
        """What users saw instead of an open room, the most frequent first."""
        return _counted(
            (
                _INCIDENT.sub("(incident …)", meeting.seen),
                meeting.room,
                ", ".join(_INCIDENT.findall(meeting.seen)),
            )
            for meeting in self.meetings
            if meeting.seen is not None
        )

    @property
    def wrong(self) -> list[Count]:
        """The problems that users did not see, the most frequent first."""
        return _counted(
            (remark.text, meeting.room, f"got {remark.got}" if remark.got else "")
            for meeting in self.meetings
            for remark in meeting.remarks
        )

    @property
    def opening_ms(self) -> Milliseconds | None:
        """How long the opened rooms took to open; `None` if no room opened."""
        took = sorted(
            1000 * meeting.opening_seconds for meeting in self.meetings if meeting.is_opened
        )
        if not took:
            return None
        rank = math.ceil(0.95 * len(took)) - 1
        return Milliseconds(round(median(took), 1), round(took[rank], 1), round(took[-1], 1))

    def text(self) -> str:
        """Return the report as text for people."""
        parts = [self._heading, _table(self.counts)]
        if self.seen:
            parts.append(_listed("What users saw instead of an open room:", self.seen))
        if self.wrong:
            parts.append(_listed("Problems that users did not see:", self.wrong))
        if self.meetings and not self.seen and not self.wrong:
            parts.append("Every user saw an open room.")
        parts.append("\n".join(self._times()))
        return "\n\n".join(parts)

    def json(self) -> str:
        """Return the report as JSON for programs, with every meeting."""
        took = self.opening_ms
        fields = {
            "client": self.client,
            "address": self.address,
            "rooms": len(self.plan.rooms),
            "times": self.plan.times,
            "lifetime_seconds": self.plan.lifetime_seconds,
            "is_interrupted": self.is_interrupted,
            "is_all_well": self.is_all_well,
            **self.counts,
            "seen": [asdict(count) for count in self.seen],
            "wrong": [asdict(count) for count in self.wrong],
            "opening_ms": None if took is None else asdict(took),
            "seconds": round(self.seconds, 3),
            "meetings": [asdict(meeting) for meeting in self.meetings],
        }
        return json.dumps(fields, indent=2)

    @property
    def _heading(self) -> str:
        rooms = len(self.plan.rooms)
        what = f"{rooms} room{'s' if rooms > 1 else ''}"
        times = f", {self.plan.times} times each" if self.plan.times > 1 else ""
        lived = f"{self.plan.lifetime_seconds:g} s"
        stop = f"\n{INTERRUPTED}" if self.is_interrupted else ""
        return f"{self.client} at {self.address}: {what}{times}, open for {lived}{stop}"

    def _times(self) -> Iterable[str]:
        took = self.opening_ms
        if took is not None:
            yield (
                f"Opening took {took.median:g} ms (median), {took.percent_95:g} ms (95 %), "
                f"{took.slowest:g} ms (slowest)."
            )
        yield f"The run took {self.seconds:.1f} s."


def _counted(found: Iterable[tuple[str, str, str]]) -> list[Count]:
    counts: dict[str, Count] = {}
    for text, room, detail in found:
        first = counts.get(text, Count(text, 0, room, detail))
        counts[text] = replace(first, count=first.count + 1)
    return sorted(counts.values(), key=lambda count: -count.count)


def _table(counts: dict[str, int]) -> str:
    widths = [max(len(name), len(str(count))) for name, count in counts.items()]
    rows = (counts.keys(), map(str, counts.values()))
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    )


def _listed(heading: str, counts: Sequence[Count]) -> str:
    lines = [_line(count) for count in counts[:MAX_LINES]]
    if others := len(counts) - MAX_LINES:
        lines += [f"  and {others} others"] * (others > 0)
    return "\n".join([heading, *lines])


def _line(count: Count) -> str:
    example = f"{count.room}, {count.detail}" if count.detail else count.room
    return f"{count.count:5} x {_printable(count.text)} (for example room {_printable(example)})"


def _printable(text: str) -> str:
    """Return a reservation system's text, shortened and safe to print on a terminal."""
    cut = text if len(text) <= MAX_CHARACTERS else f"{text[: MAX_CHARACTERS - 1]}…"
    return "".join(
        character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in cut
    )
