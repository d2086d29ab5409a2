"""Which replicas of one target get calls: those that serve, or that have no health service."""

from collections import Counter

from tests.e2e.support import Client

from .processes import Backend, Proxy, Stage, until
from .store import Method

ROUNDS = 6
REPLICAS = ("a", "b", "c")


def _replicas(stage: Stage, *, has_health: bool = True) -> tuple[list[Backend], Proxy]:
    """Return three replicas that serve, and a proxy in front of them that is not started."""
    replicas = [stage.backend(name, has_health=has_health) for name in REPLICAS]
    for replica in replicas:
        replica.wait_until_ready()
    return replicas, stage.proxy(*replicas, default={"answer_within": "3s"}, respond_within="8s")


def _turns(stage: Stage, method: Method | None = None) -> Counter[str]:
    """Return how many calls each replica got."""
    return Counter(call.replica for call in stage.store.calls(method))


def _meet(client: Client, rooms: str, statuses: list[int]) -> None:
    for number in range(ROUNDS):
        created = client.create(f"{rooms}-{number}")
        statuses.append(created.status)
        if created.status == 200:
            statuses.append(client.get(created.json["id"]).status)
            statuses.append(client.delete(created.json["id"]).status)


def _wait_for_calls(stage: Stage, client: Client, replica: str, before: int) -> None:
    """Send POSTs until a replica has got more calls than `before`."""

    def has_more() -> bool:
        client.create("again")
        return _turns(stage)[replica] > before

    until(has_more, f"the replica {replica} gets calls")


def test_a_replica_that_does_not_serve_gets_no_calls(stage: Stage) -> None:
    """A replica gets no calls as long as its health service says NOT_SERVING."""
    stage.store.fail("not_serving", replica="b")
    _, proxy = _replicas(stage)
    proxy.start()
    statuses: list[int] = []
    _meet(proxy.client(), "room", statuses)
    assert set(statuses) == {200}
    assert set(_turns(stage)) == {"a", "c"}
    stage.store.recover()
    _wait_for_calls(stage, proxy.client(), "b", 0)


def test_replicas_without_the_health_service_get_calls(stage: Stage) -> None:
    """All replicas get calls if they do not implement the health service, which is optional."""
    _, proxy = _replicas(stage, has_health=False)
    proxy.start()
    client = proxy.client()
    until(lambda: client.create("room").status == 200 and len(_turns(stage)) == 3, "all get calls")
