"""Answers that name a strange conference: over, gone, in another room, or granted and not given."""

import logging
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import pytest
from jicofo_reservation_proxy.errors import StateError
from jicofo_reservation_proxy.http.dialects import JICOFO, PROSODY
from jicofo_reservation_proxy.http.forms import parse_create
from jicofo_reservation_proxy.http.owners import guest_test
from jicofo_reservation_proxy.ids import Named, decode, encode
from jicofo_reservation_proxy.ledger.ledger import Store
from jicofo_reservation_proxy.ledger.records import RecordState
from jicofo_reservation_proxy.ledger.sqlite_ledger import SqliteLedger
from jicofo_reservation_proxy.model import (
    OVER,
    ClientKind,
    Conference,
    Conflict,
    CreateOutcome,
    CreateReply,
    CreateRequest,
    Deleted,
    DeleteOutcome,
    DeleteReason,
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
    Reservation,
    Result,
)
from jicofo_reservation_proxy.reservations.deletion_delivery import Delivery
from jicofo_reservation_proxy.reservations.grants import Grants
from jicofo_reservation_proxy.reservations.named_conferences import NamedConferences
from jicofo_reservation_proxy.reservations.numeric_ids import NumericIds
from jicofo_reservation_proxy.reservations.use_cases import UseCases

from tests.unit.ledgers import LONG_SECONDS, START_MS, Elsewhere, abandon, failing_disk, ref
from tests.unit.reservations.deliveries import BROKEN, DONE, NO_SUCH_METHOD, NOT_SENT
from tests.unit.reservations.stage import INCIDENT, NAME, staged

UNIMPLEMENTED = Fault(FaultKind.BROKEN, "UNIMPLEMENTED", "")
OPEN, PENDING, ABANDONED = RecordState


def conference(
    conference_id: str = "7", room: str = "board", *, ends: int | None = 3600
) -> Conference:
    """Return a conference that began an hour ago; `ends` is its end in seconds from now."""
    seconds = None if ends is None else 3600 + ends
    return Conference(conference_id, room, "", START_MS - 3_600_000, seconds)


@dataclass
class Backend:
    """A backend with prepared answers; `calls` has the calls in their order."""

    drops_old_deletions = True

    creates: deque[CreateOutcome] = field(default_factory=deque)
    got: GetOutcome = field(default_factory=NotFound)
    deleted: Result[DeleteOutcome] = DONE
    calls: list[str] = field(default_factory=list)
    reasons: list[DeleteReason] = field(default_factory=list)

    def create(
        self,
        request: CreateRequest,
        client: ClientKind,
        hold: Hold,
        incident_id: str,
        within_seconds: float,
    ) -> Result[CreateOutcome]:
        """Return the next prepared answer; repeat the last one."""
        del request, client, hold, incident_id, within_seconds
        self.calls.append("create")
        return Result(self.creates.popleft() if len(self.creates) > 1 else self.creates[0], "OK")

    def get(
        self, conference_id: str, incident_id: str, within_seconds: float
    ) -> Result[GetOutcome]:
        """Return the prepared answer."""
        del incident_id, within_seconds
        self.calls.append(f"get {conference_id}")
        return Result(self.got, "X")

    def delete(
        self, deletion: Deletion, incident_id: str, within_seconds: float
    ) -> Result[DeleteOutcome]:
        """Return the prepared answer."""
        del incident_id, within_seconds
        self.calls.append(f"delete {deletion.conference_id}")
        self.reasons.append(deletion.reason)
        return self.deleted


@dataclass
class World:
    """The use cases, and the objects that they use."""

    ledger: SqliteLedger
    elsewhere: Elsewhere
    store: Store
    backend: Backend
    delivery: Delivery
    use_cases: UseCases

    def post(
        self, *outcomes: CreateOutcome, dialect: Dialect = PROSODY, room: str = "board"
    ) -> CreateReply:
        """Ask for the room; the backend answers these outcomes in turn. Forget earlier calls.

        The id in the reply is without the hold of the grant.
        """
        self.backend.creates = deque(outcomes)
        self.backend.calls.clear()
        form = f"name={room}&mail_owner=juliet%40example.com&start_time=2048-04-20T17:55:12.000Z"
        request = parse_create("application/x-www-form-urlencoded", form.encode(), guest_test(()))
        assert isinstance(request, CreateRequest)
        reply = self.use_cases.create(request, dialect, INCIDENT).reply
        if isinstance(reply, Reservation) and (named := decode(str(reply.public_id))):
            public_id = encode(named.ref) if isinstance(named, Named) else reply.public_id
            return reply._replace(public_id=public_id)
        return reply

    def gone(self) -> None:
        """Grant conference 7, end it, and let the backend acknowledge its deletion."""
        assert self.post(Granted(conference())) == given(conference())
        assert self.use_cases.delete("default.7", INCIDENT).reply == Deleted()
        self.delivery.step(NAME)
        assert self.ledger.is_over(ref())
        assert self.state() is None

    def state(self, conference_id: str = "7") -> RecordState | None:
        """Return the state of a conference in the ledger."""
        record = self.ledger.find(ref(conference_id))
        return record.state if record else None


