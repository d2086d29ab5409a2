"""The crash loop: no SIGKILL of the proxy loses a deletion or ends a live meeting."""

import random
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field

import pytest

from tests.e2e.support import JICOFO, PROSODY

from .accounts import Accounts, Outage
from .disk import Disk
from .jitsi import Room
from .processes import Backend, Kind, Proxy, Stage, until
from .store import REUSING, Failure, Method, Store
from .timing import MARGIN_SECONDS

RESPOND_SECONDS = 3.0
ROOMS = 8
KILLS = 5
RNG = random.SystemRandom()
_BOTH: tuple[Failure, ...] = (
    "refuse",
    "break",
    "no_route",
    "no_service",
    "ended",
    "wait",
    "late",
)
FAILURES: dict[Kind, tuple[Failure, ...]] = {
    "grpc": _BOTH,
    "http": (*_BOTH, "page", "garbage", "drip"),
}
DISK_FAULTS: tuple[dict[str, str], ...] = (
    {"sync": "hang"},
    {"sync": "broken"},
    {"write": "hang"},
    {"write": "full"},
    {"write": "short"},
    {"clock": "691200"},
    {"clock": "-691200"},
)
METHODS: tuple[tuple[Method, ...], ...] = (("delete",), ("create",), ("create", "get", "delete"))


@dataclass
class Crashes:
    """Kills one process again and again, and with `pauses` sometimes pauses it instead.

    The process starts again inside the context `start_in`. With `stops` it is stopped with SIGTERM,
    and not killed.

    Half of the kills come at random moments. The other half come right after a client's DELETE,
    when `answered` is set.
    """

    process: Proxy | Backend
    answered: threading.Event
    life_seconds: float
    pauses: bool = False
    stops: bool = False
    start_in: AbstractContextManager[object] = field(default_factory=nullcontext)
    outages: list[Outage] = field(default_factory=list)

    def run(self, is_over: Callable[[], bool]) -> None:
        """Kill or pause the process after random times, until `is_over` returns true."""
        while not is_over():
            threading.Event().wait(RNG.uniform(0.05, self.life_seconds))
            if RNG.random() < 0.5:
                self.answered.clear()
                self.answered.wait(1.0)
            began = time.monotonic()
            if self.pauses and RNG.random() < 0.5:
                self._pause_for_a_while()
            else:
                self._end()
                with self.start_in:
                    self.process.start()
            self.outages.append(Outage(began, time.monotonic()))

    def _end(self) -> None:
        if self.stops:
            self.process.signal(signal.SIGTERM)
            assert self.process.wait() == 0
        else:
            self.process.kill()

    def _pause_for_a_while(self) -> None:
        self.process.pause()
        threading.Event().wait(RNG.uniform(0.1, 1.5))
        self.process.resume()


@dataclass
class Failures:
    """Makes the backend fail for a short time, then work normally, again and again."""

    store: Store
    kind: Kind

    def run(self, is_over: Callable[[], bool]) -> None:
        """Start and end failures until `is_over` returns true; then let the backend recover."""
        while not is_over():
            failure = RNG.choice(FAILURES[self.kind])
            methods = RNG.choice(METHODS)
            self.store.fail(failure, seconds=RNG.uniform(0.05, 0.8), methods=methods)
            threading.Event().wait(RNG.uniform(0.1, 0.5))
            self.store.recover()
            threading.Event().wait(RNG.uniform(0.1, 0.5))
        self.store.recover()


