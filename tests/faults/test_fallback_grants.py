"""`when_unreachable = "allow"`: rooms are granted for a dead backend, which never hears of it."""

import pytest
from jicofo_reservation_proxy.ids import ALIAS_BASE
from jicofo_reservation_proxy.ledger.records import RecordState
from jicofo_reservation_proxy.ledger.sqlite_ledger import read

from tests.e2e.support import JICOFO, PROSODY

from .processes import Proxy, Stage, until

ALLOW = {"when_unreachable": "allow", "allow_for": "1h"}


@pytest.mark.parametrize("user_agent", [JICOFO, PROSODY])
def test_a_room_without_its_backend(stage: Stage, user_agent: str) -> None:
    """It is granted under an id of the proxy's own, read and deleted, after a restart too."""
    backend = stage.backend()
    backend.wait_until_ready()
    backend.kill()
    proxy = stage.proxy(backend, default=ALLOW)
    proxy.start()
    client = proxy.client(user_agent)
    granted = client.create("room")
    assert (granted.status, granted.json["duration"]) == (200, 3600)
    public_id = granted.json["id"]
    assert public_id >= ALIAS_BASE if user_agent == JICOFO else public_id.startswith("default-")
    until(lambda: _levels(proxy) == ["warning"], "the log says so")
    assert client.get(public_id).status == 200
    until(lambda: proxy.records(RecordState.OPEN), "the grant is written")
    proxy.restart()
    backend.start()
    reply = client.get(public_id)
    assert reply.status == 200
    assert reply.json["start_time"] == granted.json["start_time"]
    assert client.delete(public_id).status == 200
    assert client.get(public_id).status == 404
    until(lambda: not read(proxy.state_dir), "nothing is left to be done")
    assert stage.store.calls() == []


def _levels(proxy: Proxy) -> list[str]:
    """Return how serious the log finds it that rooms were granted without their backend."""
    return [event["level"] for event in proxy.events if event.get("source") == "fallback_grant"]


def test_a_room_is_its_backends_again(stage: Stage) -> None:
    """A backend that is back is asked, also for a room that was granted without it."""
    backend = stage.backend()
    backend.wait_until_ready()
    backend.kill()
    proxy = stage.proxy(backend, default=ALLOW)
    proxy.start()
    client = proxy.client()
    fallback = client.create("room").json["id"]
    assert client.delete(fallback).status == 200
    backend.start()
    until(lambda: client.create("other").json["id"].startswith("default."), "it is asked again")
    assert client.create("room").json["id"].startswith("default.")
    assert {stored.room for stored in stage.store.conferences} == {"room", "other"}
