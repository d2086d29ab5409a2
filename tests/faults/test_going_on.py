"""A room that is opened again while its end cannot be told: it goes on, and stays."""

from tests.e2e.support import JICOFO

from .processes import Stage, until


def test_a_deletion_that_is_cancelled_stays_so(stage: Stage) -> None:
    """The backend takes no DELETE and names the old conference: after a SIGKILL too it lives."""
    _, proxy = stage.pair()
    client = proxy.client(JICOFO)
    first = client.create("room").json
    stage.store.misbehave("break", methods=("delete",))
    assert client.delete(first["id"]).status == 200
    until(lambda: stage.store.calls("delete"), "it was tried")
    assert client.create("room").json == first
    proxy.restart()
    stage.store.behave()
    other = client.create("other").json
    assert client.delete(other["id"]).status == 200
    proxy.wait_until_delivered()
    assert [stored.room for stored in stage.store.conferences] == ["room"]
    assert client.delete(first["id"]).status == 200
    proxy.wait_until_delivered()
    assert stage.store.ids == []


def test_a_room_is_a_new_one_once_its_end_was_told(stage: Stage) -> None:
    """A POST right after a DELETE tells the backend first, so that it gets a new conference."""
    _, proxy = stage.pair()
    client = proxy.client()
    stage.store.misbehave("wait", seconds=0.2, methods=("delete",))
    given = []
    for _ in range(3):
        created = client.create("room").json
        given.append(created["url"])
        assert client.delete(created["id"]).status == 200
    proxy.wait_until_delivered()
    assert len(set(given)) == 3
    assert stage.store.ids == []
