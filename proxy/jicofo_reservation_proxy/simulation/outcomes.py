"""What a client makes of an answer: the room opens, or what its user sees instead."""

from dataclasses import dataclass, field
from typing import Self

MAX_CHARACTERS = 500
"""How much of what an answer says is kept: a run may have very many of them."""

WAITS_FOR_EVER = "nothing: the user waits for ever"


@dataclass(frozen=True, slots=True)
class Remark:
    """Something that is wrong behind the screen; `got` is what this one answer had there."""

    text: str
    got: str = ""

    @classmethod
    def of(cls, text: str, got: object) -> Self:
        """Return a remark on a value as Python writes it, which is near enough to JSON."""
        try:
            return cls(text, cut(repr(got)))
        except RecursionError:
            return cls(text, "a value that is nested too deep to show")


@dataclass(frozen=True, slots=True)
class Opened:
    """The user is in the room. `reservation_id` is as the client will put it in a path."""

    reservation_id: str
    ends_at_ms: int
    """When the reservation ends, in ms since the epoch, UTC: the answer's start_time + duration."""
    remarks: tuple[Remark, ...] = ()


@dataclass(frozen=True, slots=True)
class Held:
    """The client asks for the conference that holds the room, with this id in the path."""

    conflict_id: str
    remarks: tuple[Remark, ...] = ()


@dataclass(frozen=True, slots=True)
class Refused:
    """The reservation system decided against the room; the user sees this."""

    seen: str
    remarks: tuple[Remark, ...] = ()


@dataclass(frozen=True, slots=True)
class Failed:
    """The room does not open, and that is nobody's decision; the user sees this."""

    seen: str
    remarks: tuple[Remark, ...] = ()


@dataclass(frozen=True, slots=True)
class Stuck:
    """The client never answers its user; for a room that is stuck for good, no later one either."""

    remarks: tuple[Remark, ...]
    is_for_good: bool
    seen: str = field(default=WAITS_FOR_EVER, init=False)


NotOpened = Refused | Failed | Stuck
Verdict = Opened | NotOpened
"""What an opening can come to."""

Reading = Verdict | Held
"""What one answer can be taken for."""


@dataclass(frozen=True, slots=True)
class Sent:
    """What the client asked for, with which it compares the answer."""

    name: str
    owner: str | None
    start_time_ms: int


def cut(text: str) -> str:
    """Return as much of a text as is kept."""
    return text if len(text) <= MAX_CHARACTERS else f"{text[: MAX_CHARACTERS - 1]}…"


class DecidedError(Exception):
    """While an answer is read: what it comes to is certain before all of it has been looked at."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict)
        self.verdict = verdict


OVER = "419, the reservation is over already"


def not_over(opened: Opened, now_ms: int) -> Opened:
    """Pass on a reservation that has not ended. Raises `DecidedError` for one that has."""
    if opened.ends_at_ms <= now_ms:
        raise DecidedError(Refused(OVER, opened.remarks))
    return opened


def by_status(status: int, words: str, *remarks: Remark) -> Refused | Failed:
    """Tell a decision, which is a 4xx, from a fault; the user sees the status and the words."""
    return (Refused if 400 <= status < 500 else Failed)(f"{status}, {cut(words)}", remarks)
