"""The proxy answers in time and loses no deletion while a backend is dead or paused."""

import statistics
import threading
from functools import partial

import pytest
from jicofo_reservation_proxy.ids import Named, decode

from tests.e2e.support import JICOFO, PROSODY, Client

from .processes import KINDS, Stage, until
from .timing import AT_ONCE, IN_TIME, SHORT, SHORT_SECONDS, quickest, timed

HUNG = 16

pytestmark = pytest.mark.parametrize("kind", KINDS)


@pytest.mark.parametrize(("user_agent", "is_restarted"), [(JICOFO, False), (PROSODY, True)])
def test_get_and_delete_need_no_backend(stage: Stage, user_agent: str, is_restarted: bool) -> None:
    """While its backend is dead, the proxy answers POST 503, GET from the ledger, and DELETE 200.

    The proxy delivers the deletion when the backend is reachable again.
    """
    backend, proxy = stage.pair()
    client = proxy.client(user_agent)
    public_ids = [client.create(f"held{n}").json["id"] for n in range(3)]
    known = client.get(public_ids[0]).json
    backend.kill()
    refused, seconds = timed(lambda: client.create("another"))
    assert (refused.status, seconds < IN_TIME) == (503, True)
    assert client.get(public_ids[0]).json == known
    deleted, seconds = quickest(partial(client.delete, public_id) for public_id in public_ids)
    assert ([reply.status for reply in deleted], seconds < AT_ONCE) == ([200] * 3, True)
    assert client.get(public_ids[0]).status == 404
    if is_restarted:
        proxy.restart()
    assert len(stage.store.ids) == 3
    backend.start()
    proxy.wait_until_delivered()
    assert stage.store.ids == []


def test_a_live_meeting_survives_a_restart_of_its_backend(stage: Stage) -> None:
    """The proxy does not delete the conference, and the client gets it again afterwards."""
    backend, proxy = stage.pair()
    client = proxy.client()
    first = decode(client.create("live").json["id"])
    backend.restart()
    until(lambda: client.create("other").status == 200, "the proxy asks the backend again")
    again = decode(client.create("live").json["id"])
    assert isinstance(first, Named)
    assert isinstance(again, Named)
    assert again.ref == first.ref
    assert stage.store.changes("delete") == []


def test_while_a_backend_is_stopped_a_post_is_504_until_the_circuit_opens(stage: Stage) -> None:
    """While a backend is paused, a POST is 504 in time, and a DELETE is 200 at once.

    After several time-outs the circuit opens, and the proxy answers a POST with 503 at once.
    """
    backend, proxy = stage.pair(default=SHORT)
    client = proxy.client()
    live, *ended = (client.create(name).json["id"] for name in ("live", "ended1", "ended2"))
    backend.pause()
    late, seconds = timed(lambda: client.create("another"))
    assert (late.status, seconds < IN_TIME) == (504, True)
    deleted, seconds = quickest(partial(client.delete, public_id) for public_id in ended)
    assert ([reply.status for reply in deleted], seconds < AT_ONCE) == ([200] * 2, True)
    until(lambda: client.create("another").status == 503, "the circuit is open")
    # With an open circuit, the proxy answers before a call could time out.
    refusals = [timed(lambda: client.create("another"))[1] for _ in range(5)]
    assert statistics.median(refusals) < SHORT_SECONDS / 2
    assert client.get(live).status == 200
    backend.resume()
    until(lambda: client.create("another").status == 200, "the circuit is closed")
    proxy.wait_until_delivered()
    assert [stored.room for stored in stage.store.conferences] == ["live", "another"]


def test_a_stopped_backend_does_not_delay_another_backend(stage: Stage, figures: list[str]) -> None:
    """While 16 calls hang, rooms of another backend open about as quickly as before."""
    paused, healthy = stage.backend(), stage.backend("b")
    proxy = stage.proxy(
        paused,
        others={"healthy": healthy.address},
        routes=[{"room": "healthy*", "backend": "healthy"}],
    )
    proxy.start()
    paused.wait_until_ready()
    healthy.wait_until_ready()
    client = proxy.client()
    before = _median_seconds(client, "healthy-before")
    paused.pause()
    hanging = [threading.Thread(target=client.create, args=(f"hung{n}",)) for n in range(HUNG)]
    for thread in hanging:
        thread.start()
    during = _median_seconds(client, "healthy-during")
    were_hanging = sum(thread.is_alive() for thread in hanging)
    paused.resume()
    for thread in hanging:
        thread.join()
    figures.append(f"POST, median: {before:.4f} s; while {HUNG} calls hang: {during:.4f} s")
    assert were_hanging == HUNG
    assert during < 5 * before + 0.05


def _median_seconds(client: Client, room: str) -> float:
    """Return the median of the seconds that it takes to open a room."""
    times = []
    for number in range(30):
        reply, seconds = timed(partial(client.create, f"{room}{number}"))
        assert reply.status == 200
        times.append(seconds)
    return statistics.median(times)
