"""All healthy replicas of one target get calls, and no request fails when a replica dies."""

import threading
from collections import Counter

from tests.e2e.support import Client

from .processes import Backend, Proxy, Stage, until
from .store import Method

THREADS = 8
ROUNDS = 6
WORK_SECONDS = 0.2
"""How long a replica needs to grant a room, so that it has calls in flight when it is killed."""

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


def test_no_request_fails_when_a_replica_is_killed(stage: Stage) -> None:
    """When a replica is killed under load, the other replicas get its calls."""
    for name in REPLICAS:
        stage.store.fail("wait", seconds=WORK_SECONDS, methods=("create",), replica=name)
    replicas, proxy = _replicas(stage)
    proxy.start()
    statuses: list[int] = []
    clients = [
        threading.Thread(target=_meet, args=(proxy.client(), f"room{number}", statuses))
        for number in range(THREADS)
    ]
    for thread in clients:
        thread.start()
    until(lambda: len(_turns(stage)) == len(REPLICAS), "all replicas get calls")
    before = _turns(stage, "create")["a"]
    until(lambda: _turns(stage, "create")["a"] > before, "the replica a is granting a room")
    replicas[0].kill()
    were_running = sum(thread.is_alive() for thread in clients)
    for thread in clients:
        thread.join()
    assert were_running
    assert Counter(statuses) == {200: 3 * THREADS * ROUNDS}
    proxy.wait_until_delivered()
    assert stage.store.ids == []
    before = _turns(stage)["a"]
    replicas[0].start()
    _wait_for_calls(stage, proxy.client(), "a", before)


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
