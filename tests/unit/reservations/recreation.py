"""A small world for test_recreation.py: a client, a backend, and a proxy that can be killed.

The proxy is real, with a real ledger on a disk; only the clock and the backend are simulated. The
proxy gets copies of all records, as from a ledger in another process. There are no threads: the
events of other threads happen in the middle of calls to the backend (`Call.before`, `Call.after`).

The world checks each promise at the moment at which it could be broken: when the backend begins to
delete, when the client gets an answer, and at the end (`World.finish`).
"""

import dataclasses
import enum
import itertools
import shutil
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import cast
from urllib.parse import urlencode

from jicofo_reservation_proxy.http.dialects import JICOFO
from jicofo_reservation_proxy.http.forms import parse_create
from jicofo_reservation_proxy.http.owners import guest_test
from jicofo_reservation_proxy.ledger.ledger import Ledger
from jicofo_reservation_proxy.ledger.records import RecordState
from jicofo_reservation_proxy.ledger.sqlite_aliases import SqliteAliases
from jicofo_reservation_proxy.ledger.sqlite_database import Database
from jicofo_reservation_proxy.ledger.sqlite_ledger import SqliteLedger
from jicofo_reservation_proxy.model import (
    ClientKind,
    Conference,
    ConferenceRef,
    Conflict,
    CreateOutcome,
    CreateReply,
    CreateRequest,
    Deleted,
    DeleteOutcome,
    DeleteReason,
    DeleteReply,
    Deletion,
    Denied,
    Dialect,
    Fault,
    FaultKind,
    Found,
    GetOutcome,
    Granted,
    Hold,
    NotFound,
    PublicId,
    Reservation,
    Result,
)
from jicofo_reservation_proxy.observability.metrics import Metrics
from jicofo_reservation_proxy.reservations.context import Handled
from jicofo_reservation_proxy.reservations.deletion_delivery import Delivery
from jicofo_reservation_proxy.reservations.use_cases import Policy
from jicofo_reservation_proxy.text_rules import format_time

from tests.unit.ledgers import Elsewhere, new_store
from tests.unit.reservations.stage import make_use_cases

NAME = "default"
GRACE = timedelta(minutes=5)
GIVE_UP = timedelta(days=7)
FALLBACK_SECONDS = 600
RESPOND_WITHIN_SECONDS = 0.02
"""The maximum time for which a POST waits for a locked room, in real time. In these tests, a POST
waits for nothing else."""

LATE_MS = 86_400_000
"""The time in which a backend may still carry out a deletion that it has received."""


class Killed(BaseException):
    """The proxy was killed in the middle of a call. No code of the proxy may catch this."""


class Kind(enum.Enum):
    """What happens to one call to the backend."""

    GOOD = "good"
    DENIED = "denied"
    """Every create is denied; a delete is done."""
    DOWN = "down"
    LOST = "lost"
    """The backend carries out the call; then the connection is lost."""
    SLOW = "slow"
    """The backend never carries out the call."""
    SLOW_DONE = "slow, done"
    SLOW_LATE = "slow, done later"
    """The backend may carry out a delete at any later time. It does not carry out a create."""
    DOWN_LATE = "down, done later"
    CANCELLED_LATE = "cancelled, done later"
    BROKEN = "broken"
    BROKEN_DONE = "broken, done"
    OVERLOADED = "overloaded"
    NOT_ASKED = "not asked"
    NO_ROUTE = "answered 404 by an ingress"
    BREACH = "done, and the answer breaks the contract"
    KILLED = "killed"
    """The proxy is killed before the call is done."""
    KILLED_DONE = "killed, done"


