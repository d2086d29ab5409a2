"""The command line: run the command, and return an exit code for each kind of error."""

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
Answers the reservation requests of Jicofo and Prosody by calling a backend over gRPC or HTTP.

Without any settings, the proxy listens on 127.0.0.1:7777 and uses a built-in stub backend, which
grants every room. Without a command, the program runs `serve`.
"""

_COMMANDS: Mapping[str, str] = {
    "serve": "answer Jicofo and Prosody until SIGTERM or Ctrl-C (the default command)",
    "check": "check the settings, credentials, state directory and backends",
    "reload": "let the running proxy read its settings again",
    "call": "send one request to the proxy, as Jicofo or Prosody does",
    "ledger": "list the conferences in the state directory, or change a deletion",
    "status": "show what the running proxy does, and what is wrong",
    "conformance": "check whether a gRPC backend follows the contract",
    "simulate": "simulate Jicofo or Prosody as a client of a running proxy",
}
"""The help text of each command. Each command is a module of this package."""

_TOOLS = {"conformance", "simulate"}
"""The commands that SIGTERM interrupts in the same way as Ctrl-C."""

_ERROR_CODES: Mapping[type[ProxyError], int] = {
    SettingsError: exit_codes.BAD_SETTINGS,
    CredentialsError: exit_codes.BAD_CREDENTIALS,
    StateError: exit_codes.BAD_STATE,
    StateInUseError: exit_codes.BAD_STATE,
    ListenError: exit_codes.CANNOT_LISTEN,
    UnreachableError: exit_codes.BACKEND_FAILED,
}


class Command(Protocol):
    """The interface of a command's module."""

    EPILOG: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the command's flags."""

    def run(self, arguments: argparse.Namespace) -> int:
        """Run the command and return its exit code. Raises `ProxyError`."""


def load(argv: Sequence[str]) -> None:
    """Import the module of the command, if the command line names one."""
    if (name := _with_command(argv)[0]) in _COMMANDS:
        _import(name)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; a wrong command line exits with 2."""
    argv = _with_command(sys.argv[1:] if argv is None else argv)
    try:
        arguments = _parser(argv[0]).parse_args(argv)
        with ended_by_sigterm() if argv[0] in _TOOLS else nullcontext():
            return int(arguments.run(arguments))
    except ProxyError as error:
        what = "cannot start" if argv[0] == "serve" else "cannot continue"
        print(f"jicofo-reservation-proxy: {what}\n{_indented(error)}", file=sys.stderr)
        return _ERROR_CODES[type(error)]
    except KeyboardInterrupt:
        return exit_codes.INTERRUPTED


def _with_command(argv: Sequence[str]) -> list[str]:
    """Insert `serve` if the arguments name no command."""
    is_serve = not argv or (
        argv[0].startswith("-") and argv[0] not in {"-h", "--help", "--version"}
    )
    return ["serve", *argv] if is_serve else list(argv)


def _parser(asked: str) -> argparse.ArgumentParser:
    """Return the parser of the command `asked`; without such a command, the parser of all."""
    parser = argparse.ArgumentParser(
        "jicofo-reservation-proxy",
        description=_DESCRIPTION,
        epilog=f"{SETTINGS_HELP}\n{exit_codes.HELP}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name in [asked] if asked in _COMMANDS else _COMMANDS:
        about = _COMMANDS[name]
        command = _import(name) if name == asked else None
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


def _import(name: str) -> Command:
    return cast("Command", import_module(f"{__package__}.{name}"))


def _indented(error: ProxyError) -> str:
    return "\n".join(f"  {line}" for line in str(error).splitlines())
