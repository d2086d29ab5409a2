"""The values that travel through the proxy: bytes → request → outcome → reply → answer.

All values are frozen. Those that each request makes are tuples: to make a frozen dataclass takes
twice as long. Times are whole milliseconds since the epoch, UTC. Both clients read
milliseconds correctly (Jicofo reads microseconds as milliseconds, clients.md "start_time").

An outcome is the result of a call to a backend. A reply is what the proxy tells the client:

    outcome                                                      reply
    Granted      the client gets the room                        Reservation
    Conflict     another conference holds the room               Reservation, Denied or Taken
    UnnamedConflict   the same, but nothing else is known of it   Reservation, Denied or Taken
    Denied       the backend denies the room, with a sentence    Denied
    Found        the conference exists                           Reservation
    NotFound     the conference does not exist                   NotFound
    Deleted      the conference is gone                          Deleted
    Fault        the backend gave no decision; the fault has     Fault
                 the cause and the backend's text

There are two exceptions. After a fault, the ledger or a fallback grant may give the answer. If the
ledger fails, the reply is a Fault.
"""

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Generic, NamedTuple, TypeVar

FIRST_SECOND = -62_135_596_800
LAST_SECOND = 253_402_300_799
"""The range of google.protobuf.Timestamp, in seconds since the epoch: the years 1 to 9999."""

NO_LIMIT_SECONDS = 3_155_760_000
"""The duration that means "no limit" in answers: 100 years. No answer has a longer duration.
Both clients close a room at start_time + duration, so the value must be long enough for a start in
the distant past. It must also stay far below 10^15 (clients.md "duration")."""


class ClientKind(enum.Enum):
    """The Jitsi component that sends a request."""

    JICOFO = "jicofo"
    PROSODY = "prosody"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Dialect:
    """The properties of a kind of client that the use cases need (http/dialects.py has the values).

    `numeric_ids` is true if the client accepts only numbers as ids. `owner_is_a_person` is true if
    equal owners mean the same person.
    """

    kind: ClientKind
    numeric_ids: bool
    owner_is_a_person: bool


class Room(NamedTuple):
    """A meeting room: its name as the client sent it, and the tenant and name in it."""

    raw: str
    tenant: str
    name: str


class Owner(NamedTuple):
    """The owner of a room: as the client sent it, and the user and domain in it.

    `is_guest` is true if the domain matches the setting `guest_domains`, which means that the owner
    has not signed in.
    """

    raw: str
    user: str
    domain: str
    is_guest: bool = False


class CreateRequest(NamedTuple):
    """One request for a room, as a client sent it.

    `mail_owner` is the field of the form, and `None` if the form had no such field. A missing field
    differs from an empty field, because the answer repeats the field (clients.md "mail_owner").
    `owner` is `None` in both cases. `duration_seconds` is `None` for "no limit".

    The proxy may ask once more, because the conference in the first answer is over: `after` is the
    id of that conference, otherwise "".
    """

    request_id: str
    room: Room
    mail_owner: str | None
    owner: Owner | None
    start_time_ms: int
    duration_seconds: int | None
    extra_fields: Mapping[str, str] = MappingProxyType({})
    after: str = ""


@dataclass(frozen=True, slots=True)
class Conference:
    """A conference as a backend holds it, checked against the contract.

    `duration_seconds` is at least 1, or `None` for "no limit". `repr` leaves out `password` and
    `pin`, so that no log contains them.
    """

    id: str
    room: str
    owner: str
    start_time_ms: int
    duration_seconds: int | None
    max_occupants: int | None = None
    lobby: bool | None = None
    password: str | None = field(default=None, repr=False)
    pin: str | None = field(default=None, repr=False)
    url: str | None = None
    sip_id: int | None = None

    @property
    def ends_at_ms(self) -> int | None:
        """The end of the conference; `None` if it has no end."""
        if self.duration_seconds is None:
            return None
        return self.start_time_ms + 1000 * self.duration_seconds


class ConferenceRef(NamedTuple):
    """The full name of a conference: its backend, and the id that the backend gave it.

    With `is_fallback` the conference is a fallback grant: the proxy granted it while the backend
    was unreachable. The proxy chose its id, and the backend never learns of it.

    This class is a tuple because it is a key in many places, and a tuple's hash is fast.
    """

    backend: str
    conference_id: str
    is_fallback: bool = False


class Hold(NamedTuple):
    """A number for a grant, and the holder that gives it (reservation.proto).

    The holder is this proxy with its ledger. Each create of a holder has a greater number than all
    its creates before. The holder is "" if the ledger is in memory only: the backend then gets
    neither the holder nor the number.
    """

    holder: str
    number: int


NO_HOLD = Hold("", 0)
"""A call without a holder, as before the contract had holders."""


class DeleteReason(enum.Enum):
    """The reason why a conference is over."""

    ENDED = "ended"
    """A client sent a DELETE for it."""
    EXPIRED = "expired"
    """Its end passed without a DELETE."""


