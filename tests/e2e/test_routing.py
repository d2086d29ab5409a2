"""Several backends behind one proxy: the proxy finds the backend of each room and of each id."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from .support import JICOFO, PROSODY, Client, Script, granting, running, serving_grpc

ROUTES = [
    {"tenant": "acme", "room": "board-*", "backend": "exec"},
    {"tenant_regex": "uni-[0-9]+", "backend": "campus"},
    {"tenant": "", "room": "lobby", "backend": "campus"},
]


@dataclass
class Fleet:
    """Three backends that all use the same ids."""

    backends: dict[str, Script]
    settings: dict[str, dict[str, str]]

    @property
    def asked(self) -> list[str]:
        """The names of the backends that got a create."""
        return [name for name, backend in self.backends.items() if backend.creates]

    @property
    def deleted(self) -> list[tuple[str, str]]:
        """The deletions that arrived, as pairs of backend and conference id."""
        return [
            (name, request.conference_id)
            for name, backend in self.backends.items()
            for request in backend.deletes
        ]


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    """Serve three backends."""
    backends = {name: granting("42") for name in ("default", "exec", "campus")}
    with ExitStack() as stack:
        targets = {
            name: {"target": stack.enter_context(serving_grpc(backend))}
            for name, backend in backends.items()
        }
        yield Fleet(backends, targets)


@pytest.mark.parametrize(
    ("room", "backend"),
    [
        ("[acme]board-1", "exec"),
        ("[ACME]Board-1", "exec"),
        ("[acme]kitchen", "default"),
        ("board-1", "default"),
        ("[uni-12]anything", "campus"),
        ("[uni-12b]anything", "default"),
        ("lobby", "campus"),
        ("[acme]lobby", "default"),
        ("[acme]board%2d1", "exec"),
    ],
)
def test_a_room_goes_to_its_backend(tmp_path: Path, fleet: Fleet, room: str, backend: str) -> None:
    """The proxy uses the first route that matches the tenant and the name of the room."""
    with running(tmp_path, backends=fleet.settings, routes=ROUTES) as client:
        assert client.create(room).status == 200
    assert fleet.asked == [backend]


@pytest.mark.parametrize("user_agent", [JICOFO, PROSODY])
def test_an_id_leads_to_its_backend_after_a_restart(
    tmp_path: Path, fleet: Fleet, user_agent: str
) -> None:
    """After a restart, GET and DELETE reach the right backend, although all use the same ids."""
    conference_ids = {}
    with running(tmp_path, backends=fleet.settings, routes=ROUTES) as client:
        for room in ("[acme]board-1", "[uni-1]x", "other"):
            conference_ids[room] = Client(client.port, user_agent).create(room).json["id"]
    assert len(set(conference_ids.values())) == 3
    with running(tmp_path, backends=fleet.settings, routes=ROUTES) as client:
        client = Client(client.port, user_agent)  # noqa: PLW2901 - the same proxy, another client
        assert client.get(conference_ids["[acme]board-1"]).status == 200
        assert client.delete(conference_ids["[uni-1]x"]).status == 200
        assert client.delete(f"{conference_ids['[acme]board-1']}").status == 200
    assert "42" in {request.conference_id for request in fleet.backends["exec"].gets}
    assert fleet.deleted == [("exec", "42"), ("campus", "42")]


def test_a_room_without_a_backend_is_refused(tmp_path: Path, fleet: Fleet) -> None:
    """Without a matching route and a backend "default", the answer is 403; no backend is called."""
    del fleet.settings["default"]
    with running(tmp_path, backends=fleet.settings, routes=ROUTES) as client:
        reply = client.create("elsewhere")
    assert (reply.status, reply.json) == (
        403,
        {"message": "Rooms of this name are not available here."},
    )
    assert fleet.asked == []


def test_an_id_of_a_removed_backend_finds_no_conference(tmp_path: Path, fleet: Fleet) -> None:
    """For an id of a removed backend, GET is 404, DELETE is 200; no backend gets the deletion."""
    with running(tmp_path, backends=fleet.settings, routes=ROUTES) as client:
        ids = [Client(client.port, agent).create("lobby").json["id"] for agent in (JICOFO, PROSODY)]
    del fleet.settings["campus"]
    routes = [{"backend": "exec"}]
    with running(tmp_path, backends=fleet.settings, routes=routes) as client:
        assert [client.get(public_id).status for public_id in ids] == [404, 404]
        assert [client.delete(public_id).status for public_id in ids] == [200, 200]
    assert fleet.deleted == []


def test_an_unknown_number_finds_no_conference_with_several_backends(
    tmp_path: Path, fleet: Fleet
) -> None:
    """With several backends, a number that is not in the ledger belongs to no backend."""
    with running(tmp_path, backends=fleet.settings, routes=ROUTES) as client:
        assert client.get(42).status == 404
        assert client.delete(42).status == 200
        assert client.delete(90_000_000_000_042).status == 200
    assert fleet.deleted == []


def test_numbers_of_the_only_backend_lead_to_it_when_others_are_added(
    tmp_path: Path, fleet: Fleet
) -> None:
    """The proxy finds the backend of an older number in the ledger after backends were added."""
    only = {"campus": fleet.settings["campus"]}
    with running(tmp_path, backends=only) as client:
        assert client.create("lobby").json["id"] == 42
    with running(tmp_path, backends=fleet.settings, routes=ROUTES) as client:
        assert client.delete(42).status == 200
    assert fleet.deleted == [("campus", "42")]


def test_a_deleted_conference_leaves_no_alias(tmp_path: Path, fleet: Fleet) -> None:
    """After a delivered deletion, a repeated DELETE is answered 200 and not sent again."""
    with running(tmp_path, backends=fleet.settings, routes=ROUTES) as client:
        public_id = client.create("lobby").json["id"]
        assert client.delete(public_id).status == 200
        assert client.delete(public_id).status == 200
    assert fleet.deleted == [("campus", "42")]


def test_methods_can_have_other_paths(tmp_path: Path) -> None:
    """The proxy calls the method paths of the setting `methods`."""
    methods = {
        "create": "/jicofo.reservation.v1.ReservationService/GetConference",
        "get": "/no.such.Service/Read",
        "delete": "/no.such.Service/Method",
    }
    backend = granting()
    backend.get = backend.create  # type: ignore[assignment]
    with serving_grpc(backend) as target:
        default = {"target": target, "methods": methods}
        with running(tmp_path, backends={"default": default}) as client:
            client.create()
            assert len(backend.gets) == 1
            assert client.delete(1).status == 200
    assert backend.creates == backend.deletes == []


def test_constant_metadata_goes_with_every_call(tmp_path: Path) -> None:
    """The backend gets the constant metadata with each create, get, probe and deletion."""
    backend = granting("42")
    with serving_grpc(backend) as target:
        own = {"target": target, "metadata": {"x-deployment": "blue"}}
        with running(tmp_path, backends={"default": own}) as client:
            public_id = client.create().json["id"]
            client.get(public_id)
            client.delete(public_id)
    assert len(backend.creates) == 1
    assert len(backend.gets) == 2
    assert len(backend.deletes) == 1
    assert {found["x-deployment"] for found in backend.metadata} == {"blue"}
