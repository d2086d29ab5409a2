"""What users see of each backend, through a real proxy."""

from pathlib import Path

import pytest

from tests.e2e.support import JICOFO, PROSODY, START

from .habits import ALL, Django
from .handbook import BLOCKED, BROKEN, DENIED, SECRET_PAGE, SENTENCE, Handbook
from .worlds import running

OWNER = "juliet@example.com"
AGENTS = (JICOFO, PROSODY)
ROOMS = ("attic", "board")


@pytest.mark.parametrize("kind", ALL)
def test_users_read_the_sentence_of_a_refusal_and_never_a_page(
    kind: type[Handbook], tmp_path: Path
) -> None:
    """A refusal is 403 with the backend's sentence, or with one of the proxy if it has none.

    A fault is 502 with a fixed sentence and an incident id.
    """
    with running(kind, tmp_path) as world:
        for client in map(world.client, AGENTS):
            refusal = client.create(f"{DENIED}-1")
            assert refusal.status == 403
            message = refusal.json["message"]
            assert (message == SENTENCE) if kind.is_told else message

            faults = [client.create(f"{word}-1") for word in (BROKEN, BLOCKED)]
            assert [fault.status for fault in faults] == [502, 502]
            assert all("incident" in fault.json["message"] for fault in faults)

            for answer in (refusal, *faults):
                assert SECRET_PAGE not in answer.json["message"]
                assert "<" not in answer.json["message"]
    assert world.backend.bookings.made == []


@pytest.mark.parametrize("kind", ALL)
def test_a_held_room_opens_for_its_owner_only(kind: type[Handbook], tmp_path: Path) -> None:
    """Jicofo's user needs the same owner, Prosody's does not; a DELETE then ends the conference.

    A 409 that names no conference is a denial, because the proxy did not open it; one without an
    owner is a denial for Jicofo. Django's backend itself grants an open room to everyone.
    """
    with running(kind, tmp_path) as world:
        world.backend.bookings.book("board", OWNER)
        romeo = world.client(JICOFO).create("board", mail_owner="romeo@example.com")
        juliet = world.client(JICOFO).create("board", mail_owner=OWNER)
        guest = world.client(PROSODY).create("board", mail_owner="guest@example.com")
        assert romeo.status == (200 if kind is Django else 403)
        assert juliet.status == (200 if kind.names_conflicts and kind.names_owners else 403)
        assert guest.status == (200 if kind.names_conflicts else 403)
        if guest.status == 200:
            assert world.client(PROSODY).delete(guest.json["id"]).status == 200
    is_over = kind.names_conflicts and kind.has_delete
    assert bool(world.backend.bookings.open) is not is_over
    assert world.backend.bookings.made == ["board"]


@pytest.mark.parametrize("kind", ALL)
def test_a_room_that_the_proxy_opened_is_given_again(kind: type[Handbook], tmp_path: Path) -> None:
    """Whatever a 409 says, the owner gets the open conference again, and may read it.

    Clients get the times of the backend in their own format.
    """
    with running(kind, tmp_path) as world:
        for room, agent in zip(ROOMS, AGENTS, strict=True):
            client = world.client(agent)
            first, second = (client.create(room, mail_owner=OWNER) for _ in range(2))
            assert (first.status, second.status) == (200, 200)
            for answer in (first, second):
                assert (answer.json["start_time"], answer.json["duration"]) == (START, kind.seconds)
            if agent == JICOFO:
                assert first.json["id"] == second.json["id"]
            found = client.get(second.json["id"])
            assert found.status == 200
            assert found.json["mail_owner"] == OWNER
            assert found.json.get("name") == (room if agent == PROSODY else None)
            assert client.delete(second.json["id"]).status == 200
    assert bool(world.backend.bookings.open) is not kind.has_delete
    assert world.backend.bookings.made == list(ROOMS)
