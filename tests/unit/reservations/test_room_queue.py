"""The room queue: how many POSTs may wait for a room, and for how long."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from jicofo_reservation_proxy.ledger.room_locks import LocalLocks, RoomKey
from jicofo_reservation_proxy.model import Fault
from jicofo_reservation_proxy.reservations.context import ROOM_IS_BUSY, ROOM_QUEUE_IS_FULL
from jicofo_reservation_proxy.reservations.room_queue import (
    MAX_WAITING,
    RoomQueue,
    max_waiting_in_all,
)

from tests.unit.ledgers import LONG_SECONDS, eventually

BOARD, KITCHEN, GARDEN = (("default", name) for name in ("board", "kitchen", "garden"))


@pytest.fixture
def queue() -> RoomQueue:
    """Return a queue in which six POSTs may wait."""
    return RoomQueue(LocalLocks(), 6)


def entered(queue: RoomQueue, room: RoomKey, within_seconds: float = 0) -> Fault | None:
    """Enter a room and leave it; return the fault."""
    with queue.enter(room, within_seconds) as fault:
        return fault


@contextmanager
def waiting(queue: RoomQueue, room: RoomKey, number: int) -> Iterator[list[Fault | None]]:
    """Let this many POSTs wait for a room; the list has their results when the context ends."""
    before, faults = queue._waiting[room], list[Fault | None]()
    threads = [
        threading.Thread(target=lambda: faults.append(entered(queue, room, LONG_SECONDS)))
        for _ in range(number)
    ]
    for thread in threads:
        thread.start()
    eventually(lambda: queue._waiting[room] == before + number)
    yield faults
    for thread in threads:
        thread.join(LONG_SECONDS)
        assert not thread.is_alive()


def test_one_post_at_a_time_in_a_room(queue: RoomQueue) -> None:
    """A room that is held is busy; another room is not."""
    with queue.enter(BOARD, 0) as fault:
        assert fault is None
        assert entered(queue, BOARD) is ROOM_IS_BUSY
        assert entered(queue, KITCHEN) is None
    assert entered(queue, BOARD) is None


def test_four_posts_wait_for_a_room(queue: RoomQueue) -> None:
    """The next POST for this room is refused at once; another room is not affected."""
    with waiting_for_a_held_room(queue, BOARD, MAX_WAITING) as faults:
        assert entered(queue, BOARD, LONG_SECONDS) is ROOM_QUEUE_IS_FULL
        assert entered(queue, KITCHEN) is None
    assert faults == [None] * MAX_WAITING
    assert entered(queue, BOARD) is None


@contextmanager
def waiting_for_a_held_room(
    queue: RoomQueue, room: RoomKey, number: int
) -> Iterator[list[Fault | None]]:
    """Hold a room, and let POSTs wait for it; release the room when the context ends."""
    with waiting_after(queue, room) as hold, waiting(queue, room, number) as faults:
        yield faults
        hold.set()


@contextmanager
def waiting_after(queue: RoomQueue, room: RoomKey) -> Iterator[threading.Event]:
    """Hold a room in another thread until the event is set."""
    held, released = threading.Event(), threading.Event()

    def hold() -> None:
        with queue.enter(room, 0):
            held.set()
            released.wait(LONG_SECONDS)

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(LONG_SECONDS)
    try:
        yield released
    finally:
        released.set()
        thread.join(LONG_SECONDS)


def test_the_number_of_all_waiting_posts_is_limited(queue: RoomQueue) -> None:
    """A quarter of the threads may wait for rooms; then every POST for a held room is refused."""
    with (
        waiting_for_a_held_room(queue, BOARD, 4),
        waiting_for_a_held_room(queue, KITCHEN, 2),
        waiting_after(queue, GARDEN),
    ):
        assert entered(queue, KITCHEN, LONG_SECONDS) is ROOM_QUEUE_IS_FULL
        assert entered(queue, GARDEN, LONG_SECONDS) is ROOM_QUEUE_IS_FULL
    assert not queue._waiting


def test_a_wait_is_bounded(queue: RoomQueue) -> None:
    """A POST waits only for its time. Then it gets a fault and leaves the queue."""
    with queue.enter(BOARD, 0):
        assert entered(queue, BOARD, 0.01) is ROOM_IS_BUSY
        assert not queue._waiting


@pytest.mark.parametrize(("threads", "most"), [(1, 4), (16, 4), (64, 16), (1000, 250)])
def test_a_quarter_of_the_threads_may_wait(threads: int, most: int) -> None:
    """With few threads, still four POSTs may wait."""
    assert max_waiting_in_all(threads) == most


def test_an_exception_leaves_the_room(queue: RoomQueue) -> None:
    """A POST that ends in an exception leaves its room."""
    with pytest.raises(ZeroDivisionError), queue.enter(BOARD, 0):
        raise ZeroDivisionError
    assert entered(queue, BOARD) is None
