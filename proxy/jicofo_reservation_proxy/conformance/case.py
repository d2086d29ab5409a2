"""A case: one sentence of the contract, and the calls that show whether a backend keeps it.

The cases stand in `cases/*.toml`, each as a table `[[case]]` with its steps `[[case.step]]`; what
their keys mean is documented here. All steps of a case are played in each of its `rooms`, one step
after the other, in all rooms at once.
"""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import resources
from typing import Literal

from cattrs import Converter

Capability = Literal["get", "delete", "denial", "health"]
"""What a backend may leave out."""

Range = tuple[float, float]
"""Moments that are evenly spread over the rooms of a case, from the first to the last. The unit is
how long such a call takes when it is left alone: what is late for one backend is early for another.
"""

NO_OUTCOME = "no outcome"
"""The kind of an answer to CreateConference that decides nothing."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """Which kinds of answers a step may get, or exactly how many of each it must get in each room.

    A kind is `conference`, `conflict` or `denial`, `OK` or `SERVING`, or the name of a gRPC status.
    """

    kinds: tuple[str, ...] = ()
    """Empty: any."""
    counts: Mapping[str, int] | None = None

    def __str__(self) -> str:
        """Say what is wanted: `OK or NOT_FOUND`, `1 conference + 4 conflict`."""
        if self.counts is not None:
            return tally(self.counts)
        return " or ".join(self.kinds) or "anything"

    def is_met_by(self, counts: Mapping[str, int]) -> bool:
        """Tell whether the answers of one room are as wanted, of which there are so many."""
        if self.counts is not None:
            return counts == self.counts
        return not self.kinds or counts.keys() <= set(self.kinds)


def tally(counts: Mapping[str, int]) -> str:
    """Say how many there are of each: `1 conference + 4 conflict`, or `conference` where only one.

    The order is that of the alphabet.
    """
    if sum(counts.values()) == 1:
        return next(iter(counts))
    return " + ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Calls that are made at once, and what their answers must be.

    In texts, `{room}` is a name that nobody else uses, `{n}` the number of the call among those of
    `at_once`, `{denied}` the room that the backend denies, and `{pad}` makes the text as long as
    the contract allows.
    """

    call: Literal["create", "get", "delete", "health"]
    save_as: str | None = None
    """The name under which later steps speak of the answers of this one."""

    room: str = "{room}"
    owner: str = "juliet@example.com"
    """Empty: no owner."""
    client: Literal["jicofo", "prosody", "unknown"] = "prosody"
    starts_in_seconds: float = 0.0
    duration_seconds: int | None = None
    extra_fields: Mapping[str, str] = field(default_factory=dict)
    leave_out: Literal["room", "request_id", "start_time"] | None = None
    """A field that the contract wants, and that is not set."""
    again: str | None = None
    """The step whose very requests are made once more."""
    at_once: int = 1
    """How many calls are made in each room."""
    is_one_request: bool = False
    """Whether the calls at once are one request, repeated; otherwise each is a new one."""

    of: str | None = None
    """The step whose conference is meant."""
    unknown_id: str | None = None
    """An id that the backend does not know."""
    reason: Literal["ended", "expired", "unspecified"] = "ended"
    over_for_seconds: int = 0
    """How long ago the meeting was over."""

    deadline: Range | None = None
    cancel_after: Range | None = None
    after_end_of: str | None = None
    """The step whose conference must be over first; a call that is too early is repeated."""
    for_seconds: float = 0.0
    """How long the calls are repeated. Each time the answers must be as wanted."""

    expect: Expectation = Expectation()
    """The answers that are wanted; absent: any."""
    fields: Mapping[str, str] = field(default_factory=dict)
    """What these fields of the conference must be."""
    valid: tuple[str, ...] = ()
    """Fields that must be as the contract wants them."""
    whole: str | None = None
    """The step with whose conference this one must agree in every field."""
    id: str | None = None
    """The step with whose conference this one must share its id."""
    not_id: str | None = None
    """The step with whose conference this one must not share its id."""
    same: str | None = None
    """The step whose answer this one must be once more: its kind, and the conference's id."""
    ids: Literal["same", "distinct"] | None = None
    """Whether the conferences of one room are one, or those of all rooms are different ones."""

    @property
    def wanted(self) -> str:
        """Say what the answers must be: `conflict with the same conference`."""
        parts = [str(self.expect)] if self.expect.kinds or not self.same else []
        parts += [f"with the {name} as it was sent" for name in self.fields]
        parts += [f"with a valid {', '.join(self.valid)}"] if self.valid else []
        parts += ["with the same conference, whole"] if self.whole else []
        parts += ["with the same conference"] if self.id or self.ids == "same" else []
        parts += ["with a new id"] if self.not_id or self.ids == "distinct" else []
        parts += ["the same answer"] if self.same else []
        parts += [f"for {self.for_seconds:g} s"] if self.for_seconds else []
        return " ".join(parts)

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the earlier steps that this one speaks of."""
        named = (
            self.again,
            self.of,
            self.after_end_of,
            self.whole,
            self.id,
            self.not_id,
            self.same,
        )
        return tuple(label for label in named if label is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One sentence of the contract, as it stands there, and the steps that check it."""

    name: str
    sentence: str
    step: tuple[Step, ...]
    needs: tuple[Capability, ...] = ()
    rooms: int = 1
    rounds: int = 1
    """How often it is played, in new rooms."""

    def __post_init__(self) -> None:
        """Raise `ValueError` where a step speaks of one that there is not, or of no conference."""
        saved: set[str] = set()
        for number, step in enumerate(self.step, 1):
            where = f"{self.name}, step {number}"
            if unknown := set(step.labels) - saved:
                raise ValueError(f"{where}: wanted the name of an earlier step, got {unknown}")
            if step.call in {"get", "delete"} and (step.of is None) == (step.unknown_id is None):
                raise ValueError(f"{where}: wanted either of or unknown_id")
            saved |= {step.save_as} if step.save_as else set()

    def __str__(self) -> str:
        """Return the name."""
        return self.name

    @property
    def has_moments(self) -> bool:
        """Whether calls are cut off in the middle, so that one must know how long they take."""
        return any(step.deadline or step.cancel_after for step in self.step)

    @property
    def wanted(self) -> str:
        """Say what the answers must be, step by step."""
        steps = "; ".join(step.wanted for step in self.step)
        times = f", {self.rounds} times" if self.rounds > 1 else ""
        return steps if self.rooms == 1 else f"{steps}; in {self.rooms} rooms at once{times}"


def cases() -> tuple[Case, ...]:
    """Return all cases, in the order of their files: what is simple comes first."""
    return tuple(case for file in _FILES for case in _load(file))


def parse(text: str) -> tuple[Case, ...]:
    """Return the cases in a TOML text. Raises what cattrs does where something is wrong in it."""
    return tuple(_CONVERTER.structure(tomllib.loads(text)["case"], list[Case]))


_FILES = ("create", "denial", "conflict", "repeat", "identity", "get", "delete", "time", "health")


def _load(name: str) -> Iterator[Case]:
    file = resources.files(__package__) / "cases" / f"{name}.toml"
    yield from parse(file.read_text("utf-8"))


def _expectation(value: object, _: object) -> Expectation:
    match value:
        case str():
            return Expectation((value,))
        case list() if value and all(isinstance(kind, str) for kind in value):
            return Expectation(tuple(value))
        case dict() if value and all(isinstance(count, int) for count in value.values()):
            return Expectation(tuple(value), value)
        case _:
            raise ValueError(f"wanted a kind of answer, an array or a table of them, got {value!r}")


_CONVERTER = Converter(forbid_extra_keys=True)
_CONVERTER.register_structure_hook(Expectation, _expectation)
