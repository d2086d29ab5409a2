"""A late deletion never ends a live meeting, and no deletion that the proxy promised is lost.

The first tests are cases with names. The last test is a state machine that plays random sequences
of events. recreation.py has the simulated world of all tests, and the checks at each moment.
"""

import logging
import os
import tempfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)
from jicofo_reservation_proxy.errors import StateError
from jicofo_reservation_proxy.http.dialects import JICOFO, PROSODY
from jicofo_reservation_proxy.model import Deleted, Denied, Dialect, Fault, Reservation

from .recreation import HAS_ENDED, Call, Kind, Meanwhile, Terms, Told, World

IS_LONG = os.environ.get("FAULTS") == "long"
"""Whether the state machine runs for minutes (`make faults`)."""


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Keep the log short, because these tests cause many faults on purpose."""
    caplog.set_level(logging.CRITICAL, "jicofo_reservation_proxy")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Return a world in which rooms are refused during an outage."""
    world = World(tmp_path)
    yield world
    world.finish(kills=True)
    world.close()


@pytest.fixture
def allowing(tmp_path: Path) -> Iterator[World]:
    """Return a world in which rooms are granted during an outage."""
    world = World(tmp_path, allows=True)
    yield world
    world.finish(kills=True)
    world.close()


@pytest.fixture
def reusing(tmp_path: Path) -> Iterator[World]:
    """Return a world whose backend ends conferences itself, and uses their ids again."""
    world = World(tmp_path, expires_itself=True, reuses_ids=True)
    yield world
    world.finish(kills=True)
    world.close()


def granted(world: World, dialect: Dialect = JICOFO) -> Told:
    """Grant the room to a client, and return the conference that the client was told."""
    reply = world.post(dialect=dialect)
    assert isinstance(reply, Reservation)
    return meeting(world)


def meeting(world: World) -> Told:
    """Return the conference that the client is in."""
    told = world.meeting("room")
    assert told
    return told


def ended(world: World) -> Told:
    """Grant the room to a client and end it; the deletion has not been sent yet."""
    told = granted(world)
    assert isinstance(world.delete(told), Deleted)
    return told


def test_a_room_that_is_asked_for_again(world: World) -> None:
    """The proxy delivers the pending deletion of a room before it asks for the room again."""
    old = ended(world)
    new = granted(world)
    assert new.conference_id != old.conference_id
    assert list(world.backend.conferences) == [new.conference_id]


def test_a_conflict_names_the_old_conference(world: World) -> None:
    """If the deletion failed before, it is sent again when the backend names the old conference."""
    old = ended(world)
    new = granted(world.taking(Kind.DOWN))
    assert new.conference_id != old.conference_id


def test_an_old_answer_names_a_conference_that_is_gone(world: World) -> None:
    """If the backend names a gone conference, the proxy deletes it again and asks again."""
    old = ended(world)
    world.step()
    world.backend.lag("room", grants=False)
    assert granted(world).conference_id != old.conference_id


@pytest.mark.parametrize("kills", [False, True])
def test_a_deletion_that_cannot_be_delivered_is_cancelled(world: World, *, kills: bool) -> None:
    """The meeting goes on under the old conference, also after a restart of the proxy."""
    old = ended(world)
    new = granted(world.taking(Kind.BROKEN, Kind.GOOD, Kind.BROKEN))
    assert new.conference_id == old.conference_id
    world.restart(kills=kills)
    world.advance(120)
    assert new.conference_id in world.backend.conferences


