"""Both simulated clients with each backend, through a real proxy."""

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from jicofo_reservation_proxy.commands import exit_codes, simulate

from tests.e2e.test_simulate import CLIENTS, FAST, parsed

from .habits import ALL
from .handbook import Handbook
from .worlds import running


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize(("rooms", "times"), [(200, 1), (10, 3)])
def test_both_clients_open_and_close_every_room(
    kind: type[Handbook], rooms: int, times: int, tmp_path: Path
) -> None:
    """Every user is in the room at the first request, and every deletion is delivered.

    A room is opened again at once, whether the backend uses its id again or has no DELETE.
    """

    def simulated(client: str) -> Mapping[str, Any]:
        file = tmp_path / f"{client}.json"
        names = ("--rooms", str(rooms), "--tenant", "Acme", "--name", f"Büro & {client}")
        report = ("--listen", f"127.0.0.1:{world.port}", "--json", str(file))
        meetings = ("--times", str(times), "--lifetime", "10ms")
        code = simulate.run(parsed("--as", client, *names, *meetings, *report), FAST)
        fields: Mapping[str, Any] = json.loads(file.read_text())
        assert code == exit_codes.OK, (fields["seen"], fields["wrong"])
        return fields

    with running(kind, tmp_path) as world:
        with ThreadPoolExecutor(len(CLIENTS)) as executor:
            reports = list(executor.map(simulated, CLIENTS))
        for report in reports:
            counts = [report[count] for count in ("opened", "closed", "repeats")]
            assert counts == [rooms * times, rooms * times, 0]
    backend = world.backend
    opened = [meeting["room"] for report in reports for meeting in report["meetings"]]
    if kind.has_delete:
        assert sorted(backend.bookings.made) == sorted(opened)
        assert backend.bookings.open == []
        assert backend.deletes == len(opened), "a deletion was delivered twice"
    else:
        assert sorted(backend.bookings.made) == sorted(set(opened))
    assert all(backend.keys), "a create had no Idempotency-Key"
