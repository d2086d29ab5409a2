"""What the users saw, and what went wrong behind their screens: meetings → a text, or JSON."""

import json
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import median

from .meetings import Meeting, Plan

MAX_LINES = 20
"""How many different texts are listed; JSON has all of them."""

MAX_CHARACTERS = 300
INTERRUPTED = "It was interrupted: rooms that were open were closed, and no other was opened."

_INCIDENT = re.compile(r"\((incident [^()]*)\)")


@dataclass(frozen=True, slots=True)
class Count:
    """How often something came up, and one room where it did, with what was special there."""

    text: str
    count: int
    room: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Milliseconds:
    """How long rooms took to open, from a client's first request on, its pauses included."""

    median: float
    percent_95: float
    slowest: float


@dataclass(frozen=True, slots=True)
class Report:
    """The account of a simulation."""

    client: str
    address: str
    plan: Plan
    meetings: Sequence[Meeting]
    seconds: float
    is_interrupted: bool = False

    @property
    def is_all_well(self) -> bool:
        """Whether every planned room opened and closed, with nothing wrong anywhere."""
        is_whole = len(self.meetings) == self.plan.openings
        return is_whole and not self.seen and not self.wrong

    @property
    def counts(self) -> dict[str, int]:
        """How many openings came to what."""
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
        """What users saw other than an open room, the most frequent first."""
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
        """What went wrong behind the screens, the most frequent first."""
        return _counted(
            (remark.text, meeting.room, f"got {remark.got}" if remark.got else "")
            for meeting in self.meetings
            for remark in meeting.remarks
        )

    @property
    def opening_ms(self) -> Milliseconds | None:
        """How long the rooms took that opened; `None` where none did."""
        took = sorted(
            1000 * meeting.opening_seconds for meeting in self.meetings if meeting.is_opened
        )
        if not took:
            return None
        rank = math.ceil(0.95 * len(took)) - 1
        return Milliseconds(round(median(took), 1), round(took[rank], 1), round(took[-1], 1))

    def text(self) -> str:
        """Return the report for people."""
        parts = [self._heading, _table(self.counts)]
        if self.seen:
            parts.append(_listed("What users saw instead of an open room:", self.seen))
        if self.wrong:
            parts.append(_listed("What went wrong behind the screen:", self.wrong))
        if self.meetings and not self.seen and not self.wrong:
            parts.append("Every user saw an open room.")
        parts.append("\n".join(self._times()))
        return "\n\n".join(parts)

    def json(self) -> str:
        """Return the same for programs, with every meeting."""
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
        yield f"All of it took {self.seconds:.1f} s."


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
    return f"{count.count:5} x {_printable(count.text)} (such as {_printable(example)})"


def _printable(text: str) -> str:
    """Return what may be written to a terminal of what a reservation system said."""
    cut = text if len(text) <= MAX_CHARACTERS else f"{text[: MAX_CHARACTERS - 1]}…"
    return "".join(
        character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in cut
    )