_FAULTS: Mapping[Kind, Fault] = {
    Kind.DOWN: Fault(FaultKind.UNREACHABLE, "UNAVAILABLE", ""),
    Kind.LOST: Fault(FaultKind.UNREACHABLE, "UNAVAILABLE", ""),
    Kind.DOWN_LATE: Fault(FaultKind.UNREACHABLE, "UNAVAILABLE", ""),
    Kind.SLOW: Fault(FaultKind.SLOW, "DEADLINE_EXCEEDED", ""),
    Kind.SLOW_DONE: Fault(FaultKind.SLOW, "DEADLINE_EXCEEDED", ""),
    Kind.SLOW_LATE: Fault(FaultKind.SLOW, "DEADLINE_EXCEEDED", ""),
    Kind.CANCELLED_LATE: Fault(FaultKind.BROKEN, "CANCELLED", ""),
    Kind.BROKEN: Fault(FaultKind.BROKEN, "INTERNAL", ""),
    Kind.BROKEN_DONE: Fault(FaultKind.BROKEN, "INTERNAL", ""),
    Kind.OVERLOADED: Fault(FaultKind.OVERLOADED, "RESOURCE_EXHAUSTED", ""),
    Kind.NOT_ASKED: Fault(FaultKind.SATURATED, "", ""),
    Kind.NO_ROUTE: Fault(FaultKind.BROKEN, "UNIMPLEMENTED", ""),
    Kind.BREACH: Fault(FaultKind.BROKEN, "OK", ""),
}
_DONE = {
    Kind.GOOD,
    Kind.DENIED,
    Kind.LOST,
    Kind.SLOW_DONE,
    Kind.BROKEN_DONE,
    Kind.BREACH,
    Kind.KILLED_DONE,
}
_LATE = {Kind.SLOW_LATE, Kind.DOWN_LATE, Kind.CANCELLED_LATE}


class Meanwhile(enum.Enum):
    """An event in the middle of a call to the backend, in the room of that call."""

    DELETE = "a client sends DELETE for the room's last conference"
    POST = "a client asks for the room as well"
    STEP = "the worker delivers"
    LATE = "the backend carries out a late deletion"
    DISK_FAILS = "the disk fails"
    DISK_WORKS = "the disk works again"


@dataclass(frozen=True, slots=True)
class Call:
    """How the backend handles one call.

    `before` happens before the backend acts, `after` between its action and its answer.
    """

    kind: Kind = Kind.GOOD
    before: Meanwhile | None = None
    after: Meanwhile | None = None


@dataclass(frozen=True, slots=True)
class Terms:
    """The times and the password of the conferences that the backend grants.

    `starts` is the start in seconds after the start that the client asked for.
    """

    seconds: int | None = 3600
    password: str | None = None
    starts: int = 0


HAS_ENDED = Terms(seconds=3600, starts=-7200)
"""The terms of a conference that is over before it is granted."""


@dataclass(slots=True)
class Held:
    """A conference at the backend."""

    conference: Conference
    request_id: str

    @property
    def ends_at_ms(self) -> int | None:
        """When the conference ends; `None` if it has no end."""
        return self.conference.ends_at_ms


@dataclass(frozen=True, slots=True)
class Late:
    """A deletion that the backend received and did not carry out before its deadline."""

    conference_id: str
    reason: DeleteReason
    received_at_ms: int


@dataclass(slots=True)
class Told:
    """What a client was told of a conference, and what the client has sent since.

    `held`: the conference at the backend; `None` for a fallback grant. A backend may use the id of
    a deleted conference for another one. `is_live`: a client is in the conference. `was_deleted`:
    a client sent a DELETE since it got the conference last. `is_promised`: such a DELETE was
    answered 200. `is_kept`: the ledger must know the conference.
    """

    conference_id: str
    room: str
    public_id: PublicId
    ends_at_ms: int | None
    held: Held | None
    is_live: bool = False
    was_deleted: bool = False
    is_promised: bool = False
    is_kept: bool = True

    @property
    def is_fallback(self) -> bool:
        """Whether the proxy granted the room without the backend."""
        return self.held is None


@dataclass(slots=True)
class Post:
    """A POST, kept so that it can be repeated."""

    request: CreateRequest
    dialect: Dialect


