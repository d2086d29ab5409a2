"""Deliveries: what a backend is told when, by a clock that only moves when it is told to."""

import logging
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from jicofo_reservation_proxy.ledger.ledger import Store
from jicofo_reservation_proxy.ledger.records import RecordState
from jicofo_reservation_proxy.ledger.room_locks import LocalLocks, Locks
from jicofo_reservation_proxy.ledger.sqlite_aliases import SqliteAliases
from jicofo_reservation_proxy.ledger.sqlite_database import Database
from jicofo_reservation_proxy.ledger.sqlite_ledger import SqliteLedger
from jicofo_reservation_proxy.model import (
    ConferenceRef,
    Deleted,
    DeleteOutcome,
    DeleteReason,
    Deletion,
    Fault,
    FaultKind,
    Result,
)
from jicofo_reservation_proxy.observability.metrics import Metrics
from jicofo_reservation_proxy.reservations import deletion_delivery, deletion_retries
from jicofo_reservation_proxy.reservations.deletion_delivery import (
    BUSY_SECONDS,
    LOOK_SECONDS,
    Delivery,
)
from jicofo_reservation_proxy.reservations.deletion_retries import (
    FIRST_RETRY_SECONDS,
    MANY_REFUSALS,
    MAX_RETRY_SECONDS,
)

from tests.unit.ledgers import (
    LONG_SECONDS,
    START_MS,
    abandon,
    conference,
    eventually,
    failing_disk,
    ref,
)

EXPIRE_AFTER = timedelta(minutes=5)
GIVE_UP_AFTER = timedelta(days=7)
END_MS = START_MS + 3_600_000
"""When `conference()` ends."""

LATER_MS = END_MS + 3_600_000
"""When it has expired."""

DONE: Result[DeleteOutcome] = Result(Deleted(), "OK")
NO_SUCH_METHOD: Result[DeleteOutcome] = Result(Deleted(is_unsupported=True), "UNIMPLEMENTED")
OF_THE_BACKEND = [
    FaultKind.UNREACHABLE,
    FaultKind.OVERLOADED,
    FaultKind.SLOW,
    FaultKind.SATURATED,
    FaultKind.UNAUTHORIZED,
]


def failed(kind: FaultKind, code: str = "X", detail: str = "why") -> Result[DeleteOutcome]:
    """Return what comes of a call that ends in a fault."""
    return Result(Fault(kind, code, detail), code)


BROKEN = failed(FaultKind.BROKEN)
UNREACHABLE = failed(FaultKind.UNREACHABLE)
NOT_SENT = failed(FaultKind.UNREACHABLE, code="")


