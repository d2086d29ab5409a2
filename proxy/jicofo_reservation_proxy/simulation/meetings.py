"""The meetings of a run: the simulated client opens rooms, keeps them open, and closes them."""

import threading
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from urllib.parse import quote

from .client import Client
from .outcomes import Opened, Refused, Remark
from .schedule import Schedule

CUT_SHORT = "the client closed the room before people left: its reservation had ended"
GUESTS = "guest.example.com"


@dataclass(frozen=True, slots=True)
class Plan:
    """The rooms to open, the number of openings of each room, and the duration of an opening."""

    rooms: Sequence[str]
    times: int
    lifetime_seconds: float
    owner: str | None
    has_guests: bool = False
    """Whether a new guest with a random name opens the room each time, instead of `owner`."""

    @property
    def openings(self) -> int:
        """The total number of openings of all rooms."""
        return len(self.rooms) * self.times


@dataclass(frozen=True, slots=True)
class Meeting:
    """One opening of a room, and its result.

    `seen` is what the user saw instead of an open room, or `None`.
    """

    room: str
    number: int
    opening_seconds: float
    seen: str | None = None
    is_opened: bool = False
    is_refused: bool = False
    is_closed: bool = False
    repeats: int = 0
    remarks: tuple[Remark, ...] = ()


class Meetings:
    """Holds the meetings of a plan with a client. The threads of a schedule may share it.

    The client opens a room again at once after its DELETE has ended, or after the room did not
    open. `stop` sets `stops`, so that a client which waits on this event stops waiting.
    """

    def __init__(
        self, plan: Plan, client: Client, schedule: Schedule, stops: threading.Event
    ) -> None:
        self._plan = plan
        self._client = client
        self._schedule = schedule
        self._stops = stops
        self._lock = threading.Lock()
        self._open = 0
        self._past: list[Meeting] = []

    def begin(self) -> None:
        """Put the first opening of every room on the schedule."""
        for room in self._plan.rooms:
            self._schedule.add(0.0, partial(self._meet, room, 1))

    def stop(self) -> None:
        """Open no more rooms, and close the open rooms now."""
        self._stops.set()
        self._schedule.hurry()

    @property
    def past(self) -> list[Meeting]:
        """The meetings that have ended, and the meetings whose room did not open."""
        with self._lock:
            return list(self._past)

    @property
    def progress(self) -> str:
        """Return the progress as a short text."""
        with self._lock:
            past, planned = len(self._past), self._plan.openings
            return f"{past} of {planned} meetings finished, {self._open} rooms open"

    def _meet(self, room: str, number: int) -> None:
        if self._stops.is_set():
            return
        began = time.monotonic()
        opening = self._client.open(room, self._owner())
        now = time.monotonic()
        verdict = opening.verdict
        meeting = Meeting(
            room, number, now - began, repeats=opening.repeats, remarks=verdict.remarks
        )
        if isinstance(verdict, Opened):
            with self._lock:
                self._open += 1
            ends = now + self._plan.lifetime_seconds
            meeting = replace(meeting, is_opened=True)
            left = min(self._plan.lifetime_seconds, self._client.seconds_to_end(verdict))
            self._schedule.add(left, partial(self._leave, meeting, verdict, ends))
        else:
            is_refused = isinstance(verdict, Refused)
            self._end(replace(meeting, seen=verdict.seen, is_refused=is_refused))

    def _owner(self) -> str | None:
        return f"{uuid.uuid4()}@{GUESTS}" if self._plan.has_guests else self._plan.owner

    def _leave(self, meeting: Meeting, opened: Opened, ends: float) -> None:
        """Close a room when people leave it, or when its reservation ends if that is earlier."""
        left = ends - time.monotonic()
        is_cut_short = left > 0 and not self._stops.is_set()
        if is_cut_short and not self._client.ends_rooms:
            self._schedule.add(left, partial(self._leave, meeting, opened, ends))
            return
        closing = self._client.close(meeting.room, opened)
        with self._lock:
            self._open -= 1
        remarks = meeting.remarks + ((closing.remark,) if closing.remark else ())
        self._end(
            replace(
                meeting,
                seen=CUT_SHORT if is_cut_short else None,
                is_closed=closing.remark is None,
                repeats=meeting.repeats + closing.repeats,
                remarks=remarks,
            )
        )

    def _end(self, meeting: Meeting) -> None:
        with self._lock:
            self._past.append(meeting)
        if meeting.number < self._plan.times:
            self._schedule.add(0.0, partial(self._meet, meeting.room, meeting.number + 1))


def room_node(name: str, tenant: str | None) -> str:
    """Return the node of a room as Jitsi forms it: lower case, escaped (clients.md "name")."""
    node = _escaped(name)
    return node if tenant is None else f"[{_escaped(tenant)}]{node}"


def _escaped(text: str) -> str:
    """Return the text as a browser escapes it in the URL of a room (encodeURIComponent)."""
    return quote(text.lower(), safe="-_.!~*'()").lower()
