"""Backends that do not describe the conference of a conflict, or that may delete it later."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from jicofo_reservation_proxy.http.dialects import JICOFO, PROSODY
from jicofo_reservation_proxy.http.forms import parse_room
from jicofo_reservation_proxy.http.owners import guest_test, parse_owner
from jicofo_reservation_proxy.ids import Named, decode
from jicofo_reservation_proxy.ledger.records import RecordState
from jicofo_reservation_proxy.model import (
    OTHER_OWNER,
    OVER,
    Conference,
    ConferenceRef,
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
    Granted,
    Reservation,
    Result,
    Taken,
    UnnamedConflict,
)
from jicofo_reservation_proxy.reservations.use_cases import Policy

from tests.unit.ledgers import LONG_SECONDS, START_MS, ref
from tests.unit.reservations.stage import INCIDENT, NAME, Stage, make_use_cases, staged

OWNER = "juliet@example.com"
LOST: Result[DeleteOutcome] = Result(
    Fault(FaultKind.SLOW, "TIMEOUT", "", may_happen_later=True), "TIMEOUT"
)
REFUSED: Result[DeleteOutcome] = Result(Fault(FaultKind.BROKEN, "500", ""), "500")
NOT_SENT: Result[DeleteOutcome] = Result(Fault(FaultKind.UNREACHABLE, "NO_CONNECTION", ""), "")
DONE: Result[DeleteOutcome] = Result(Deleted(), "200")


def conference(conference_id: str = "7", *, ends: int | None = 3600) -> Conference:
    """Return a conference that began an hour ago; `ends` is its end in seconds from now."""
    seconds = None if ends is None else 3600 + ends
    return Conference(conference_id, "board", OWNER, START_MS - 3_600_000, seconds)


@dataclass
class Backend:
    """A backend with prepared answers; it records the rooms, and the deletions."""

    drops_old_deletions = False

    created: CreateOutcome = field(default_factory=UnnamedConflict)
    deleted: Result[DeleteOutcome] = DONE
    rooms: list[str] = field(default_factory=list)
    deletions: list[Deletion] = field(default_factory=list)

    def create(self, request: CreateRequest, *_: object) -> Result[CreateOutcome]:
        """Return the prepared answer."""
        self.rooms.append(request.room.raw)
        return Result(self.created, "409")

    def get(self, *_: object) -> Result[Any]:
        """Answer that the conference exists."""
        return Result(Found(conference()), "200")

    def delete(self, deletion: Deletion, *_: object) -> Result[DeleteOutcome]:
        """Return the prepared answer."""
        self.deletions.append(deletion)
        return self.deleted


@pytest.fixture
def backend() -> Backend:
    """Return a backend that answers each create with a conflict."""
    return Backend()


@pytest.fixture
def stage(backend: Backend) -> Iterator[Stage]:
    """Return use cases for this backend."""
    with staged(backend) as found:
        yield found


def post(
    stage: Stage, dialect: Dialect = PROSODY, owner: str = OWNER, room: str = "board"
) -> CreateReply:
    """Ask for a room. The id in the reply is without the hold of the grant."""
    request = CreateRequest(
        "32b70e57-b26c-8a6c-8f6b-535dfdbc43bc",
        parse_room(room),
        owner,
        parse_owner(owner, guest_test(())),
        START_MS,
        None,
    )
    reply = stage.use_cases.create(request, dialect, INCIDENT).reply
    if isinstance(reply, Reservation | Taken) and isinstance(reply.public_id, str):
        named = decode(reply.public_id)
        assert isinstance(named, Named)
        name = f"{named.ref.backend}.{named.ref.conference_id}"
        if isinstance(reply, Taken):
            return Taken(name)
        return reply._replace(public_id=name)
    return reply


def open_in_ledger(stage: Stage, found: Conference, name: ConferenceRef | None = None) -> None:
    """Let a client have this conference."""
    stage.ledger.grant(name or ref(found.id), "board", found, LONG_SECONDS)


# -- conflicts -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("named", "message"), [("", ""), ("7", ""), ("", "Closed."), ("7", "No.")])
def test_a_conference_that_nobody_knows(
    stage: Stage, backend: Backend, named: str, message: str
) -> None:
    """The room is denied, with the sentence of the backend."""
    backend.created = UnnamedConflict(named, message)
    assert post(stage) == Denied(message, OTHER_OWNER)
    assert stage.ledger.in_room(NAME, "board", RecordState.OPEN) == []


@pytest.mark.parametrize("named", ["", "7"])
def test_a_conference_that_a_client_has(stage: Stage, backend: Backend, named: str) -> None:
    """The ledger knows the conference, so it goes on as after a conflict that describes it."""
    open_in_ledger(stage, conference())
    backend.created = UnnamedConflict(named, "Taken.")
    assert post(stage) == Reservation("default.7", conference())
    assert post(stage, JICOFO) == Reservation(7, conference())
    assert backend.deletions == []


def test_a_conference_of_another_owner(stage: Stage) -> None:
    """Jicofo's owners are people; the conference of another one is not shared."""
    open_in_ledger(stage, conference())
    assert post(stage, JICOFO, "romeo@example.com") == Denied("", OTHER_OWNER)
    assert post(stage, PROSODY, "romeo@example.com") == Reservation("default.7", conference())


def test_another_conference_than_the_ledger_knows(stage: Stage, backend: Backend) -> None:
    """A conflict with another id is with another conference."""
    open_in_ledger(stage, conference())
    backend.created = UnnamedConflict("8", "Taken.")
    assert post(stage) == Denied("Taken.", OTHER_OWNER)
    open_in_ledger(stage, conference("8"))
    assert post(stage) == Reservation("default.8", conference("8"))