@dataclass
class Clock:
    """Both clocks of a delivery: seconds from anywhere, and the time of day."""

    now: float = 1000.0
    now_ms: int = START_MS

    def pass_by(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds
        self.now_ms += round(1000 * seconds)


@dataclass(frozen=True)
class Call:
    """A DELETE that a backend was sent, and when."""

    conference_id: str
    delete_time_ms: int
    reason: DeleteReason
    incident_id: str
    within_seconds: float
    at: float


@dataclass
class Backend:
    """A backend that does as it is told for an id, and else deletes it; it keeps its calls."""

    clock: Clock
    answers: dict[str, Result[DeleteOutcome]] = field(default_factory=dict)
    usual: Result[DeleteOutcome] = DONE
    calls: list[Call] = field(default_factory=list)
    meanwhile: Callable[[str], None] = lambda _: None

    def delete(
        self, deletion: Deletion, incident_id: str, within_seconds: float
    ) -> Result[DeleteOutcome]:
        """Say that a conference is over."""
        at = self.clock.now
        self.calls.append(
            Call(
                deletion.conference_id,
                deletion.over_at_ms,
                deletion.reason,
                incident_id,
                within_seconds,
                at,
            )
        )
        self.meanwhile(deletion.conference_id)
        return self.answers.get(deletion.conference_id, self.usual)

    @property
    def told(self) -> list[str]:
        """The ids of the conferences that it was told of since it was asked last."""
        found = [call.conference_id for call in self.calls]
        self.calls.clear()
        return found


@dataclass
class World:
    """A delivery to two backends, and all that it works with."""

    clock: Clock
    ledger: SqliteLedger
    aliases: SqliteAliases
    metrics: Metrics
    locks: Locks
    backends: dict[str, Backend]
    delivery: Delivery

    @property
    def backend(self) -> Backend:
        """The backend that most tests are about."""
        return self.backends["default"]

    def end(self, conference_id: str = "7", room: str = "board", backend: str = "default") -> None:
        """Grant a conference, and let a client end it now."""
        name = ref(conference_id, backend)
        self.ledger.grant(name, room, conference(conference_id))
        self.ledger.end(name, self.clock.now_ms)

    def state(self, conference_id: str = "7") -> RecordState | None:
        """Return what is known of a conference."""
        record = self.ledger.find(ref(conference_id))
        return record.state if record else None

    def step(self) -> float:
        """Let the first backend be told what is due."""
        return self.delivery.step("default")

    def work(self, seconds: float) -> None:
        """Do for a while what its thread does."""
        until = self.clock.now + seconds
        while self.clock.now < until:
            self.clock.pass_by(self.step())

    def restarted(self, seconds: Callable[[], float] | None = None) -> Delivery:
        """Return the delivery of the next process over the same ledger."""
        return new_delivery(
            Store(self.ledger, self.aliases, self.locks),
            self.metrics,
            self.backends,
            self.clock,
            seconds,
        )

    def attempt(self, name: ConferenceRef, within_seconds: float = 1.0) -> bool:
        """Do as a request does that holds the locks."""
        return self.delivery.deletions.attempt(name, "0123456789ab", within_seconds)

    def deliveries(self, reason: str, result: str) -> float:
        """Return how many attempts were counted."""
        counted = self.metrics.deletion_attempts.labels("default", reason, result)
        return float(counted._value.get())


def new_delivery(
    store: Store,
    metrics: Metrics,
    backends: dict[str, Backend],
    clock: Clock,
    seconds: Callable[[], float] | None = None,
    expire_after: timedelta = EXPIRE_AFTER,
) -> Delivery:
    """Return a delivery to these backends."""
    return Delivery(
        backends,
        store,
        metrics,
        expire_after=expire_after,
        give_up_after=GIVE_UP_AFTER,
        now_ms=lambda: clock.now_ms,
        clock=seconds or (lambda: clock.now),
    )


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Return a world in which nothing has happened."""
    clock, metrics = Clock(), Metrics()
    backends = {name: Backend(clock) for name in ("default", "other")}
    with (
        closing(Database(tmp_path)) as database,
        closing(SqliteLedger(database, write_behind=False)) as ledger,
    ):
        aliases = SqliteAliases(database)
        store = Store(ledger, aliases, LocalLocks())
        delivery = new_delivery(store, metrics, backends, clock)
        yield World(clock, ledger, aliases, metrics, store.locks, backends, delivery)


@pytest.fixture
def no_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every wait be as long as it may be."""
    monkeypatch.setattr("random.uniform", lambda _, most: most)


def lines(caplog: pytest.LogCaptureFixture) -> list[tuple[int, str, dict[str, object]]]:
    """Return what was logged: how serious, what, and with which fields."""
    return [
        (record.levelno, record.getMessage(), getattr(record, "fields", {}))
        for record in caplog.records
    ]


# -- a delivery --------------------------------------------------------------------------------


def test_a_delivery(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """The backend is told which conference is over, since when and why; then it is gone."""
    caplog.set_level(logging.INFO)
    world.end()
    world.clock.pass_by(3)
    assert world.step() == LOOK_SECONDS
    (call,) = world.backend.calls
    assert (call.conference_id, call.reason) == ("7", DeleteReason.ENDED)
    assert call.delete_time_ms == START_MS
    assert re.fullmatch(r"[0-9a-f]{12}", call.incident_id)
    assert world.state() is None
    assert world.ledger.is_over(ref())
    assert world.deliveries("ended", "delivered") == 1
    fields = {"id": "default.7", "room": "board", "reason": "ended", "code": "OK"}
    assert lines(caplog) == [
        (logging.INFO, "deletion delivered", fields | {"incident": call.incident_id})
    ]


def test_nothing_to_deliver(world: World) -> None:
    """What is open, abandoned or unknown is not told, and a thread looks again after a second."""
    world.ledger.grant(ref("open"), "board", conference("open"))
    world.end("abandoned")
    abandon(world.ledger, ref("abandoned"))
    assert world.step() == LOOK_SECONDS
    assert world.backend.calls == []


def test_all_that_is_due_is_told(world: World) -> None:
    """In the order of the ends, each once, and each backend its own."""
    for conference_id in ("c", "a", "b"):
        world.end(conference_id, f"room-{conference_id}")
    world.end("x", "board", "other")
    world.step()
    assert world.backend.told == ["c", "a", "b"]
    assert world.backends["other"].told == []
    world.step()
    world.delivery.step("other")
    assert world.backend.told == []
    assert world.backends["other"].told == ["x"]


def test_an_unknown_id(world: World) -> None:
    """A DELETE of an id that the ledger never heard of is told, too."""
    world.ledger.end(ref("unknown"), START_MS - 5)
    world.step()
    assert [(call.conference_id, call.delete_time_ms) for call in world.backend.calls] == [
        ("unknown", START_MS - 5)
    ]
    assert world.state("unknown") is None


def test_the_alias_is_forgotten(world: World) -> None:
    """A conference that is gone has no number for Jicofo any more."""
    number = world.aliases.alias(ref())
    world.end()
    world.step()
    assert world.aliases.resolve(number) is None


def test_an_alias_that_cannot_be_forgotten(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """A disk that fails does not make a delivery fail that was done."""
    number = world.aliases.alias(ref())
    world.end()
    world.end("8", "kitchen")
    with failing_disk(world.ledger):
        world.step()
    assert world.backend.told == ["7", "8"]
    assert world.ledger.pending("default") == []
    assert world.aliases.resolve(number) == ref()
    assert "the alias of a deleted conference stays: " in caplog.text


def test_a_backend_without_the_method(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """It counts as told, and the operator is warned, once for each backend."""
    for backend in world.backends:
        world.backends[backend].usual = NO_SUCH_METHOD
        for conference_id in ("7", "8"):
            world.end(conference_id, conference_id, backend)
        world.delivery.step(backend)
        assert world.ledger.pending(backend) == []
    warned = [text for level, text, _ in lines(caplog) if level == logging.WARNING]
    assert warned == [
        f"backends.{backend} deletes no conferences; its rooms are free when their time is over"
        for backend in ("default", "other")
    ]


# -- what is not taken -------------------------------------------------------------------------


@pytest.mark.usefixtures("no_jitter")
@pytest.mark.parametrize("result", [BROKEN, UNREACHABLE])
def test_the_back_off_doubles(world: World, result: Result[DeleteOutcome]) -> None:
    """What is not taken is tried again after 1 s, 2 s, 4 s and so on, up to each minute."""
    world.backend.usual = result
    world.end()
    world.work(250)
    times = [call.at for call in world.backend.calls]
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert gaps == pytest.approx([1, 2, 4, 8, 16, 32, 60, 60, 60], abs=BUSY_SECONDS)
    assert world.state() is RecordState.PENDING
    assert world.deliveries("ended", "failed") == 10


def test_a_backend_that_refuses_everything(world: World) -> None:
    """It is tried with one conference at a time, and not with thousands one after the other."""
    world.backend.usual = BROKEN
    for number in range(100):
        world.end(str(number), f"room{number}")
    world.work(600)
    assert len(world.backend.calls) < MANY_REFUSALS + 30
    world.delivery.deletions.backend_answers("default")
    world.backend.usual = DONE
    world.work(MAX_RETRY_SECONDS)
    assert world.ledger.pending("default") == []


def test_some_that_are_refused_hold_up_no_others(world: World) -> None:
    """As long as a backend takes some, it is told of all."""
    world.backend.usual = BROKEN
    for number in range(MANY_REFUSALS - 1):
        world.end(str(number), f"room{number}")
    world.work(10)
    world.backend.usual = DONE
    world.end("9", "room9")
    world.step()
    assert world.state("9") is None


def test_requests_do_not_lengthen_the_pause(world: World) -> None:
    """However many people ask for a room in an outage, the backend is soon tried again."""
    world.backend.usual = NOT_SENT
    world.end()
    for _ in range(20):
        world.attempt(ref())
    world.backend.usual = DONE
    world.work(2 * FIRST_RETRY_SECONDS)
    assert world.state() is None


def test_the_back_off_is_cut_at_random(world: World) -> None:
    """Each wait is cut by up to a half, so that what failed together comes back spread out."""
    world.backend.usual = BROKEN
    for number in range(MANY_REFUSALS - 1):
        world.end(str(number), f"room{number}")
    world.work(1.2)
    first = [call.at for call in world.backend.calls if call.at > 1000][: MANY_REFUSALS - 1]
    assert min(first) >= 1000 + FIRST_RETRY_SECONDS / 2
    assert max(first) <= 1000 + FIRST_RETRY_SECONDS + BUSY_SECONDS
    assert len(set(first)) > 1
    waits = [deletion_retries._back_off(count) for count in range(20, 2000)]
    assert MAX_RETRY_SECONDS / 2 <= min(waits) < 0.6 * MAX_RETRY_SECONDS
    assert 0.9 * MAX_RETRY_SECONDS < max(waits) <= MAX_RETRY_SECONDS


@pytest.mark.parametrize("kind", OF_THE_BACKEND)
def test_a_fault_of_the_backend(world: World, kind: FaultKind) -> None:
    """What the next call would meet as well is met once: the backend is left alone for a while."""
    world.backend.usual = failed(kind)
    for number in range(3):
        world.end(str(number), f"room{number}")
    world.end("x", "board", "other")
    world.step()
    world.step()
    assert world.backend.told == ["0"]
    world.delivery.step("other")
    assert world.backends["other"].told == ["x"]
    world.backend.usual = DONE
    world.clock.pass_by(FIRST_RETRY_SECONDS)
    world.step()
    assert world.backend.told == ["0", "1", "2"]


@pytest.mark.parametrize("kind", sorted(set(FaultKind) - set(OF_THE_BACKEND), key=str))
def test_a_fault_of_one_conference(world: World, kind: FaultKind) -> None:
    """A conference that a backend does not get rid of holds up no other room's."""
    world.backend.answers["0"] = failed(kind)
    for number in range(3):
        world.end(str(number), f"room{number}")
    world.step()
    assert world.backend.told == ["0", "1", "2"]
    assert [record.ref for record in world.ledger.pending("default")] == [ref("0")]


def test_a_room_s_conferences_are_told_in_order(world: World) -> None:
    """While the end of a room's meeting is not taken, the end of its next one is not told."""
    world.backend.answers["0"] = BROKEN
    for number in range(3):
        world.end(str(number))
    world.end("x", "kitchen")
    world.step()
    assert world.backend.told == ["0", "x"]
    world.work(30)
    assert set(world.backend.told) == {"0"}
    world.backend.answers.clear()
    world.work(MAX_RETRY_SECONDS)
    assert world.backend.told == ["0", "1", "2"]


def test_unknown_rooms_do_not_wait_for_each_other(world: World) -> None:
    """Of ids without a room nobody knows that they belong together."""
    world.backend.answers["0"] = BROKEN
    for number in range(3):
        world.ledger.end(ref(str(number)), START_MS)
    world.step()
    assert world.backend.told == ["0", "1", "2"]


def test_what_the_log_says_of_it(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Each attempt is a line, with its number and with what went wrong, on one line."""
    world.backend.usual = failed(FaultKind.BROKEN, "INTERNAL", "a\nb")
    world.end()
    world.work(1.2)
    found = lines(caplog)
    assert [(level, text) for level, text, _ in found] == [
        (logging.WARNING, "deletion pending")
    ] * len(found)
    assert [fields["attempt"] for _, _, fields in found[:2]] == [1, 2]
    assert {name: found[0][2][name] for name in ("code", "fault", "detail", "id", "room")} == {
        "code": "INTERNAL",
        "fault": "broken",
        "detail": "a b",
        "id": "default.7",
        "room": "board",
    }


@pytest.mark.usefixtures("no_jitter")
def test_a_backend_that_answers_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """As soon as it takes one thing, all that was not sent because of it is due."""
    world.backend.usual = failed(FaultKind.SATURATED, "")
    for number in range(3):
        world.end(str(number), f"room{number}")
    world.work(200)
    assert set(world.backend.told) == {"0"}
    world.backend.usual = DONE
    woken: list[str] = []
    monkeypatch.setattr(world.delivery._schedule, "wake", woken.append)
    world.delivery.deletions.backend_answers("default")
    world.delivery.deletions.backend_answers("default")
    assert woken == ["default"]
    world.step()
    assert world.backend.told == ["0", "1", "2"]


@pytest.mark.usefixtures("no_jitter")
def test_a_recovery_starts_the_back_off_anew(world: World) -> None:
    """After a recovery the next outage is short at first."""
    world.backend.usual = UNREACHABLE
    world.end("0", "a")
    world.work(100)
    world.backend.usual = DONE
    world.delivery.deletions.backend_answers("default")
    world.work(MAX_RETRY_SECONDS)
    world.backend.usual = UNREACHABLE
    world.end("1", "b")
    world.step()
    world.backend.calls.clear()
    world.work(1.2)
    assert world.backend.told == ["1"]


def test_a_backend_that_is_well_answers(world: World) -> None:
    """Most answers change nothing, and what one conference was put off for stays."""
    world.backend.usual = BROKEN
    world.end()
    world.step()
    world.delivery.deletions.backend_answers("default")
    world.step()
    assert world.backend.told == ["7"]


# -- what is over, and what is not -------------------------------------------------------------


def test_what_goes_on_is_not_told(world: World) -> None:
    """A conference that a client has again is left alone, for good."""
    world.backend.usual = BROKEN
    world.end()
    world.step()
    assert world.backend.told == ["7"]
    world.ledger.grant(ref(), "board", conference())
    world.delivery.deletions.cancel(ref())
    world.work(100)
    assert not world.attempt(ref())
    assert world.backend.told == []


def test_what_goes_on_at_the_last_moment(world: World) -> None:
    """Who was given a conference meanwhile keeps it; an abandoned one stays abandoned."""

    def meanwhile(conference_id: str) -> None:
        if conference_id == "0":
            world.ledger.grant(ref("1"), "room1", conference("1"))
            abandon(world.ledger, ref("2"))

    world.backend.meanwhile = meanwhile
    for number in range(4):
        world.end(str(number), f"room{number}")
    assert world.step() == LOOK_SECONDS
    assert world.backend.told == ["0", "3"]
    assert world.state("1") is RecordState.OPEN


def test_after_a_cancellation_all_begins_anew(world: World) -> None:
    """The next end of a conference is due at once, whatever was tried before."""
    world.backend.usual = BROKEN
    world.end()
    world.work(60)
    world.ledger.grant(ref(), "board", conference())
    world.delivery.deletions.cancel(ref())
    world.delivery.deletions.cancel(ref("unknown"))
    world.backend.calls.clear()
    world.end()
    world.step()
    assert world.backend.told == ["7"]


def test_an_attempt_of_a_request(world: World) -> None:
    """It is told in the time and under the id of the request, and whether it is gone is known."""
    world.end()
    world.backend.usual = BROKEN
    assert not world.attempt(ref(), 2.5)
    world.backend.usual = DONE
    assert world.attempt(ref(), 1.5)
    assert [(call.incident_id, call.within_seconds) for call in world.backend.calls] == [
        ("0123456789ab", 2.5),
        ("0123456789ab", 1.5),
    ]
    assert world.state() is None


@pytest.mark.parametrize("before", ["abandoned", "gone"])
def test_an_attempt_of_what_was_over_long_ago(world: World, before: str) -> None:
    """A backend that still names a conference is told once more."""
    world.end()
    if before == "abandoned":
        abandon(world.ledger, ref())
    else:
        world.step()
        world.backend.calls.clear()
    world.clock.pass_by(5)
    assert world.attempt(ref())
    (call,) = world.backend.calls
    assert call.reason is DeleteReason.ENDED
    assert call.delete_time_ms == START_MS + (0 if before == "abandoned" else 5000)


def test_attempts_of_what_is_not_over(world: World) -> None:
    """What is open or unknown, or of a backend that is no more, is left alone."""
    world.ledger.grant(ref("open"), "board", conference("open"))
    world.ledger.end(ref("7", "removed"), 5)
    assert not world.attempt(ref("open"))
    assert not world.attempt(ref("unknown"))
    assert not world.attempt(ref("7", "removed"))
    assert world.backend.calls == []


def test_a_backend_that_is_no_more(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """What was ended for a backend that the settings do not have waits, and is given up at last."""
    world.ledger.end(ref("7", "removed"), START_MS)
    made = world.restarted()
    made.deletions.wake("removed")
    made.step("default")
    assert [record.ref.backend for record in world.ledger.pending("removed")] == ["removed"]
    world.clock.pass_by(GIVE_UP_AFTER.total_seconds() + 1)
    made.step("default")
    assert world.ledger.pending("removed") == []
    assert "deletion abandoned" in caplog.text


def test_what_is_being_asked_for(world: World) -> None:
    """A conference, or a room, that a request works on is not touched; soon it is looked at."""
    for key in (("default", "board"), ref("7")):
        world.end("7")
        world.end("8", "kitchen")
        with world.locks.hold(key, 0):
            assert world.step() == BUSY_SECONDS
            assert world.backend.told == ["8"]
        assert world.step() == LOOK_SECONDS
        assert world.backend.told == ["7"]


def test_never_two_at_once(world: World) -> None:
    """While a backend is told of a conference neither its room nor itself is free."""
    told, may_answer = threading.Event(), threading.Event()

    def hang(_: str) -> None:
        told.set()
        assert may_answer.wait(LONG_SECONDS)

    world.backend.meanwhile = hang
    world.end()
    with ThreadPoolExecutor(1) as executor:
        first = executor.submit(world.step)
        assert told.wait(LONG_SECONDS)
        for key in (("default", "board"), ref()):
            with world.locks.hold(key, 0) as is_free:
                assert not is_free
        assert world.step() == BUSY_SECONDS
        may_answer.set()
        first.result()
    assert world.backend.told == ["7"]
    with world.locks.hold(ref(), 0) as is_free:
        assert is_free


# -- time --------------------------------------------------------------------------------------


def test_an_end_that_nobody_said(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Some time after its end a conference is over, since its end, and the backend is told why."""
    caplog.set_level(logging.INFO)
    world.ledger.grant(ref(), "board", conference())
    world.clock.now_ms = END_MS + EXPIRE_AFTER // timedelta(milliseconds=1)
    world.step()
    assert world.backend.calls == []
    world.clock.now_ms += 1
    world.step()
    (call,) = world.backend.calls
    assert (call.reason, call.delete_time_ms) == (DeleteReason.EXPIRED, END_MS)
    assert world.deliveries("expired", "delivered") == 1
    assert lines(caplog)[0] == (logging.INFO, "expired", {"id": "default.7", "room": "board"})


def test_expired_ones_of_another_backend(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever thread sees that a conference has expired, its own backend is told."""
    world.ledger.grant(ref("x", "other"), "board", conference("x"))
    world.clock.now_ms = LATER_MS
    woken: list[str] = []
    monkeypatch.setattr(world.delivery._schedule, "wake", woken.append)
    world.step()
    assert woken == ["other"]
    assert world.backend.calls == []
    assert [record.ref for record in world.ledger.pending("other")] == [ref("x", "other")]
    world.delivery.step("other")
    assert world.backends["other"].told == ["x"]


def test_giving_up(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """What was not taken for days is tried no more; that is an error, with all that is known."""
    world.backend.usual = failed(FaultKind.SLOW)
    world.end()
    world.step()
    world.clock.pass_by(GIVE_UP_AFTER.total_seconds())
    world.step()
    assert world.state() is RecordState.PENDING
    assert world.delivery.deletions.is_uncertain(ref())
    world.backend.calls.clear()
    world.clock.pass_by(1)
    world.step()
    assert world.backend.calls == []
    assert world.state() is RecordState.ABANDONED
    assert world.ledger.counts[RecordState.ABANDONED] == 1
    assert not world.delivery.deletions.is_uncertain(ref())
    assert lines(caplog)[-1] == (
        logging.ERROR,
        "deletion abandoned",
        {"id": "default.7", "room": "board"},
    )


@pytest.mark.parametrize("days", [1, 100])
def test_nothing_is_given_up_untried(world: World, days: int) -> None:
    """However late it is noticed that a conference is over, its backend is told at least once."""
    patient = new_delivery(
        Store(world.ledger, world.aliases, world.locks),
        world.metrics,
        world.backends,
        world.clock,
        expire_after=GIVE_UP_AFTER if days == 1 else EXPIRE_AFTER,
    )
    world.ledger.grant(ref(), "board", conference())
    for _ in range(10):
        world.clock.pass_by(days * 86400)
        patient.step("default")
    assert world.backend.told == ["7"]


def test_an_expired_one_has_as_long_as_every_other(world: World) -> None:
    """The time in which it is tried begins when it is first due, not at its end."""
    world.backend.usual = BROKEN
    world.ledger.grant(ref(), "board", conference())
    world.clock.now_ms = END_MS + EXPIRE_AFTER // timedelta(milliseconds=1) + 1
    world.step()
    assert world.backend.told == ["7"]
    world.clock.pass_by(GIVE_UP_AFTER.total_seconds() - 1)
    world.step()
    assert world.state() is RecordState.PENDING
    world.clock.pass_by(2)
    world.step()
    assert world.state() is RecordState.ABANDONED


# -- uncertain deletions -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("result", "is_uncertain"),
    [
        (failed(FaultKind.SLOW, "DEADLINE_EXCEEDED"), True),
        (failed(FaultKind.BROKEN, "CANCELLED"), True),
        (failed(FaultKind.UNREACHABLE, "UNAVAILABLE"), True),
        (failed(FaultKind.BROKEN, "INTERNAL"), True),
        (failed(FaultKind.SATURATED, ""), False),
    ],
)
def test_what_may_be_on_its_way(
    world: World, result: Result[DeleteOutcome], is_uncertain: bool
) -> None:
    """A DELETE that was sent may have been carried out, whatever came back; no other one is."""
    world.end()
    assert not world.delivery.deletions.is_uncertain(ref())
    world.backend.usual = result
    world.step()
    assert world.delivery.deletions.is_uncertain(ref()) is is_uncertain


def test_uncertainty_stays(world: World) -> None:
    """That a later DELETE was not sent says nothing of the earlier one."""
    world.end()
    world.backend.usual = failed(FaultKind.SLOW)
    world.step()
    world.backend.usual = failed(FaultKind.SATURATED, "")
    world.work(30)
    assert world.delivery.deletions.is_uncertain(ref())
    world.backend.usual = DONE
    world.work(MAX_RETRY_SECONDS)
    assert world.state() is None
    assert not world.delivery.deletions.is_uncertain(ref())


def test_uncertain_after_a_restart(world: World) -> None:
    """Nobody knows what the process before was about to send; it is delivered at once."""
    world.end()
    made = world.restarted()
    world.end("8", "kitchen")
    assert made.deletions.is_uncertain(ref())
    assert not made.deletions.is_uncertain(ref("8"))
    made.step("default")
    assert world.backend.told == ["7", "8"]
    assert not made.deletions.is_uncertain(ref())


def test_uncertain_after_a_cancellation(world: World) -> None:
    """A conference that goes on begins anew."""
    world.end()
    made = world.restarted()
    made.deletions.cancel(ref())
    assert not made.deletions.is_uncertain(ref())


def test_uncertain_of_what_was_gone(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A conference that is told once more is uncertain too, for as long as it is remembered."""
    world.end()
    world.step()
    world.backend.usual = failed(FaultKind.SLOW)
    assert not world.attempt(ref())
    assert world.delivery.deletions.is_uncertain(ref())
    world.step()
    assert world.delivery.deletions.is_uncertain(ref())
    monkeypatch.setattr("jicofo_reservation_proxy.ledger.memory_index.MAX_GONE", 1)
    monkeypatch.setattr(world.delivery._schedule, "_most_attempts", 0)
    world.ledger.settle(ref("8"))
    world.step()
    assert not world.delivery.deletions.is_uncertain(ref())


# -- the last deliveries -----------------------------------------------------------------------


def test_at_the_end_everything_is_due(world: World) -> None:
    """When the proxy stops, back-offs do not count; each call has the time that is left."""
    world.backend.usual = BROKEN
    for number in range(3):
        world.end(str(number), f"room{number}")
    world.work(60)
    world.backend.usual = DONE
    world.backend.calls.clear()
    world.delivery.step("default", lambda: world.clock.now + 5)
    assert [call.within_seconds for call in world.backend.calls] == [5, 5, 5]
    assert world.ledger.pending("default") == []


def test_at_the_end_a_pause_does_not_count(world: World) -> None:
    """A backend that was left alone is tried once more."""
    world.backend.usual = UNREACHABLE
    for number in range(3):
        world.end(str(number), f"room{number}")
    world.work(60)
    world.backend.usual = DONE
    world.backend.calls.clear()
    world.delivery.step("default", lambda: world.clock.now + 5)
    assert world.backend.told == ["0", "1", "2"]


def test_at_the_end_an_outage_is_met_once(world: World) -> None:
    """A backend that cannot be asked then does not cost a call for each conference."""
    world.backend.usual = UNREACHABLE
    for number in range(3):
        world.end(str(number), f"room{number}")
    world.delivery.step("default", lambda: world.clock.now + 5)
    assert world.backend.told == ["0"]


def test_at_the_end_a_lasting_outage_is_met_once(world: World) -> None:
    """Also where the backend is in a pause already: stopping takes no longer than one attempt."""
    world.backend.usual = NOT_SENT
    for number in range(5):
        world.end(str(number), f"room{number}")
    world.step()
    before = len(world.backend.calls)
    world.delivery.step("default", lambda: world.clock.now + 60)
    assert len(world.backend.calls) == before + 1


def test_at_the_end_one_conference_holds_up_no_other(world: World) -> None:
    """What a backend refuses stays for the next process; the others are told."""
    world.backend.answers["0"] = BROKEN
    for number in range(3):
        world.end(str(number), f"room{number}")
    world.delivery.step("default", lambda: world.clock.now + 5)
    assert world.backend.told == ["0", "1", "2"]


def test_at_the_end_an_old_pause_does_not_count_either(world: World) -> None:
    """What is refused at the end, after an outage, holds up no other."""
    world.backend.usual = UNREACHABLE
    for number in range(3):
        world.end(str(number), f"room{number}")
    world.work(60)
    world.backend.usual = DONE
    world.backend.answers["0"] = BROKEN
    world.backend.calls.clear()
    world.delivery.step("default", lambda: world.clock.now + 5)
    assert world.backend.told == ["0", "1", "2"]


def test_after_the_end_nothing_is_begun(world: World) -> None:
    """When the time is up no call is made any more."""
    end = world.clock.now + 5
    world.backend.meanwhile = lambda _: world.clock.pass_by(2)
    for number in range(5):
        world.end(str(number), f"room{number}")
    world.delivery.step("default", lambda: end)
    assert [call.within_seconds for call in world.backend.calls] == [5, 3, 1]
    assert [record.ref.conference_id for record in world.ledger.pending("default")] == ["3", "4"]


# -- threads -----------------------------------------------------------------------------------


@contextmanager
def running(world: World, stop_within: float = LONG_SECONDS) -> Iterator[Delivery]:
    """Deliver with threads, by the real clock, until the end."""
    made = world.restarted(time.monotonic)
    made.start()
    try:
        yield made
    finally:
        made.stop(stop_within)


def test_it_is_delivered_at_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that is woken delivers; nobody waits until it looks by itself."""
    monkeypatch.setattr(deletion_delivery, "LOOK_SECONDS", 3600)
    with running(world) as made:
        for number in range(3):
            world.end(str(number))
            made.deletions.wake("default")
            eventually(lambda: not world.ledger.pending("default"))
    assert world.backend.told == ["0", "1", "2"]


def test_what_a_restart_left_is_delivered(world: World) -> None:
    """A thread delivers when it starts, without being woken."""
    world.end()
    with running(world):
        eventually(lambda: bool(world.backend.calls))
    assert world.backend.told == ["7"]


def test_it_looks_by_itself(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What expires wakes nobody; a thread finds it, and wakes that of its backend."""
    monkeypatch.setattr(deletion_delivery, "LOOK_SECONDS", 0.01)
    world.ledger.grant(ref(), "board", conference())
    world.ledger.grant(ref("x", "other"), "board", conference("x"))
    with running(world):
        world.clock.now_ms = LATER_MS
        eventually(lambda: all(backend.calls for backend in world.backends.values()))


def test_a_backend_that_hangs_holds_up_no_other(world: World) -> None:
    """Each backend has a thread of its own."""
    told, may_answer = threading.Event(), threading.Event()

    def hang(_: str) -> None:
        told.set()
        assert may_answer.wait(LONG_SECONDS)

    world.backend.meanwhile = hang
    with running(world) as made:
        try:
            world.end()
            made.deletions.wake("default")
            assert told.wait(LONG_SECONDS)
            world.end("x", "board", "other")
            made.deletions.wake("other")
            eventually(lambda: not world.ledger.pending("other"))
            assert world.state() is RecordState.PENDING
        finally:
            may_answer.set()
    assert world.state() is None


def test_stopping_delivers_the_rest(world: World) -> None:
    """What waits for its next try is tried at the end, and no thread is left."""
    with running(world) as made:
        world.backend.usual = BROKEN
        for number in range(3):
            world.end(str(number), f"room{number}")
        made.deletions.wake("default")
        eventually(lambda: len(world.backend.calls) >= 3)
        world.backend.usual = DONE
    assert world.ledger.pending("default") == []
    assert not [thread for thread in threading.enumerate() if "delivery" in thread.name]
    made.deletions.wake("default")
    made.stop(0)


def test_stopping_in_time(world: World) -> None:
    """A backend that hangs does not keep the proxy from ending, nor the others from their rest."""
    told, may_answer = threading.Event(), threading.Event()

    def hang(_: str) -> None:
        told.set()
        assert may_answer.wait(6 * LONG_SECONDS)

    world.backend.meanwhile = hang
    made = world.restarted(time.monotonic)
    made.start()
    try:
        world.end()
        made.deletions.wake("default")
        assert told.wait(LONG_SECONDS)
        world.end("x", "board", "other")
        started = time.monotonic()
        made.stop(0.2)
        assert time.monotonic() - started < LONG_SECONDS
        assert world.ledger.pending("other") == []
        assert world.state() is RecordState.PENDING
    finally:
        may_answer.set()


def test_a_mistake_does_not_end_the_deliveries(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """A fault of the proxy itself is logged, and the thread goes on when it is woken."""

    def fail(_: str) -> None:
        world.backend.meanwhile = lambda _: None
        raise RuntimeError

    world.backend.meanwhile = fail
    with running(world) as made:
        world.end()
        made.deletions.wake("default")
        eventually(lambda: "a fault of the proxy in the delivery to default" in caplog.text)
        made.deletions.wake("default")
        eventually(lambda: world.state() is None)
    with world.locks.hold(ref(), 0) as is_free:
        assert is_free


def test_before_the_start_nobody_is_woken(world: World) -> None:
    """A delivery without threads takes note, and does nothing."""
    world.end()
    world.delivery.deletions.wake("default")
    world.delivery.stop(1)
    assert world.backend.calls == []
