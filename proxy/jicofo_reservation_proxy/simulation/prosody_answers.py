"""How Prosody reads an answer, by the table of clients.md ("What an answer must be").

If the table has no rule for a defect, the module accepts the answer if possible and adds a remark.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from . import documents
from .outcomes import (
    OVER,
    DecidedError,
    Failed,
    Held,
    Opened,
    Reading,
    Refused,
    Remark,
    Sent,
    Stuck,
    Verdict,
    by_status,
    not_over,
)
from .wire import Answer

FIXED_TEXT = "Prosody's own fixed text"
DURATION_BOUND = 10**15
LARGEST_ID = 99_999_999_999_999

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_START_TIME = re.compile(
    r"([0-9]{4})-?([0-9]{2})-?([0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.[0-9]+)?"
    r"(?:Z|([+-])([0-9]{2}):?([0-9]{2}))?"
)
_SERVES_BOTH = re.compile(r"[0-9-]{10}T[0-9:]{8}\.[0-9]{3}Z")
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f]")


def read_post(answer: Answer, sent: Sent, now_ms: int) -> Reading:
    """Read the answer to `POST /conference`. Status 200 or 201 opens the room."""
    try:
        fields = _fields(answer)
        if answer.status == 409 and "conflict_id" in fields:
            return _held(fields["conflict_id"])
        if answer.status not in {200, 201}:
            return _refusal(answer.status, fields)
        _check_name(fields)
        if _lower(str(fields["name"])) != _lower(sent.name):
            raise _refused("name must be the name of the room", fields["name"])
        return _opened(fields, now_ms)
    except DecidedError as decided:
        return decided.verdict


def read_get(answer: Answer, now_ms: int) -> Verdict:
    """Read the answer to the GET after a 409. It lets any user in (clients.md "409 and GET")."""
    try:
        fields = _fields(answer)
        if answer.status != 200:
            return _refusal(answer.status, fields)
        _check_name(fields)
        return _opened(fields, now_ms)
    except DecidedError as decided:
        return decided.verdict


def read_delete(answer: Answer) -> Remark | None:
    """Return a remark if the status of the answer to a DELETE is wrong (clients.md "status")."""
    if answer.status == 200:
        return None
    text = f"a DELETE was answered with {answer.status}, wanted exactly 200"
    return Remark(text if answer.status >= 500 else f"{text}; Prosody does not repeat it")


def path_id(value: str | float) -> str:
    """Return an id as Prosody with Debian 12's lua-cjson puts it in a path.

    lua-cjson reads a number as a float. Lua prints a float with 14 digits, and with `.0` if it
    looks like an integer.
    """
    if isinstance(value, str):
        return value
    try:
        text = f"{float(value):.14g}"
    except OverflowError:
        text = "inf"
    return f"{text}.0" if text.lstrip("-").isdecimal() else text


def _stuck(reason: str, got: object) -> DecidedError:
    remark = Remark.of(f"{reason}: the room is stuck until Prosody restarts", got)
    return DecidedError(Stuck((remark,), is_for_good=True))


def _refused(reason: str, got: object) -> DecidedError:
    remark = Remark.of(f"Prosody refuses the answer: {reason}", got)
    return DecidedError(Failed(FIXED_TEXT, (remark,)))


def _fields(answer: Answer) -> Mapping[str, object]:
    if answer.status < 200:
        remark = Remark(f"an interim {answer.status} came first: Prosody reads no further answer")
        raise DecidedError(Failed(f"{answer.status}, {FIXED_TEXT}", (remark,)))
    document = documents.parse(answer.body)
    if document is documents.NOT_JSON:
        return _without_json(answer.status)
    if not isinstance(document, dict | list):
        raise _stuck("the body is null or a single value", document)
    return documents.fields_of(document)


def _without_json(status: int) -> Mapping[str, object]:
    if status in {200, 201}:
        raise DecidedError(Failed(FIXED_TEXT, (Remark("the body is not JSON"),)))
    return {}


def _held(value: object) -> Held:
    if isinstance(value, str) or documents.is_number(value):
        return Held(*_path_id(value))
    raise _refused("conflict_id must be a number or a string", value)


def _path_id(value: str | float) -> tuple[str, tuple[Remark, ...]]:
    in_path = path_id(value)
    if not isinstance(value, str) and abs(value) > LARGEST_ID:
        text = "an id is a number of 10^14 or more: Prosody's DELETE and GET have a wrong id"
        return in_path, (Remark.of(text, value),)
    return in_path, ()


def _refusal(status: int, fields: Mapping[str, object]) -> Refused | Failed | Stuck:
    """Return what the user sees: the message if there is one, otherwise a fixed text."""
    message = fields.get("message")
    if message is None and "message" not in fields:
        remark = Remark(f"the {status} answer has no message to show")
        return by_status(status, FIXED_TEXT, remark)
    if not isinstance(message, str):
        remark = Remark.of("message is not a string: Prosody never answers its user", message)
        return Stuck((remark,), is_for_good=False)
    remarks = list(documents.remarks_on(fields))
    if not message:
        remarks.append(Remark(f"the {status} answer has no message to show: message is empty"))
    if _CONTROLS.search(message):
        remarks.append(Remark("message must be one line without control characters"))
    return by_status(status, f'"{message}"', *remarks)


def _check_name(fields: Mapping[str, object]) -> None:
    if "name" not in fields:
        raise DecidedError(
            Failed(FIXED_TEXT, (Remark("Prosody refuses the answer: name is missing"),))
        )
    if not isinstance(fields["name"], str):
        raise _stuck("name is not a string", fields["name"])


def _lower(text: str) -> str:
    """Convert ASCII letters to lower case, as Lua does."""
    return text.encode("utf-8", "surrogatepass").lower().decode("utf-8", "surrogatepass")


def _opened(fields: Mapping[str, object], now_ms: int) -> Opened:
    value = fields.get("id")
    if not (isinstance(value, str) or documents.is_number(value)):
        raise _refused("id must be a number or a string", value)
    if not isinstance(fields.get("mail_owner"), str):
        raise _refused("mail_owner must be a string", fields.get("mail_owner"))
    in_path, remarks = _path_id(value)
    start_s, about_start = _start_time(fields)
    seconds = _seconds(fields)
    _check_options(fields)
    if not abs(start_s + seconds) < DURATION_BOUND:
        raise DecidedError(Failed(OVER, (Remark.of("duration overflows", seconds),)))
    remarks = (*remarks, *about_start, *documents.remarks_on(fields))
    return not_over(Opened(in_path, int((start_s + seconds) * 1000), remarks), now_ms)


def _start_time(fields: Mapping[str, object]) -> tuple[int, tuple[Remark, ...]]:
    """Return the start in whole seconds since the epoch, and remarks on it."""
    value = fields.get("start_time", "")
    if not isinstance(value, str):
        raise _stuck("start_time is not a string", value)
    match = _START_TIME.fullmatch(value)
    if not match:
        raise _refused("start_time must be YYYY-MM-DDTHH:MM:SS.mmmZ", value)
    if _SERVES_BOTH.fullmatch(value):
        return _epoch_s(match), ()
    text = "start_time is not YYYY-MM-DDTHH:MM:SS.mmmZ, the form that both clients accept"
    return _epoch_s(match), (Remark.of(text, value),)


def _epoch_s(match: re.Match[str]) -> int:
    *calendar, sign, hours, minutes = match.groups()
    zone = timedelta(hours=int(hours or 0), minutes=int(minutes or 0))
    try:
        moment = datetime(*map(int, calendar), tzinfo=UTC)  # type: ignore[arg-type,misc]
        moment += zone if sign == "-" else -zone
    except (ValueError, OverflowError):
        raise _refused("start_time must be an existing date and time", match[0]) from None
    return (moment - _EPOCH) // timedelta(seconds=1)


def _seconds(fields: Mapping[str, object]) -> float:
    seconds = fields.get("duration")
    if documents.is_number(seconds):
        return seconds
    raise _refused("duration must be a number", seconds)


def _check_options(fields: Mapping[str, object]) -> None:
    """Check two options. If an option is wrong, Prosody refuses the answer.

    Prosody does so even if the feature of the option is off.
    """
    most = fields.get("max_occupants", 1)
    if not documents.is_number(most) or most < 1:
        raise _refused("max_occupants must be a number of at least 1", most)
    password = fields.get("password", "-")
    if not isinstance(password, str) or not password:
        # The remark has only the type: a bad password may still be a secret.
        raise _refused("password must be a string that is not empty", type(password).__name__)
