"""Check the answers of a step against the expectations of its case; report the first fault."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from jicofo_reservation_proxy.backends.conference_rules import (
    MAX_ID_BYTES,
    MAX_SECRET_BYTES,
    MAX_URL_BYTES,
)
from jicofo_reservation_proxy.gen.jicofo.reservation.v1 import reservation_pb2 as pb
from jicofo_reservation_proxy.model import FIRST_SECOND, LAST_SECOND
from jicofo_reservation_proxy.text_rules import has_control_characters

from .answer import Answer
from .case import Step, tally

MAX_MESSAGE_CHARACTERS = 500
MAX_SIP_ID = 10**14 - 1

Saved = Mapping[str, Sequence[Answer]]
"""The answers of earlier steps in one room, by the names in `Step.save_as`."""


def complaint(step: Step, answers: Sequence[Answer], saved: Saved) -> str | None:
    """Return the first fault in the answers of a step in one room; `None` if there is no fault.

    The placeholders in `step.fields` must already be replaced by the names of this room.
    """
    counts = Counter(answer.kind for answer in answers)
    if not step.expect.is_met_by(counts):
        return f"wanted {step.expect}, got {tally(counts)}{_details(step, answers)}"
    return next(_complaints(step, answers, saved), None)


def complaint_of_all(step: Step, rooms: Sequence[Sequence[Answer]]) -> str | None:
    """Return the first fault in the answers of all rooms together; `None` if there is no fault."""
    ids = [answer.conference_id for answers in rooms for answer in answers]
    repeated = [name for name, count in Counter(ids).items() if count > 1]
    if step.ids == "distinct" and repeated:
        twice = _short(repeated[0])
        return f"wanted {len(ids)} different ids, got {len(set(ids))}: {twice} is repeated"
    return None


def _complaints(step: Step, answers: Sequence[Answer], saved: Saved) -> Iterator[str]:
    for answer in answers:
        yield from _about_fields(step, answer)
        yield from _about_earlier(step, answer, saved)
    if step.same:
        yield from _about_sameness(answers, saved[step.same])
    ids = {answer.conference_id for answer in answers}
    if step.ids == "same" and len(ids) > 1:
        yield f"wanted the same id in all answers, got {len(ids)} ids: {_list(ids)}"


def _about_fields(step: Step, answer: Answer) -> Iterator[str]:
    conference = answer.conference or pb.Conference()
    for name, wanted in step.fields.items():
        got = getattr(conference, name)
        if got != wanted:
            yield f"{name}: wanted {_short(wanted)}, got {_short(got)}"
    if step.answered_hold not in {None, answer.hold}:
        yield f"hold: wanted {step.answered_hold}, got {answer.hold}"
    for name in step.valid:
        wrong = wrong_message(answer.message) if name == "message" else _RULES[name](conference)
        if wrong:
            yield f"{name}: {wrong}"


def _about_earlier(step: Step, answer: Answer, saved: Saved) -> Iterator[str]:
    if step.whole:
        yield from _differences(saved[step.whole][0], answer)
    if step.id and (wanted := saved[step.id][0].conference_id) != answer.conference_id:
        got = _short(answer.conference_id)
        yield f"id: wanted the id of the earlier conference, {_short(wanted)}, got {got}"
    if step.not_id and saved[step.not_id][0].conference_id == answer.conference_id:
        got = _short(answer.conference_id)
        yield f"id: wanted a new id, got the id of the earlier conference, {got}"


def _about_sameness(answers: Sequence[Answer], earlier: Sequence[Answer]) -> Iterator[str]:
    for now, then in zip(answers, earlier, strict=True):
        if (now.kind, now.conference_id) != (then.kind, then.conference_id):
            yield (
                f"wanted the same answer as before, {then.kind} {_short(then.conference_id)}, "
                f"got {now.kind} {_short(now.conference_id)}"
            )


def _details(step: Step, answers: Sequence[Answer]) -> str:
    """Return the text of the first unwanted error status that has a text, in parentheses, or ""."""
    unwanted = [answer for answer in answers if answer.kind not in step.expect.kinds]
    return next((f" ({_short(answer.detail)})" for answer in unwanted if answer.detail), "")


def _differences(earlier: Answer, now: Answer) -> Iterator[str]:
    wanted, got = _normal(earlier.conference), _normal(now.conference)
    for field in pb.Conference.DESCRIPTOR.fields:
        before, after = _value(wanted, field), _value(got, field)
        if before != after and field.GetOptions().debug_redact:
            yield f"{field.name}: wanted the same value as before, got another value (not shown)"
        elif before != after:
            yield (
                f"{field.name}: wanted the same value as before, {before or 'none'}, "
                f"got {after or 'none'}"
            )


def _value(conference: pb.Conference, field: FieldDescriptor) -> str:
    """Return the value of a field as text; empty if the field is not set."""
    is_set = {descriptor.name for descriptor, _ in conference.ListFields()}
    if field.name not in is_set:
        return ""
    value = getattr(conference, field.name)
    if isinstance(value, Timestamp | Duration):
        return f"{value.seconds} s {value.nanos} ns"
    return _short(value)


def _normal(conference: pb.Conference | None) -> pb.Conference:
    """Return a copy of a conference in which values with the same meaning are equal."""
    normal = pb.Conference()
    normal.CopyFrom(conference or pb.Conference())
    if 0 <= normal.start_time.nanos < 1_000_000_000 and normal.HasField("start_time"):
        normal.start_time.nanos -= normal.start_time.nanos % 1_000_000
    for name in ("password", "pin", "url"):
        if not getattr(normal, name):
            normal.ClearField(name)
    if normal.max_occupants <= 0:
        normal.ClearField("max_occupants")
    if normal.sip_id < 0:
        normal.ClearField("sip_id")
    return normal


def wrong_message(message: str) -> str | None:
    """Return the fault in the sentence of a denial; `None` if there is no fault."""
    if not message.strip():
        return "wanted a sentence for the user, got none"
    if len(message) > MAX_MESSAGE_CHARACTERS:
        return f"wanted at most {MAX_MESSAGE_CHARACTERS} characters, got {len(message)}"
    return None


def _wrong_id(conference: pb.Conference) -> str | None:
    size = len(conference.id.encode())
    return None if 1 <= size <= MAX_ID_BYTES else f"wanted 1 to {MAX_ID_BYTES} bytes, got {size}"


def _wrong_start_time(conference: pb.Conference) -> str | None:
    start = conference.start_time
    if FIRST_SECOND <= start.seconds <= LAST_SECOND and 0 <= start.nanos < 1_000_000_000:
        return None
    return f"wanted a time in the years 1 to 9999, got {start.seconds} s {start.nanos} ns"


def _wrong_duration(conference: pb.Conference) -> str | None:
    duration = conference.duration
    is_positive = (duration.seconds, duration.nanos) > (0, 0) and 0 <= duration.nanos < 10**9
    if is_positive or not conference.HasField("duration"):
        return None
    return f"wanted a positive duration or none, got {duration.seconds} s {duration.nanos} ns"


def _typeable(name: str, most: int) -> Callable[[pb.Conference], str | None]:
    def wrong(conference: pb.Conference) -> str | None:
        text: str = getattr(conference, name)
        if len(text.encode()) > most:
            return f"wanted at most {most} bytes, got {len(text.encode())}"
        # The message does not show the text, because a password is a secret.
        return (
            "wanted no control characters, got one or more"
            if has_control_characters(text)
            else None
        )

    return wrong


def _wrong_sip_id(conference: pb.Conference) -> str | None:
    got = conference.sip_id
    return None if got <= MAX_SIP_ID else f"wanted at most 14 digits, got {got}"


_RULES: Mapping[str, Callable[[pb.Conference], str | None]] = {
    "id": _wrong_id,
    "start_time": _wrong_start_time,
    "duration": _wrong_duration,
    "password": _typeable("password", MAX_SECRET_BYTES),
    "pin": _typeable("pin", MAX_SECRET_BYTES),
    "url": _typeable("url", MAX_URL_BYTES),
    "sip_id": _wrong_sip_id,
}


def _short(value: object) -> str:
    text = re.sub(r"\s+", " ", str(value)).strip()
    return repr(text if len(text) <= 80 else f"{text[:77]}...")


def _list(ids: set[str]) -> str:
    return ", ".join(sorted(map(_short, ids))[:3])
