"""A failing backend or network: the proxy answers in time, and delivers every deletion."""

from functools import partial

import pytest

from .forwarder import Forwarder, Mode
from .processes import Stage
from .store import Misdeed
from .timing import AT_ONCE, IN_TIME, SHORT, quickest, timed


@pytest.mark.parametrize(
    ("misdeed", "status", "default"),
    [("refuse", 503, {}), ("break", 502, {}), ("wait", 504, SHORT), ("late", 504, SHORT)],
)
def test_with_a_failing_backend_a_post_is_5xx_and_a_delete_is_200(
    stage: Stage, misdeed: Misdeed, status: int, default: dict[str, str]
) -> None:
    """A POST gets the status of the failure, and a DELETE gets 200 at once.

    After the failure the proxy delivers the deletion and grants rooms again.
    """
    _, proxy = stage.pair(default=default)
    client = proxy.client()
    public_ids = [client.create(f"old{n}").json["id"] for n in range(2)]
    stage.store.misbehave(misdeed)
    created, seconds = timed(lambda: client.create("new"))
    assert (created.status, seconds < IN_TIME) == (status, True)
    deleted, seconds = quickest(partial(client.delete, public_id) for public_id in public_ids)
    assert ([reply.status for reply in deleted], seconds < AT_ONCE) == ([200] * 2, True)
    stage.store.behave()
    proxy.wait_until_delivered()
    assert client.create("new").status == 200
    assert [stored.room for stored in stage.store.conferences] == ["new"]


@pytest.mark.parametrize(
    ("mode", "status", "default"),
    [("reset", 503, {}), ("garbage", 503, {}), ("silent", 504, SHORT)],
)
def test_with_broken_connections_a_post_is_5xx_and_a_delete_is_200(
    stage: Stage, mode: Mode, status: int, default: dict[str, str]
) -> None:
    """A POST gets 503 or 504, and a DELETE gets 200 at once, when connections are broken.

    The connections are reset, answered with garbage, or not answered.
    """
    backend = stage.backend()
    with Forwarder(backend.address) as way:
        proxy = stage.proxy(way.address, default=default)
        proxy.start()
        backend.wait_until_ready()
        client = proxy.client()
        public_ids = [client.create(f"old{n}").json["id"] for n in range(2)]
        way.become(mode)
        created, seconds = timed(lambda: client.create("new"))
        assert (created.status, seconds < IN_TIME) == (status, True)
        deleted, seconds = quickest(partial(client.delete, public_id) for public_id in public_ids)
        assert ([reply.status for reply in deleted], seconds < AT_ONCE) == ([200] * 2, True)
        way.become("pass")
        proxy.wait_until_delivered()
        assert stage.store.ids == []
