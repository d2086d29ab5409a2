"""The backend as a process, behind a real proxy with both simulated clients."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from jicofo_reservation_proxy.commands import exit_codes, simulate

from tests.e2e.test_simulate import CLIENTS, FAST, parsed
from tests.faults.processes import Proxy

from .test_command_line import Process

ROOMS = 50
"""The log of all requests fits into a pipe that nobody reads until the end."""


def test_both_clients_open_and_close_every_room(tmp_path: Path) -> None:
    """Every user is in the room at the first request, and the backend has no room at the end."""
    (tmp_path / "token").write_text("hunter2\n")
    file = str(tmp_path / "reservations.sqlite3")
    backend = Process("--token-file", str(tmp_path / "token"), "--database", file)
    proxy = Proxy(
        tmp_path,
        "proxy",
        {
            "backends": {
                "default": {
                    "target": f"http://127.0.0.1:{backend.port}",
                    "auth": {"bearer_token_file": tmp_path / "token"},
                    "http": {"idempotent": "true"},
                }
            }
        },
    )

    def simulated(client: str) -> tuple[int, object]:
        report = tmp_path / f"{client}.json"
        flags = ("--as", client, "--rooms", str(ROOMS), "--lifetime", "10ms", "--name", client)
        listen = ("--listen", f"127.0.0.1:{proxy.port}", "--json", str(report))
        code = simulate.run(parsed(*flags, *listen), FAST)
        fields = json.loads(report.read_text())
        return code, [fields[count] for count in ("opened", "closed", "repeats")]

    try:
        proxy.start()
        with ThreadPoolExecutor(len(CLIENTS)) as executor:
            ends = list(executor.map(simulated, CLIENTS))
        assert ends == [(exit_codes.OK, [ROOMS, ROOMS, 0])] * len(CLIENTS)
        proxy.wait_until_delivered()
    finally:
        proxy.close()
        code, log = backend.stop()
    assert code == 0
    assert log.count(": 200 id=") == 2 * ROOMS
    deleted = [line for line in log.splitlines() if "DELETE" in line and line.endswith(": 200")]
    assert len(deleted) == 2 * ROOMS
    assert "incident=''" not in log
