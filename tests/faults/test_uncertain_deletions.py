"""A DELETE that may have arrived, or may yet: nobody is given its conference, lest it ends."""

from .forwarder import Forwarder
from .processes import Stage, until

ON_ITS_WAY_SECONDS = 3.9
PATIENT = {"answer_within": "4s"}
RESPOND_WITHIN = "8s"
"""Every call has the time for all of gRPC's retries, so that none of them ends as too slow."""


def test_a_delete_whose_connection_broke_is_uncertain(stage: Stage) -> None:
    """The backend has it, and carries it out later; meanwhile the way there is closed.

    A balancer that dies, or a network that is cut, tells the proxy and not the backend.
    """
    backend = stage.backend()
    with Forwarder(backend.address) as way:
        proxy = stage.proxy(way.address, default=PATIENT, respond_within=RESPOND_WITHIN)
        proxy.start()
        backend.wait_until_ready()
        client = proxy.client()
        public_id = client.create("room").json["id"]
        stage.store.misbehave("wait", seconds=ON_ITS_WAY_SECONDS, methods=("delete",))
        assert client.delete(public_id).status == 200
        until(lambda: stage.store.calls("delete"), "the DELETE is at the backend")
        way.become("reset", keeps_upstream=True)
        until(lambda: _failures(proxy.events), "the proxy has heard of that")
        again = client.create("room")
        until(lambda: stage.store.deeds("delete"), "the DELETE is carried out")
    assert (again.status, stage.store.ids) == (503, []), "a client has what is deleted"


def test_a_delete_whose_backend_died_is_uncertain(stage: Stage) -> None:
    """The backend carried it out, and died before it said so: the conference is no more."""
    backend, proxy = stage.pair(default=PATIENT, respond_within=RESPOND_WITHIN)
    client = proxy.client()
    public_id = client.create("room").json["id"]
    stage.store.misbehave("late", seconds=ON_ITS_WAY_SECONDS, methods=("delete",))
    assert client.delete(public_id).status == 200
    until(lambda: stage.store.deeds("delete"), "the DELETE is carried out")
    backend.kill()
    until(lambda: _failures(proxy.events), "the proxy has heard of that")
    assert client.create("room").status == 503


def _failures(events: list[dict[str, object]]) -> list[dict[str, object]]:
    return [event for event in events if event["message"] == "deletion pending"]
