"""`reload`: let the running proxy read its settings again."""

import argparse
import json
import sys

from jicofo_reservation_proxy.admin.control_socket import ask
from jicofo_reservation_proxy.errors import StateError
from jicofo_reservation_proxy.ledger.state_directory import is_in_use

from . import exit_codes
from .setting_flags import SETTINGS_HELP, add_setting_flags, find_state_dir, load_settings

EPILOG = f"""\
The command finds the proxy by its state directory. The proxy reads its own settings file, and keeps
the environment variables and flags of its start. Wrong settings change nothing: the command prints
every fault. docs/settings.md says which settings a reload applies.

{SETTINGS_HELP}"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    add_setting_flags(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print what has changed, or the faults. Raises `ProxyError`."""
    state_dir = find_state_dir(arguments)
    if not is_in_use(state_dir):
        load_settings(arguments)  # a fault of the file may be why this is the wrong directory
        raise StateError(
            f"state_dir: wanted the directory of a running proxy, got {state_dir}, which "
            "no proxy uses; name it with --state-dir, or send SIGHUP to a proxy with "
            'state = "memory"'
        )
    result = json.loads(ask(state_dir, "reload"))
    for note in result["notes"]:
        print(note)
    for fault in result["faults"]:
        print(fault, file=sys.stderr)
    return exit_codes.BAD_SETTINGS if result["faults"] else exit_codes.OK
