"""Whatever an HTTP backend answers, each client gets an answer that it can read."""

import itertools
import logging
import os
import random
import re
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jicofo_reservation_proxy.app import Proxy
from jicofo_reservation_proxy.backends import retries
from jicofo_reservation_proxy.reservations import retry_schedule
from jicofo_reservation_proxy.settings.schema import Settings

from tests.e2e.support import JICOFO, PATIENT, PROSODY, Client, Reply, serving_http
from tests.e2e.support import settings as proxy_settings
from tests.unit.http.readers import (
    Approved,
    Held,
    Refused,
    Understood,
    read_as_jicofo,
    read_as_prosody,
    read_delete,
)

from .backend_answers import SECRET, STRANGE, Recipe, recipes
from .raw_backend import RawBackend, serving_raw

IS_LONG = os.environ.get("FAULTS") == "long"

OWNER = "juliet@example.com"
READERS = {JICOFO: read_as_jicofo, PROSODY: read_as_prosody}
_TAG = re.compile("<[A-Za-z!/?]")
_FAULT = re.compile(
    r"The reservation system (is not available right now\. Please try again in two minutes"
    r"|has a problem\. Please tell your administrator"
    r"|took too long\. Please try again in two minutes)\. \(incident [0-9a-f]{12}\)"
)
"""The only sentences of faults. They are written here again, so that no text of a backend fits."""

RIGHT = Recipe(b"HTTP/1.1 200 OK", {})


@pytest.mark.timeout(3600 if IS_LONG else 300)
def test_any_answer_of_a_backend_becomes_one_that_clients_can_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Any JSON, status and header: no page, no text of a fault, no 500, no trace, and no hang."""
    caplog.set_level(logging.CRITICAL, "urllib3.connection")  # as `serve` does
    for module in (retries, retry_schedule):  # Hypothesis forbids its own random numbers to threads
        monkeypatch.setattr(module, "random", random.Random())  # noqa: S311 - no secret
    monkeypatch.setattr(retries, "INITIAL_BACKOFF_SECONDS", 0.001)
    monkeypatch.setattr(retries, "MAX_BACKOFF_SECONDS", 0.001)
    numbers = itertools.count(1)
    backend = RawBackend()
    seen: set[type[Understood]] = set()
    with (
        serving_raw(backend) as target,
        Proxy(_settings(tmp_path, target)) as proxy,
        serving_http(proxy) as port,
    ):

        @given(
            user_agent=st.sampled_from([JICOFO, PROSODY]),
            created=recipes(),
            found=recipes(),
            deleted=recipes(),
        )
        @settings(max_examples=5000 if IS_LONG else 250)
        def check(user_agent: str, created: Recipe, found: Recipe, deleted: Recipe) -> None:
            number = next(numbers)
            room = f"room{number}"
            answers = {"POST": created, "GET": found, "DELETE": deleted}
            backend.react = lambda method: answers[method].reaction(number, room)
            caplog.clear()
            seen.add(type(_play(Client(port, user_agent), room)))
            assert not [record for record in caplog.records if record.exc_info]

        for strange in STRANGE:
            check = example(PROSODY, strange, strange, strange)(check)
            check = example(JICOFO, RIGHT, strange, strange)(check)
        check = example(PROSODY, RIGHT, RIGHT, RIGHT)(check)
        check()
        proxy.close(0)
    assert {Approved, Refused} <= seen
    assert {"POST", "GET", "DELETE"} <= set(backend.methods)


def _settings(state_dir: Path, target: str) -> Settings:
    return proxy_settings(
        state_dir, state="memory", backends={"default": {**PATIENT, "target": target}}
    )


def _play(client: Client, room: str) -> Understood:
    """Let a client open a room, read and delete it; return how it understands the first answer."""
    read = READERS[client.user_agent]
    reply = client.create(room)
    understood = read(reply.status, reply.body, room, OWNER)
    _check(reply, understood)
    public_id = {Approved: "id", Held: "conflict_id"}.get(type(understood))
    if public_id:
        public_id = reply.json[public_id]
        reply = client.get(public_id)
        _check(reply, read(reply.status, reply.body, None, None))
        reply = client.delete(public_id)
        read_delete(reply.status, reply.body)
    return understood


def _check(reply: Reply, understood: Understood) -> None:
    assert reply.headers["content-type"].startswith("application/json")
    assert reply.status in {200, 403, 404, 502, 503, 504}
    if isinstance(understood, Refused):
        assert not _TAG.search(understood.message)
        if reply.status >= 500:
            assert _FAULT.fullmatch(understood.message), understood.message
    elif isinstance(understood, Approved):
        assert not _TAG.search(str(understood.fields["start_time"]))


def test_the_check_finds_what_it_is_to_find() -> None:
    """A page, a text of the backend, and a fault of the proxy itself are found."""
    json_type = {"content-type": "application/json"}
    _check(Reply(200, json_type, b""), Held(7))
    for status, message in [
        (502, SECRET),
        (403, "<b>no</b>"),
        (500, "The reservation system has a problem. (incident 0123456789ab)"),
        (503, "The reservation system is not available right now."),
    ]:
        with pytest.raises(AssertionError):
            _check(Reply(status, json_type, b""), Refused(status, message))
    with pytest.raises(AssertionError):
        _check(Reply(200, {"content-type": "text/html"}, b""), Held(7))
