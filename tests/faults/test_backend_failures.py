"""A failing backend or network: the proxy answers in time, and delivers every deletion."""

from functools import partial

import pytest

from .forwarder import Forwarder, Mode
from .processes import Stage
from .store import Failure
from .timing import AT_ONCE, IN_TIME, SHORT, quickest, timed


@pytest.mark.parametrize(
    ("kind", "failure", "status", "default"),
    [
        ("grpc", "refuse", 503, {}),
        ("grpc", "break", 502, {}),
        ("grpc", "wait", 504, SHORT),
        ("grpc", "late", 504, SHORT),
        ("http", "refuse", 503, {}),
        ("http", "break", 503, {}),
        ("http", "page", 502, {}),
        ("http", "no_route", 502, {}),
        ("http", "no_service", 502, {}),
        ("http", "garbage", 502, {}),
        ("http", "wait", 504, SHORT),
        ("http", "late", 504, SHORT),
        ("http", "drip", 504, SHORT),
    ],
)
def test_with_a_failing_backend_a_post_is_5xx_and_a_delete_is_200(
    stage: Stage, failure: Failure, status: int, default: dict[str, str]
) -> None:
    """The proxy answers a POST with the status for the failure, and a DELETE with 200 at once.

    After the failure the proxy delivers the deletion and grants rooms again.
    """
    _, proxy = stage.pair(default=default)
    client = proxy.client()
    public_ids = [client.create(f"old{n}").json["id"] for n in range(2)]
    stage.store.fail(failure)
    created, seconds = timed(lambda: client.create("new"))
    assert (created.status, seconds < IN_TIME) == (status, True)
    deleted, seconds = quickest(partial(client.delete, public_id) for public_id in public_ids)
    assert ([reply.status for reply in deleted], seconds < AT_ONCE) == ([200] * 2, True)
    stage.store.recover()
    proxy.wait_until_delivered()
    assert client.create("new").status == 200
    assert [stored.room for stored in stage.store.conferences] == ["new"]


@pytest.mark.parametrize(
    ("kind", "mode", "status", "default"),
    [
        ("grpc", "reset", 503, {}),
        ("grpc", "garbage", 503, {}),
        ("grpc", "silent", 504, SHORT),
        ("http", "reset", 503, {}),
        ("http", "garbage", 502, {}),
        ("http", "silent", 504, SHORT),
    ],
)
def test_with_broken_connections_a_post_is_5xx_and_a_delete_is_200(
    stage: Stage, mode: Mode, status: int, default: dict[str, str]
) -> None:
    """The proxy answers a POST with 5xx, and a DELETE with 200 at once.

    The connections to the backend are reset, or the proxy receives garbage or nothing on them.
    """
    backend = stage.backend()
    with Forwarder(backend.address) as forwarder:
        proxy = stage.proxy(forwarder.address, default=default)
        proxy.start()
        backend.wait_until_ready()
        client = proxy.client()
        public_ids = [client.create(f"old{n}").json["id"] for n in range(2)]
        forwarder.set_mode(mode)
        created, seconds = timed(lambda: client.create("new"))
        assert (created.status, seconds < IN_TIME) == (status, True)
        deleted, seconds = quickest(partial(client.delete, public_id) for public_id in public_ids)
        assert ([reply.status for reply in deleted], seconds < AT_ONCE) == ([200] * 2, True)
        forwarder.set_mode("pass")
        proxy.wait_until_delivered()
        assert stage.store.ids == []
