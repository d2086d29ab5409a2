"""`ledger`: list the conferences in the state directory."""

import argparse

from jicofo_reservation_proxy.ids import encode
from jicofo_reservation_proxy.ledger.records import Record, RecordState
from jicofo_reservation_proxy.ledger.sqlite_ledger import read
from jicofo_reservation_proxy.text_rules import format_time, one_line

from . import exit_codes
from .setting_flags import SETTINGS_HELP, add_setting_flags, load_settings

EPILOG = SETTINGS_HELP


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    add_setting_flags(parser)
    parser.add_argument(
        "state",
        nargs="?",
        choices=[state.value for state in RecordState],
        help="List only the conferences in this state. open: a client has the conference. "
        "pending: the proxy has not yet delivered the deletion to the backend. "
        "abandoned: the proxy has given up delivering the deletion. Default: all states.",
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the table. Raises `ProxyError`."""
    settings = load_settings(arguments)
    records = [
        record
        for record in read(settings.state_dir)
        if arguments.state in {None, record.state.value}
    ]
    rows = [("STATE", "ID", "ROOM", "ENDS", "OVER", "REASON"), *map(_row, records)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())
    return exit_codes.OK


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