@dataclass(frozen=True, slots=True)
class Deletion:
    """A deletion as the proxy sends it to a backend when a conference is over.

    It ends the grants of each holder in `holds`, up to the number of its hold. With a `room` it is
    a withdrawal: it is for the conference that holds the room, and `conference_id` is "".
    `is_uncertain` is true if an earlier attempt may have reached the backend.
    """

    conference_id: str
    over_at_ms: int
    reason: DeleteReason
    holds: Sequence[Hold] = (NO_HOLD,)
    room: str = ""
    is_uncertain: bool = False


@dataclass(frozen=True, slots=True)
class BadInput:
    """A mistake in a client's request: the HTTP status (RFC 9110) and the message of the answer."""

    status: int
    message: str


PublicId = int | str
"""The id that a client knows a conference by: a number for Jicofo, a string for Prosody."""


class FaultKind(enum.Enum):
    """The cause of a fault, as the proxy inferred it."""

    UNREACHABLE = "unreachable"
    """The proxy has no connection to the backend, or lost it during the call."""
    OVERLOADED = "overloaded"
    """The backend reports that it is overloaded, or an in-flight limit of the proxy is reached."""
    SLOW = "slow"
    """The deadline of the call passed, or the wait for the room took too long."""
    SATURATED = "saturated"
    """The proxy did not call the backend, because the last calls to the backend took too long."""
    UNAUTHORIZED = "unauthorized"
    """The backend does not accept the proxy's credentials."""
    BROKEN = "broken"
    """The backend failed, or its answer breaks the contract."""
    STATE = "state"
    """The proxy's ledger cannot be read or written."""
    INTERNAL = "internal"
    """A bug in the proxy."""


@dataclass(frozen=True, slots=True)
class Granted:
    """The client gets the room, as this conference.

    `has_row` is true if the backend keeps rows, so that the holder of the request has a row of this
    conference now (reservation.proto).
    """

    conference: Conference
    has_row: bool = False


@dataclass(frozen=True, slots=True)
class Conflict:
    """Another conference holds the room; `has_row` as in `Granted`."""

    conference: Conference
    has_row: bool = False


@dataclass(frozen=True, slots=True)
class UnnamedConflict:
    """Another conference holds the room, and the backend does not describe it.

    `conference_id` is its id, or "" if the backend does not even say that. `message` is for the
    user and may be empty.
    """

    conference_id: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class Denied:
    """The client does not get the room.

    `message` is for the user and may be empty; `reason` is for the log. A denial by the proxy
    itself has no message, and its reason is one of the constants below.
    """

    message: str
    reason: str


NO_ROUTE = "no_route"
"""No backend is responsible for the room."""

OTHER_OWNER = "other_owner"
"""A conference of another owner holds the room."""

OVER = "over"
"""The backend named a conference whose end has passed."""

SWITCHED_OFF = "switched_off"
"""The settings of an HTTP backend switch creates off."""

UNSAFE_NAME = "unsafe_name"
"""The name of the room cannot be part of the URL of a create."""


@dataclass(frozen=True, slots=True)
class Found:
    """The conference exists."""

    conference: Conference


@dataclass(frozen=True, slots=True)
class NotFound:
    """The conference does not exist."""


@dataclass(frozen=True, slots=True)
class Deleted:
    """The conference is gone, or never existed, so that nothing is left to do.

    `is_unsupported` is true if the backend does not support deletions.
    """

    is_unsupported: bool = False


@dataclass(frozen=True, slots=True)
class Fault:
    """There is no decision, because something failed.

    `kind` is the cause as the proxy inferred it. `code` is the gRPC or HTTP status, or "" if the
    proxy made no call. `detail` is the text of the backend, of gRPC or of the proxy. `code` and
    `detail` are for the log and never for a user. `granted_id` is the id of a conference that the
    backend granted in an answer that the proxy cannot use, or "". `has_row` as in `Granted`.
    `may_happen_later` is true if the backend may still carry out the call, although its deadline
    has passed: no HTTP backend promises to drop such a call, as the contract for gRPC does.
    `is_elsewhere` is true if another server answered in place of the backend, so that the answer
    shows nothing about earlier calls.
    """

    kind: FaultKind
    code: str
    detail: str
    granted_id: str = ""
    has_row: bool = False
    may_happen_later: bool = False
    is_elsewhere: bool = False


class Reservation(NamedTuple):
    """The conference that the client gets, and the id that the client knows it by."""

    public_id: PublicId
    conference: Conference


@dataclass(frozen=True, slots=True)
class Taken:
    """The conference with this id holds the room; the client may read the conference by GET."""

    public_id: PublicId


CreateOutcome = Granted | Conflict | UnnamedConflict | Denied | Fault
GetOutcome = Found | NotFound | Fault
DeleteOutcome = Deleted | Fault

OutcomeT_co = TypeVar(
    "OutcomeT_co", bound=CreateOutcome | GetOutcome | DeleteOutcome, covariant=True
)


class Result(NamedTuple, Generic[OutcomeT_co]):
    """The result of a call to a backend: the outcome, and the gRPC or HTTP status of the call.

    `code` is "" if the proxy made no call.
    """

    outcome: OutcomeT_co
    code: str


CreateReply = Reservation | Taken | Denied | Fault
GetReply = Reservation | NotFound | Fault
DeleteReply = Deleted | Fault
