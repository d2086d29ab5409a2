"""The command line: which command, and which exit code when it cannot start."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from importlib import import_module
from typing import Protocol, cast

from jicofo_reservation_proxy import __version__
from jicofo_reservation_proxy.errors import (
    CredentialsError,
    ListenError,
    ProxyError,
    SettingsError,
    StateError,
    StateInUseError,
    UnreachableError,
)

from . import exit_codes
from .setting_flags import SETTINGS_HELP
from .signals import ended_by_sigterm

_DESCRIPTION = """\
Answers the reservation API of Jicofo and Prosody by asking a gRPC backend.

With no settings at all it serves on 127.0.0.1:7777, with a stub backend of its own that grants
every room. Without a command it serves.
"""

_COMMANDS: Mapping[str, str] = {
    "serve": "serve until SIGTERM or Ctrl-C (the default)",
    "check": "validate the settings and credentials, and ask each backend",
    "call": "send one request, as a client would",
    "ledger": "list the conferences in state_dir",
    "conformance": "tell whether a backend keeps the contract",
    "simulate": "behave as a Jitsi client towards a running proxy",
}
"""The commands, each a module beside this one, and what the help says of each."""

_TOOLS = {"conformance", "simulate"}
"""Commands that SIGTERM ends as Ctrl-C does."""

_ERROR_CODES: Mapping[type[ProxyError], int] = {
    SettingsError: exit_codes.BAD_SETTINGS,
    CredentialsError: exit_codes.BAD_CREDENTIALS,
    StateError: exit_codes.BAD_STATE,
    StateInUseError: exit_codes.BAD_STATE,
    ListenError: exit_codes.CANNOT_LISTEN,
    UnreachableError: exit_codes.BACKEND_FAILED,
}


class Command(Protocol):
    """What the module of a command has."""

    EPILOG: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the command's flags."""

    def run(self, arguments: argparse.Namespace) -> int:
        """Run the command and return its exit code. Raises `ProxyError`."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; a wrong command line exits with 2."""
    argv = _with_command(sys.argv[1:] if argv is None else argv)
    try:
        arguments = _parser(argv[0]).parse_args(argv)
        with ended_by_sigterm() if argv[0] in _TOOLS else nullcontext():
            return int(arguments.run(arguments))
    except ProxyError as error:
        what = "cannot go on" if isinstance(error, UnreachableError) else "cannot start"
        print(f"jicofo-reservation-proxy: {what}\n{_indented(error)}", file=sys.stderr)
        return _ERROR_CODES[type(error)]
    except KeyboardInterrupt:
        return exit_codes.INTERRUPTED


def _with_command(argv: Sequence[str]) -> list[str]:
    """Put `serve` before flags that stand without a command."""
    is_serve = not argv or (
        argv[0].startswith("-") and argv[0] not in {"-h", "--help", "--version"}
    )
    return ["serve", *argv] if is_serve else list(argv)


def _parser(asked: str) -> argparse.ArgumentParser:
    """Return the parser for this command; it is the only one whose module is loaded."""
    parser = argparse.ArgumentParser(
        "jicofo-reservation-proxy",
        description=_DESCRIPTION,
        epilog=f"{SETTINGS_HELP}\n{exit_codes.HELP}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, about in _COMMANDS.items():
        command = _load(name) if name == asked else None
        subparser = commands.add_parser(
            name,
            help=about,
            description=f"{about[0].upper()}{about[1:]}.",
            epilog=f"{command.EPILOG}\n{exit_codes.HELP}" if command else "",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if command:
            subparser.set_defaults(run=command.run)
            command.add_arguments(subparser)
    return parser


def _load(name: str) -> Command:
    return cast("Command", import_module(f"{__package__}.{name}"))


def _indented(error: ProxyError) -> str:
    return "\n".join(f"  {line}" for line in str(error).splitlines())
