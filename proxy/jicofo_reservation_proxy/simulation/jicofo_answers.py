"""How Jicofo reads an answer, by the table of clients.md ("What an answer must be").

If the table has no rule for a defect, the module accepts the answer if possible and adds a remark.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from . import documents
from .outcomes import (
    DecidedError,
    Failed,
    Held,
    Opened,
    Reading,
    Refused,
    Remark,
    Sent,
    Verdict,
    by_status,
    not_over,
)
from .wire import Answer

MAX_LONG = 2**63 - 1
OWN_ERROR = "Jicofo's own error, without a message from the reservation system"

_MILLISECOND = timedelta(milliseconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_START_TIME = re.compile(
    r"([0-9]+)-([0-9]+)-([0-9]+)T([0-9]+):([0-9]+):([0-9]+)\.([0-9]+)(Z|[+-][0-9]{2})(.*)",
    re.DOTALL,
)


def read_post(answer: Answer, sent: Sent, now_ms: int) -> Reading:
    """Read the answer to `POST /conference`. Status 200 or 201 opens the room."""
    try:
        document = _document(answer, sent)
        fields = documents.fields_of(document)
        if answer.status == 409 and "conflict_id" in fields:
            return Held(_id(fields["conflict_id"], "conflict_id"), documents.remarks_on(fields))
        if answer.status not in {200, 201}:
            return _refusal(answer.status, fields)
        if not isinstance(document, dict):
            raise _thrown("the body is not a JSON object")
        _check_name(fields, sent)
        return _opened(fields, sent, now_ms, _check_owner(fields, sent))
    except DecidedError as decided:
        return decided.verdict


def read_get(answer: Answer, sent: Sent, now_ms: int) -> Verdict:
    """Read the answer to the GET after a 409.

    If the request has an owner, the answer must have the same owner.
    """
    try:
        document = _document(answer, sent)
        fields = documents.fields_of(document)
        if answer.status != 200:
            return _refusal(answer.status, fields)
        if not isinstance(document, dict):
            raise _thrown("the body is not a JSON object")
        if "name" in fields:
            raise _thrown("the answer to a GET contains a name (NullPointerException)")
        if sent.owner is not None and fields.get("mail_owner") != sent.owner:
            return Refused("Jicofo's own refusal: the room belongs to someone else")
        return _opened(fields, sent, now_ms)
    except DecidedError as decided:
        return decided.verdict


def read_delete(answer: Answer) -> Remark | None:
    """Return a remark if the status of the answer to a DELETE is wrong (clients.md "status")."""
    if answer.status == 200:
        return None
    text = f"a DELETE was answered with {answer.status}, wanted exactly 200: Jicofo keeps the room"
    if answer.status == 204:
        text += ", and until it restarts, it closes no room at the end of the reservation"
    return Remark(text)


def _thrown(reason: str, *got: object) -> DecidedError:
    text = f"Jicofo throws an exception: {reason}"
    remark = Remark.of(text, *got) if got else Remark(text)
    return DecidedError(Failed(OWN_ERROR, (remark,)))


def _refused(reason: str, got: object) -> DecidedError:
    remark = Remark.of(f"Jicofo refuses the answer: {reason}", got)
    return DecidedError(Failed(OWN_ERROR, (remark,)))


def _document(answer: Answer, sent: Sent) -> object:
    """Return the parsed body. Raises `DecidedError` for a 204 and for a body with an array."""
    if answer.status == 204:
        raise _thrown("a 204 has no body")
    document = documents.parse(answer.body)
    if documents.has_array(document):
        raise _array(sent)
    return document


def _array(sent: Sent) -> DecidedError:
    if sent.owner is not None:
        return _thrown("the answer contains an array, where Jicofo stops parsing")
    return DecidedError(Opened("null", MAX_LONG, (Remark(UNASKED_APPROVAL),)))


UNASKED_APPROVAL = (
    "the answer contains an array, where Jicofo stops parsing: "
    "without an owner, Jicofo treats every such answer as an approval, even a refusal"
)


def _refusal(status: int, fields: Mapping[str, object]) -> Refused | Failed:
    """Return the refusal or fault that the user sees, with the message if there is one."""
    message = fields.get("message")
    if isinstance(message, str) and message:
        return by_status(status, f'"{message}"', *documents.remarks_on(fields))
    remark = Remark(f"the {status} answer has no message to show")
    return by_status(status, "without a message", remark)


def _check_name(fields: Mapping[str, object], sent: Sent) -> None:
    name = fields.get("name", sent.name)
    if name is not None and not isinstance(name, str):
        raise _thrown("name is not a string", name)
    if name != sent.name:
        raise _refused("name must have the same bytes as name in the request", name)


def _opened(
    fields: Mapping[str, object], sent: Sent, now_ms: int, about_owner: Sequence[Remark] = ()
) -> Opened:
    remarks = [*about_owner, *documents.remarks_on(fields)]
    reservation_id = _id_to_delete(fields, remarks)
    start_ms = _start_time_ms(fields, sent, remarks)
    seconds = _seconds(fields)
    if seconds is None or seconds in {0, -1}:
        remarks.append(Remark("duration is missing, 0 or -1: Jicofo ends the room within 5 s"))
        return Opened(reservation_id, now_ms, tuple(remarks))
    # Jicofo adds in Java's 64-bit long: a sum that is too large wraps around into the past.
    ends_at_ms = (start_ms + 1000 * seconds + 2**63) % 2**64 - 2**63
    return not_over(Opened(reservation_id, ends_at_ms, tuple(remarks)), now_ms)


def _id_to_delete(fields: Mapping[str, object], remarks: list[Remark]) -> str:
    if fields.get("id") is None:
        remarks.append(Remark("id is missing: Jicofo will send DELETE /conference/null"))
        return "null"
    return _id(fields["id"], "id")


def _id(value: object, key: str) -> str:
    if not documents.is_integer(value):
        raise _refused(f"{key} must be an integer", value)
    if value > MAX_LONG:
        raise _thrown(f"{key} is greater than 2^63-1", value)
    return str(value)


def _check_owner(fields: Mapping[str, object], sent: Sent) -> Sequence[Remark]:
    if "mail_owner" not in fields:
        is_missing = sent.owner is not None
        return [Remark("mail_owner is missing, but the request has it")] if is_missing else []
    owner = fields["mail_owner"]
    if documents.is_number(owner):
        raise _thrown("mail_owner is a number", owner)
    if owner is None or owner != sent.owner:
        text = "mail_owner must have the same bytes as mail_owner in the request"
        raise _refused(f"{text}, or be missing if the request has none", owner)
    return []


def _start_time_ms(fields: Mapping[str, object], sent: Sent, remarks: list[Remark]) -> int:
    if "start_time" not in fields:
        remarks.append(Remark("start_time is missing"))
        return sent.start_time_ms
    value = fields["start_time"]
    if not isinstance(value, str):
        raise _thrown("start_time is not a string", value)
    match = _START_TIME.match(value)
    if not match:
        raise _refused(
            "start_time must be YYYY-MM-DDTHH:MM:SS.mmmZ, with milliseconds and zone", value
        )
    if len(match[7]) != 3:
        text = "start_time does not have exactly three digits after the point: Jicofo reads"
        remarks.append(Remark.of(f"{text} the digits as milliseconds", value))
    if match[9]:
        text = "start_time has a time zone with minutes: Jicofo ignores the minutes"
        remarks.append(Remark.of(text, value))
    return _epoch_ms(match)


def _epoch_ms(match: re.Match[str]) -> int:
    zone = 0 if match[8] == "Z" else int(match[8])
    try:
        second = datetime(*map(int, match.groups()[:6]), tzinfo=UTC)  # type: ignore[arg-type,misc]
        moment = second + int(match[7]) * _MILLISECOND - timedelta(hours=zone)
    except (ValueError, OverflowError):
        raise _refused("start_time must be an existing date and time", match[0]) from None
    return (moment - _EPOCH) // _MILLISECOND


def _seconds(fields: Mapping[str, object]) -> int | None:
    seconds = fields.get("duration")
    if isinstance(seconds, float):
        raise _thrown("duration is not an integer", seconds)
    if seconds is None:
        return None
    if not documents.is_integer(seconds):
        raise _refused("duration must be an integer", seconds)
    if seconds > MAX_LONG:
        raise _thrown("duration is greater than 2^63-1", seconds)
    return seconds
