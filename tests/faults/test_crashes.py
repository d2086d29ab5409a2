"""The crash loop: no SIGKILL of the proxy loses a deletion or ends a live meeting."""

import random
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field

import pytest

from tests.e2e.support import JICOFO, PROSODY

from .accounts import Accounts, Outage
from .disk import Disk
from .jitsi import Room
from .processes import Backend, Proxy, Stage, until
from .store import REUSING, Failure, Method, Store
from .timing import MARGIN_SECONDS

RESPOND_SECONDS = 3.0
ROOMS = 8
KILLS = 5
RNG = random.SystemRandom()
FAILURES: tuple[Failure, ...] = (
    "refuse",
    "break",
    "no_route",
    "no_service",
    "ended",
    "wait",
    "late",
)
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

    The process starts again inside the context `start_in`.

    Half of the kills come at random moments. The other half come right after a client's DELETE,
    when `answered` is set.
    """

    process: Proxy | Backend
    answered: threading.Event
    life_seconds: float
    pauses: bool = False
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
                self.process.kill()
                with self.start_in:
                    self.process.start()
            self.outages.append(Outage(began, time.monotonic()))

    def _pause_for_a_while(self) -> None:
        self.process.pause()
        threading.Event().wait(RNG.uniform(0.1, 1.5))
        self.process.resume()


@dataclass
class Failures:
    """Makes the backend fail for a short time, then work normally, again and again."""

    store: Store

    def run(self, is_over: Callable[[], bool]) -> None:
        """Start and end failures until `is_over` returns true; then let the backend recover."""
        while not is_over():
            failure = RNG.choice(FAILURES)
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
def test_nothing_is_lost_in_a_crash(
    stage: Stage, figures: list[str], is_long: bool, request: pytest.FixtureRequest
) -> None:
    """A proxy that is killed again and again keeps its promises, also with strange backends.

    It delivers every DELETE that it answered 200, deletes no live meeting, and answers every
    request in time while it runs.
    """
    meetings = 5000 if is_long else 40
    answered = threading.Event()
    backend = stage.backend()
    backend.wait_until_ready()
    # The deadline of a call is short, so that the backend often exceeds it.
    proxy = stage.proxy(
        backend, default={"answer_within": "500ms"}, respond_within=f"{RESPOND_SECONDS}s"
    )
    disk = request.getfixturevalue("disk") if shutil.which("cc") else None
    if disk:
        disk.attach(proxy)
    disk_faults = DiskFaults(disk) if disk else None
    proxy.start()
    rooms = [_room(proxy, number, answered.set) for number in range(ROOMS)]
    crashes = Crashes(
        proxy,
        answered,
        life_seconds=1.5 if is_long else 0.6,
        start_in=disk_faults or nullcontext(),
    )
    failures = Failures(stage.store)
    backend_crashes = Crashes(backend, answered, life_seconds=1.5, pauses=True)
    loops = [crashes.run, failures.run, *(room.run for room in rooms)]
    loops += [backend_crashes.run] if is_long else []
    loops += [disk_faults.run] if disk_faults else []
    with running_in_threads(*loops):
        until(
            lambda: _meetings(rooms) >= meetings and len(crashes.outages) >= KILLS,
            "the crash loop has enough meetings and kills",
            1500 if is_long else 240,
        )
    proxy.wait_until_delivered()
    accounts = Accounts.of(rooms, stage.store, crashes.outages)
    figures += ["crash loop:"]
    figures += accounts.lines(len(crashes.outages), len(backend_crashes.outages))
    if disk_faults:
        figures += [f"faults of the disk and the clock: {disk_faults.count}"]
    assert not accounts.lost
    for _, change in (*accounts.deleted_alive, *accounts.given_dead):
        print(accounts.around(change.at))
    assert not accounts.deleted_alive
    assert not accounts.given_dead
    assert not accounts.unanswered
    assert accounts.slowest_seconds < RESPOND_SECONDS + MARGIN_SECONDS


def _room(proxy: Proxy, number: int, answered: Callable[[], None]) -> Room:
    client = proxy.client(JICOFO if number % 2 else PROSODY)
    name = f"{REUSING if number < 4 else 'room'}{number}"
    return Room(name, client, answered, pause_seconds=0.3, meeting_seconds=0.3)


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
