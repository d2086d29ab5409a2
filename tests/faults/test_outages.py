"""A backend that is killed or stopped: every request is answered in time, nothing is lost."""

import statistics
import threading
from functools import partial

import pytest

from tests.e2e.support import JICOFO, PROSODY, Client

from .processes import Stage, until
from .timing import AT_ONCE, IN_TIME, PATIENT, timed

HUNG = 16


@pytest.mark.parametrize(("user_agent", "is_restarted"), [(JICOFO, False), (PROSODY, True)])
def test_while_a_backend_is_dead(stage: Stage, user_agent: str, is_restarted: bool) -> None:
    """POST is refused, GET comes from the ledger, DELETE is kept, and delivered afterwards."""
    backend, proxy = stage.pair(default=PATIENT)
    client = proxy.client(user_agent)
    public_id = client.create("held").json["id"]
    known = client.get(public_id).json
    backend.kill()
    refused, seconds = timed(lambda: client.create("another"))
    assert (refused.status, seconds < IN_TIME) == (503, True)
    assert client.get(public_id).json == known
    deleted, seconds = timed(lambda: client.delete(public_id))
    assert (deleted.status, seconds < AT_ONCE) == (200, True)
    assert client.get(public_id).status == 404
    if is_restarted:
        proxy.restart()
    assert len(stage.store.ids) == 1
    backend.start()
    proxy.wait_until_delivered()
    assert stage.store.ids == []


def test_a_live_meeting_outlasts_the_death_of_its_backend(stage: Stage) -> None:
    """Nothing is deleted but what was ended, and the room is still the client's afterwards."""
    backend, proxy = stage.pair()
    client = proxy.client()
    first = client.create("live").json
    backend.restart()
    until(lambda: client.create("other").status == 200, "the backend is asked again")
    assert client.create("live").json == first
    assert stage.store.deeds("delete") == []


def test_while_a_backend_is_stopped(stage: Stage) -> None:
    """POST is 504 in time, DELETE is 200 at once; after some of these nobody waits any more."""
    backend, proxy = stage.pair()
    client = proxy.client()
    ended, live = (client.create(name).json["id"] for name in ("ended", "live"))
    backend.stop()
    late, seconds = timed(lambda: client.create("another"))
    assert (late.status, seconds < IN_TIME) == (504, True)
    deleted, seconds = timed(lambda: client.delete(ended))
    assert (deleted.status, seconds < AT_ONCE) == (200, True)
    until(lambda: client.create("another").status == 503, "the circuit is open")
    # Quicker than a single call that takes too long.
    assert statistics.median(timed(lambda: client.create("another"))[1] for _ in range(5)) < 0.5
    assert client.get(live).status == 200
    backend.go_on()
    until(lambda: client.create("another").status == 200, "the circuit is closed")
    proxy.wait_until_delivered()
    assert [stored.room for stored in stage.store.conferences] == ["live", "another"]


def test_a_stopped_backend_holds_up_no_other(stage: Stage, figures: list[str]) -> None:
    """While 16 calls hang, another backend's rooms open as quickly as before."""
    stopped, well = stage.backend(), stage.backend("b")
    proxy = stage.proxy(
        stopped,
        others={"well": well.address},
        routes=[{"room": "well*", "backend": "well"}],
        default={"answer_within": "2s"},
    )
    proxy.start()
    stopped.wait_until_ready()
    well.wait_until_ready()
    client = proxy.client()
    before = _median_seconds(client, "well-before")
    stopped.stop()
    hanging = [threading.Thread(target=client.create, args=(f"hung{n}",)) for n in range(HUNG)]
    for thread in hanging:
        thread.start()
    during = _median_seconds(client, "well-during")
    were_hanging = sum(thread.is_alive() for thread in hanging)
    for thread in hanging:
        thread.join()
    figures.append(f"POST, median: {before:.4f} s; while {HUNG} calls hang: {during:.4f} s")
    assert were_hanging == HUNG
    assert during < 5 * before + 0.05


def _median_seconds(client: Client, room: str) -> float:
    """Return how long it takes to open a room, in the middle of many."""
    times = []
    for number in range(30):
        reply, seconds = timed(partial(client.create, f"{room}{number}"))
        assert reply.status == 200
        times.append(seconds)
    return statistics.median(times)