class FakeBackend:
    """A backend that keeps the contract, except for `lag`; its connection may be unreliable.

    With `reuses_ids` it breaks the contract: a new conference gets the lowest free id.

    `script` says how the backend handles the next calls, `otherwise` how it handles the calls after
    them. `tries` counts the calls to delete each id. `calls` has the deletions that it got, and the
    conferences that its answers named, since the last POST.
    """

    drops_old_deletions = True

    def __init__(
        self, world: "World", *, expires_itself: bool, has_numbers: bool, reuses_ids: bool
    ) -> None:
        self.script: deque[Call] = deque()
        self.otherwise = Call()
        self.terms = Terms()
        self.has_delete = True
        self.conferences: dict[str, Held] = {}
        self.known: dict[str, Held] = {}
        self.late: list[Late] = []
        self.deleting: list[str] = []
        self.lagging: dict[str, Granted | Conflict] = {}
        self.named_old: set[str] = set()
        self.undeletable: set[str] = set()
        self.calls: list[tuple[str, str]] = []
        self.granted: list[Held] = []
        self.tries: Counter[str] = Counter()
        self._world = world
        self._expires_itself = expires_itself
        self._has_numbers = has_numbers
        self.reuses_ids = reuses_ids
        self._numbers = itertools.count(1001)

    def lag(self, room: str, *, grants: bool) -> None:
        """Let the next answer name the room's last conference, if that conference is deleted.

        `grants` says whether the answer is a grant or a conflict.
        """
        old = [key for key, held in self.known.items() if held.conference.room == room]
        if old and old[-1] not in self.conferences:
            self.lagging[room] = (Granted if grants else Conflict)(self.known[old[-1]].conference)

    def expire(self) -> None:
        """Remove the conferences whose time is over, if this backend does that itself."""
        for key, held in list(self.conferences.items()) if self._expires_itself else ():
            if held.ends_at_ms is not None and held.ends_at_ms < self._world.now_ms:
                del self.conferences[key]

    def delete_late(self) -> None:
        """Carry out the oldest late deletion, unless it is too old."""
        if self.late:
            late = self.late.pop(0)
            if self._world.now_ms - late.received_at_ms <= LATE_MS:
                self._delete(late.conference_id, late.reason)

    def create(
        self,
        request: CreateRequest,
        client: ClientKind,
        hold: Hold,
        incident_id: str,
        within_seconds: float,
    ) -> Result[CreateOutcome]:
        """Grant a room, or name the conference that holds it."""
        del client, hold, incident_id, within_seconds
        room = request.room.raw
        with self._taken(room) as call:
            if call.kind not in _DONE:
                return Result(_FAULTS[call.kind], _FAULTS[call.kind].code)
            outcome = Denied("", "") if call.kind is Kind.DENIED else self._create(request)
            if call.kind in {Kind.GOOD, Kind.DENIED}:  # the answer arrives
                cancelled = self._late_of(outcome)
                self.late = [late for late in self.late if late not in cancelled]
            self._world.meanwhile(call.after, room)
            granted_id = outcome.conference.id if isinstance(outcome, Granted) else ""
            if call.kind in {Kind.GOOD, Kind.BREACH} and granted_id:
                self.granted.append(self.known[granted_id])
            if fault := self._lost(call):
                breach_id = granted_id if call.kind is Kind.BREACH else ""
                return Result(dataclasses.replace(fault, granted_id=breach_id), fault.code)
            if isinstance(outcome, Granted | Conflict):
                self.calls.append(("create", outcome.conference.id))
                self._world.note_named(outcome.conference)
            return Result(outcome, "OK")

    def _late_of(self, outcome: CreateOutcome) -> list[Late]:
        """Return the late deletions that an answer cancels, because it names their conference."""
        if not isinstance(outcome, Granted | Conflict):
            return []
        return [late for late in self.late if late.conference_id == outcome.conference.id]

    def get(
        self, conference_id: str, incident_id: str, within_seconds: float
    ) -> Result[GetOutcome]:
        """Read a conference."""
        del incident_id, within_seconds
        with self._taken(self._room(conference_id)) as call:
            if fault := self._lost(call):
                return Result(fault, fault.code)
            self.expire()
            held = self.conferences.get(conference_id)
            return Result(Found(held.conference) if held else NotFound(), "OK")

    def delete(
        self, deletion: Deletion, incident_id: str, within_seconds: float
    ) -> Result[DeleteOutcome]:
        """Delete a conference now, later or never."""
        del incident_id, within_seconds
        conference_id = deletion.conference_id
        self._world.check_order(conference_id)
        assert conference_id not in self.deleting, "two deletes of one conference at once"
        room = self._room(conference_id)
        self.calls.append(("delete", conference_id))
        self.tries[conference_id] += 1
        self.deleting.append(conference_id)
        try:
            with self._taken(room) as call:
                return self._take_delete(call, room, conference_id, deletion.reason)
        finally:
            self.deleting.remove(conference_id)

    def _take_delete(
        self, call: Call, room: str, conference_id: str, reason: DeleteReason
    ) -> Result[DeleteOutcome]:
        if call.kind in _LATE and self.has_delete:
            self.late.append(Late(conference_id, reason, self._world.now_ms))
        if call.kind not in _DONE:
            return Result(_FAULTS[call.kind], _FAULTS[call.kind].code)
        if self.has_delete:
            self._delete(conference_id, reason)
        self._world.meanwhile(call.after, room)
        if fault := self._lost(call):
            return Result(fault, fault.code)
        if not self.has_delete:
            self.undeletable.add(conference_id)
        return Result(Deleted(is_unsupported=not self.has_delete), "OK")

    @contextmanager
    def _taken(self, room: str) -> Iterator[Call]:
        call = self.script.popleft() if self.script else self.otherwise
        self._world.meanwhile(call.before, room)
        if call.kind is Kind.KILLED:
            self._world.kill()
        yield call

    def _lost(self, call: Call) -> Fault | None:
        """Return the fault that the proxy gets instead of the answer."""
        if call.kind is Kind.KILLED_DONE:
            self._world.kill()
        return _FAULTS.get(call.kind)

    def _room(self, conference_id: str) -> str:
        held = self.known.get(conference_id)
        return held.conference.room if held else ""

    def _create(self, request: CreateRequest) -> Granted | Conflict:
        self.expire()
        room = request.room.raw
        if (old := self.lagging.pop(room, None)) and old.conference.id not in self.conferences:
            self.named_old.add(old.conference.id)
            return old
        for held in self.conferences.values():
            if held.conference.room == room:
                is_same = held.request_id == request.request_id
                return (Granted if is_same else Conflict)(held.conference)
        conference = Conference(
            id=self._new_id(),
            room=room,
            owner=request.mail_owner or "",
            start_time_ms=request.start_time_ms + 1000 * self.terms.starts,
            duration_seconds=self.terms.seconds,
            password=self.terms.password,
        )
        held = Held(conference, request.request_id)
        self.known.pop(conference.id, None)
        self.conferences[conference.id] = self.known[conference.id] = held
        self.named_old.discard(conference.id)
        self.undeletable.discard(conference.id)
        return Granted(conference)

    def _new_id(self) -> str:
        for number in itertools.count(1001) if self.reuses_ids else self._numbers:
            new = str(number) if self._has_numbers else f"order/{number}"
            if new not in self.conferences:
                return new
        raise AssertionError

    def _delete(self, conference_id: str, reason: DeleteReason) -> None:
        self._world.check_delete(conference_id, reason)
        self.conferences.pop(conference_id, None)


