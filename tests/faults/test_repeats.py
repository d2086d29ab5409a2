"""Prosody repeats a request whose answer was lost, with the same bytes: it gets the same room."""

import threading

from tests.e2e.support import Reply

from .jitsi import answer_or_none
from .processes import Stage, until

LATE_SECONDS = 0.8

# With `conflicts = "report"` a conflict is 409, so that 200 is the answer to the request's own.


def test_after_an_answer_that_came_too_late(stage: Stage) -> None:
    """The backend had granted the room: the repeat is given that conference, and no conflict."""
    _, proxy = stage.pair(conflicts="report")
    client = proxy.client()
    stage.store.misbehave("late", seconds=LATE_SECONDS)
    assert client.create("room").status == 504
    stage.store.behave()
    repeated = client.create("room")
    assert repeated.status == 200
    (deed,) = stage.store.deeds("create")
    assert repeated.json["url"] == f"conference:{deed.conference_id}"


def test_after_the_death_of_the_proxy(stage: Stage) -> None:
    """The room was granted to a proxy that died before it could say so."""
    _, proxy = stage.pair(conflicts="report")
    client = proxy.client()
    stage.store.misbehave("late", seconds=LATE_SECONDS)
    replies: list[Reply | None] = []
    asking = threading.Thread(
        target=lambda: replies.append(answer_or_none(lambda: client.create("room")))
    )
    asking.start()
    until(lambda: stage.store.deeds("create"), "the backend has granted the room")
    stage.store.behave()
    proxy.kill()
    asking.join()
    assert replies == [None]
    proxy.start()
    assert client.create("room").status == 200
    assert len(stage.store.deeds("create")) == 1
