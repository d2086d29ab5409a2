"""The values that travel through the proxy: bytes → request → outcome → reply → answer.

All are frozen. Times are whole milliseconds since the epoch, UTC, because that is
what both clients can bear (clients.md: microseconds are read as milliseconds).

An outcome is what came of a call to a backend, a reply is what the client is told of it:

    outcome                                                      reply
    Granted      the room is the client's                        Reservation
    Conflict     another conference holds the room               Reservation, Denied or Taken
    Denied       the room is refused, with a sentence            Denied
    Found        a conference was read                           Reservation
    NotFound     there is no such conference                     NotFound
    Deleted      a conference is gone                            Deleted
    Fault        nobody decided: what went wrong, and the        Fault
                 backend's words for it
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar

FIRST_SECOND = -62_135_596_800
LAST_SECOND = 253_402_300_799
"""The range of google.protobuf.Timestamp, in seconds since the epoch: the years 1 to 9999."""

NO_LIMIT_SECONDS = 3_155_760_000
"""The duration that clients are told for "no limit", and the longest that they are told: 100 years.
Both clients close a room at start_time + duration, so it must also cover a start that is long past;
and it must stay far below 10^15 (clients.md "duration")."""


class ClientKind(enum.Enum):
    """Which Jitsi component is asking."""

    JICOFO = "jicofo"
    PROSODY = "prosody"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Dialect:
    """What the use cases need to know of a kind of client (http/dialects.py has them)."""

    kind: ClientKind
    numeric_ids: bool
    owner_is_a_person: bool


@dataclass(frozen=True, slots=True)
class Room:
    """A meeting room: as sent, and taken apart."""

    raw: str
    tenant: str
    name: str


@dataclass(frozen=True, slots=True)
class Owner:
    """Who asks for a room: as sent, and taken apart.

    `is_guest` tells whether the owner has not signed in, by the setting `guest_domains`.
    """

    raw: str
    user: str
    domain: str
    is_guest: bool = False


@dataclass(frozen=True, slots=True)
class CreateRequest:
    """One request for a room, as a client sent it.

    `owner` is what the form said: `None` where it had no `mail_owner`, which is not the
    same as an empty one (an answer repeats what was sent, clients.md "mail_owner").
    `duration_seconds` is `None` for "no limit".
    """

    request_id: str
    room: Room
    mail_owner: str | None
    owner: Owner | None
    start_time_ms: int
    duration_seconds: int | None
    extra_fields: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Conference:
    """A reservation as a backend holds it, checked against the contract.

    `duration_seconds` is at least 1, or `None` for "no limit". `password` and
    `pin` stay out of the representation, and so out of every log.
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


class ConferenceRef(NamedTuple):
    """A conference's whole name: the backend and the id that this backend gave it.

    A fallback grant is a conference that the proxy granted itself while the backend could not be
    asked; its id is the proxy's own, and the backend never hears of it. (A tuple, since these are
    keys in many places, and tuples hash fast.)
    """

    backend: str
    conference_id: str
    is_fallback: bool = False


class DeleteReason(enum.Enum):
    """Why a conference is over."""

    ENDED = "ended"
    """The client said so."""
    EXPIRED = "expired"
    """Its end passed, and the client never said so."""


@dataclass(frozen=True, slots=True)
class Deletion:
    """What a backend is told of a conference of its own that is over."""

    conference_id: str
    over_at_ms: int
    reason: DeleteReason


@dataclass(frozen=True, slots=True)
class BadInput:
    """A client's mistake: the HTTP status (RFC 9110) and the sentence that answer it."""

    status: int
    message: str


PublicId = int | str
"""What a client knows a conference by: a number for Jicofo, a string for Prosody."""


class FaultKind(enum.Enum):
    """What kept anyone from deciding, as far as the proxy can tell."""

    UNREACHABLE = "unreachable"
    """No connection to the backend, or none that lasted."""
    OVERLOADED = "overloaded"
    """The backend says that it has too much to do, or its in-flight limit is reached."""
    SLOW = "slow"
    """The deadline passed."""
    SATURATED = "saturated"
    """Not asked: its last calls took too long."""
    UNAUTHORIZED = "unauthorized"
    """The backend does not take the proxy's credentials."""
    BROKEN = "broken"
    """The backend failed, or answered what the contract rules out."""
    STATE = "state"
    """The proxy's own ledger cannot be read or written."""
    INTERNAL = "internal"
    """A mistake in the proxy."""


@dataclass(frozen=True, slots=True)
class Granted:
    """The room is the client's, as this conference."""

    conference: Conference


@dataclass(frozen=True, slots=True)
class Conflict:
    """Another conference holds the room."""

    conference: Conference


@dataclass(frozen=True, slots=True)
class Denied:
    """The room is refused. `message` is for people and may be empty; `reason` is for the log.

    The proxy's own denials have no message, and one of the reasons below.
    """

    message: str
    reason: str


NO_ROUTE = "no_route"
"""No backend is responsible for the room."""

OTHER_OWNER = "other_owner"
"""The room is held by a conference that this client may not have."""


@dataclass(frozen=True, slots=True)
class Found:
    """A conference was read."""

    conference: Conference


@dataclass(frozen=True, slots=True)
class NotFound:
    """No backend knows the conference."""


@dataclass(frozen=True, slots=True)
class Deleted:
    """Nothing is left to do: the conference is gone, or was never there.

    `is_unsupported` is whether the backend cannot delete any.
    """

    is_unsupported: bool = False


@dataclass(frozen=True, slots=True)
class Fault:
    """Nobody decided.

    `kind` is what the proxy inferred; `code` and `detail` are what the backend or gRPC said,
    for the log and never for a user.
    """

    kind: FaultKind
    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Reservation:
    """The conference that the client has, under the id that it knows it by."""

    public_id: PublicId
    conference: Conference


@dataclass(frozen=True, slots=True)
class Taken:
    """The room is held by the conference with this id, which the client may ask for."""

    public_id: PublicId


CreateOutcome = Granted | Conflict | Denied | Fault
GetOutcome = Found | NotFound | Fault
DeleteOutcome = Deleted | Fault

OutcomeT_co = TypeVar(
    "OutcomeT_co", bound=CreateOutcome | GetOutcome | DeleteOutcome, covariant=True
)


@dataclass(frozen=True, slots=True)
class Result(Generic[OutcomeT_co]):
    """What came of a call to a backend: the outcome, and the gRPC code that ended it.

    `code` is "" where the call was not made.
    """

    outcome: OutcomeT_co
    code: str


CreateReply = Reservation | Taken | Denied | Fault
GetReply = Reservation | NotFound | Fault
DeleteReply = Deleted | Fault
