"""`ledger`: list the conferences in the state directory, retry a deletion, or copy the ledger.

While a proxy uses the state directory, the command asks this proxy. Otherwise it reads the file.
"""

import argparse
import os
import sys
from contextlib import closing
from pathlib import Path

from jicofo_reservation_proxy.admin.control_socket import ask
from jicofo_reservation_proxy.clock import now_ms
from jicofo_reservation_proxy.errors import StateError
from jicofo_reservation_proxy.ids import encode
from jicofo_reservation_proxy.ledger.record_rows import from_json
from jicofo_reservation_proxy.ledger.records import Record, RecordState
from jicofo_reservation_proxy.ledger.sqlite_database import Database, backup
from jicofo_reservation_proxy.ledger.sqlite_ledger import SqliteLedger, read, retry
from jicofo_reservation_proxy.ledger.state_directory import is_in_use
from jicofo_reservation_proxy.text_rules import format_time, one_line

from . import exit_codes
from .setting_flags import SETTINGS_HELP, add_setting_flags, load_settings

EPILOG = SETTINGS_HELP


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    add_setting_flags(parser)
    parser.add_argument(
        "what",
        nargs="?",
        choices=[*(state.value for state in RecordState), "retry", "backup"],
        help="List only the conferences in this state. open: a client has the conference. "
        "pending: the proxy has not yet delivered the deletion to the backend. "
        "abandoned: the proxy has given up delivering the deletion. Default: all states. "
        "retry: make the abandoned deletion with this ID pending again. "
        "backup: copy the ledger to FILE.",
    )
    parser.add_argument(
        "argument",
        nargs="?",
        metavar="ID|FILE",
        help="retry: the id of the conference, as the table shows it. backup: the new file.",
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the table, or copy the ledger. Raises `ProxyError`."""
    if (arguments.what in {"retry", "backup"}) != (arguments.argument is not None):
        print("jicofo-reservation-proxy ledger: wanted retry ID or backup FILE", file=sys.stderr)
        return exit_codes.USAGE
    state_dir = load_settings(arguments).state_dir
    match arguments.what:
        case "backup":
            _back_up(state_dir, Path(arguments.argument))
        case "retry":
            _retry(state_dir, arguments.argument)
        case state:
            _print_table(state_dir, state)
    return exit_codes.OK


def _retry(state_dir: Path, public_id: str) -> None:
    if is_in_use(state_dir):
        ask(state_dir, f"retry {public_id}")
    else:
        with closing(Database(state_dir)) as database, closing(SqliteLedger(database)) as ledger:
            retry(ledger, public_id, now_ms())
    print(f"{public_id}: pending")


def _back_up(state_dir: Path, file: Path) -> None:
    copy = ask(state_dir, "backup") if is_in_use(state_dir) else backup(state_dir)
    try:
        with open(file, "xb", opener=lambda path, flags: os.open(path, flags, 0o600)) as target:
            target.write(copy)
    except OSError as error:
        raise StateError(
            f"{file}: cannot write the copy of the ledger: {error.strerror}; name a new file"
        ) from error
    print(f"{file}: {len(copy)} bytes; to restore it, see docs/operations.md")


def _print_table(state_dir: Path, state: str | None) -> None:
    if is_in_use(state_dir):
        found = from_json(ask(state_dir, "ledger"), str(state_dir))
    else:
        found = read(state_dir)
    records = [record for record in found if state in {None, record.state.value}]
    rows = [("STATE", "ID", "ROOM", "ENDS", "OVER", "REASON"), *map(_row, records)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())


def _row(record: Record) -> tuple[str, ...]:
    return (
        record.state.value,
        encode(record.ref),
        one_line(record.room) or "-",
        _time(record.ends_at_ms),
        _time(record.over_at_ms),
        record.reason.value if record.reason else "-",
    )


def _time(epoch_ms: int | None) -> str:
    """Return a time for the table. Python's `datetime` ends with the year 9999."""
    try:
        return "-" if epoch_ms is None else format_time(epoch_ms)
    except OverflowError:
        return "after 9999"
