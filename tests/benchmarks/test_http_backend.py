"""The backends with the HTTP API grant rooms, in Go and in Python."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmarks import ends
from benchmarks.children import HERE, PORT_LINE, Children
from benchmarks.wire import HEADER_END, Connection, jicofo_delete, jicofo_request


def test_it_grants_rooms_on_one_connection(tmp_path: Path) -> None:
    """It keeps the connection, gives each room another id, and answers a DELETE with 200."""
    _grants_rooms([sys.executable, str(HERE / "http_backend.py")], tmp_path)


@pytest.mark.toolchain
def test_the_one_in_go_grants_rooms_too(tmp_path: Path) -> None:
    """It gives the same answers as the one in Python."""
    _grants_rooms(ends.build(tmp_path).backends["http"], tmp_path)


def _grants_rooms(command: Sequence[str], folder: Path) -> None:
    with Children(folder) as children:
        port = children.start("the backend", [*command, "0.001"]).port(PORT_LINE)
        with Connection(port) as connection:
            first, second = (_asked(connection, jicofo_request(room)) for room in ("a", "b"))
            assert _asked(connection, jicofo_delete(2)) == {}
    assert (first["id"], second["id"]) == (1, 2)
    assert (first["name"], second["name"]) == ("a", "b")
    assert first["mail_owner"] == "juliet@example.com"
    assert first["duration"] == -1
    assert first["start_time"].endswith("Z")


def _asked(connection: Connection, request: bytes) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(connection.ask(request).partition(HEADER_END)[2])
    return found
