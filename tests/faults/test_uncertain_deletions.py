"""If the deletion of a conference is uncertain, the proxy gives the conference to no client."""

import pytest

from .forwarder import Forwarder
from .processes import KINDS, Stage, until

pytestmark = pytest.mark.parametrize("kind", KINDS)

PATIENT = {"answer_within": "15s"}
"""A long deadline, so that the backend carries out the deletion before the deadline."""


def test_a_delete_whose_connection_broke_is_uncertain(stage: Stage) -> None:
    """The proxy answers a POST with 503 if the connection broke during a deletion.

    The backend carries out the deletion later. When a load balancer dies or a network is cut, the
    proxy may notice the broken connection, and the backend may not.
    """
    backend = stage.backend()
    with Forwarder(backend.address) as forwarder:
        proxy = stage.proxy(forwarder.address, default=PATIENT)
        proxy.start()
        backend.wait_until_ready()
        client = proxy.client()
        public_id = client.create("room").json["id"]
        stage.store.fail("wait", methods=("delete",))
        assert client.delete(public_id).status == 200
        until(lambda: stage.store.calls("delete"), "the backend has received the DELETE")
        forwarder.set_mode("reset", keeps_upstream=True)
        until(lambda: _failures(proxy.events), "the proxy has logged the failure")
        again = client.create("room")
        stage.store.recover()
        until(lambda: stage.store.changes("delete"), "the DELETE is carried out")
    assert (again.status, stage.store.ids) == (503, []), "a client was given a deleted conference"


def test_a_delete_whose_backend_died_is_uncertain(stage: Stage) -> None:
    """The proxy answers a POST with 503 if the backend died before it acknowledged a deletion.

    The backend has carried out the deletion, so the conference no longer exists.
    """
    backend, proxy = stage.pair(default=PATIENT)
    client = proxy.client()
    public_id = client.create("room").json["id"]
    stage.store.fail("late", methods=("delete",))
    assert client.delete(public_id).status == 200
    until(lambda: stage.store.changes("delete"), "the DELETE is carried out")
    backend.kill()
    until(lambda: _failures(proxy.events), "the proxy has logged the failure")
    assert client.create("room").status == 503


def _failures(events: list[dict[str, object]]) -> list[dict[str, object]]:
    return [event for event in events if event["message"] == "deletion pending"]
