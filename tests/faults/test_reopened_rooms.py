"""A room that is opened again after its DELETE gets its old conference or a new one."""

import pytest

from tests.e2e.support import JICOFO

from .processes import KINDS, Stage, until
from .store import Failure


@pytest.mark.parametrize(("kind", "rejection"), [("grpc", "break"), ("http", "page")])
def test_a_cancelled_deletion_stays_cancelled_after_a_crash(
    stage: Stage, rejection: Failure
) -> None:
    """The proxy does not deliver a cancelled deletion, even after a SIGKILL of the proxy.

    The backend accepts no deletion and names the old conference, so the client keeps it.
    """
    _, proxy = stage.pair()
    client = proxy.client(JICOFO)
    first = client.create("room").json
    stage.store.fail(rejection, methods=("delete",))
    assert client.delete(first["id"]).status == 200
    until(lambda: stage.store.calls("delete"), "the deletion was tried")
    assert client.create("room").json == first
    proxy.restart()
    stage.store.recover()
    other = client.create("other").json
    assert client.delete(other["id"]).status == 200
    proxy.wait_until_delivered()
    assert [stored.room for stored in stage.store.conferences] == ["room"]
    assert client.delete(first["id"]).status == 200
    proxy.wait_until_delivered()
    assert stage.store.ids == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_post_right_after_a_delete_gets_a_new_conference(stage: Stage) -> None:
    """The proxy delivers the deletion before it asks the backend, so the conference is new."""
    _, proxy = stage.pair()
    client = proxy.client()
    stage.store.fail("wait", seconds=0.2, methods=("delete",))
    given = []
    for _ in range(3):
        created = client.create("room").json
        given.append(created["url"])
        assert client.delete(created["id"]).status == 200
    proxy.wait_until_delivered()
    assert len(set(given)) == 3
    assert stage.store.ids == []
