"""A backend, or the way to it, that misbehaves: 5xx or 200 in time, and every DELETE arrives."""

import pytest

from .forwarder import Forwarder, Mode
from .processes import Stage
from .store import Misdeed
from .timing import AT_ONCE, IN_TIME, PATIENT, timed

LATE_SECONDS = 0.8
"""More than the 0.5 s that a call may take."""


@pytest.mark.parametrize(
    ("misdeed", "status", "patience"),
    [("refuse", 503, PATIENT), ("break", 502, {}), ("wait", 504, {}), ("late", 504, {})],
)
def test_a_backend_that_misbehaves(
    stage: Stage, misdeed: Misdeed, status: int, patience: dict[str, str]
) -> None:
    """POST says what is wrong, DELETE is 200, and all is well when the backend is."""
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
def test_a_way_that_is_broken(
    stage: Stage, mode: Mode, status: int, patience: dict[str, str]
) -> None:
    """Connections that are reset, answered with garbage or not at all are no other matter."""
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
