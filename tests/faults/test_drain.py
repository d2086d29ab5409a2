"""After SIGTERM the proxy answers requests in flight, and delivers or keeps each deletion."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from jicofo_reservation_proxy.ledger.records import RecordState

from tests.e2e.support import Client, Reply

from .jitsi import answer_or_none
from .processes import Stage, until
from .timing import MARGIN_SECONDS, SHORT, timed

CLIENTS = 8
DRAIN_SECONDS = 8.0


@contextmanager
def _in_flight(client: Client) -> Iterator[list[Reply | None]]:
    """Send several POSTs at once; yield a list, which has their answers when the context ends."""
    replies: list[Reply | None] = []

    def ask(room: str) -> None:
        replies.append(answer_or_none(lambda: client.create(room)))

    threads = [threading.Thread(target=ask, args=(f"flight{n}",)) for n in range(CLIENTS)]
    for thread in threads:
        thread.start()
    try:
        yield replies
    finally:
        for thread in threads:
            thread.join()


def test_a_drain_with_a_healthy_backend_grants_rooms_and_delivers_deletions(stage: Stage) -> None:
    """The proxy grants all POSTs in flight, and delivers deletions without waiting to retry."""
    _, proxy = stage.pair(drain_within=f"{DRAIN_SECONDS}s")
    client = proxy.client()
    ended = [client.create(f"ended{n}").json["id"] for n in range(3)]
    stage.store.fail("break", methods=("delete",))
    assert [client.delete(public_id).status for public_id in ended] == [200] * 3
    until(lambda: len(stage.store.calls("delete")) >= 3, "each deletion was tried once")
    stage.store.recover()
    stage.store.fail("wait", methods=("create",))
    asked = len(stage.store.calls("create"))
    with _in_flight(client) as replies:
        until(lambda: len(stage.store.calls("create")) == asked + CLIENTS, "POSTs are in flight")
        proxy.signal(signal.SIGTERM)
        until(lambda: "stopping: " in proxy.text, "the drain begins")
        stage.store.recover()
        code, seconds = timed(proxy.wait)
    assert (code, seconds < DRAIN_SECONDS + MARGIN_SECONDS) == (0, True)
    assert [reply and reply.status for reply in replies] == [200] * CLIENTS
    assert proxy.records(RecordState.PENDING) == []
    assert {stored.room for stored in stage.store.conferences} == {
        f"flight{n}" for n in range(CLIENTS)
    }


def test_a_drain_with_a_hanging_backend_answers_504_and_keeps_deletions(stage: Stage) -> None:
    """The proxy answers requests in flight with 504; its next process delivers the deletions."""
    backend, proxy = stage.pair(default=SHORT, drain_within=f"{DRAIN_SECONDS}s")
    client = proxy.client()
    ended = client.create("ended").json["id"]
    stage.store.fail("wait")
    with _in_flight(client) as replies:
        assert client.delete(ended).status == 200
        until(lambda: len(stage.store.calls("create")) == 1 + CLIENTS, "POSTs are in flight")
        backend.pause()
        proxy.signal(signal.SIGTERM)
        code, seconds = timed(proxy.wait)
    assert (code, seconds < DRAIN_SECONDS + MARGIN_SECONDS) == (0, True)
    assert [reply and reply.status for reply in replies] == [504] * CLIENTS
    assert [record.room for record in proxy.records(RecordState.PENDING)] == ["ended"]
    backend.resume()
    stage.store.recover()
    proxy.start()
    proxy.wait_until_delivered()
    assert "ended" not in {stored.room for stored in stage.store.conferences}


def test_a_drain_with_a_dead_backend_keeps_deletions(stage: Stage) -> None:
    """The proxy exits in time, and its next process delivers the deletions."""
    backend, proxy = stage.pair(default=SHORT, drain_within=f"{DRAIN_SECONDS}s")
    client = proxy.client()
    ended = client.create("ended").json["id"]
    backend.kill()
    assert client.delete(ended).status == 200
    proxy.signal(signal.SIGTERM)
    code, seconds = timed(proxy.wait)
    assert (code, seconds < DRAIN_SECONDS + MARGIN_SECONDS) == (0, True)
    assert [record.room for record in proxy.records(RecordState.PENDING)] == ["ended"]
    backend.start()
    proxy.start()
    proxy.wait_until_delivered()
    assert stage.store.ids == []