@pytest.fixture
def world() -> Iterator[World]:
    """Return use cases over a ledger in memory; the delivery has no thread."""
    backend = Backend()
    with staged(backend) as stage:
        yield World(
            stage.ledger,
            stage.elsewhere,
            stage.store,
            backend,
            stage.delivery,
            stage.use_cases,
        )


def given(conference: Conference) -> Reservation:
    """Return the reply that gives a conference to Prosody."""
    return Reservation(f"default.{conference.id}", conference)


# -- ids that are used again ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "got",
    [
        Found(conference()),
        Found(conference(room="")),
        UNIMPLEMENTED,
        Fault(FaultKind.SLOW, "DEADLINE_EXCEEDED", ""),
    ],
)
def test_an_id_that_is_used_again_is_a_new_conference(
    world: World, got: GetOutcome, caplog: pytest.LogCaptureFixture
) -> None:
    """The proxy asks GetConference once, sends no deletion, and warns once for each backend."""
    for _ in range(3):
        world.backend.got = NotFound()
        world.gone()
        world.backend.got = got
        assert world.post(Granted(conference())) == given(conference())
        assert world.backend.calls == ["create", "get 7"]
        assert world.state() is OPEN
        world.ledger.end(ref(), START_MS, LONG_SECONDS)
        world.delivery.step(NAME)
    warnings = [line for line in caplog.messages if "names default.7 again" in line]
    assert warnings == [
        (
            "backends.default names default.7 again after it has acknowledged its deletion; the "
            "contract says: The id MUST be unique among all conferences of this backend for ever. "
            "The backend MUST NOT use an id again."
        )
    ]


@pytest.mark.parametrize("outcome", [Granted, Conflict])
def test_a_gone_conference_that_another_proxy_has(
    world: World, outcome: type[Granted | Conflict], caplog: pytest.LogCaptureFixture
) -> None:
    """A backend that keeps rows acknowledged only that this proxy does not have the conference."""
    world.gone()
    assert world.post(outcome(conference(), has_row=True)) == given(conference())
    assert world.backend.calls == ["create"]
    assert "names default.7 again" not in caplog.text


@pytest.mark.parametrize("got", [NotFound(), Found(conference(room="kitchen"))])
def test_an_outdated_grant_of_a_gone_conference(world: World, got: GetOutcome) -> None:
    """If GetConference does not find the conference in this room, the proxy asks again."""
    world.gone()
    world.backend.got = got
    assert world.post(Granted(conference()), Granted(conference("8"))) == given(conference("8"))
    assert world.backend.calls == ["create", "get 7", "create"]


