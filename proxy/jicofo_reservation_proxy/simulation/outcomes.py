"""The result of an answer: the room opens, or the user sees something else."""

from dataclasses import dataclass, field
from typing import Self

MAX_CHARACTERS = 500
"""The maximum length of a text that the simulation keeps: a run may have very many answers."""

WAITS_FOR_EVER = "nothing: the user waits for ever"


@dataclass(frozen=True, slots=True)
class Remark:
    """A problem that users do not see. `got` is the value in the answer that caused it."""

    text: str
    got: str = ""

    @classmethod
    def of(cls, text: str, got: object) -> Self:
        """Return a remark with a value in Python's notation, which is similar to JSON."""
        try:
            return cls(text, cut(repr(got)))
        except RecursionError:
            return cls(text, "a value that is nested too deeply to show")


@dataclass(frozen=True, slots=True)
class Opened:
    """The user is in the room. `reservation_id` is the id in the form that goes into a path."""

    reservation_id: str
    ends_at_ms: int
    """The end of the reservation: `start_time + duration` of the answer, in ms since the epoch."""
    remarks: tuple[Remark, ...] = ()


@dataclass(frozen=True, slots=True)
class Held:
    """Another conference holds the room. The client sends a GET with this id."""

    conflict_id: str
    remarks: tuple[Remark, ...] = ()


@dataclass(frozen=True, slots=True)
class Refused:
    """The reservation system refused the room. `seen` is what the user sees."""

    seen: str
    remarks: tuple[Remark, ...] = ()


@dataclass(frozen=True, slots=True)
class Failed:
    """The room does not open because of a fault. `seen` is what the user sees."""

    seen: str
    remarks: tuple[Remark, ...] = ()


@dataclass(frozen=True, slots=True)
class Stuck:
    """The client never answers its user.

    If `is_for_good`, the client never answers a later user of this room either.
    """

    remarks: tuple[Remark, ...]
    is_for_good: bool
    seen: str = field(default=WAITS_FOR_EVER, init=False)


NotOpened = Refused | Failed | Stuck
Verdict = Opened | NotOpened
"""The possible results of an opening."""

Reading = Verdict | Held
"""The possible results of one answer."""


@dataclass(frozen=True, slots=True)
class Sent:
    """The fields of the request, which the client compares with the answer."""

    name: str
    owner: str | None
    start_time_ms: int


def cut(text: str) -> str:
    """Return the text, shortened to `MAX_CHARACTERS`."""
    return text if len(text) <= MAX_CHARACTERS else f"{text[: MAX_CHARACTERS - 1]}…"


class DecidedError(Exception):
    """Ends the reading of an answer early: the rest of the answer cannot change the verdict."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict)
        self.verdict = verdict


OVER = "419, the reservation has already ended"


def not_over(opened: Opened, now_ms: int) -> Opened:
    """Return the reservation if it has not ended. Otherwise raises `DecidedError`."""
    if opened.ends_at_ms <= now_ms:
        raise DecidedError(Refused(OVER, opened.remarks))
    return opened


def by_status(status: int, words: str, *remarks: Remark) -> Refused | Failed:
    """Return a refusal for a 4xx, otherwise a fault. The user sees the status and the words."""
    return (Refused if 400 <= status < 500 else Failed)(f"{status}, {cut(words)}", remarks)
