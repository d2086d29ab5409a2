"""A failing backend or network: the proxy answers in time, and delivers every deletion."""

import pytest

from .forwarder import Forwarder, Mode
from .processes import Stage
from .store import Misdeed
from .timing import AT_ONCE, IN_TIME, PATIENT, timed

LATE_SECONDS = 0.8
"""Longer than `answer_within`, which is 0.5 s here."""


@pytest.mark.parametrize(
    ("misdeed", "status", "patience"),
    [("refuse", 503, PATIENT), ("break", 502, {}), ("wait", 504, {}), ("late", 504, {})],
)
def test_with_a_failing_backend_a_post_is_5xx_and_a_delete_is_200(
    stage: Stage, misdeed: Misdeed, status: int, patience: dict[str, str]
) -> None:
    """A POST gets the status of the failure, and a DELETE gets 200 at once.

    After the failure the proxy delivers the deletion and grants rooms again.
    """
    _, proxy = stage.pair(default=patience)
    client = proxy.client()
    public_id = client.create("old").json["id"]
    stage.store.misbehave(misdeed, seconds=LATE_SECONDS)
    created, seconds = timed(lambda: client.create("new"))
    assert (created.status, seconds < IN_TIME) == (status, True)
    deleted, seconds = timed(lambda: client.delete(public_id))
    assert (deleted.status, seconds < AT_ONCE) == (200, True)
    stage.store.behave()
    proxy.wait_until_delivered()
    assert client.create("new").status == 200
    assert [stored.room for stored in stage.store.conferences] == ["new"]


@pytest.mark.parametrize(
    ("mode", "status", "patience"),
    [("reset", 503, PATIENT), ("garbage", 503, PATIENT), ("silent", 504, {})],
)
def test_with_broken_connections_a_post_is_5xx_and_a_delete_is_200(
    stage: Stage, mode: Mode, status: int, patience: dict[str, str]
) -> None:
    """A POST gets 503 or 504, and a DELETE gets 200 at once, when connections are broken.

    The connections are reset, answered with garbage, or not answered.
    """
    backend = stage.backend()
    with Forwarder(backend.address) as way:
        proxy = stage.proxy(way.address, default=patience)
        proxy.start()
        backend.wait_until_ready()
        client = proxy.client()
        public_id = client.create("old").json["id"]
        way.become(mode)
        created, seconds = timed(lambda: client.create("new"))
        assert (created.status, seconds < IN_TIME) == (status, True)
        deleted, seconds = timed(lambda: client.delete(public_id))
        assert (deleted.status, seconds < AT_ONCE) == (200, True)
        way.become("pass")
        proxy.wait_until_delivered()
        assert stage.store.ids == []