def test_a_deletion_that_is_delivered_while_the_second_answer_is_made(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second answer may be outdated too, if it names another conference than the first one.

    The backend uses the id 8 again; the old conference 8 was in another room, and the deletion of
    it is delivered just when the backend has made the second answer.
    """
    world.gone()
    world.ledger.grant(ref("8"), "kitchen", conference("8", "kitchen"), LONG_SECONDS)
    world.ledger.end(ref("8"), START_MS, LONG_SECONDS)
    create = world.backend.create

    def deliver_meanwhile(*arguments: object) -> Result[CreateOutcome]:
        result = create(*arguments)  # type: ignore[arg-type]
        if result.outcome == Granted(conference("8")):
            world.delivery.step(NAME)
        return result

    monkeypatch.setattr(world.backend, "create", deliver_meanwhile)
    outcomes = [Granted(conference(each)) for each in ("7", "8", "9")]
    assert world.post(*outcomes) == given(conference("9"))
    assert world.backend.calls == ["create", "get 7", "create", "delete 8", "get 8", "create"]


def test_a_backend_that_names_gone_conferences_is_asked_three_times(world: World) -> None:
    """The number of calls is limited: the third answer counts, whatever it names."""
    for each in ("7", "8", "9"):
        assert world.post(Granted(conference(each))) == given(conference(each))
        world.ledger.end(ref(each), START_MS, LONG_SECONDS)
        world.delivery.step(NAME)
    outcomes = [Granted(conference(each)) for each in ("7", "8", "9")]
    assert world.post(*outcomes) == given(conference("9"))
    assert world.backend.calls == ["create", "get 7", "create", "get 8", "create"]


def test_a_backend_that_insists_on_a_gone_conference(world: World) -> None:
    """The proxy asks only once more. Then it gives the client the conference."""
    world.gone()
    assert world.post(Granted(conference())) == given(conference())
    assert world.backend.calls == ["create", "get 7", "create"]
    assert world.state() is OPEN


def test_a_conflict_with_a_gone_conference(world: World) -> None:
    """The proxy sends no deletion, because another client may be in a conference with this id."""
    world.gone()
    reply = world.post(Conflict(conference()), Granted(conference("8")))
    assert reply == given(conference("8"))
    assert world.backend.calls == ["create", "get 7", "create"]
    world.ledger.end(ref("8"), START_MS, LONG_SECONDS)
    world.backend.got = Found(conference())
    assert world.post(Conflict(conference())) == given(conference())
    assert world.backend.calls == ["delete 8", "create", "get 7"]


def test_a_backend_without_deletions_uses_no_id_again(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """If the backend has no deletions, the client gets the gone conference again at once."""
    world.backend.deleted = NO_SUCH_METHOD
    world.gone()
    caplog.clear()
    assert world.post(Granted(conference())) == given(conference())
    assert world.backend.calls == ["create"]
    assert not caplog.records


# -- one id for two rooms -------------------------------------------------------------------------


@pytest.mark.parametrize("state", [OPEN, PENDING, ABANDONED])
def test_a_conference_that_moved(
    world: World, state: RecordState, caplog: pytest.LogCaptureFixture
) -> None:
    """If GetConference names the new room, the old record was stale and is replaced."""
    in_state(world, state)
    world.backend.got = Found(conference())
    assert world.post(Granted(conference())) == given(conference())
    assert world.backend.calls == ["create", "get 7"]
    record = world.ledger.find(ref())
    assert record
    assert (record.room, record.state) == ("board", OPEN)
    (line,) = [line for line in caplog.records if "moved" in line.getMessage()]
    assert vars(line)["fields"] == {"id": "default.7", "room": "board", "old_room": "kitchen"}


@pytest.mark.parametrize("outcome", [Granted(conference()), Conflict(conference())])
@pytest.mark.parametrize(
    "got",
    [Found(conference(room="kitchen")), Found(conference(room="")), NotFound(), UNIMPLEMENTED],
)
@pytest.mark.parametrize("state", [OPEN, PENDING, ABANDONED])
def test_one_id_for_two_rooms(
    world: World, state: RecordState, got: GetOutcome, outcome: Granted | Conflict
) -> None:
    """If GetConference does not name the new room, the room is refused. No deletion is sent."""
    in_state(world, state)
    world.backend.got = got
    reply = world.post(outcome)
    assert isinstance(reply, Fault)
    assert reply.kind is FaultKind.BROKEN
    assert reply.detail.startswith("'7' is the id of a conference in another room; the contract ")
    assert world.backend.calls == ["create", "get 7"]
    record = world.ledger.find(ref())
    assert record
    assert (record.room, record.state) == ("kitchen", state)


def in_state(world: World, state: RecordState) -> None:
    """Let the ledger know conference 7 in the kitchen, in this state."""
    world.ledger.grant(ref(), "kitchen", conference(room="kitchen"), LONG_SECONDS)
    if state is not OPEN:
        world.ledger.end(ref(), START_MS, LONG_SECONDS)
    if state is ABANDONED:
        abandon(world.ledger, ref())


# -- conferences that are over already ------------------------------------------------------------


@pytest.mark.parametrize("kind", [Granted, Conflict])
@pytest.mark.parametrize("is_known", [True, False])
@pytest.mark.parametrize("ends", [0, -1800])
def test_a_conference_that_is_over_is_ended_and_asked_for_again(
    world: World, kind: type[Granted | Conflict], *, is_known: bool, ends: int
) -> None:
    """The proxy deletes the conference with the reason EXPIRED, and asks for the room again."""
    over = conference(ends=ends)
    if is_known:
        world.ledger.grant(ref(), "board", over, LONG_SECONDS)
    assert world.post(kind(over), Granted(conference("8"))) == given(conference("8"))
    assert world.backend.calls == ["create", "delete 7", "create"]
    assert world.backend.reasons == [DeleteReason.EXPIRED]


def test_a_backend_that_names_only_conferences_that_are_over(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """The client is refused, and the log has a warning for each conference."""
    over = [Granted(conference(name, ends=-1)) for name in ("7", "8")]
    assert world.post(*over) == Denied("", OVER)
    assert world.backend.calls == ["create", "delete 7", "create"]
    world.delivery.step(NAME)
    assert world.backend.calls[3:] == ["delete 8"]
    warned = [line for line in caplog.records if "is over" in line.getMessage()]
    assert [(line.levelno, vars(line)["fields"]["id"]) for line in warned] == [
        (logging.WARNING, "default.7"),
        (logging.WARNING, "default.8"),
    ]


def test_a_conference_that_is_over_and_cannot_be_ended(world: World) -> None:
    """If the deletion was not sent, the proxy does not ask again. The deletion stays pending."""
    world.backend.deleted = NOT_SENT
    assert world.post(Granted(conference(ends=-1))) == Denied("", OVER)
    assert world.backend.calls == ["create", "delete 7"]
    assert world.state() is PENDING


def test_a_client_that_was_told_a_later_end_keeps_its_conference(world: World) -> None:
    """A conference that the backend shortened is refused to others, and not ended."""
    world.ledger.grant(ref(), "board", conference(), LONG_SECONDS)
    assert world.post(Conflict(conference(ends=-1))) == Denied("", OVER)
    assert world.backend.calls == ["create"]
    assert world.state() is OPEN


def test_rooms_that_differ_only_in_case_are_the_same(world: World) -> None:
    """A backend may write the room in another case. It is still the same room."""
    world.ledger.grant(ref(), "BOARD", conference(room="BOARD"), LONG_SECONDS)
    assert world.post(Conflict(conference(room="BOARD"))) == given(conference(room="BOARD"))
    assert world.backend.calls == ["create"]


def test_a_get_of_a_conference_that_is_over(world: World) -> None:
    """A GET does not return a conference whose end has passed, even if the ledger has it."""
    world.ledger.grant(ref(), "board", conference(ends=-1), LONG_SECONDS)
    world.backend.got = Found(conference(ends=-1))
    assert world.use_cases.get("default.7", JICOFO, INCIDENT).reply == NotFound()
    world.backend.got = UNIMPLEMENTED
    assert world.use_cases.get("default.7", JICOFO, INCIDENT).reply == UNIMPLEMENTED


# -- granted at the backend, and not given to the client ------------------------------------------

CLASSES: dict[str, type] = {
    "NumericIds": NumericIds,
    "SqliteLedger": SqliteLedger,
    "NamedConferences": NamedConferences,
    "Grants": Grants,
}
BREACH = Fault(FaultKind.BROKEN, "OK", "breach of the contract", granted_id="7")


def fail(*_: object, **__: object) -> None:
    """Fail as a full disk does."""
    raise StateError("the disk is full")


def crash(*_: object, **__: object) -> None:
    """Fail as a bug does."""
    raise ZeroDivisionError


@pytest.mark.parametrize(
    ("outcome", "patched", "error"),
    [
        (BREACH, "", None),
        (Granted(conference("order")), "NumericIds.of", fail),
        (Granted(conference()), "SqliteLedger.grant", fail),
        (Granted(conference()), "SqliteLedger.is_over", fail),
        (Granted(conference()), "NamedConferences.judge", fail),
        (Granted(conference()), "NamedConferences.judge", crash),
        (Granted(conference()), "Grants.give", crash),
        (Granted(conference(ends=-1)), "", None),
    ],
)
def test_a_granted_conference_that_the_client_does_not_get_is_ended(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    outcome: CreateOutcome,
    patched: str,
    error: object,
) -> None:
    """On each path on which the client gets no 200, the proxy ends the granted conference."""
    granted_id = outcome.granted_id if isinstance(outcome, Fault) else outcome.conference.id  # type: ignore[union-attr]
    with monkeypatch.context() as patch:
        if patched:
            class_name, method = patched.split(".")
            patch.setattr(CLASSES[class_name], method, error)
        try:
            reply: object = world.post(outcome)
        except ZeroDivisionError:
            reply = None
    assert not isinstance(reply, Reservation)
    world.delivery.step(NAME)
    assert f"delete {granted_id}" in world.backend.calls
    assert world.ledger.is_over(ref(granted_id))
    assert world.state(granted_id) is None


def test_a_conference_that_is_locked_after_the_question(world: World) -> None:
    """If the lock of a granted conference is held too long, the proxy ends it after the release."""
    with world.store.locks.hold(ref(), 0) as is_free:
        assert is_free
        reply = world.post(Granted(conference()))
        assert isinstance(reply, Fault)
        world.delivery.step(NAME)
        assert world.backend.calls == ["create"]
    world.delivery.step(NAME)
    assert world.backend.calls == ["create", "delete 7"]


def test_a_withdrawn_conference_is_deleted_before_the_next_question(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """The next POST for the room first delivers the deletion. The log names the conference."""
    world.post(BREACH)
    assert world.post(Granted(conference("8"))) == given(conference("8"))
    assert world.backend.calls == ["delete 7", "create"]
    (line,) = [line for line in caplog.records if "no client got it" in line.getMessage()]
    fields = {"id": "default.7", "room": "board", "incident": INCIDENT}
    assert vars(line)["fields"] == fields


def test_a_conference_that_a_client_has_is_not_ended(world: World) -> None:
    """If an unusable answer grants a conference that a client has, the meeting goes on."""
    assert world.post(Granted(conference())) == given(conference())
    world.post(BREACH)
    world.delivery.step(NAME)
    assert world.backend.calls == ["create"]
    assert world.state() is OPEN


def test_an_unusable_conflict_ends_nothing(world: World) -> None:
    """A conference that another request created is never ended by a refusal."""
    world.elsewhere.away = {"grant"}
    reply = world.post(Conflict(conference()))
    assert isinstance(reply, Fault)
    world.delivery.step(NAME)
    assert world.backend.calls == ["create"]


def test_a_ledger_that_cannot_store_the_deletion(world: World) -> None:
    """If the store is unreachable, the deletion is sent at once."""
    world.elsewhere.away = {"withdraw"}
    world.post(BREACH)
    assert world.backend.calls == ["create", "delete 7"]


@pytest.mark.parametrize("away", [{"withdraw"}, {"withdraw", "find"}])
def test_a_ledger_that_cannot_store_the_deletion_of_a_meeting(
    world: World, away: set[str], caplog: pytest.LogCaptureFixture
) -> None:
    """If a client has the conference, or if the proxy cannot know that, it sends nothing."""
    assert world.post(Granted(conference())) == given(conference())
    world.elsewhere.away = away
    world.post(BREACH)
    assert world.backend.calls == ["create"]
    assert ("cannot end conference default.7" in caplog.text) == ("find" in away)


def test_a_failing_disk_keeps_the_deletion_in_memory(world: World) -> None:
    """With a failing disk the deletion is pending in memory, and delivered."""
    with failing_disk(world.ledger):
        world.post(BREACH)
        world.delivery.step(NAME)
    assert world.backend.calls == ["create", "delete 7"]


def test_an_answer_that_is_outdated_withdraws_nothing(world: World) -> None:
    """A stale grant of a gone conference is not ended once more."""
    world.gone()
    assert world.post(Granted(conference()), Denied("no", "")) == Denied("no", "")
    world.delivery.step(NAME)
    assert world.backend.calls == ["create", "get 7", "create"]


def test_a_pending_deletion_that_fails_is_not_doubled(world: World) -> None:
    """A conference whose deletion is pending is not withdrawn as well."""
    world.ledger.grant(ref(), "board", conference(), LONG_SECONDS)
    world.ledger.end(ref(), START_MS, LONG_SECONDS)
    world.backend.deleted = BROKEN
    world.elsewhere.away = {"grant"}
    assert isinstance(world.post(Granted(conference())), Fault)
    record = world.ledger.find(ref())
    assert record == replace(record, state=PENDING, over_at_ms=START_MS)  # type: ignore[type-var]
    assert len(world.ledger.pending(NAME)) == 1
