"""A POST that Prosody repeats after a lost answer gets the same conference."""

import threading

import pytest

from tests.e2e.support import Reply

from .jitsi import answer_or_none
from .processes import KINDS, Stage, until
from .timing import SHORT

pytestmark = pytest.mark.parametrize("kind", KINDS)

# With `conflicts = "report"` the proxy answers a conflict with 409. So a 200 proves that the
# backend granted the request and saw no conflict.


def test_a_repeated_post_after_a_late_answer_gets_the_same_conference(stage: Stage) -> None:
    """A repeated POST gets the conference that the backend granted too late the first time."""
    _, proxy = stage.pair(default=SHORT, conflicts="report")
    client = proxy.client()
    stage.store.fail("late")
    assert client.create("room").status == 504
    stage.store.recover()
    repeated = client.create("room")
    assert repeated.status == 200
    (change,) = stage.store.changes("create")
    assert repeated.json["url"] == f"conference:{change.serial}"


def test_a_repeated_post_after_a_crash_gets_the_same_conference(stage: Stage) -> None:
    """A repeated POST gets the conference that was granted just before the proxy was killed."""
    _, proxy = stage.pair(conflicts="report")
    client = proxy.client()
    stage.store.fail("late")
    replies: list[Reply | None] = []
    asking = threading.Thread(
        target=lambda: replies.append(answer_or_none(lambda: client.create("room")))
    )
    asking.start()
    until(lambda: stage.store.changes("create"), "the backend has granted the room")
    proxy.kill()
    asking.join()
    stage.store.recover()
    assert replies == [None]
    proxy.start()
    assert client.create("room").status == 200
    assert len(stage.store.changes("create")) == 1