def test_another_room(stage: Stage) -> None:
    """The open conference of another room holds nothing here."""
    open_in_ledger(stage, conference())
    assert post(stage, room="other") == Denied("", OTHER_OWNER)


@pytest.mark.parametrize("named", ["", "7"])
def test_a_fallback_grant_is_not_the_conference(stage: Stage, backend: Backend, named: str) -> None:
    """The backend does not know fallback grants, so it cannot mean one."""
    open_in_ledger(stage, conference(), ConferenceRef(NAME, "7", is_fallback=True))
    backend.created = UnnamedConflict(named)
    assert post(stage) == Denied("", OTHER_OWNER)


@pytest.mark.parametrize("ends", [0, -1])
def test_a_conference_whose_end_has_passed(stage: Stage, ends: int) -> None:
    """A client would close the room at once."""
    open_in_ledger(stage, conference(ends=ends))
    assert post(stage) == Denied("", OVER)
    open_in_ledger(stage, conference(ends=1))
    assert post(stage) == Reservation("default.7", conference(ends=1))


def test_a_conference_that_a_client_has_ended(stage: Stage, backend: Backend) -> None:
    """A pending deletion is delivered first; the conference is not given out again."""
    open_in_ledger(stage, conference())
    backend.deleted = REFUSED
    assert stage.use_cases.delete("default.7", INCIDENT).reply == Deleted()
    assert post(stage) == Denied("", OTHER_OWNER)
    assert [each.conference_id for each in backend.deletions] == ["7"]


def test_a_conflict_that_is_reported(stage: Stage, backend: Backend) -> None:
    """With `conflicts = "report"` the client gets the id of the conference that the ledger has."""
    stage.use_cases = make_use_cases(
        {NAME: backend},
        stage.store,
        stage.delivery,
        Policy("report", 1.0, {}),
        places=4,
        now_ms=lambda: START_MS,
    )
    assert post(stage) == Denied("", OTHER_OWNER)
    open_in_ledger(stage, conference())
    assert post(stage) == Taken("default.7")
    assert post(stage, JICOFO, "romeo@example.com") == Taken(7)


# -- deletions that may happen later -------------------------------------------------------------


def ended(stage: Stage, backend: Backend, deleted: Result[DeleteOutcome]) -> None:
    """Let a client end the conference 7; the backend answers so to its deletion."""
    backend.created = Granted(conference())
    assert post(stage) == Reservation("default.7", conference())
    backend.deleted = deleted
    assert stage.use_cases.delete("default.7", INCIDENT).reply == Deleted()
    stage.delivery.step(NAME)
    backend.rooms.clear()


def test_a_room_waits_for_a_deletion_that_may_happen_later(stage: Stage, backend: Backend) -> None:
    """The room is refused until the backend answers a deletion; another room is not."""
    ended(stage, backend, LOST)
    reply = post(stage)
    assert isinstance(reply, Fault)
    assert (reply.kind, reply.code) == (FaultKind.UNREACHABLE, "")
    assert len(backend.deletions) == 2
    assert backend.rooms == []
    backend.created = Granted(conference("8"))
    assert post(stage, room="other") == Reservation("default.8", conference("8"))
    backend.deleted = DONE
    backend.created = Granted(conference("9"))
    assert post(stage) == Reservation("default.9", conference("9"))
    assert backend.rooms == ["other", "board"]


def test_an_answer_of_the_backend_ends_the_wait(stage: Stage, backend: Backend) -> None:
    """A backend that refuses the deletion has handled it; the meeting goes on."""
    ended(stage, backend, LOST)
    backend.deleted = REFUSED
    assert post(stage) == Reservation("default.7", conference())


def test_a_deletion_that_was_not_sent_changes_nothing(stage: Stage, backend: Backend) -> None:
    """If the next attempt is not sent, the first one may still happen."""
    ended(stage, backend, LOST)
    backend.deleted = NOT_SENT
    assert isinstance(post(stage), Fault)
    assert backend.rooms == []


@pytest.mark.parametrize("deleted", [REFUSED, NOT_SENT])
def test_other_failures_do_not_refuse_the_room(
    stage: Stage, backend: Backend, deleted: Result[DeleteOutcome]
) -> None:
    """Only a lost answer leaves the question open; otherwise the meeting goes on."""
    ended(stage, backend, deleted)
    assert post(stage) == Reservation("default.7", conference())
    assert set(backend.rooms) == {"board"}


def test_a_backend_learns_that_a_deletion_is_repeated(stage: Stage, backend: Backend) -> None:
    """An HTTP backend may then look first whether the conference is gone."""
    ended(stage, backend, LOST)
    post(stage)
    assert [each.is_uncertain for each in backend.deletions] == [False, True]


def test_a_fallback_grant_while_a_deletion_may_happen_later(stage: Stage, backend: Backend) -> None:
    """With `when_unreachable = "allow"` the room opens: the deletion cannot end such a grant."""
    ended(stage, backend, LOST)
    stage.use_cases = make_use_cases(
        {NAME: backend},
        stage.store,
        stage.delivery,
        Policy("answer", 1.0, {NAME: 60}),
        places=4,
        now_ms=lambda: START_MS,
    )
    reply = post(stage)
    assert isinstance(reply, Reservation)
    assert reply.conference.id == INCIDENT
    assert backend.rooms == []
