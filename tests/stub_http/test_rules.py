"""Tests of the rules: plain functions on one SQL table."""

import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from backend_stub.http.reservations import (
    NO_LIMIT,
    Answer,
    Policy,
    Wanted,
    create_conference,
    delete_conference,
    get_conference,
    open_database,
    transaction,
)

from .conftest import NOW_MS, START

HOUR_MS = 3_600_000
WANTED = Wanted(
    room="board", mail_owner="juliet@example.com", start=datetime(2048, 4, 24, 17, tzinfo=UTC)
)
ANY = Policy()

Create = Callable[..., Answer]


@pytest.fixture
def create(database: sqlite3.Connection) -> Create:
    """Return a function that sends a POST to the rules."""

    def ask(
        wanted: Wanted = WANTED, *, policy: Policy = ANY, key: str = "", now_ms: int = NOW_MS
    ) -> Answer:
        return create_conference(database, policy, wanted, key, now_ms)

    return ask


def granted(answer: Answer) -> Any:  # noqa: ANN401 - JSON
    """Return the conference of a grant."""
    status, conference = answer
    assert status == 200, conference
    return conference


def test_a_grant_has_the_fields_of_the_handbook(create: Create) -> None:
    """A free room is granted: an id, and the fields as they were sent."""
    conference = granted(create(replace(WANTED, duration=3600)))
    assert type(conference.pop("id")) is int
    assert conference == {
        "name": "board",
        "mail_owner": "juliet@example.com",
        "start_time": START,
        "duration": 3600,
    }


def test_a_request_without_owner_and_duration(create: Create) -> None:
    """A field that the request has not is not in the answer; no duration is no limit."""
    conference = granted(create(replace(WANTED, mail_owner=None)))
    assert "mail_owner" not in conference
    assert conference["duration"] == NO_LIMIT


def test_a_held_room_is_a_conflict(create: Create) -> None:
    """Another request for a room gets the id of the conference that holds it."""
    first = granted(create(key="one"))
    assert create(key="two") == (409, {"conflict_id": first["id"]})
    assert create() == (409, {"conflict_id": first["id"]})
    assert granted(create(replace(WANTED, room="hall")))["id"] != first["id"]


def test_the_same_key_gets_the_same_conference(create: Create) -> None:
    """A repeated request gets its conference, as it was granted."""
    first = create(key="one")
    assert granted(first)
    assert create(key="one") == first


@pytest.mark.parametrize(
    "other",
    [
        replace(WANTED, room="hall"),
        replace(WANTED, mail_owner="romeo@example.com"),
        replace(WANTED, mail_owner=None),
        replace(WANTED, start=WANTED.start + timedelta(milliseconds=1)),
        replace(WANTED, duration=3600),
    ],
)
def test_the_same_key_with_another_request_is_refused(create: Create, other: Wanted) -> None:
    """A key that another request had is an error of the caller, and grants nothing."""
    first = granted(create(key="one"))
    status, document = create(other, key="one")
    assert status == 422
    assert str(first["id"]) in document["reason"]


@pytest.mark.parametrize("is_over", [True, False])
def test_a_key_is_forgotten_with_its_conference(
    create: Create, database: sqlite3.Connection, is_over: bool
) -> None:
    """When a conference is deleted or over, its request is a new one: the memory is bounded."""
    wanted = replace(WANTED, duration=7200)
    first = granted(create(replace(wanted, duration=3600), key="one"))
    if not is_over:
        delete_conference(database, first["id"], NOW_MS)
    later = NOW_MS + HOUR_MS if is_over else NOW_MS
    assert granted(create(wanted, key="one", now_ms=later))["id"] > first["id"]


def test_an_ended_conference_frees_its_room(create: Create, database: sqlite3.Connection) -> None:
    """A conference exists until start_time + duration, and not a millisecond longer."""
    first = granted(create(replace(WANTED, duration=3600)))
    end = NOW_MS + HOUR_MS
    assert create(now_ms=end - 1) == (409, {"conflict_id": first["id"]})
    assert get_conference(database, ANY, first["id"], end - 1) == (200, first)
    assert get_conference(database, ANY, first["id"], end)[0] == 404
    assert delete_conference(database, first["id"], end)[0] == 404
    assert granted(create(now_ms=end))


def test_a_conference_without_a_limit_has_no_end(
    create: Create, database: sqlite3.Connection
) -> None:
    """Without a duration, a conference exists until it is deleted."""
    first = granted(create())
    assert get_conference(database, ANY, first["id"], 250_000_000_000_000) == (200, first)


@pytest.mark.parametrize(
    ("wanted", "most", "duration"),
    [(NO_LIMIT, 60, 60), (90, 60, 60), (30, 60, 30), (30, NO_LIMIT, 30)],
)
def test_the_maximum_duration(create: Create, wanted: int, most: int, duration: int) -> None:
    """The shorter one of the wanted and the maximum duration counts, also for the end."""
    policy = Policy(max_duration=most)
    first = granted(create(replace(WANTED, duration=wanted), policy=policy))
    assert first["duration"] == duration
    assert create(policy=policy, now_ms=NOW_MS + duration * 1000 - 1)[0] == 409
    late = replace(WANTED, start=WANTED.start + timedelta(hours=1))
    assert granted(create(late, policy=policy, now_ms=NOW_MS + duration * 1000))


def test_a_deletion_frees_the_room(create: Create, database: sqlite3.Connection) -> None:
    """A DELETE ends the conference; a repeated one and one for an unknown id are 404 with JSON."""
    first = granted(create())
    assert delete_conference(database, first["id"], NOW_MS) == (200, {})
    status, document = delete_conference(database, first["id"], NOW_MS)
    assert (status, list(document)) == (404, ["message"])
    assert get_conference(database, ANY, first["id"], NOW_MS)[0] == 404
    assert granted(create())