class World:
    """One Jitsi, one proxy and one backend. `directory` is for the state directories of the proxy.

    `allows` means `when_unreachable = "allow"`.
    """

    def __init__(
        self,
        directory: Path,
        *,
        allows: bool = False,
        expires_itself: bool = False,
        has_numbers: bool = True,
        reuses_ids: bool = False,
    ) -> None:
        self.now_ms = 1_700_000_000_000
        self.backend = FakeBackend(
            self, expires_itself=expires_itself, has_numbers=has_numbers, reuses_ids=reuses_ids
        )
        self.withdrawn: dict[str, Held] = {}
        self.not_durable: set[str] = set()
        self.named_over: set[str] = set()
        self.told: dict[str, Told] = {}
        self.posts: dict[str, Post] = {}
        self._fallback_seconds = {NAME: FALLBACK_SECONDS} if allows else {}
        self._directories = (directory / str(number) for number in itertools.count())
        self._directory = next(self._directories)
        self._incidents = itertools.count(1)
        self._is_stepping = False
        self._disk_works = True
        self._open()

    # Actions of the client.

    def meeting(self, room: str) -> Told | None:
        """Return the conference that a client is in, in a room."""
        return next((told for told in self.of_room(room) if told.is_live), None)

    def of_room(self, room: str) -> list[Told]:
        """Return what clients were told of a room's conferences, the last conference first."""
        return [told for told in reversed(self.told.values()) if told.room == room]

    def post(
        self,
        room: str = "room",
        dialect: Dialect = JICOFO,
        owner: str | None = "a@example.com",
        *,
        is_lost: bool = False,
    ) -> CreateReply:
        """Ask for a room; a lost answer does not reach the client."""
        form = {
            "name": room,
            "start_time": format_time(self.now_ms // 1000 * 1000),
            **({} if owner is None else {"mail_owner": owner}),
        }
        body = urlencode(form).encode()
        request = parse_create("application/x-www-form-urlencoded", body, guest_test(()))
        assert isinstance(request, CreateRequest)
        self.posts[room] = Post(request, dialect)
        return self._post(self.posts[room], is_lost=is_lost)

    def repeat(self, room: str = "room", *, is_lost: bool = False) -> CreateReply | None:
        """Send a room's last POST again."""
        post = self.posts.get(room)
        return self._post(post, is_lost=is_lost) if post else None

    def delete(self, told: Told) -> DeleteReply:
        """Send a DELETE for a conference."""
        told.is_live, told.was_deleted = False, True
        reply = self._use_cases.delete(str(told.public_id), self._incident()).reply
        told.is_promised |= isinstance(reply, Deleted)
        return reply

    def get(self, told: Told) -> None:
        """Read a conference; check that a live conference is found if the backend has it."""
        handled = self._use_cases.get(str(told.public_id), JICOFO, self._incident())
        if isinstance(handled.reply, Reservation):
            assert handled.reply.conference.id == told.conference_id
        elif told.is_live and not self._has_ended(told.ends_at_ms):
            is_there = told.conference_id in self.backend.conferences
            is_right = isinstance(handled.reply, Fault) or not is_there
            assert is_right, f"{told.conference_id} is not found"

    def vanish(self, room: str) -> None:
        """Kill the client: the meeting is over, and no DELETE is sent."""
        if told := self.meeting(room):
            told.is_live = False

    # Actions of the proxy and of its machine.

    def step(self, until: float | None = None) -> None:
        """Let the worker deliver once."""
        before, self._is_stepping = self._is_stepping, True
        abandoned = self._abandoned()
        self.delivery.step(NAME, lambda: until)
        self._is_stepping = before
        for conference_id in self._abandoned() - abandoned:
            is_known = conference_id in self.backend.known
            tries = self.backend.tries[conference_id]
            assert tries or not is_known, f"{conference_id} is abandoned without an attempt"

    def advance(self, seconds: float) -> None:
        """Let time pass while the proxy runs."""
        until_ms = self.now_ms + int(1000 * seconds)
        while self.now_ms < until_ms:
            self.now_ms = min(until_ms, self.now_ms + 43_200_000)
            if seconds > 60:
                self.step()

    def flush(self) -> None:
        """Write the waiting changes of the ledger, as its thread does."""
        if self._disk_works:
            self.ledger.flush()

    def disk(self, *, works: bool) -> None:
        """Let the disk fail, or work again."""
        self._disk_works = works
        self._database._connection.execute(f"PRAGMA query_only = {int(not works)}")

    def kill(self) -> None:
        """End the proxy at once. Only the data that is on the disk now remains."""
        self._directory, old = next(self._directories), self._directory
        shutil.copytree(old, self._directory)
        raise Killed

    def start_after_kill(self, down_seconds: float = 0) -> None:
        """Start the proxy again after it was killed."""
        self._database.close()
        self.backend.script.clear()
        self._start(down_seconds, has_lost=True)

    def restart(self, *, kills: bool = False, down_seconds: float = 0) -> None:
        """Stop or kill the proxy, and start it again after some time."""
        with self.surviving(down_seconds):
            if kills:
                self.kill()
            self.step(until=self._seconds() + 20)
            self.ledger.close()
            self._database.close()
            self._start(down_seconds, has_lost=not self._disk_works)

    @contextmanager
    def surviving(self, down_seconds: float = 0) -> Iterator[None]:
        """Run a block in which the proxy may be killed; start the proxy again if it was."""
        try:
            yield
        except Killed:
            self.start_after_kill(down_seconds)

    def taking(self, *calls: Call | Kind) -> "World":
        """Set how the backend handles the next calls."""
        self.backend.script = deque(
            Call(call) if isinstance(call, Kind) else call for call in calls
        )
        return self

    def meanwhile(self, what: Meanwhile | None, room: str) -> None:
        """Let an event happen in the middle of a call for this room."""
        match what:
            case Meanwhile.DELETE:
                for told in [told for told in self.of_room(room) if not told.is_live][:1]:
                    self.delete(told)
            case Meanwhile.POST if self.meeting(room) is None:
                self.post(room)
            case Meanwhile.STEP:
                self.step()
            case Meanwhile.LATE:
                self.backend.delete_late()
            case Meanwhile.DISK_FAILS | Meanwhile.DISK_WORKS:
                self.disk(works=what is Meanwhile.DISK_WORKS)
            case _:
                pass

    def finish(self, *, kills: bool) -> None:
        """Repair everything, let the proxy deliver and expire, and check that nothing was lost."""
        self.backend.script.clear()
        self.backend.otherwise = Call()
        self.restart(kills=kills or not self._disk_works)
        while self.backend.late:
            self.backend.delete_late()
        self._deliver_all()
        for told in self._left():
            assert not told.is_promised, f"the deletion of {told.conference_id} is lost"
        for conference_id, held in self.withdrawn.items():
            is_left = self.backend.conferences.get(conference_id) is held
            excused = self.backend.undeletable | self._abandoned() | self.not_durable
            has_client = conference_id in self.told and self.told[conference_id].held is held
            is_excused = conference_id in excused or has_client
            assert not is_left or is_excused, f"{conference_id} is held by nobody"
        for seconds in (301, 3600, 301):
            self.advance(seconds)
            self._deliver_all()
        for told in self._left():
            is_over = told.ends_at_ms is not None and told.is_kept
            assert not is_over, f"{told.conference_id} has not expired"

    def close(self) -> None:
        """Close the files."""
        self._database.close()

    # Checks.

    def note_named(self, conference: Conference) -> None:
        """Note that the backend named a conference, if that is over already."""
        if self._has_ended(conference.ends_at_ms):
            self.named_over.add(conference.id)

    def check_delete(self, conference_id: str, reason: DeleteReason) -> None:
        """Check that the backend may delete this conference at this moment."""
        told, held = self.told.get(conference_id), self.backend.known.get(conference_id)
        if told and told.held is not held:
            told = None  # the backend has used the id for another conference
        if told and not told.is_kept and self.withdrawn.get(conference_id) is held:
            return  # a crash lost this grant, so the proxy withdrew it as unknown
        assert not (told and told.is_live and not self._may_end(conference_id, told.ends_at_ms)), (
            f"{conference_id} is deleted, and a client is in it"
        )
        is_gone = conference_id not in self.backend.conferences
        if is_gone or conference_id in self.backend.undeletable:
            return  # a repeated deletion: the proxy does not remember the reason of the first one
        if told is None and self.backend.reuses_ids:
            return  # a deletion of the earlier conference; no client had the new one
        if reason is DeleteReason.ENDED:
            if self.withdrawn.get(conference_id) is held:
                return
            assert told, f"{conference_id} is deleted, and no client ever had it"
            assert told.was_deleted, f"{conference_id} is deleted, and no client sent a DELETE"
        else:
            assert held
            may_end = self._may_end(conference_id, held.ends_at_ms)
            assert may_end, f"{conference_id} is deleted before its time"

    def check_order(self, conference_id: str) -> None:
        """Check that the worker delivers the deletions of a room in the order of their ends."""
        record = self.ledger.find(ConferenceRef(NAME, conference_id))
        if not self._is_stepping or record is None or not record.room:
            return
        of_room = [other for other in self.ledger.pending(NAME) if other.room == record.room]
        assert not of_room or of_room[0] == record, f"{conference_id} is not its room's first"

    def _check_answer(self, reservation: Reservation, source: str) -> None:
        """Check that the conference that a client is told of exists."""
        conference_id = reservation.conference.id
        has_ended = self._has_ended(reservation.conference.ends_at_ms)
        assert not has_ended, f"{conference_id} is over, and a client gets it"
        if source == "":
            has = self.backend.conferences.keys() | self.backend.named_old
            assert conference_id in has, f"{conference_id} is not at the backend"
        elif source == "ledger":
            is_fallback = conference_id not in self.backend.known
            record = self.ledger.find(ConferenceRef(NAME, conference_id, is_fallback))
            assert record
            assert record.state is RecordState.OPEN, f"{conference_id} is not the client's"
        else:
            assert self._fallback_seconds

    def _check_repeat(self, before: Told | None, after: Told) -> None:
        """Check that a client that asks again gets the same conference if it still exists."""
        if before is None or before is after or after.is_fallback or before.is_fallback:
            return
        is_there = self.backend.conferences.get(before.conference_id) is before.held
        assert not is_there or after.conference_id in self.backend.named_old, (
            f"asked again, got {after.conference_id} for {before.conference_id}"
        )

    def _check_cancelled(self, conference_id: str) -> None:
        """Check that the proxy tried to deliver a deletion before it cancelled the deletion."""
        named, told = ("create", conference_id), ("delete", conference_id)
        calls = self.backend.calls
        is_tried = named in calls and told in calls[calls.index(named) :]
        is_lagging = conference_id in self.backend.named_old | self.backend.undeletable
        assert is_tried or is_lagging, f"{conference_id} is kept without an attempt to delete it"

    def _left(self) -> Iterable[Told]:
        """Return the conferences at the backend that are neither undeletable nor abandoned."""
        self.backend.expire()
        return [
            told
            for told in self.told.values()
            if told.held
            and self.backend.conferences.get(told.conference_id) is told.held
            and told.conference_id not in self.backend.undeletable | self._abandoned()
        ]

    def _abandoned(self) -> set[str]:
        """Return the conferences whose deletion the proxy has abandoned, after the right time."""
        return {
            conference_id
            for conference_id in self.told.keys() | self.withdrawn.keys()
            if (record := self.ledger.find(ConferenceRef(NAME, conference_id)))
            and record.state is RecordState.ABANDONED
            and record.over_at_ms is not None
            and self.now_ms - record.over_at_ms > GIVE_UP // timedelta(milliseconds=1)
        }

    def _has_ended(self, ends_at_ms: int | None) -> bool:
        return ends_at_ms is not None and self.now_ms >= ends_at_ms

    def _may_end(self, conference_id: str, ends_at_ms: int | None) -> bool:
        """Return whether the proxy may end a conference that nobody deleted.

        It may do so `GRACE` after the end, or after the end if somebody asks for the room.
        """
        is_asked_for = conference_id in self.named_over and self._has_ended(ends_at_ms)
        return is_asked_for or self._is_past(ends_at_ms)

    def _is_past(self, ends_at_ms: int | None) -> bool:
        grace_ms = GRACE // timedelta(milliseconds=1)
        return ends_at_ms is not None and self.now_ms > ends_at_ms + grace_ms

    # Helper methods.

    def _post(self, post: Post, *, is_lost: bool) -> CreateReply:
        before, self._is_stepping = self._is_stepping, False
        outer, self.backend.calls = self.backend.calls, []
        outer_granted, self.backend.granted = self.backend.granted, []
        promised = {name: told.held for name, told in self.told.items() if told.is_promised}
        handled = self._use_cases.create(post.request, post.dialect, self._incident())
        self._is_stepping = before
        if isinstance(handled.reply, Reservation):
            room = post.request.room.raw
            given_id = handled.reply.conference.id
            is_same = promised.get(given_id) is self.backend.known.get(given_id)
            if handled.source == "" and given_id in promised and is_same:
                self._check_cancelled(given_id)
            self._take(room, handled.reply, handled, is_lost=is_lost)
        self._note_withdrawn(handled.reply)
        self.backend.calls, self.backend.granted = outer, outer_granted
        return handled.reply

    def _note_withdrawn(self, reply: CreateReply) -> None:
        """Note the last conference that the backend granted, if the client did not get it."""
        given_id = reply.conference.id if isinstance(reply, Reservation) else ""
        is_refused = isinstance(reply, Fault) and "in another room" in reply.detail
        for held in self.backend.granted[-1:]:
            granted_id = held.conference.id
            is_there = self.backend.conferences.get(granted_id) is held
            record = self.ledger.find(ConferenceRef(NAME, granted_id))
            is_open = record is not None and record.state is RecordState.OPEN
            if is_there and granted_id != given_id and not is_refused and not is_open:
                self.withdrawn[granted_id] = held
                if not self._disk_works:
                    self.not_durable.add(granted_id)

    def _take(
        self, room: str, reservation: Reservation, handled: Handled[CreateReply], *, is_lost: bool
    ) -> None:
        self._check_answer(reservation, handled.source)
        conference = reservation.conference
        held = self.backend.known.get(conference.id)
        told = Told(conference.id, room, reservation.public_id, conference.ends_at_ms, held)
        before = self.meeting(room)
        known = self.told.pop(conference.id, None)
        if known and known.held is held:
            if known is before:
                before = told
            told.is_live = known.is_live
        self.told[conference.id] = told
        if before and not is_lost:
            self._check_repeat(before, told)
            before.is_live = False
        told.is_live |= not is_lost
        if conference.id in self.backend.named_old:
            for other in self.of_room(room):
                other.is_kept = other is told

    def _open(self) -> None:
        self._database = Database(self._directory)
        # These tests simulate kills and no power cuts, so they need no sync, which takes time.
        self._database._connection.execute("PRAGMA synchronous = OFF")
        self.ledger = SqliteLedger(self._database, write_behind=False)
        aliases = SqliteAliases(self._database, write_behind=False, now_ms=lambda: self.now_ms)
        store = new_store(self._database, cast("Ledger", Elsewhere(self.ledger)), aliases)
        backends = {NAME: self.backend}
        self.delivery = Delivery(
            backends,
            store,
            Metrics(),
            expire_after=GRACE,
            give_up_after=GIVE_UP,
            now_ms=lambda: self.now_ms,
            clock=self._seconds,
        )
        policy = Policy("answer", RESPOND_WITHIN_SECONDS, self._fallback_seconds)
        self._use_cases = make_use_cases(
            backends, store, self.delivery, policy, places=32, now_ms=lambda: self.now_ms
        )

    def _start(self, down_seconds: float, *, has_lost: bool) -> None:
        """Start the proxy. With `has_lost`, the ledger may lack changes that were not written."""
        before = self._known()
        self._is_stepping, self._disk_works = False, True
        self.now_ms += int(1000 * down_seconds)
        self._open()
        lost = before - self._known() if has_lost else set()
        for conference_id in lost:
            self.told[conference_id].is_kept = False

    def _known(self) -> set[str]:
        """Return the conferences that clients were told of and that are in the ledger."""
        return {name for name in self.told if self.ledger.find(ConferenceRef(NAME, name))}

    def _deliver_all(self) -> None:
        for _ in range(20):
            if not self.ledger.pending(NAME):
                return
            self.now_ms += 61_000
            self.step()
        raise AssertionError("some deletions are not delivered")

    def _seconds(self) -> float:
        return self.now_ms / 1000

    def _incident(self) -> str:
        return f"{next(self._incidents):012x}"
