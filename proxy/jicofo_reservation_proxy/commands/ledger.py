"""`ledger`: list the conferences in the state directory, change a deletion, or copy the ledger.

While a proxy uses the state directory, the command asks this proxy. Otherwise it reads the file.
"""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from jicofo_reservation_proxy.admin.control_socket import ask
from jicofo_reservation_proxy.clock import now_ms
from jicofo_reservation_proxy.errors import StateError
from jicofo_reservation_proxy.ids import Named, decode, encode
from jicofo_reservation_proxy.ledger.record_rows import from_json
from jicofo_reservation_proxy.ledger.records import Record, RecordState
from jicofo_reservation_proxy.ledger.sqlite_database import Database, backup
from jicofo_reservation_proxy.ledger.sqlite_ledger import SqliteLedger, abandon, read, retry
from jicofo_reservation_proxy.ledger.state_directory import is_in_use
from jicofo_reservation_proxy.text_rules import format_time, one_line

from . import exit_codes
from .setting_flags import SETTINGS_HELP, add_setting_flags, find_state_dir

EPILOG = SETTINGS_HELP


@dataclass(frozen=True, slots=True)
class _Change:
    """A change of a deletion: the states before and after, and the words of the question."""

    before: RecordState
    after: RecordState
    wanted: str
    meaning: str
    question: str


_CHANGES: Mapping[str, _Change] = {
    "retry": _Change(
        RecordState.ABANDONED,
        RecordState.PENDING,
        "an abandoned deletion",
        "The proxy will send this deletion to the backend again, which ends the conference there.",
        "Send it again?",
    ),
    "abandon": _Change(
        RecordState.PENDING,
        RecordState.ABANDONED,
        "a pending deletion",
        "The proxy will not send this deletion any more, so the backend may hold the room until "
        "the end of the reservation. `ledger retry` takes this back.",
        "Abandon it?",
    ),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    add_setting_flags(parser)
    parser.add_argument(
        "what",
        nargs="?",
        choices=[*(state.value for state in RecordState), "retry", "abandon", "backup"],
        help="List only the conferences in this state. open: a client has the conference. "
        "pending: the proxy has not yet delivered the deletion to the backend. "
        "abandoned: the proxy has given up delivering the deletion. Default: all states. "
        "retry: make the abandoned deletion with this ID pending again. "
        "abandon: give up delivering the pending deletion with this ID. "
        "backup: copy the ledger to FILE.",
    )
    parser.add_argument(
        "argument",
        nargs="?",
        metavar="ID|FILE",
        help="retry, abandon: the id of the conference, as the table shows it. "
        "backup: the new file.",
    )
    parser.add_argument(
        "--yes", action="store_true", help="retry, abandon: do not ask before the change."
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the table, or copy the ledger. Raises `ProxyError`."""
    if (arguments.what in {*_CHANGES, "backup"}) != (arguments.argument is not None):
        print(
            "jicofo-reservation-proxy ledger: wanted retry ID, abandon ID or backup FILE",
            file=sys.stderr,
        )
        return exit_codes.USAGE
    state_dir = find_state_dir(arguments)
    match arguments.what:
        case "backup":
            _back_up(state_dir, Path(arguments.argument))
        case "retry" | "abandon" as action:
            return _change(state_dir, action, arguments.argument, is_sure=arguments.yes)
        case state:
            _print_table(state_dir, state)
    return exit_codes.OK


def _change(state_dir: Path, action: str, public_id: str, *, is_sure: bool) -> int:
    """Ask, and then change a deletion."""
    change = _CHANGES[action]
    record = _find(state_dir, public_id)
    if record is None or record.state is not change.before:
        raise StateError(
            f"wanted the id of {change.wanted}, as `ledger {change.before.value}` shows it, got "
            f"{public_id!r}"
        )
    if not is_sure:
        print(_described(state_dir, record), change.meaning, sep="\n")
        if not sys.stdin.isatty():
            print(
                f"jicofo-reservation-proxy ledger {action}: nothing was changed: there is no "
                "terminal to ask on; add --yes if you are sure",
                file=sys.stderr,
            )
            return exit_codes.USAGE
        if input(f"{change.question} [y/N] ").strip().lower() not in {"y", "yes"}:
            print("Nothing was changed.")
            return exit_codes.OK
    if is_in_use(state_dir):
        ask(state_dir, f"{action} {public_id}")
    else:
        with closing(Database(state_dir)) as database, closing(SqliteLedger(database)) as ledger:
            if action == "retry":
                retry(ledger, public_id, now_ms())
            else:
                abandon(ledger, public_id)
    print(f"{public_id}: {change.after.value}")
    return exit_codes.OK


def _find(state_dir: Path, public_id: str) -> Record | None:
    found = decode(public_id)
    if not isinstance(found, Named):
        return None
    return next((each for each in _records(state_dir) if each.ref == found.ref), None)


def _described(state_dir: Path, record: Record) -> str:
    public_id = encode(record.ref)
    attempts = ask(state_dir, f"attempts {public_id}").decode() if is_in_use(state_dir) else "no"
    return (
        f"{public_id}: room {one_line(record.room) or 'unknown'}, backend {record.ref.backend}, "
        f"{record.state.value}, over since {_time(record.over_at_ms)}, {attempts} failed attempts "
        "by the running proxy"
    )


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
    records = [record for record in _records(state_dir) if state in {None, record.state.value}]
    rows = [("STATE", "ID", "ROOM", "ENDS", "OVER", "REASON"), *map(_row, records)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())


def _records(state_dir: Path) -> Sequence[Record]:
    if is_in_use(state_dir):
        return from_json(ask(state_dir, "ledger"), str(state_dir))
    return read(state_dir)


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
