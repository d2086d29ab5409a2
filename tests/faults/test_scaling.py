"""Replicas that come and go, while the proxy finds them by a list, by DNS or by xDS.

`make test` runs each test with few requests, and `make faults` with the numbers of
docs/scaling.md.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from .load import Load
from .naming import CLUSTER, NAME, REPLICAS, AddressList, Dns, Naming, Xds, replica_addresses
from .processes import Backend, Proxy, Stage, until
from .resources import cluster, endpoints, listener, route, with_outlier_detection
from .store import Method
from .timing import timed

IS_LONG = os.environ.get("FAULTS") == "long"
REQUESTS = 1000 if IS_LONG else 150
"""The number of requests of each test."""

REQUESTS_WITH_KILLS = 550 if IS_LONG else 75

KILLS = 5 if IS_LONG else 2
WORK_SECONDS = 0.2
"""How long a replica needs to grant a room, so that it has calls in flight when it is killed."""

FOUND_SECONDS = 15.0
"""How long the proxy may need to find a new replica. It needs about a second."""

NAMINGS: Mapping[str, Callable[[Path, Mapping[str, str]], Naming]] = {
    "list": AddressList,
    "dns": Dns,
    "xds": Xds,
}


@dataclass
class Scene:
    """A proxy that finds replicas by a naming, and the replicas."""

    stage: Stage
    naming: Naming
    addresses: Mapping[str, str]
    replicas: dict[str, Backend]
    proxy: Proxy

    def turns(self, method: Method | None = None) -> Counter[str]:
        """Return how many calls each replica got."""
        return Counter(call.replica for call in self.stage.store.calls(method))

    def gets_calls(self, replica: str, method: Method | None = None) -> Callable[[], bool]:
        """Return a check that a replica has got calls after now."""
        before = self.turns(method)[replica]
        return lambda: self.turns(method)[replica] > before

    def start(self, replica: str, *flags: str) -> None:
        """Start a replica at its address, and wait until it serves."""
        if replica in self.replicas:
            self.replicas[replica].start()
            return
        address = self.addresses[replica]
        self.replicas[replica] = self.stage.backend(replica, address=address, flags=flags)
        self.replicas[replica].wait_until_ready()

    def announce(self, *replicas: str) -> None:
        """Tell the proxy that these replicas are the backend."""
        self.naming.announce([self.addresses[replica] for replica in replicas])


@contextmanager
def _scene(
    directory: Path, naming: Naming, addresses: Mapping[str, str], *replicas: str, **own: object
) -> Iterator[Scene]:
    with Stage(directory) as stage:
        default = {"target": naming.target, "answer_within": "5s", **own}
        proxy = stage.proxy(default=default, respond_within="15s")
        proxy.environ |= naming.environ
        scene = Scene(stage, naming, addresses, {}, proxy)
        for replica in replicas:
            scene.start(replica)
        scene.announce(*replicas)
        proxy.start()
        yield scene


@contextmanager
def _named(how: str, directory: Path, *replicas: str) -> Iterator[Scene]:
    addresses = replica_addresses()
    with (
        NAMINGS[how](directory, addresses) as naming,
        _scene(directory, naming, addresses, *replicas) as scene,
    ):
        yield scene


@contextmanager
def _controlled(directory: Path, *replicas: str, **own: object) -> Iterator[tuple[Scene, Xds]]:
    """Yield a scene with a control plane, and the control plane."""
    addresses = replica_addresses()
    with (
        Xds(directory, addresses) as xds,
        _scene(directory, xds, addresses, *replicas, **own) as scene,
    ):
        yield scene, xds


def _has(load: Load, count: int) -> Callable[[], bool]:
    return lambda: load.count >= count


@pytest.mark.parametrize("how", NAMINGS)
def test_no_request_fails_when_a_replica_is_replaced(
    how: str, tmp_path: Path, figures: list[str]
) -> None:
    """A replica dies and another starts elsewhere: the proxy finds it, and no request fails.

    With DNS, the proxy finds it earlier than with the 30 s between two look-ups of gRPC.
    """
    with _named(how, tmp_path, "a", "b") as scene:
        with Load(scene.proxy) as load:
            load.continue_until(lambda: set(scene.turns()) == {"a", "b"}, "both replicas get calls")
            load.continue_until(_has(load, REQUESTS // 2), "half of the requests")
            scene.replicas["a"].kill()
            scene.start("c")
            scene.announce("b", "c")
            gets_calls = scene.gets_calls("c")
            _, seconds = timed(
                lambda: load.continue_until(gets_calls, "the new replica gets calls", FOUND_SECONDS)
            )
            scene.replicas["b"].kill()
            load.continue_until(_has(load, REQUESTS), "all requests")
        assert set(load.statuses) == {200}
        scene.proxy.wait_until_delivered()
        assert scene.stage.store.ids == []
    figures.append(f"{how}: {load.count} requests, a new replica got calls after {seconds:.1f} s")


@pytest.mark.parametrize("how", NAMINGS)
def test_no_request_fails_when_replicas_are_killed_in_turn(
    how: str, tmp_path: Path, figures: list[str]
) -> None:
    """Replicas are killed during calls and started again, one after the other."""
    with _named(how, tmp_path, *REPLICAS) as scene:
        for replica in REPLICAS:
            scene.stage.store.fail(
                "wait", seconds=WORK_SECONDS, methods=("create",), replica=replica
            )
        with Load(scene.proxy) as load:
            for number in range(KILLS):
                killed = REPLICAS[number % len(REPLICAS)]
                load.continue_until(scene.gets_calls(killed, "create"), f"{killed} grants a room")
                scene.replicas[killed].kill()
                scene.start(killed)
                load.continue_until(scene.gets_calls(killed), f"{killed} gets calls again")
            load.continue_until(_has(load, REQUESTS_WITH_KILLS), "all requests")
        assert set(load.statuses) == {200}
        scene.proxy.wait_until_delivered()
        assert scene.stage.store.ids == []
    figures.append(f"{how}: {load.count} requests, {KILLS} kills of a replica")


def test_outlier_detection_ejects_no_healthy_replica(tmp_path: Path) -> None:
    """The proxy makes no call that a healthy replica answers with an error status.

    One client makes three calls for each meeting: to create, to probe and to delete. So with three
    replicas, each replica gets one kind of call.
    """
    with _controlled(tmp_path, *REPLICAS) as (scene, xds):
        xds.control_plane.publish(with_outlier_detection(cluster(CLUSTER)))
        client = scene.proxy.client()
        for number in range(REQUESTS // 3):
            created = client.create(f"room{number}")
            assert created.status == 200
            assert client.delete(created.json["id"]).status == 200
            until(lambda: not scene.stage.store.ids, "the conference is deleted")
        before = scene.turns()
        for number in range(len(REPLICAS)):
            assert client.create(f"last{number}").status == 200
        assert set(scene.turns() - before) == set(REPLICAS)


def test_replicas_that_are_added_get_calls(tmp_path: Path) -> None:
    """With a control plane, a replica that is added gets calls while no connection breaks."""
    with _controlled(tmp_path, "a") as (scene, _), Load(scene.proxy) as load:
        load.continue_until(scene.gets_calls("a"), "the replica gets calls")
        scene.start("b")
        scene.announce("a", "b")
        load.continue_until(scene.gets_calls("b"), "the added replica gets calls")
        scene.announce("b")
        load.continue_until(scene.gets_calls("b"), "the replica that is left gets calls")
    assert set(load.statuses) == {200}


def test_replicas_that_are_added_to_dns_get_calls_when_a_connection_ends(tmp_path: Path) -> None:
    """With DNS, the proxy finds an added replica when a server ends an old connection.

    No request fails when connections end.
    """
    with _named("dns", tmp_path) as scene:
        scene.start("a", "--connection-age-ms", "1500")
        scene.announce("a")
        with Load(scene.proxy) as load:
            load.continue_until(scene.gets_calls("a"), "the replica gets calls")
            scene.start("b")
            scene.announce("a", "b")
            load.continue_until(scene.gets_calls("b"), "the added replica gets calls")
            load.continue_until(_has(load, REQUESTS), "all requests")
        assert set(load.statuses) == {200}


@pytest.mark.parametrize("fault", ["kill", "stall"])
def test_the_control_plane_may_fail(tmp_path: Path, fault: str) -> None:
    """Without its control plane, the proxy uses the replicas that it knows.

    A new replica gets calls when the control plane is back.
    """
    with _controlled(tmp_path, "a", "b") as (scene, xds), Load(scene.proxy) as load:
        load.continue_until(lambda: set(scene.turns()) == {"a", "b"}, "both replicas get calls")
        getattr(xds.control_plane, fault)()
        load.continue_until(_has(load, load.count + REQUESTS // 2), "requests without it")
        scene.replicas["a"].kill()
        load.continue_until(_has(load, load.count + REQUESTS // 2), "requests without a replica")
        if fault == "stall":
            xds.control_plane.kill()
        scene.start("c")
        scene.announce("b", "c")
        xds.control_plane.start()
        load.continue_until(scene.gets_calls("c"), "the new replica gets calls")
    assert set(load.statuses) == {200}


def test_a_canary_gets_its_weight_or_the_calls_with_its_metadata(tmp_path: Path) -> None:
    """A weighted cluster gets its part of the calls, and a route can match constant metadata."""
    with _controlled(tmp_path, metadata={"x-deployment": "blue"}) as (scene, xds):
        for replica in ("a", "b"):
            scene.start(replica)
        control_plane = xds.control_plane
        control_plane.publish(
            cluster("canary"),
            endpoints(CLUSTER, [scene.addresses["a"]]),
            endpoints("canary", [scene.addresses["b"]]),
            listener(NAME, route({CLUSTER: 90, "canary": 10})),
        )
        with Load(scene.proxy) as load:
            load.continue_until(scene.gets_calls("b"), "the canary gets calls")
            load.continue_until(_has(load, 4 * REQUESTS), "all requests")
        assert set(load.statuses) == {200}
        # The standard deviation of the part is less than 1.5 %.
        assert 0.02 < scene.turns()["b"] / scene.turns().total() < 0.2
        is_blue = route({"canary": 1}, ("x-deployment", "blue"))
        control_plane.publish(listener(NAME, is_blue, route({CLUSTER: 1})))
        client = scene.proxy.client()

        def is_all_canary() -> bool:
            before = scene.turns("create")["a"]
            assert all(client.create(f"blue{number}").status == 200 for number in range(5))
            return scene.turns("create")["a"] == before

        until(is_all_canary, "all calls have the metadata that the route matches")


def test_a_lower_priority_gets_calls_while_the_higher_is_down(tmp_path: Path) -> None:
    """When all replicas of the first priority die, the next one gets the calls, until they return.

    No request fails.
    """
    with _controlled(tmp_path, "a") as (scene, xds):
        scene.start("b")
        xds.control_plane.publish(
            endpoints(CLUSTER, [scene.addresses["a"]], [scene.addresses["b"]])
        )
        with Load(scene.proxy) as load:
            load.continue_until(_has(load, REQUESTS // 2), "requests at the first priority")
            assert set(scene.turns()) == {"a"}
            scene.replicas["a"].kill()
            load.continue_until(scene.gets_calls("b"), "the second priority gets calls")
            load.continue_until(_has(load, REQUESTS), "requests at the second priority")
            scene.start("a")
            load.continue_until(scene.gets_calls("a"), "the first priority gets calls again")
        assert set(load.statuses) == {200}
