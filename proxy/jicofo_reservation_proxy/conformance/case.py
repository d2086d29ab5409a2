"""A case: one sentence of the contract, and the calls that show whether a backend follows it.

The files `cases/*.toml` contain the cases. Each case is a table `[[case]]` with its steps
`[[case.step]]`. The classes `Case` and `Step` document the keys of these tables. The kit plays a
case in all its rooms at the same time. In each room, it plays the steps one after the other.
"""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import resources
from typing import Literal

from cattrs import Converter

Capability = Literal["get", "delete", "denial", "health", "holders"]
"""A part of the contract that a backend may leave out."""

Range = tuple[float, float]
"""The first and the last moment of a step, counted from the start of the calls of the step.

At such a moment, a deadline passes or the kit cancels a call. Each room of the case has its own
moment; the kit spreads the moments evenly from the first to the last.

The unit of a moment is the time that an undisturbed call of this kind takes at this backend.
Seconds would not work: one second is late for a fast backend and early for a slow backend.
"""

NO_OUTCOME = "no outcome"
"""The kind of an answer to CreateConference that has no outcome."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """The kinds of answers that a step accepts, or the exact number of each kind in each room.

    A kind is `conference`, `conflict` or `denial`, `OK` or `SERVING`, or the name of a gRPC status.
    """

    kinds: tuple[str, ...] = ()
    """Empty: the step accepts any kind."""
    counts: Mapping[str, int] | None = None
    """The number of answers of each kind; `None`: the step does not count the answers."""

    def __str__(self) -> str:
        """Return the expectation as text: `OK or NOT_FOUND`, `1 conference + 4 conflict`."""
        if self.counts is not None:
            return tally(self.counts)
        return " or ".join(self.kinds) or "anything"

    def is_met_by(self, counts: Mapping[str, int]) -> bool:
        """Return whether the answers of one room, counted by kind, meet the expectation."""
        if self.counts is not None:
            return counts == self.counts
        return not self.kinds or counts.keys() <= set(self.kinds)


def tally(counts: Mapping[str, int]) -> str:
    """Return the numbers as text: `1 conference + 4 conflict`, or `conference` for a single answer.

    The kinds are in alphabetical order.
    """
    if sum(counts.values()) == 1:
        return next(iter(counts))
    return " + ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """The calls that the kit makes at the same time, and the answers that it wants.

    Texts may contain these placeholders:

    - `{room}`: the name of a room that only this play of the case uses
    - `{n}`: in `owner` and `holder`, the number of the call among the calls of `at_once`
    - `{denied}`: the room that the backend denies
    - `{pad}`: fills the text up to 1023 bytes, the maximum length of a room
    """

    call: Literal["create", "get", "delete", "health"]
    save_as: str | None = None
    """The name by which later steps refer to the answers of this step."""

    room: str = "{room}"
    owner: str = "juliet@example.com"
    """Empty: the request has no owner."""
    client: Literal["jicofo", "prosody", "unknown"] = "prosody"
    starts_in_seconds: float = 0.0
    duration_seconds: int | None = None
    extra_fields: Mapping[str, str] = field(default_factory=dict)
    leave_out: Literal["room", "request_id", "start_time"] | None = None
    """A field that the contract requires and that the kit does not set."""
    holder: str = ""
    """The holder of the request: a name that means the same holder in all steps of one room."""
    hold: int = 0
    """The hold of the request; without `holder` it is 0."""
    again: str | None = None
    """The step whose requests the kit sends again, unchanged; with `holder`, for this holder."""
    at_once: int = 1
    """The number of calls in each room."""
    is_one_request: bool = False
    """Whether all calls send the same request. Otherwise each call sends a new request."""

    of: str | None = None
    """For get and delete: the step whose conference the call names."""
    unknown_id: str | None = None
    """For get and delete: an id that the backend does not know, instead of `of`."""
    of_room: str | None = None
    """For delete: the room of a withdrawal, instead of `of`."""
    reason: Literal["ended", "expired", "unspecified"] = "ended"
    over_for_seconds: int = 0
    """For delete: the number of seconds since the end of the meeting."""

    deadline: Range | None = None
    """The deadline of the calls; `None`: the deadline of the settings."""
    cancel_after: Range | None = None
    """When the kit cancels the calls; `None`: never."""
    after_end_of: str | None = None
    """The step whose conference must be over before the kit makes the calls.

    The backend may notice the end late: the kit repeats the calls for at most `LATE_SECONDS`
    (play.py).
    """
    for_seconds: float = 0.0
    """How long the kit repeats the calls. The answers must be as wanted each time."""

    expect: Expectation = Expectation()
    """The kinds of answers that the step wants; absent: any kind."""
    fields: Mapping[str, str] = field(default_factory=dict)
    """The values that these fields of the conference must have."""
    valid: tuple[str, ...] = ()
    """Fields whose values must follow the rules of the contract."""
    whole: str | None = None
    """The step whose conference must be equal to the conference of this step in every field."""
    id: str | None = None
    """The step whose conference must have the same id as the conference of this step."""
    not_id: str | None = None
    """The step whose conference must have another id than the conference of this step."""
    answered_hold: int | None = None
    """The hold that the answer must have."""
    same: str | None = None
    """The step whose answer this step must get again: the same kind and the same conference id."""
    ids: Literal["same", "distinct"] | None = None
    """`same`: all answers in one room must name the same conference.

    `distinct`: all answers, in all rooms, must name different conferences.
    """

    @property
    def wanted(self) -> str:
        """Return the wanted answers as text: `conflict with the id of the earlier conference`."""
        parts = [str(self.expect)] if self.expect.kinds or not self.same else []
        parts += [f"with the {name} as it was sent" for name in self.fields]
        parts += [f"with a valid {', '.join(self.valid)}"] if self.valid else []
        parts += [f"with the hold {self.answered_hold}"] if self.answered_hold else []
        parts += ["with all fields of the earlier conference"] if self.whole else []
        parts += ["with the id of the earlier conference"] if self.id else []
        parts += ["with the same id in all answers"] if self.ids == "same" else []
        parts += ["with a new id"] if self.not_id or self.ids == "distinct" else []
        parts += ["the same answer as before"] if self.same else []
        parts += [f"for {self.for_seconds:g} s"] if self.for_seconds else []
        return " ".join(parts)

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the earlier steps that this step refers to."""
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
    """One sentence of the contract, word for word, and the steps that check it."""

    name: str
    sentence: str
    step: tuple[Step, ...]
    needs: tuple[Capability, ...] = ()
    """The parts of the contract that the backend must implement for this case."""
    rooms: int = 1
    """The number of rooms in which the kit plays the case at the same time."""
    rounds: int = 1
    """How often the kit plays the case, each time in new rooms."""

    def __post_init__(self) -> None:
        """Raise `ValueError` if a step is wrong.

        A step is wrong if it names an unknown step. A get or delete is wrong if it has not exactly
        one of `of`, `unknown_id` and `of_room`.
        """
        saved: set[str] = set()
        for number, step in enumerate(self.step, 1):
            where = f"{self.name}, step {number}"
            if unknown := set(step.labels) - saved:
                raise ValueError(f"{where}: wanted the name of an earlier step, got {unknown}")
            subjects = [step.of, step.unknown_id, step.of_room]
            if step.call in {"get", "delete"} and subjects.count(None) != len(subjects) - 1:
                raise ValueError(f"{where}: wanted one of 'of', 'unknown_id' and 'of_room'")
            saved |= {step.save_as} if step.save_as else set()

    def __str__(self) -> str:
        """Return the name."""
        return self.name

    @property
    def has_moments(self) -> bool:
        """Whether the kit must measure the pace of the backend to play this case (`Range`)."""
        return any(step.deadline or step.cancel_after for step in self.step)

    @property
    def wanted(self) -> str:
        """Return the wanted answers of all steps as text."""
        steps = "; ".join(step.wanted for step in self.step)
        times = f", {self.rounds} times" if self.rounds > 1 else ""
        return steps if self.rooms == 1 else f"{steps}; in {self.rooms} rooms at once{times}"


def cases() -> tuple[Case, ...]:
    """Return all cases in the order of `_FILES`: simple cases come first."""
    return tuple(case for file in _FILES for case in _load(file))


def parse(text: str) -> tuple[Case, ...]:
    """Return the cases in a TOML text. Raises the errors of tomllib and cattrs."""
    return tuple(_CONVERTER.structure(tomllib.loads(text)["case"], list[Case]))


_FILES = (
    "create",
    "denial",
    "conflict",
    "repeat",
    "identity",
    "get",
    "delete",
    "holders",
    "time",
    "health",
)


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
            raise ValueError(
                "wanted a kind of answer, an array of kinds, or a table of kinds and numbers, "
                f"got {value!r}"
            )


_CONVERTER = Converter(forbid_extra_keys=True)
_CONVERTER.register_structure_hook(Expectation, _expectation)
