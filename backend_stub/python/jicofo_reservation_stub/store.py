"""The conferences, in memory. Replace this module with one that uses your database.

The module does not use gRPC or its messages. `ReservationService` calls only `create`, `get`,
`delete` and `withdraw` of `Store`: keep these four methods, and replace their bodies. In SQL:

- The dictionaries become one table with a unique index on `room` and one on `request_id`.
- `_holds` becomes a second table with a row for each conference and holder: (conference, holder,
  hold). Its primary key is (conference, holder).
- The lock becomes a transaction that locks the row of the conference (`SELECT ... FOR UPDATE`):
  `create` locks the row before it returns the conference, and `delete` and `withdraw` lock the row
  before they change the rows of the holders. Without this lock, two holders that release one
  conference at the same time may each see the row of the other, and the conference stays.
- The iterator of ids becomes a sequence.
"""

import enum
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

DEFAULT_MAX_CONFERENCES = 10_000


class StoreFullError(Exception):
    """The store holds its maximum number of conferences."""


class GivenUpError(Exception):
    """The caller of a deletion no longer waits for it; the store deleted nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Booking:
    """The data of a conference to create: the owner, the room, the start and the duration.

    `start` is an aware datetime. `duration` is positive; None means no limit. `max_occupants`,
    `lobby` and `password` are None when the backend does not set them.
    """

    request_id: str
    room: str
    start: datetime
    owner: str = ""
    duration: timedelta | None = None
    max_occupants: int | None = None
    lobby: bool | None = None
    # Not in the repr, so that no log line shows it by accident.
    password: str | None = field(default=None, repr=False)

    def is_over(self, now: datetime) -> bool:
        """Return whether the end has passed; a booking without a duration has no end."""
        # The code does not add `start + duration`: a datetime cannot hold a year after 9999.
        return self.duration is not None and now - self.start >= self.duration


@dataclass(frozen=True, slots=True)
class Conference:
    """A booking that was granted, and the id of the conference."""

    id: str
    booking: Booking


@dataclass(frozen=True, slots=True)
class Hold:
    """The proxy that calls (`holder`), and the number of its request.

    The numbers of a holder grow from request to request. A proxy without a holder has the holder ""
    and the number 0.
    """

    holder: str = ""
    number: int = 0


NO_HOLDER = Hold()


@dataclass(frozen=True, slots=True)
class Granted:
    """The request created this conference, which holds the room.

    `hold` is the number in the row of the holder that asked.
    """

    conference: Conference
    hold: int = 0


@dataclass(frozen=True, slots=True)
class Held:
    """The room is not free: this conference of another request holds it.

    `hold` is the number in the row of the holder that asked.
    """

    conference: Conference
    hold: int = 0


@dataclass(frozen=True, slots=True)
class TooLate:
    """The end of the booking has already passed; the store created no conference."""


Outcome = Granted | Held | TooLate


class Ending(enum.Enum):
    """What a deletion or a withdrawal did."""

    DELETED = "deleted"
    RELEASED = "released; other holders have the conference"
    NOT_CHANGED = "not changed: the holder has no row, or a row with a greater hold"
    UNKNOWN = "nothing to delete"


def clock_ids(now_ns: Callable[[], int] = time.time_ns) -> Iterator[str]:
    """Yield ids that are never used again, as decimal numbers of 14 digits.

    An id is the time in units of 0.1 ms since 1970, or the last id plus one if that is larger. So
    the ids of a restarted process are larger than the ids of the process before, and no file is
    needed. This is true as long as nobody sets the clock back, and as long as the backend does not
    create more than 10,000 conferences per second for a long time.

    Jicofo accepts only numbers as ids. A proxy with this backend alone passes a number below
    90000000000000 to Jicofo unchanged, and the ids stay below that number until the year 2255.

    Several processes behind one address need a common source of ids, such as a database sequence.
    """
    last = 0
    while True:
        last = max(last + 1, now_ns() // 100_000)
        yield str(last)


def utc_now() -> datetime:
    """Return the current time as an aware datetime."""
    return datetime.now(UTC)


class Store:
    """All conferences that exist, at most one for each room. Threads may share a store.

    A conference exists from its creation until it is deleted or over. `ids` must never yield the
    same id twice. `clock` returns the current time as an aware datetime.
    """

    def __init__(
        self,
        *,
        max_conferences: int = DEFAULT_MAX_CONFERENCES,
        clock: Callable[[], datetime] = utc_now,
        ids: Iterator[str] | None = None,
    ) -> None:
        self._max_conferences = max_conferences
        self._clock = clock
        self._ids = clock_ids() if ids is None else ids
        self._lock = threading.Lock()
        self._by_id: dict[str, Conference] = {}
        self._by_room: dict[str, Conference] = {}
        self._by_request: dict[str, Conference] = {}
        self._holds: dict[str, dict[str, int]] = {}

    def create(self, booking: Booking, hold: Hold = NO_HOLDER) -> Outcome:
        """Grant the room, unless the conference of another request holds it.

        A repeated request gets its conference again while that conference exists. In every case,
        the holder has a row of the returned conference afterwards, with at least this hold.

        Raises StoreFullError when the room is free, but the store holds `max_conferences`.
        """
        with self._lock:
            now = self._clock()
            if mine := self._existing(self._by_request.get(booking.request_id), now):
                return Granted(mine, self._raise_row(mine, hold))
            if other := self._existing(self._by_room.get(booking.room), now):
                return Held(other, self._raise_row(other, hold))
            if booking.is_over(now):
                return TooLate()
            self._make_space(now)
            new = self._add(booking)
            return Granted(new, self._raise_row(new, hold))

    def get(self, conference_id: str) -> Conference | None:
        """Return the conference, or None when it is unknown, deleted or over."""
        with self._lock:
            return self._existing(self._by_id.get(conference_id), self._clock())

    def delete(
        self,
        conference_id: str,
        hold: Hold = NO_HOLDER,
        is_wanted: Callable[[], bool] = lambda: True,
    ) -> Ending:
        """Remove the row of a holder; delete the conference if no row is left.

        A row with a greater hold stays: the holder got the conference again later.

        `is_wanted` returns whether the caller still waits for the deletion. The store calls
        `is_wanted` while it holds the lock, which `create` uses too. The reason: after the caller
        has given up, `create` may return the same conference to a client again, and then the
        deletion must not happen.

        With a database, keep this order: lock the row, call `is_wanted`, delete, commit. `create`
        must lock the row too, before it returns the conference. A call of `is_wanted` before the
        row is locked is too early.

        Raises GivenUpError when the caller no longer waits.
        """
        with self._lock:
            if not is_wanted():
                raise GivenUpError
            return self._release(self._by_id.get(conference_id), hold)

    def withdraw(
        self, room: str, hold: Hold, is_wanted: Callable[[], bool] = lambda: True
    ) -> Ending:
        """Do the same as `delete`, for the conference that holds this room.

        The caller does not know whether there is such a conference: it got no answer to its
        request, or no client may have the conference.

        Raises GivenUpError when the caller no longer waits.
        """
        with self._lock:
            if not is_wanted():
                raise GivenUpError
            return self._release(self._by_room.get(room), hold)

    def __len__(self) -> int:
        """Return the number of conferences in memory; some of them may be over."""
        with self._lock:
            return len(self._by_id)

    def _existing(self, conference: Conference | None, now: datetime) -> Conference | None:
        """Return the conference, or drop it and return None when it is over."""
        if conference is not None and conference.booking.is_over(now):
            self._drop(conference)
            return None
        return conference

    def _raise_row(self, conference: Conference, hold: Hold) -> int:
        """Set the row of the holder to its hold, unless it is greater; return the row's hold."""
        rows = self._holds[conference.id]
        rows[hold.holder] = max(hold.number, rows.get(hold.holder, 0))
        return rows[hold.holder]

    def _release(self, known: Conference | None, hold: Hold) -> Ending:
        """Remove the row of the holder, and the conference if that was the last row."""
        conference = self._existing(known, self._clock())
        if conference is None:
            return Ending.UNKNOWN
        rows = self._holds[conference.id]
        if hold.holder not in rows or rows[hold.holder] > hold.number:
            return Ending.NOT_CHANGED
        del rows[hold.holder]
        if rows:
            return Ending.RELEASED
        self._drop(conference)
        return Ending.DELETED

    def _make_space(self, now: datetime) -> None:
        # The store looks through all conferences only when it is full. So the other calls stay
        # short, and the memory stays limited.
        if len(self._by_id) >= self._max_conferences:
            for conference in list(self._by_id.values()):
                self._existing(conference, now)
        if len(self._by_id) >= self._max_conferences:
            raise StoreFullError(
                f"the store is full: it holds {len(self._by_id)} conferences, its maximum number"
            )

    def _add(self, booking: Booking) -> Conference:
        conference = Conference(next(self._ids), booking)
        self._by_id[conference.id] = conference
        self._by_room[booking.room] = conference
        self._by_request[booking.request_id] = conference
        self._holds[conference.id] = {}
        return conference

    def _drop(self, conference: Conference) -> None:
        del self._by_id[conference.id]
        del self._by_room[conference.booking.room]
        del self._by_request[conference.booking.request_id]
        del self._holds[conference.id]
