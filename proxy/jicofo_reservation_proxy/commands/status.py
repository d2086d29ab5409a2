"""`status`: show the status of the running proxy as tables in the terminal, or as JSON."""

import argparse
import http.client
import json
import os
import shutil
import sys
import time
import urllib.request
from collections.abc import Iterable, Sequence
from typing import Any

from jicofo_reservation_proxy.admin.control_socket import ask
from jicofo_reservation_proxy.errors import StateError
from jicofo_reservation_proxy.ledger.state_directory import is_in_use
from jicofo_reservation_proxy.settings.schema import Settings
from jicofo_reservation_proxy.text_rules import one_line

from . import exit_codes
from .setting_flags import SETTINGS_HELP, add_setting_flags, find_state_dir, load_settings

EPILOG = f"""\
The command asks the proxy that uses the state directory. If no proxy uses it, the command asks
`admin_listen`. It exits with 0 if all is well, and with {exit_codes.NOT_AS_EXPECTED} if something \
is wrong.

{SETTINGS_HELP}"""

WATCH_SECONDS = 2.0
ANSWER_SECONDS = 10.0

_MAX_REQUESTS = 20
_RED, _GREEN, _PLAIN = "\x1b[31m", "\x1b[32m", "\x1b[0m"
_CLEAR = "\x1b[H\x1b[2J"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    add_setting_flags(parser)
    parser.add_argument("--json", action="store_true", help="Print the status as JSON.")
    parser.add_argument(
        "--watch", action="store_true", help="Print it again every 2 seconds, until Ctrl-C."
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the status. Raises `ProxyError`."""
    state_dir = find_state_dir(arguments)
    is_used = is_in_use(state_dir)
    settings = None if is_used else load_settings(arguments)
    is_terminal = sys.stdout.isatty()
    has_color = is_terminal and not os.environ.get("NO_COLOR")
    try:
        while True:
            found = json.loads(_over_http(settings) if settings else ask(state_dir, "status"))
            text = json.dumps(found) if arguments.json else table(found, has_color=has_color)
            if arguments.watch and is_terminal and not arguments.json:
                text = _CLEAR + fitting(text, *shutil.get_terminal_size())
            print(text, flush=True)
            if not arguments.watch:
                return exit_codes.OK if found["is_well"] else exit_codes.NOT_AS_EXPECTED
            time.sleep(WATCH_SECONDS)
    except KeyboardInterrupt:
        if arguments.watch:
            return exit_codes.OK
        raise


def _over_http(settings: Settings) -> bytes:
    url = f"http://{settings.admin_listen}/api/status"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=ANSWER_SECONDS) as response:
            body: bytes = response.read()
            return body
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise StateError(
            f"no proxy runs: none uses the state directory {settings.state_dir}, and none answers "
            f"at admin_listen ({settings.admin_listen or 'off'}); start it, look at its log, or "
            "name its settings with --config or its directory with --state-dir"
        ) from error


def table(status: dict[str, Any], *, has_color: bool = False) -> str:
    """Return the status as text: what is wrong comes first."""
    color = _GREEN if status["is_well"] else _RED
    number = len(status["problems"])
    summary = f"{number} problem{'' if number == 1 else 's'}:" if number else "All is well."
    lines = [
        f"jicofo-reservation-proxy {status['version']}, since {status['started']}",
        f"{color}{summary}{_PLAIN}" if has_color else summary,
    ]
    lines += [
        f"  - {one_line(each['what'])} (since {each['since']})" for each in status["problems"]
    ]
    counts = ", ".join(f"{number} {state}" for state, number in status["conferences"].items())
    lines += ["", f"CONFERENCES  {counts}; {len(status['in_flight'])} requests in flight"]
    lines += _table(
        "BACKEND STATE SINCE LATENCY_MS PENDING TARGET",
        (
            (
                each["name"],
                "well" if each["is_well"] else "failing",
                each["since"],
                each["latency_ms"],
                each["pending_deletions"],
                each["target"],
            )
            for each in status["backends"]
        ),
    )
    lines += _table(
        "REFUSED NUMBER LAST FROM REASON",
        (
            (each["kind"], each["number"], each["last"], each["peer"], each["reason"])
            for each in status["refusals"]
        ),
    )
    lines += _table(
        "PENDING_SINCE ROOM ID BACKEND ATTEMPTS",
        (
            (each["since"], each["room"], each["id"], each["backend"], each["attempts"])
            for each in status["deletions"]
        ),
    )
    requests = [*status["in_flight"], *status["requests"]][:_MAX_REQUESTS]
    lines += _table(
        "TIME REQUEST ROOM/ID CLIENT OUTCOME STATUS REASON",
        (
            (
                each["at"],
                each["operation"],
                each["room"] or each["id"],
                each["client"],
                each["outcome"],
                each["status"],
                each["reason"],
            )
            for each in requests
        ),
    )
    return "\n".join(lines)


def fitting(text: str, columns: int, lines: int) -> str:
    """Return the beginning of a text that fits into a terminal: what is wrong comes first."""
    found = text.split("\n")
    cut = [line[:columns] for line in found[: lines - 2]]
    more = len(found) - len(cut)
    return "\n".join([*cut, f"({more} more lines)"[:columns]] if more else cut)


def _table(heading: str, cells: Iterable[Sequence[object]]) -> list[str]:
    """Return the lines of a table, or none if it has no rows."""
    rows = [tuple(one_line(_text(cell)) for cell in row) for row in cells]
    if not rows:
        return []
    every = [tuple(heading.split()), *rows]
    widths = [max(map(len, column)) for column in zip(*every, strict=True)]
    return [
        "",
        *(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in every
        ),
    ]


def _text(cell: object) -> str:
    return "-" if cell in {None, ""} else str(cell)
