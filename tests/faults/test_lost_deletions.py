"""A deletion at an HTTP backend that got no answer: it may be carried out later."""

import pytest

from .processes import Stage, until

pytestmark = pytest.mark.parametrize("kind", ["http"])


def test_a_deletion_of_a_killed_proxy_holds_its_room(stage: Stage) -> None:
    """A proxy that was killed during a deletion refuses the room until the backend answers one.

    The old process has sent the DELETE, and the backend carries it out at the end. The new process
    reaches another replica, which refuses DELETEs.
    """
    first = stage.proxy(stage.backend("a"))
    first.start()
    other = stage.backend("b")
    public_id = first.client().create("room").json["id"]
    stage.store.fail("wait", methods=("delete",))
    assert first.client().delete(public_id).status == 200
    until(lambda: stage.store.calls("delete"), "the backend has received the DELETE")
    first.kill()
    stage.store.fail("refuse", methods=("delete",), replica="b")
    other.wait_until_ready()
    second = stage.proxy(other)
    second.start()
    again = second.client().create("room")
    stage.store.recover()
    until(lambda: stage.store.changes("delete"), "the DELETE is carried out")
    assert again.status == 503, "a client was given a conference that ends"
    second.wait_until_delivered()
    assert stage.store.ids == []