def test_a_number_that_cannot_be_stored_cancels_no_deletion(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the client gets a fault because its id cannot be stored, the deletion stays pending."""

    def fail(*_: object) -> int:
        raise StateError("the disk is full")

    ended(world)
    with monkeypatch.context() as patch:
        patch.setattr("jicofo_reservation_proxy.reservations.numeric_ids.NumericIds.of", fail)
        assert isinstance(world.taking(Kind.BROKEN, Kind.GOOD, Kind.BROKEN).post(), Fault)
    world.advance(120)
    assert not world.backend.conferences


def test_the_old_conference_goes_on_in_an_outage(world: World) -> None:
    """If the backend is unreachable, a deletion that was never sent is cancelled."""
    old = ended(world)
    new = granted(world.taking(Kind.NOT_ASKED, Kind.DOWN))
    assert new.conference_id == old.conference_id
    world.restart(kills=True)
    assert new.conference_id in world.backend.conferences


@pytest.mark.parametrize("kind", [Kind.SLOW_LATE, Kind.DOWN_LATE, Kind.CANCELLED_LATE])
def test_an_uncertain_delete(world: World, kind: Kind) -> None:
    """In an outage, the proxy does not give out a conference whose deletion is uncertain."""
    ended(world)
    assert isinstance(world.taking(kind, Kind.DOWN).post(), Fault)
    world.restart(kills=True)
    assert isinstance(world.taking(Kind.DOWN, Kind.DOWN).post(), Fault)
    world.backend.delete_late()


def test_an_uncertain_delete_is_cancelled_by_the_backend(world: World) -> None:
    """A backend that names a conference after a late deletion has cancelled that deletion."""
    old = ended(world)
    new = granted(world.taking(Kind.SLOW_LATE, Kind.GOOD, Kind.BROKEN))
    assert new.conference_id == old.conference_id
    world.backend.delete_late()
    assert new.conference_id in world.backend.conferences


def test_a_delete_that_is_slow_after_the_answer(world: World) -> None:
    """An answer of the backend does not cancel a deletion that was sent after that answer."""
    ended(world)
    world.taking(Kind.DOWN, Kind.GOOD, Kind.SLOW_LATE).post()
    world.backend.delete_late()


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_delete_while_the_room_is_asked_for(world: World, when: str) -> None:
    """A DELETE that arrives while a POST waits for the backend ends only the old conference."""
    old = granted(world)
    world.vanish("room")
    is_before = when == "before"
    delete = Call(
        before=Meanwhile.DELETE if is_before else None,
        after=None if is_before else Meanwhile.DELETE,
    )
    new = granted(world.taking(delete))
    assert new.conference_id != old.conference_id


def test_a_room_that_is_asked_for_while_its_end_is_delivered(world: World) -> None:
    """While a deletion is in progress, no client gets its conference, not even in an outage."""
    old = ended(world)
    world.taking(Call(before=Meanwhile.POST), Kind.DOWN).step()
    assert world.meeting("room") is None
    assert old.conference_id not in world.backend.conferences


def test_a_conference_of_an_unknown_room(world: World) -> None:
    """A conference whose room was lost in a kill still gets one deletion at a time."""
    told = granted(world)
    world.restart(kills=True)
    world.delete(told)
    world.taking(Call(before=Meanwhile.POST)).step()
    assert world.meeting("room") is None
    assert not world.backend.conferences


@pytest.mark.parametrize("kind", [Kind.KILLED, Kind.KILLED_DONE])
def test_a_kill_between_promise_and_delivery(world: World, kind: Kind) -> None:
    """After a kill, the next process delivers the deletion that was promised."""
    old = ended(world)
    with world.taking(kind).surviving():
        world.step()
    world.step()
    assert old.conference_id not in world.backend.conferences


def test_the_same_request_in_the_same_second(world: World) -> None:
    """A POST that is equal to the POST of an ended meeting opens a new conference."""
    old = ended(world)
    for calls in ((), (Kind.DOWN,)):
        reply = world.taking(*calls).repeat()
        assert isinstance(reply, Reservation)
        assert reply.conference.id != old.conference_id
        world.delete(meeting(world))


def test_a_repeated_post(world: World) -> None:
    """A client that got no answer and repeats its POST gets the same conference."""
    with world.taking(Kind.KILLED_DONE).surviving():
        world.post()
    world.repeat()
    told = meeting(world)
    world.repeat()
    assert meeting(world).conference_id == told.conference_id
    assert len(world.backend.conferences) == 1


def test_someone_else_asks(world: World) -> None:
    """A conference that is over is not given to another owner, and stays over."""
    ended(world)
    assert isinstance(
        world.taking(Kind.BROKEN, Kind.GOOD, Kind.BROKEN).post(owner="b@example.com"), Denied
    )
    assert isinstance(world.taking(Kind.NOT_ASKED, Kind.DOWN).post(owner="b@example.com"), Fault)


def test_a_disk_that_fails(world: World) -> None:
    """A DELETE that cannot be stored is answered 200 only if the backend acknowledged it."""
    told = granted(world)
    world.disk(works=False)
    assert isinstance(world.taking(Kind.DOWN).delete(told), Fault)
    assert isinstance(world.taking(Kind.GOOD).delete(told), Deleted)
    assert not world.backend.conferences


def test_a_disk_that_fails_with_an_uncertain_delete(allowing: World) -> None:
    """A deletion that the proxy sent without storing it is uncertain."""
    told = granted(allowing)
    allowing.disk(works=False)
    assert isinstance(allowing.taking(Kind.SLOW_LATE).delete(told), Fault)
    allowing.disk(works=True)
    allowing.taking(Kind.DOWN, Kind.DOWN).post()
    allowing.backend.delete_late()


def test_a_gone_conference_that_goes_on(world: World) -> None:
    """A gone conference that the backend named again is not deleted by the next process."""
    world.backend.has_delete = False
    old = ended(world)
    world.step()
    assert granted(world).conference_id == old.conference_id
    world.backend.has_delete = True
    world.restart(kills=True)
    world.advance(120)
    assert old.conference_id in world.backend.conferences


def test_a_client_that_never_sends_delete(world: World) -> None:
    """Without a DELETE, a conference is deleted `expire_after` its end, and not earlier."""
    told = granted(world)
    world.vanish("room")
    world.advance(3600)
    assert told.conference_id in world.backend.conferences
    world.advance(301)
    world.step()
    assert told.conference_id not in world.backend.conferences


def test_a_later_end_survives_a_kill(reusing: World) -> None:
    """If the backend uses the id of an open conference again, a kill does not bring its end back.

    The client of the first conference sent no DELETE, and the backend ended that conference itself.
    """
    old = granted(reusing)
    reusing.flush()
    reusing.vanish("room")
    reusing.advance(3601)
    new = granted(reusing)
    assert new.conference_id == old.conference_id
    reusing.restart(kills=True)
    reusing.advance(400)
    assert new.conference_id in reusing.backend.conferences


def test_a_deletion_that_is_lost_in_a_restart_with_a_failing_disk(reusing: World) -> None:
    """A new conference does not end at the end of an earlier one that the disk still has as open.

    The backend took the deletion of the earlier one in place of the disk, and uses its id again.
    """
    old = granted(reusing)
    reusing.flush()
    reusing.advance(400)
    reusing.disk(works=False)
    assert isinstance(reusing.delete(old), Deleted)
    reusing.restart()
    new = granted(reusing)
    assert new.conference_id == old.conference_id
    reusing.restart(kills=True)
    reusing.advance(3700)
    assert new.conference_id in reusing.backend.conferences


def test_an_earlier_conference_of_another_room_stays_forgotten(reusing: World) -> None:
    """If the backend uses an id again for another room, a kill does not bring the old room back.

    The first create of the other room got no answer. Meanwhile the first room got another id, so
    the ledger has forgotten the earlier conference of that room, but the disk still has it.
    """
    old = granted(reusing)
    reusing.flush()
    reusing.vanish("room")
    reusing.advance(3601)
    assert isinstance(reusing.taking(Kind.LOST).post("[acme]other"), Fault)
    assert granted(reusing).conference_id != old.conference_id
    reusing.post("[acme]other")
    new = reusing.meeting("[acme]other")
    assert new
    assert new.conference_id == old.conference_id
    reusing.restart(kills=True)
    reusing.advance(400)
    assert new.conference_id in reusing.backend.conferences


def test_an_outage_with_fallback_grants(allowing: World) -> None:
    """A fallback grant ends with its DELETE; the earlier conference of the room is still known."""
    old = granted(allowing)
    allowing.flush()
    allowing.vanish("room")
    allowing.advance(3601)
    told = granted(allowing.taking(Kind.DOWN), PROSODY)
    assert told.is_fallback
    assert isinstance(allowing.delete(told), Deleted)
    allowing.flush()
    assert old.conference_id in allowing.backend.conferences


def test_a_long_time_out_of_service(world: World) -> None:
    """No deletion is abandoned before an attempt, however long the proxy was down."""
    ended(world)
    world.restart(kills=True, down_seconds=timedelta(days=8).total_seconds())
    world.step()
    assert not world.backend.conferences


ROOMS = st.sampled_from(["room", "room", "room", "[acme]other"])
DIALECTS = st.sampled_from([JICOFO, PROSODY])
OWNERS = st.sampled_from(["a@example.com", "a@example.com", "b@example.com", None])
MEANWHILE = st.sampled_from([*[None] * 6, *Meanwhile])
CALLS = st.lists(
    st.builds(Call, st.sampled_from([*[Kind.GOOD] * 6, *Kind]), MEANWHILE, MEANWHILE), max_size=5
)
"""How the backend handles the next calls; `otherwise` says how it handles the calls after them."""
TERMS = st.one_of(
    st.builds(Terms, st.sampled_from([3600, 60, None]), st.sampled_from([None, None, "secret"])),
    st.just(HAS_ENDED),
)
OUTAGES = st.sampled_from(
    [kind for kind in Kind if kind not in {Kind.KILLED, Kind.KILLED_DONE, Kind.DENIED}]
)
DOWN_SECONDS = st.sampled_from([0, 0, 3600, 700_000])


class Recreation(RuleBasedStateMachine):
    """All events of clients, the backend, the disk and kills, in random order."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        self.world = World(Path(self.directory.name))
        self.ends_by_kill = False

    @initialize(
        allows=st.booleans(),
        expires=st.booleans(),
        numbers=st.booleans(),
        reuses=st.booleans(),
        kills=st.booleans(),
        ends=st.booleans(),
    )
    def begin(
        self,
        *,
        allows: bool,
        expires: bool,
        numbers: bool,
        reuses: bool,
        kills: bool,
        ends: bool,
    ) -> None:
        """Choose the settings and the backend, and begin with a meeting or with an ended one."""
        self.world.close()
        self.world = World(
            Path(self.directory.name, "state"),
            allows=allows,
            expires_itself=expires,
            has_numbers=numbers,
            reuses_ids=reuses,
        )
        self.ends_by_kill = kills
        told = granted(self.world)
        if ends:
            self.world.delete(told)

    @rule(
        room=ROOMS,
        dialect=DIALECTS,
        owner=OWNERS,
        terms=TERMS,
        calls=CALLS,
        is_lost=st.sampled_from([False, False, False, True]),
    )
    def come_or_go(
        self,
        room: str,
        dialect: Dialect,
        owner: str | None,
        terms: Terms,
        calls: list[Call],
        *,
        is_lost: bool,
    ) -> None:
        """Send a DELETE if there is a meeting in the room; otherwise ask for the room."""
        told = self.world.meeting(room)
        self.world.backend.terms = terms
        with self.world.taking(*calls).surviving():
            if told:
                self.world.delete(told)
            else:
                self.world.post(room, dialect, owner, is_lost=is_lost)

    @rule(room=ROOMS, calls=CALLS)
    def repeat_post(self, room: str, calls: list[Call]) -> None:
        """Send the last POST again."""
        with self.world.taking(*calls).surviving():
            self.world.repeat(room)

    @rule(room=ROOMS, calls=CALLS)
    def repeat_delete(self, room: str, calls: list[Call]) -> None:
        """Send DELETE for the last conference, or send it again."""
        for told in self.world.of_room(room)[:1]:
            with self.world.taking(*calls).surviving():
                self.world.delete(told)

    @rule(room=ROOMS, calls=CALLS)
    def get(self, room: str, calls: list[Call]) -> None:
        """Read the last conference."""
        for told in self.world.of_room(room)[:1]:
            with self.world.taking(*calls).surviving():
                self.world.get(told)

    @rule(room=ROOMS)
    def vanish(self, room: str) -> None:
        """Kill the client."""
        self.world.vanish(room)

    @rule(calls=CALLS)
    def deliver(self, calls: list[Call]) -> None:
        """Let the worker deliver."""
        with self.world.taking(*calls).surviving():
            self.world.step()

    @rule()
    def flush(self) -> None:
        """Let the ledger write its changes."""
        self.world.flush()

    @rule(kills=st.booleans(), down_seconds=DOWN_SECONDS)
    def restart(self, *, kills: bool, down_seconds: int) -> None:
        """Stop or kill the proxy, and start it again."""
        self.world.restart(kills=kills, down_seconds=down_seconds)

    @rule(seconds=st.sampled_from([1, 30, 70, 400, 3700, 100_000]))
    def advance(self, seconds: int) -> None:
        """Let time pass."""
        self.world.taking().advance(seconds)

    @rule(kind=OUTAGES)
    def outage(self, kind: Kind) -> None:
        """Let the backend handle all calls in this way."""
        self.world.backend.otherwise = Call(kind)

    @rule()
    def recover(self) -> None:
        """Let the backend be healthy again."""
        self.world.backend.otherwise = Call()

    @rule(works=st.booleans())
    def disk(self, *, works: bool) -> None:
        """Let the disk fail, or work again."""
        self.world.disk(works=works)

    @precondition(lambda self: self.world.backend.late)
    @rule()
    def delete_late(self) -> None:
        """Let the backend carry out a late deletion."""
        self.world.backend.delete_late()

    @rule(room=ROOMS, grants=st.booleans())
    def lag(self, room: str, *, grants: bool) -> None:
        """Let the backend name an old conference once more."""
        self.world.backend.lag(room, grants=grants)

    @rule(has_delete=st.booleans())
    def upgrade(self, *, has_delete: bool) -> None:
        """Let the backend support DeleteConference, or not."""
        self.world.backend.has_delete = has_delete

    def teardown(self) -> None:
        """Repair everything, and check that nothing was lost."""
        try:
            self.world.finish(kills=self.ends_by_kill)
        finally:
            self.world.close()
            self.directory.cleanup()


@pytest.mark.timeout(1200 if IS_LONG else 300)
def test_any_sequence_of_events() -> None:
    """No sequence of events breaks the promises at the top of this file."""
    run_state_machine_as_test(
        Recreation,
        settings=settings(
            max_examples=2500 if IS_LONG else 80,
            stateful_step_count=40 if IS_LONG else 25,
        ),
    )
