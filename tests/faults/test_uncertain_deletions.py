"""An uncertain deletion: the proxy gives its conference to no client."""

from .forwarder import Forwarder
from .processes import Stage, until

PATIENT = {"answer_within": "15s"}
"""The backend must carry out the deletion before its deadline."""


def test_a_delete_whose_connection_broke_is_uncertain(stage: Stage) -> None:
    """The backend carries out a deletion after the proxy has lost its connection.

    The proxy answers the next POST with 503. When a load balancer dies or a network is cut, the
    proxy can notice it while the backend does not.
    """
    backend = stage.backend()
    with Forwarder(backend.address) as way:
        proxy = stage.proxy(way.address, default=PATIENT)
        proxy.start()
        backend.wait_until_ready()
        client = proxy.client()
        public_id = client.create("room").json["id"]
        stage.store.misbehave("wait", methods=("delete",))
        assert client.delete(public_id).status == 200
        until(lambda: stage.store.calls("delete"), "the backend has received the DELETE")
        way.become("reset", keeps_upstream=True)
        until(lambda: _failures(proxy.events), "the proxy has logged the failure")
        again = client.create("room")
        stage.store.behave()
        until(lambda: stage.store.deeds("delete"), "the DELETE is carried out")
    assert (again.status, stage.store.ids) == (503, []), "a client was given a deleted conference"


def test_a_delete_whose_backend_died_is_uncertain(stage: Stage) -> None:
    """The backend carries out a deletion, and is killed before it answers.

    The proxy answers the next POST with 503, since the conference no longer exists.
    """
    backend, proxy = stage.pair(default=PATIENT)
    client = proxy.client()
    public_id = client.create("room").json["id"]
    stage.store.misbehave("late", methods=("delete",))
    assert client.delete(public_id).status == 200
    until(lambda: stage.store.deeds("delete"), "the DELETE is carried out")
    backend.kill()
    until(lambda: _failures(proxy.events), "the proxy has logged the failure")
    assert client.create("room").status == 503


def _failures(events: list[dict[str, object]]) -> list[dict[str, object]]:
    return [event for event in events if event["message"] == "deletion pending"]
