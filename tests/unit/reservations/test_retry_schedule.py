"""The retry schedule: back-off, pauses, and uncertain deletions."""

from itertools import pairwise

import pytest
from jicofo_reservation_proxy.ledger.records import RecordState
from jicofo_reservation_proxy.model import DeleteOutcome, Fault, FaultKind, Result
from jicofo_reservation_proxy.reservations import retry_schedule
from jicofo_reservation_proxy.reservations.deletion_delivery import BUSY_SECONDS
from jicofo_reservation_proxy.reservations.retry_schedule import (
    FIRST_RETRY_SECONDS,
    MANY_REJECTIONS,
    MAX_RETRY_SECONDS,
    RetrySchedule,
)

from tests.unit.ledgers import ref
from tests.unit.reservations.deliveries import (
    BROKEN,
    DONE,
    NOT_SENT,
    OF_THE_BACKEND,
    UNREACHABLE,
    World,
    failed,
)

# -- deletions that the backend does not acknowledge --------------------------------------------


@pytest.mark.usefixtures("no_jitter")
@pytest.mark.parametrize("result", [BROKEN, UNREACHABLE])
def test_the_back_off_doubles(world: World, result: Result[DeleteOutcome]) -> None:
    """The proxy retries a failed deletion after 1 s, 2 s, 4 s and so on, up to once a minute."""
    world.backend.usual = result
    world.end()
    world.work(250)
    times = [call.at for call in world.backend.calls]
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert gaps == pytest.approx([1, 2, 4, 8, 16, 32, 60, 60, 60], abs=BUSY_SECONDS)
    assert world.state() is RecordState.PENDING
    assert world.deliveries("ended", "failed") == 10


def test_a_backend_that_refuses_everything(world: World) -> None:
    """If a backend refuses every deletion, the proxy makes one attempt after each pause."""
    world.backend.usual = BROKEN
    for number in range(100):
        world.end(str(number), f"room{number}")
    world.work(600)
    assert len(world.backend.calls) < MANY_REJECTIONS + 30
    world.delivery.deletions.backend_answers("default")
    world.backend.usual = DONE
    world.work(MAX_RETRY_SECONDS)
    assert world.ledger.pending("default") == []


def test_requests_do_not_lengthen_the_pause(world: World) -> None:
    """During an outage, the attempts of requests do not lengthen the pause of the backend."""
    world.backend.usual = NOT_SENT
    world.end()
    for _ in range(20):
        world.attempt(ref())
    world.backend.usual = DONE
    world.work(2 * FIRST_RETRY_SECONDS)
    assert world.state() is None


def test_the_back_off_is_cut_at_random(world: World) -> None:
    """Jitter cuts each wait by up to half, so that failed deletions are not all retried at once."""
    world.backend.usual = BROKEN
    for number in range(MANY_REJECTIONS - 1):
        world.end(str(number), f"room{number}")
    world.work(1.2)
    first = [call.at for call in world.backend.calls if call.at > 1000][: MANY_REJECTIONS - 1]
    assert min(first) >= 1000 + FIRST_RETRY_SECONDS / 2
    assert max(first) <= 1000 + FIRST_RETRY_SECONDS + BUSY_SECONDS
    assert len(set(first)) > 1
    waits = [retry_schedule.back_off(count) for count in range(20, 2000)]
    assert MAX_RETRY_SECONDS / 2 <= min(waits) < 0.6 * MAX_RETRY_SECONDS
    assert 0.9 * MAX_RETRY_SECONDS < max(waits) <= MAX_RETRY_SECONDS


@pytest.mark.parametrize("kind", OF_THE_BACKEND)
def test_a_fault_of_the_backend(world: World, kind: FaultKind) -> None:
    """After a fault of the backend as a whole, the proxy pauses that backend."""
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
    """A fault of one conference does not delay the deletions of other rooms."""
    world.backend.answers["0"] = failed(kind)
    for number in range(3):
        world.end(str(number), f"room{number}")
    world.step()
    assert world.backend.told == ["0", "1", "2"]
    assert [record.ref for record in world.ledger.pending("default")] == [ref("0")]


@pytest.mark.usefixtures("no_jitter")
def test_a_backend_that_answers_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """When a paused backend answers, its pause ends and all its deletions are due."""
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
    """After a recovery, the back-off of the next outage starts from the beginning."""
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


def test_an_answer_does_not_shorten_aback_off(world: World) -> None:
    """An answer of a backend that is not paused does not shorten the back-off of a deletion."""
    world.backend.usual = BROKEN
    world.end()
    world.step()
    world.delivery.deletions.backend_answers("default")
    world.step()
    assert world.backend.told == ["7"]


# -- uncertain deletions ------------------------------------------------------------------------


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
def test_which_failed_deletions_are_uncertain(
    world: World, result: Result[DeleteOutcome], is_uncertain: bool
) -> None:
    """A failed deletion is uncertain if the proxy sent it to the backend, and otherwise not."""
    world.end()
    assert not world.delivery.deletions.is_uncertain(ref())
    world.backend.usual = result
    world.step()
    assert world.delivery.deletions.is_uncertain(ref()) is is_uncertain


def test_a_deletion_stays_uncertain_until_it_is_delivered(world: World) -> None:
    """A deletion stays uncertain until it is delivered, even if later attempts are not sent."""
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
    """Deletions of an earlier process are uncertain, and are delivered at once."""
    world.end()
    made = world.restarted()
    world.end("8", "kitchen")
    assert made.deletions.is_uncertain(ref())
    assert not made.deletions.is_uncertain(ref("8"))
    made.step("default")
    assert world.backend.told == ["7", "8"]
    assert not made.deletions.is_uncertain(ref())


@pytest.mark.parametrize("drops_old_deletions", [True, False])
def test_a_deletion_of_an_earlier_process_may_happen_later(drops_old_deletions: bool) -> None:
    """It may, unless the backend drops old ones, until the backend has handled another attempt."""
    schedule = RetrySchedule()
    schedule.add("default", [ref()], drops_old_deletions=drops_old_deletions)
    expected = not drops_old_deletions
    assert schedule.may_happen_later(ref()) is expected
    schedule.put_off(ref(), Fault(FaultKind.UNREACHABLE, "", ""), was_sent=False)
    assert schedule.may_happen_later(ref()) is expected
    schedule.put_off(ref(), Fault(FaultKind.UNREACHABLE, "503", ""), was_sent=True)
    assert schedule.may_happen_later(ref()) is expected
    schedule.put_off(ref(), Fault(FaultKind.BROKEN, "500", ""), was_sent=True)
    assert not schedule.may_happen_later(ref())


def test_uncertain_after_a_cancellation(world: World) -> None:
    """After a cancellation, the deletion is no longer uncertain."""
    world.end()
    made = world.restarted()
    made.deletions.cancel(ref())
    assert not made.deletions.is_uncertain(ref())


def test_uncertain_deletion_of_a_gone_conference(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failed deletion of a gone conference is uncertain until the ledger forgets that record."""
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
