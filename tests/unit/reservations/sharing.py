"""Two proxies that share a backend, for test_sharing.py: the steps of the model on the real code.

The proxies are real, each with its own ledger on a disk. The backend is the store of the Python
stub. There is one room, and each proxy has one client. Calls to the backend may get lost, and may
be executed after their deadline. tests/model/README.md describes the model.
"""

import enum
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from jicofo_reservation_proxy.http.dialects import JICOFO
from jicofo_reservation_proxy.http.forms import parse_create
from jicofo_reservation_proxy.http.owners import guest_test
from jicofo_reservation_proxy.ledger.sqlite_aliases import SqliteAliases
from jicofo_reservation_proxy.ledger.sqlite_database import Database
from jicofo_reservation_proxy.ledger.sqlite_ledger import SqliteLedger
from jicofo_reservation_proxy.model import (
    ClientKind,
    Conference,
    Conflict,
    CreateOutcome,
    CreateReply,
    CreateRequest,
    Deleted,
    DeleteOutcome,
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
from jicofo_reservation_proxy.reservations.deletion_delivery import Delivery
from jicofo_reservation_proxy.reservations.use_cases import Policy
from jicofo_reservation_proxy.reservations.withdrawals import LATE_CREATE_MS
from jicofo_reservation_stub.store import NO_HOLDER, Booking, Held, Store
from jicofo_reservation_stub.store import Conference as StubConference
from jicofo_reservation_stub.store import Granted as StubGranted
from jicofo_reservation_stub.store import Hold as StubHold

from tests.unit.ledgers import START_MS, new_store
from tests.unit.reservations.stage import make_use_cases

NAME = "default"
ROOM = "board"
OWNERS = ("juliet", "romeo")

TIMED_OUT = Fault(FaultKind.SLOW, "DEADLINE_EXCEEDED", "")


class Fate(enum.Enum):
    """What happens to a call to the backend."""

    ANSWERED = "answered"
    ANSWER_LOST = "the backend executes the call; its answer is lost"
    LATE = "the backend may execute the call later; its answer is lost"
    LOST = "the backend never gets the call"
    NOT_SENT = "the proxy knows that the backend does not get the call"
    BREACH = "the backend executes the call; its answer breaks the contract"


_FAULTS = {
    Fate.BREACH: Fault(FaultKind.BROKEN, "OK", "", has_row=True),
    Fate.ANSWER_LOST: TIMED_OUT,
    Fate.LATE: TIMED_OUT,
    Fate.LOST: TIMED_OUT,
    Fate.NOT_SENT: Fault(FaultKind.UNREACHABLE, "", ""),
}


@dataclass
class Late:
    """A call that may still be executed, and the time at which it was sent."""

    execute: Callable[[], object]
    sent_at_ms: int
    is_create: bool


class SharedBackend:
    """The backend of both proxies: the store of the Python stub, which ignores deadlines here."""

    drops_old_deletions = True

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms
        self.store = Store(clock=lambda: _datetime(now_ms()))
        self.fate = Fate.ANSWERED
        self.next_fates: list[Fate] = []
        self.keeps_rows = True
        self.before: Callable[[], object] | None = None
        self.after: Callable[[], object] | None = None
        self.late: list[Late] = []

    def create(
        self,
        request: CreateRequest,
        client: ClientKind,
        hold: Hold,
        incident_id: str,
        within_seconds: float,
    ) -> Result[CreateOutcome]:
        """Ask the store for the room."""
        del client, incident_id, within_seconds
        booking = Booking(
            request_id=request.request_id,
            room=request.room.raw,
            owner=request.mail_owner or "",
            start=_datetime(request.start_time_ms),
        )
        outcome = self._call(
            lambda: self.store.create(booking, StubHold(*hold) if self.keeps_rows else NO_HOLDER),
            is_create=True,
        )
        match outcome:
            case StubGranted(conference, number):
                return Result(Granted(_conference(conference), has_row=number > 0), "OK")
            case Held(conference, number):
                return Result(Conflict(_conference(conference), has_row=number > 0), "OK")
            case Fate() as fate:
                return Result(_FAULTS[fate], _FAULTS[fate].code)
            case _:
                raise AssertionError(outcome)

    def get(
        self, conference_id: str, incident_id: str, within_seconds: float
    ) -> Result[GetOutcome]:
        """Read a conference."""
        del incident_id, within_seconds
        found = self.store.get(conference_id)
        return Result(Found(_conference(found)) if found else NotFound(), "OK")

    def delete(
        self, deletion: Deletion, incident_id: str, within_seconds: float
    ) -> Result[DeleteOutcome]:
        """Send the deletion for each hold, until one fails."""
        del incident_id, within_seconds
        for hold in deletion.holds:
            answer = self._call(lambda hold=hold: self._delete(deletion, hold))  # type: ignore[misc]
            if isinstance(answer, Fate):
                return Result(_FAULTS[answer], _FAULTS[answer].code)
        return Result(Deleted(), "OK")

    def _delete(self, deletion: Deletion, hold: Hold) -> object:
        stub_hold = StubHold(*hold) if self.keeps_rows else NO_HOLDER
        if deletion.room:
            return self.store.withdraw(deletion.room, stub_hold)
        return self.store.delete(deletion.conference_id, stub_hold)

    def _call(self, execute: Callable[[], object], *, is_create: bool = False) -> object:
        """Make a call, and return its answer, or its fate if the answer does not arrive."""
        if is_create:
            self._meanwhile("before")
        fate = self.next_fates.pop(0) if self.next_fates else self.fate
        if fate is Fate.LATE:
            self.late.append(Late(execute, self._now_ms(), is_create))
        is_executed = fate in {Fate.ANSWERED, Fate.ANSWER_LOST, Fate.BREACH}
        answer = execute() if is_executed else None
        if is_create:
            self._meanwhile("after")
        return answer if fate is Fate.ANSWERED else fate

    def _meanwhile(self, moment: str) -> None:
        """Let something happen once, before or after the next create is executed."""
        happens = getattr(self, moment)
        setattr(self, moment, None)
        if happens:
            happens()

    def execute_late(self, number: int) -> None:
        """Execute a late call. No create is later than ten minutes."""
        if not self.late:
            return
        late = self.late.pop(number % len(self.late))
        if not late.is_create or self._now_ms() - late.sent_at_ms < LATE_CREATE_MS:
            late.execute()


@dataclass
class Client:
    """The client of a proxy: the meeting that it is in, and the DELETEs that it has yet to send."""

    dialect: Dialect
    meeting: tuple[PublicId, str] | None = None
    deletes: list[PublicId] = field(default_factory=list)


class SharingProxy:
    """A proxy with a ledger in a directory; it can be killed and started again."""

    def __init__(self, directory: Path, backend: SharedBackend, now_ms: Callable[[], int]) -> None:
        self._directory = directory
        self._backend = backend
        self._now_ms = now_ms
        self._open()

    def _open(self) -> None:
        with ExitStack() as stack:
            database = stack.enter_context(closing(Database(self._directory)))
            # These tests simulate kills and no power cuts, so they need no sync, which takes time.
            database._connection.execute("PRAGMA synchronous = OFF")
            self.ledger = SqliteLedger(database, write_behind=False)
            aliases = SqliteAliases(database, write_behind=False)
            store = new_store(database, self.ledger, aliases)
            self.withdrawals = store.withdrawals
            backends = {NAME: self._backend}
            self.delivery = Delivery(
                backends,
                store,
                Metrics(),
                expire_after=timedelta(minutes=5),
                give_up_after=timedelta(days=7),
                now_ms=self._now_ms,
                clock=lambda: self._now_ms() / 1000,
            )
            policy = Policy("answer", 0.05, {})
            self.use_cases = make_use_cases(
                backends, store, self.delivery, policy, places=4, now_ms=self._now_ms
            )
            self._stack = stack.pop_all()

    def write(self) -> None:
        """Write all waiting changes, as the thread of the ledger does soon after each change."""
        self.ledger.flush()
        self.withdrawals.flush()  # type: ignore[attr-defined]

    def restart(self, *, is_killed: bool) -> None:
        """Start the proxy again; `kill -9` loses the changes that were not written."""
        if not is_killed:
            self.write()
        self._stack.close()
        self._open()

    def close(self) -> None:
        """Close the files."""
        self._stack.close()


class Sharing:
    """Two proxies, their clients, and the backend; the checks of the model.

    `was_killed` is true if a proxy was killed. Then a room may be held by nobody.
    """

    def __init__(self, directory: Path, dialects: tuple[Dialect, Dialect]) -> None:
        self.now_ms = START_MS
        self.backend = SharedBackend(lambda: self.now_ms)
        self.clients = [Client(dialect) for dialect in dialects]
        self.proxies = [
            SharingProxy(directory / str(number), self.backend, lambda: self.now_ms)
            for number in range(2)
        ]
        self.was_killed = False
        self._starts = 0
        self._last_form: tuple[int, int] | None = None

    def post(
        self, index: int, fate: Fate = Fate.ANSWERED, *, owner: int = 0, repeats: bool = False
    ) -> CreateReply:
        """Let a client ask for the room; it leaves its meeting first, if it is in one.

        With `repeats`, the request is the last one again, through any of the proxies.
        """
        client = self.clients[index]
        self.leave(index)
        if not repeats or self._last_form is None:
            self._starts += 1
            self._last_form = self._starts, owner
        request = _request(*self._last_form)
        with self._fate(fate):
            use_cases = self.proxies[index].use_cases
            reply = use_cases.create(request, client.dialect, "0123456789ab").reply
        if isinstance(reply, Reservation):
            client.meeting = reply.public_id, reply.conference.id
        else:
            assert isinstance(reply, Denied | Fault)
        self.check()
        return reply

    def leave(self, index: int) -> None:
        """Let a client end its meeting; Prosody sends the DELETE later, Jicofo at once."""
        client = self.clients[index]
        if client.meeting is not None:
            client.deletes.append(client.meeting[0])
            client.meeting = None
            if client.dialect is JICOFO:
                self.send_delete(index)

    def send_delete(self, index: int, number: int = 0, *, repeats: bool = False) -> None:
        """Let a client send a DELETE; with `repeats`, Prosody sends it again later.

        A client that has no DELETE to send leaves its meeting.
        """
        client = self.clients[index]
        if not client.deletes:
            self.leave(index)
        if not client.deletes:
            return
        public_id = client.deletes[number % len(client.deletes)]
        if not repeats or client.dialect is JICOFO:
            client.deletes.remove(public_id)
        reply = self.proxies[index].use_cases.delete(str(public_id), "0123456789ab").reply
        assert reply == Deleted()
        self.check()

    def delete(self, index: int) -> None:
        """Let a client end its meeting, and send all its DELETEs."""
        self.leave(index)
        while self.clients[index].deletes:
            self.send_delete(index)

    def deliver(self, index: int, fate: Fate = Fate.ANSWERED) -> None:
        """Let a proxy send its due deletions and withdrawals."""
        with self._fate(fate):
            self.proxies[index].delivery.step(NAME)
        self.check()

    def execute_late(self, number: int) -> None:
        """Let the backend execute a call whose deadline has passed."""
        self.backend.execute_late(number)
        self.check()

    def pass_by(self, seconds: int) -> None:
        """Let time pass."""
        self.now_ms += 1000 * seconds

    def restart(self, index: int, *, is_killed: bool) -> None:
        """Start a proxy again, after SIGTERM or after `kill -9`."""
        self.was_killed |= is_killed
        self.proxies[index].restart(is_killed=is_killed)
        self.check()

    def check(self) -> None:
        """Check that no live meeting is ended."""
        for client in self.clients:
            if client.meeting is not None:
                assert self.backend.store.get(client.meeting[1]), "a live meeting was ended"

    def finish(self) -> None:
        """Let all meetings end, and check that no room is held by nobody."""
        for index in range(2):
            self.delete(index)
        while self.backend.late:
            self.execute_late(0)
        for _ in range(3):
            for index in range(2):
                self._show_that_the_backend_keeps_rows(index)
                self.deliver(index)
            self.pass_by(LATE_CREATE_MS // 1000)
        if not self.was_killed:
            assert len(self.backend.store) == 0, "a room is held by nobody"

    def _show_that_the_backend_keeps_rows(self, index: int) -> None:
        """Do what the first answer to a create does after a restart."""
        self.proxies[index].delivery.withdrawals.backend_named(NAME, has_row=True)

    def close(self) -> None:
        """Close all files."""
        for proxy in self.proxies:
            proxy.close()

    @contextmanager
    def _fate(self, fate: Fate) -> Iterator[None]:
        """Let all calls in the `with` block have this fate."""
        before, self.backend.fate = self.backend.fate, fate
        try:
            yield
        finally:
            self.backend.fate = before


def _request(number: int, owner: int) -> CreateRequest:
    second = datetime.fromtimestamp(START_MS // 1000 + number, UTC)
    form = f"name={ROOM}&mail_owner={OWNERS[owner]}&start_time={second:%Y-%m-%dT%H:%M:%S.000Z}"
    parsed = parse_create("application/x-www-form-urlencoded", form.encode(), guest_test(()))
    assert isinstance(parsed, CreateRequest)
    return parsed


def _datetime(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)


def _conference(held: StubConference) -> Conference:
    booking = held.booking
    return Conference(
        id=held.id,
        room=booking.room,
        owner=booking.owner,
        start_time_ms=round(booking.start.timestamp() * 1000),
        duration_seconds=None,
    )