def test_an_old_deletion_ends_no_new_conference(
    create: Create, database: sqlite3.Connection
) -> None:
    """An id is not used again, so a repeated DELETE does not reach the next conference."""
    first = granted(create())
    delete_conference(database, first["id"], NOW_MS)
    second = granted(create())
    assert second["id"] > first["id"]
    assert delete_conference(database, first["id"], NOW_MS)[0] == 404
    assert get_conference(database, ANY, second["id"], NOW_MS) == (200, second)


def test_a_file_survives_a_restart(tmp_path: Path) -> None:
    """A conference in a file exists after a restart, and the next id is another one."""
    file = str(tmp_path / "reservations.sqlite3")
    with closing(open_database(file)) as database:
        first = granted(create_conference(database, ANY, WANTED, "one", NOW_MS))
    with closing(open_database(file)) as database:
        assert get_conference(database, ANY, first["id"], NOW_MS) == (200, first)
        assert delete_conference(database, first["id"], NOW_MS) == (200, {})
    with closing(open_database(file)) as database:
        second = granted(create_conference(database, ANY, WANTED, "two", NOW_MS))
    assert second["id"] > first["id"]


def test_the_ids_of_a_lost_table_are_not_used_again() -> None:
    """A new table begins with greater ids, which have 14 digits: Jicofo reads them as a number."""
    ids = []
    for _ in range(2):
        with closing(open_database(":memory:")) as database:
            granted_id = granted(create_conference(database, ANY, WANTED, "", NOW_MS))["id"]
            ids.append(granted_id)
    assert ids[0] < ids[1]
    assert all(len(str(each)) == 14 for each in ids)


@pytest.mark.parametrize(
    ("pattern", "room", "is_denied"),
    [
        ("exec-*", "exec-1", True),
        ("exec-*", "my-exec-1", False),
        ("b?ard", "board", True),
        ("b?ard", "Board", False),
        ("[acme]*", "[acme]board", True),
        ("[acme]*", "amber", False),
    ],
)
def test_denied_rooms(create: Create, pattern: str, room: str, is_denied: bool) -> None:
    """A room that matches a pattern gets 403 with a sentence; only * and ? are special."""
    status, document = create(replace(WANTED, room=room), policy=Policy(deny=("hall", pattern)))
    assert status == (403 if is_denied else 200)
    assert ("message" in document) is is_denied


def test_a_meeting_that_is_over_is_denied(create: Create) -> None:
    """A request whose end has passed gets 403 with a sentence, and holds no room."""
    status, document = create(replace(WANTED, duration=60), now_ms=NOW_MS + 60_000)
    assert (status, document) == (403, {"message": "The time of this meeting is over already."})
    assert granted(create(replace(WANTED, duration=61), now_ms=NOW_MS + 60_000))


def test_a_full_store(create: Create) -> None:
    """A full store grants no more rooms, and shows no user a text; ended conferences make space."""
    policy = Policy(max_conferences=1)
    first = granted(create(replace(WANTED, duration=60), policy=policy, key="one"))
    hall = replace(WANTED, room="hall")
    status, document = create(hall, policy=policy)
    assert (status, list(document)) == (429, ["reason"])
    assert create(replace(WANTED, duration=60), policy=policy, key="one") == (200, first)
    assert create(policy=policy) == (409, {"conflict_id": first["id"]})
    assert granted(create(hall, policy=policy, now_ms=NOW_MS + 60_000))


def test_the_optional_fields(create: Create, database: sqlite3.Connection) -> None:
    """Every conference has the optional fields of the policy; its repr has no password."""
    policy = Policy(extras={"max_occupants": 7, "lobby": True, "password": "hunter2"})
    conference = granted(create(policy=policy))
    assert [conference[name] for name in policy.extras] == [7, True, "hunter2"]
    assert get_conference(database, policy, conference["id"], NOW_MS) == (200, conference)
    assert "hunter2" not in repr(policy)


@pytest.mark.parametrize("keys", [[""] * 8, ["one"] * 8])
def test_one_winner(create: Create, keys: list[str]) -> None:
    """Of requests at the same time, one gets the room; with one key all get the same conference."""
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda key: create(key=key), keys))
    statuses = sorted(status for status, _ in answers)
    assert statuses == ([200] * 8 if keys[0] else [200, *[409] * 7])
    assert len({body.get("id") or body.get("conflict_id") for _, body in answers}) == 1


def test_two_processes_share_a_file(tmp_path: Path) -> None:
    """Two connections to one file, as of two processes, see the same conferences."""
    file = str(tmp_path / "reservations.sqlite3")
    with closing(open_database(file)) as one, closing(open_database(file)) as two:
        first = granted(create_conference(one, ANY, WANTED, "", NOW_MS))
        answer = create_conference(two, ANY, WANTED, "", NOW_MS)
        assert answer == (409, {"conflict_id": first["id"]})


def test_a_failed_request_changes_nothing(create: Create, database: sqlite3.Connection) -> None:
    """If a statement fails, the ones before it are undone, and the next request works."""
    first = granted(create())

    def fail() -> None:
        with transaction(database):
            database.execute("DELETE FROM conference")
            database.execute("SELECT * FROM missing")

    with pytest.raises(sqlite3.OperationalError):
        fail()
    assert get_conference(database, ANY, first["id"], NOW_MS) == (200, first)