@dataclass
class DiskFaults:
    """Makes the disk hang or fail, or the clock jump, for a short time, again and again."""

    disk: Disk
    count: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __enter__(self) -> None:
        """Repair the disk until `__exit__`: a proxy does not start on a broken disk."""
        self._lock.acquire()
        self.disk.repair()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def run(self, is_over: Callable[[], bool]) -> None:
        """Start and end faults until `is_over` returns true; then repair the disk."""
        while not is_over():
            with self._lock:
                self.disk.let(**RNG.choice(DISK_FAULTS))
            self.count += 1
            threading.Event().wait(RNG.uniform(0.05, 1.5))
            self.disk.repair()
            threading.Event().wait(RNG.uniform(0.5, 2.0))
        self.disk.repair()


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("kind", "proxies", "stops"),
    [("grpc", 1, False), ("grpc", 2, False), ("grpc", 2, True), ("http", 1, False)],
)
def test_nothing_is_lost_in_a_crash(
    stage: Stage,
    figures: list[str],
    is_long: bool,
    proxies: int,
    stops: bool,
    request: pytest.FixtureRequest,
) -> None:
    """Proxies that are killed again and again keep their promises, also with strange backends.

    They deliver every DELETE that they answered 200, delete no live meeting, and answer every
    request in time while they run. One proxy has a backend that keeps no rows. Two proxies share a
    backend that keeps rows: users change between them, and meet in the same rooms. Then no room is
    held by nobody at the end, unless a proxy was killed while it got the room. With `stops`, the
    proxies are stopped with SIGTERM in place of SIGKILL, and their disks work, so no room at all is
    held by nobody.
    """
    meetings = 5000 if is_long else 40
    answered = threading.Event()
    backend = stage.backend(keeps_rows=proxies > 1)
    backend.wait_until_ready()
    # The deadline of a call is short, so that the backend often exceeds it.
    shards = [
        stage.proxy(
            backend,
            default={"answer_within": "500ms"},
            respond_within=f"{RESPOND_SECONDS}s",
            drain_within="1s",
            state_dir=stage.directory / f"state-{number}",
        )
        for number in range(proxies)
    ]
    # A proxy that is stopped while its disk is full loses its last grants, as after SIGKILL.
    has_disk = shutil.which("cc") and not stops
    disk = request.getfixturevalue("disk") if has_disk else None
    if disk:
        disk.attach(shards[0])
    disk_faults = DiskFaults(disk) if disk else None
    for shard in shards:
        shard.start()
    rooms = [_room(shards, number, answered.set, stage.kind) for number in range(ROOMS)]
    crashes = [
        Crashes(
            shard,
            answered,
            life_seconds=1.5 if is_long else 0.6,
            stops=stops,
            start_in=disk_faults or nullcontext(),
        )
        for shard in shards
    ]
    failures = Failures(stage.store, stage.kind)
    backend_crashes = Crashes(backend, answered, life_seconds=1.5, pauses=True)
    loops = [failures.run, *(room.run for room in rooms), *(each.run for each in crashes)]
    loops += [backend_crashes.run] if is_long else []
    loops += [disk_faults.run] if disk_faults else []
    with running_in_threads(*loops):
        until(
            lambda: (
                _meetings(rooms) >= meetings and all(len(each.outages) >= KILLS for each in crashes)
            ),
            "the crash loop has enough meetings and kills",
            1500 if is_long else 240,
        )
    for shard in shards:
        _grant(shard)
        shard.wait_until_delivered()
        shard.wait_until_withdrawn()
    outages = [outage for each in crashes for outage in each.outages]
    holders = [shard.holder for shard in shards] if proxies > 1 else [""]
    kills = [] if stops else outages
    accounts = Accounts.of(rooms, stage.store, outages, holders, kills)
    ends = "SIGTERM" if stops else "SIGKILL"
    figures += [f"crash loop over {stage.kind}, proxies: {proxies}, {ends}"]
    figures += accounts.lines(len(outages), len(backend_crashes.outages))
    if disk_faults:
        figures += [f"faults of the disk and the clock: {disk_faults.count}"]
    assert not accounts.lost
    for _, change in (*accounts.deleted_alive, *accounts.given_dead):
        print(accounts.around(change.at))
    assert not accounts.deleted_alive
    assert not accounts.given_dead
    assert not accounts.unanswered
    assert proxies == 1 or not accounts.held_by_nobody
    assert accounts.slowest_seconds < RESPOND_SECONDS + MARGIN_SECONDS


def _room(shards: Sequence[Proxy], number: int, answered: Callable[[], None], kind: Kind) -> Room:
    """Return a room; the last four clients share two rooms if there are two proxies.

    A client of a shared room always uses the same proxy. All other clients change between them.

    Only Prosody's ids name a grant. So only Prosody uses the rooms for which the backend uses ids
    again: a DELETE that Jicofo repeats may end the meeting of another room there (reliability.md).
    Over HTTP there are no such rooms: no backend promises to drop an old deletion, and it would end
    the meeting that has its id now.
    """
    is_reusing = number < 3 and kind == "grpc"
    is_shared = len(shards) > 1 and number >= ROOMS - 4
    user_agent = JICOFO if number % 2 and not is_reusing else PROSODY
    name = f"shared{number // 2}" if is_shared else f"{REUSING if is_reusing else 'room'}{number}"
    used = [number % 2] if is_shared else range(len(shards))
    clients = {index: shards[index].client(user_agent) for index in used}
    return Room(name, clients, answered, 0.3, 0.3, is_shared=is_shared)


def _grant(shard: Proxy) -> None:
    """Open and close a room; the answer shows the proxy that its backend keeps rows."""
    client = shard.client()
    until(lambda: client.create("last").status == 200, "the proxy grants rooms")
    public_id = client.create("last").json["id"]
    assert client.delete(public_id).status == 200


def _meetings(rooms: list[Room]) -> int:
    return sum(len(room.holdings) for room in rooms)


@contextmanager
def running_in_threads(*loops: Callable[[Callable[[], bool]], None]) -> Iterator[None]:
    """Run each function in its own thread; its `is_over` returns true when the context ends."""
    over = threading.Event()
    threads = [threading.Thread(target=loop, args=(over.is_set,)) for loop in loops]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()
