"""Two proxies on one backend: no proxy ends the meeting of the other, and none holds a room.

The first tests are cases with names. The last test is a state machine that plays random sequences
of the model's steps on two real proxies (sharing.py).
"""

import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    rule,
    run_state_machine_as_test,
)
from jicofo_reservation_proxy.http.dialects import JICOFO, PROSODY
from jicofo_reservation_proxy.model import Denied, Dialect, Fault, Reservation
from jicofo_reservation_proxy.reservations.withdrawals import LATE_CREATE_MS

from .sharing import Fate, Sharing

IS_LONG = os.environ.get("FAULTS") == "long"
"""Whether the state machine runs for minutes (`make faults`)."""

LATE_SECONDS = LATE_CREATE_MS // 1000


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Keep the log short, because these tests cause many faults on purpose."""
    caplog.set_level(logging.CRITICAL, "jicofo_reservation_proxy")


@pytest.fixture
def sharing(tmp_path: Path) -> Iterator[Sharing]:
    """Return two proxies with a Prosody each."""
    sharing = Sharing(tmp_path, (PROSODY, PROSODY))
    yield sharing
    sharing.finish()
    sharing.close()


@pytest.fixture
def jicofos(tmp_path: Path) -> Iterator[Sharing]:
    """Return two proxies with a Jicofo each."""
    sharing = Sharing(tmp_path, (JICOFO, JICOFO))
    yield sharing
    sharing.finish()
    sharing.close()


def grant(sharing: Sharing, index: int, *, repeats: bool = False) -> Reservation:
    """Let a client ask for the room; the client gets it."""
    reply = sharing.post(index, repeats=repeats)
    assert isinstance(reply, Reservation)
    return reply


@pytest.mark.parametrize("first", [0, 1])
def test_the_meeting_of_another_proxy_goes_on(sharing: Sharing, first: int) -> None:
    """Both proxies have the conference; the DELETE of one does not end the meeting of the other."""
    one, other = grant(sharing, 0), grant(sharing, 1)
    assert one.conference.id == other.conference.id
    sharing.delete(first)
    sharing.deliver(first)
    assert len(sharing.backend.store) == 1
    sharing.delete(1 - first)
    sharing.deliver(1 - first)
    assert len(sharing.backend.store) == 0


def test_a_request_that_is_repeated_through_the_other_proxy(sharing: Sharing) -> None:
    """The same request through the other proxy gets the conference, and keeps it."""
    grant(sharing, 0)
    grant(sharing, 1, repeats=True)
    sharing.delete(0)
    sharing.deliver(0)
    assert len(sharing.backend.store) == 1


def test_a_deletion_that_arrives_days_late(sharing: Sharing) -> None:
    """A deletion that is executed long after its deadline does not end a later meeting."""
    grant(sharing, 0)
    grant(sharing, 1)
    sharing.delete(0)
    sharing.deliver(0, Fate.LATE)
    sharing.pass_by(3 * 86_400)
    grant(sharing, 0)
    sharing.delete(1)
    sharing.deliver(1)
    sharing.execute_late(0)
    assert len(sharing.backend.store) == 1


def test_a_repeated_delete(sharing: Sharing) -> None:
    """A DELETE that Prosody repeats does not end the meeting that goes on in the room."""
    grant(sharing, 0)
    grant(sharing, 1)
    sharing.leave(0)
    sharing.send_delete(0, repeats=True)
    sharing.deliver(0)
    grant(sharing, 0)
    sharing.delete(1)
    sharing.deliver(1)
    sharing.send_delete(0)
    sharing.deliver(0)
    assert len(sharing.backend.store) == 1


@pytest.mark.parametrize("fate", [Fate.ANSWER_LOST, Fate.LATE])
def test_a_create_without_an_answer_holds_no_room(sharing: Sharing, fate: Fate) -> None:
    """The proxy withdraws a create that timed out, also if it is executed later."""
    grant(sharing, 0)
    sharing.delete(0)
    sharing.deliver(0)
    assert isinstance(sharing.post(0, fate), Fault)
    sharing.deliver(0)
    sharing.execute_late(0)
    sharing.pass_by(LATE_SECONDS)
    sharing.deliver(0)
    assert len(sharing.backend.store) == 0


def test_a_create_without_an_answer_before_the_first_answer(sharing: Sharing) -> None:
    """The proxy withdraws a create also if it did not know at that time that there are rows."""
    assert isinstance(sharing.post(0, Fate.ANSWER_LOST), Fault)
    sharing.deliver(0)
    assert len(sharing.backend.store) == 1
    reply = grant(sharing, 0)
    sharing.delete(0)
    sharing.deliver(0)
    assert sharing.backend.store.get(reply.conference.id) is None


def test_a_refused_conflict_holds_no_room(jicofos: Sharing) -> None:
    """The proxy withdraws the conference that the owner of its request may not have."""
    grant(jicofos, 0)
    assert isinstance(jicofos.post(1, owner=1), Denied)
    jicofos.delete(0)
    jicofos.deliver(0)
    assert len(jicofos.backend.store) == 1
    jicofos.deliver(1)
    assert len(jicofos.backend.store) == 0


def test_a_refused_conflict_ends_no_meeting_of_the_same_proxy(tmp_path: Path) -> None:
    """A refusal raises the row of the proxy; the DELETE of the owner still ends the meeting."""
    sharing = Sharing(tmp_path, (JICOFO, JICOFO))
    grant(sharing, 0)
    meeting, sharing.clients[0].meeting = sharing.clients[0].meeting, None
    assert isinstance(sharing.post(0, owner=1), Denied)
    sharing.clients[0].meeting = meeting
    sharing.deliver(0)
    sharing.delete(0)
    sharing.deliver(0)
    assert len(sharing.backend.store) == 0
    sharing.finish()
    sharing.close()


@pytest.mark.parametrize("is_killed", [False, True])
def test_a_restarted_proxy_keeps_its_holder(sharing: Sharing, *, is_killed: bool) -> None:
    """A deletion that is delivered after a restart removes the row from before."""
    grant(sharing, 0)
    sharing.proxies[0].write()
    sharing.restart(0, is_killed=is_killed)
    sharing.delete(0)
    sharing.deliver(0)
    assert len(sharing.backend.store) == 0


def test_withdrawals_survive_a_restart(sharing: Sharing) -> None:
    """After a graceful restart, the proxy still withdraws the create that timed out."""
    assert isinstance(sharing.post(0, Fate.ANSWER_LOST), Fault)
    sharing.restart(0, is_killed=False)
    grant(sharing, 1)
    sharing.delete(1)
    sharing.deliver(1)
    assert len(sharing.backend.store) == 1


def post_while(
    sharing: Sharing,
    index: int,
    before: Callable[[], object] | None = None,
    after: Callable[[], object] | None = None,
    **options: Any,  # noqa: ANN401 - the options of Sharing.post
) -> None:
    """Ask for the room; something happens before or after the backend executes the create."""
    sharing.backend.before, sharing.backend.after = before, after
    sharing.post(index, **options)
    sharing.backend.before = sharing.backend.after = None


@pytest.mark.parametrize("fate", [Fate.BREACH])
def test_a_breach_after_a_grant_is_withdrawn(sharing: Sharing, fate: Fate) -> None:
    """The proxy withdraws a conference that an unusable answer granted; nobody needs its id."""
    grant(sharing, 0)
    sharing.delete(0)
    assert isinstance(sharing.post(0, fate), Fault)
    assert len(sharing.backend.store) == 1
    sharing.deliver(0)
    assert len(sharing.backend.store) == 0


def test_a_repeated_delete_with_a_backend_without_rows(sharing: Sharing) -> None:
    """The room goes on under its conference; the DELETE that Prosody repeats does not end it."""
    sharing.backend.keeps_rows = False
    first = grant(sharing, 0)
    sharing.leave(0)
    sharing.send_delete(0, repeats=True)
    again = sharing.post(0, Fate.NOT_SENT)
    assert isinstance(again, Reservation)
    assert again.conference == first.conference
    sharing.send_delete(0)
    sharing.deliver(0)
    assert len(sharing.backend.store) == 1


@pytest.mark.parametrize("keeps_rows", [False, True])
def test_an_id_of_an_older_version(sharing: Sharing, *, keeps_rows: bool) -> None:
    """An id without a hold names the conference whatever its grant."""
    sharing.backend.keeps_rows = keeps_rows
    grant(sharing, 0)
    reply = grant(sharing, 0, repeats=True)
    sharing.clients[0].deletes = [f"default.{reply.conference.id}"]
    sharing.clients[0].meeting = None
    sharing.send_delete(0)
    sharing.deliver(0)
    assert len(sharing.backend.store) == 0


@pytest.mark.parametrize("is_restarted", [False, True])
def test_a_backend_that_begins_to_keep_rows(sharing: Sharing, *, is_restarted: bool) -> None:
    """A conference with a grant without a row and a grant with a row is deleted for both."""
    sharing.backend.keeps_rows = False
    first = grant(sharing, 0)
    sharing.leave(0)
    sharing.backend.keeps_rows = True
    second = grant(sharing, 0)
    assert first.conference.id == second.conference.id
    if is_restarted:
        sharing.restart(0, is_killed=False)
    sharing.delete(0)
    sharing.deliver(0)
    assert len(sharing.backend.store) == 0


def test_a_room_is_new_if_its_last_deletion_was_not_delivered_before(sharing: Sharing) -> None:
    """The create raises the row; the deletion that follows ends the row nevertheless."""
    first = grant(sharing, 0)
    sharing.delete(0)
    sharing.backend.next_fates = [Fate.NOT_SENT]
    second = grant(sharing, 0)
    assert second.conference.id != first.conference.id
    assert len(sharing.backend.store) == 1


FATES = st.sampled_from(
    [Fate.ANSWERED] * 6
    + [Fate.ANSWER_LOST, Fate.NOT_SENT] * 2
    + [Fate.LATE, Fate.LOST, Fate.BREACH]
)
INDEXES = st.sampled_from([0, 0, 0, 1])
"""The first proxy does most of the work, so that more sequences of its steps happen."""

NUMBERS = st.sampled_from([0, 0, 1, 2])


class SharingMachine(RuleBasedStateMachine):
    """Random sequences of the steps of the model."""

    def __init__(self) -> None:
        super().__init__()
        self._directory = tempfile.TemporaryDirectory()

    @initialize(
        dialects=st.tuples(*[st.sampled_from([PROSODY, PROSODY, JICOFO])] * 2),
        may_kill=st.booleans(),
    )
    def begin(self, dialects: tuple[Dialect, Dialect], *, may_kill: bool) -> None:
        """Start two proxies."""
        self.sharing = Sharing(Path(self._directory.name), dialects)
        self._may_kill = may_kill

    @rule(index=INDEXES, fate=FATES, owner=st.integers(0, 1), repeats=st.booleans())
    def post(self, index: int, fate: Fate, owner: int, *, repeats: bool) -> None:
        """Ask for the room; a client that is in a meeting leaves it first."""
        self.sharing.post(index, fate, owner=owner, repeats=repeats)

    @rule(
        index=INDEXES,
        fate=FATES,
        other=INDEXES,
        other_fate=FATES,
        event=st.sampled_from(["delete", "delete", "late", "deliver", "post"]),
        number=NUMBERS,
        is_before=st.booleans(),
        repeats=st.booleans(),
    )
    def post_while(
        self,
        index: int,
        fate: Fate,
        other: int,
        other_fate: Fate,
        event: str,
        number: int,
        *,
        is_before: bool,
        repeats: bool,
    ) -> None:
        """Ask for the room; something happens during the create."""
        sharing = self.sharing
        events: dict[str, Callable[[], object]] = {
            "delete": lambda: sharing.send_delete(other, number, repeats=repeats),
            "late": lambda: sharing.execute_late(number),
            "deliver": lambda: sharing.deliver(1 - index, other_fate),
            "post": lambda: sharing.post(1 - index, other_fate, repeats=repeats),
        }
        moment = {"before" if is_before else "after": events[event]}
        post_while(sharing, index, fate=fate, repeats=repeats, **moment)

    @rule(index=INDEXES, number=NUMBERS, repeats=st.booleans(), is_delivered=st.booleans())
    def send_delete(self, index: int, number: int, *, repeats: bool, is_delivered: bool) -> None:
        """Send a DELETE, and perhaps deliver it at once."""
        self.sharing.send_delete(index, number, repeats=repeats)
        if is_delivered:
            self.sharing.deliver(index)

    @rule(index=INDEXES, fate=FATES)
    def deliver(self, index: int, fate: Fate) -> None:
        """Deliver deletions and withdrawals."""
        self.sharing.deliver(index, fate)

    @rule(
        index=INDEXES,
        event=st.sampled_from(["late", "time", "write", "restart", "kill"]),
        seconds=st.sampled_from([1, 61, LATE_SECONDS]),
        number=NUMBERS,
    )
    def disturb(self, index: int, event: str, seconds: int, number: int) -> None:
        """Execute a late call, let time pass, write to the disk, or start a proxy again."""
        match event:
            case "late":
                self.sharing.execute_late(number)
            case "time":
                self.sharing.pass_by(seconds)
            case "write":
                self.sharing.proxies[index].write()
            case _:
                is_killed = event == "kill" and self._may_kill
                self.sharing.restart(index, is_killed=is_killed)

    def teardown(self) -> None:
        """End everything."""
        try:
            self.sharing.finish()
        finally:
            self.sharing.close()
            self._directory.cleanup()


@pytest.mark.timeout(1200 if IS_LONG else 300)
def test_random_sequences() -> None:
    """No live meeting is ended; without a kill, no room is held by nobody at the end."""
    run_state_machine_as_test(
        SharingMachine,
        settings=settings(
            max_examples=2500 if IS_LONG else 80,
            stateful_step_count=40 if IS_LONG else 25,
            deadline=None,
        ),
    )
