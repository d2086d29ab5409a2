"""`when_unreachable = "allow"`: the proxy grants rooms while the backend is unreachable."""

import pytest
from jicofo_reservation_proxy.ids import ALIAS_BASE
from jicofo_reservation_proxy.ledger.records import RecordState

from tests.e2e.support import JICOFO, PROSODY
from tests.unit.ledgers import stored

from .processes import Proxy, Stage, until
from .timing import SHORT

ALLOW = {"when_unreachable": "allow", "allow_for": "1h"}


@pytest.mark.parametrize("user_agent", [JICOFO, PROSODY])
def test_a_fallback_grant_survives_a_restart(stage: Stage, user_agent: str) -> None:
    """GET and DELETE of a fallback grant work, also after a restart of the proxy.

    The proxy makes the id of the conference, and the backend gets no call for it.
    """
    backend = stage.backend()
    backend.wait_until_ready()
    backend.kill()
    proxy = stage.proxy(backend, default=SHORT | ALLOW)
    proxy.start()
    client = proxy.client(user_agent)
    granted = client.create("room")
    assert (granted.status, granted.json["duration"]) == (200, 3600)
    public_id = granted.json["id"]
    assert public_id >= ALIAS_BASE if user_agent == JICOFO else public_id.startswith("default-")
    until(lambda: _levels(proxy) == ["warning"], "the log has a warning about the fallback grant")
    assert client.get(public_id).status == 200
    until(lambda: proxy.records(RecordState.OPEN), "the grant is written")
    proxy.restart()
    backend.start()
    reply = client.get(public_id)
    assert reply.status == 200
    assert reply.json["start_time"] == granted.json["start_time"]
    assert client.delete(public_id).status == 200
    assert client.get(public_id).status == 404
    until(lambda: not stored(proxy.state_dir), "the ledger is empty")
    assert stage.store.calls() == []


def _levels(proxy: Proxy) -> list[str]:
    """Return the levels of the log events about fallback grants."""
    return [event["level"] for event in proxy.events if event.get("source") == "fallback_grant"]


def test_a_backend_that_is_reachable_again_is_asked_for_rooms(stage: Stage) -> None:
    """The proxy asks a backend again as soon as it is reachable.

    It also asks the backend for a room that had a fallback grant.
    """
    backend = stage.backend()
    backend.wait_until_ready()
    backend.kill()
    proxy = stage.proxy(backend, default=ALLOW)
    proxy.start()
    client = proxy.client()
    fallback = client.create("room").json["id"]
    assert client.delete(fallback).status == 200
    backend.start()
    until(lambda: client.create("other").json["id"].startswith("default."), "the backend is asked")
    assert client.create("room").json["id"].startswith("default.")
    assert {stored.room for stored in stage.store.conferences} == {"room", "other"}
