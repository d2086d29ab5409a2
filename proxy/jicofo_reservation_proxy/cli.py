"""The command line: `serve`, `check`, `call` and `ledger`."""

import argparse
import json
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path

from . import __version__, clients, ids, ledger, logs, sources
from .app import Proxy
from .call import USER_AGENTS, Request, ask_a_new_proxy, ask_the_running_proxy
from .database import Database
from .errors import (
    CredentialsError,
    ListenError,
    ProxyError,
    SettingsError,
    StateError,
    StateInUseError,
)
from .model import FaultKind
from .probe import Probe, probe
from .records import Record, RecordState
from .server import Server, StopSignals
from .settings import Backend, Settings

OK = 0
USAGE = 2
BAD_SETTINGS = 3
BAD_CREDENTIALS = 4
BAD_STATE = 5
CANNOT_LISTEN = 6
BACKEND_FAILED = 7
REFUSED = 8
INTERRUPTED = 130

_EXIT_CODES = f"""\
exit codes:
  {OK}  done; for serve: it was told to stop, and stopped
  1  something unexpected
  {USAGE}  the command line is wrong
  {BAD_SETTINGS}  a setting is wrong
  {BAD_CREDENTIALS}  a certificate, key or token cannot be used, or a backend does not take it
  {BAD_STATE}  the state directory cannot be used
  {CANNOT_LISTEN}  the address to listen on cannot be used
  {BACKEND_FAILED}  a backend cannot be reached, is too slow, or is broken
  {REFUSED}  call: the backend was asked, and refused
"""

_DESCRIPTION = """\
Answers the reservation API of Jicofo and Prosody by asking a gRPC backend.

With no settings at all it serves on 127.0.0.1:7777, with a stub backend of its own that grants
every room. Without a command it serves.
"""

_SETTINGS = f"""\
Settings come from a TOML file (--config or ${sources.CONFIG_VARIABLE}). The environment
overrides it, with the key path in capitals behind a prefix:

  {sources.ENVIRONMENT_PREFIX}LISTEN=127.0.0.1:7777
  {sources.ENVIRONMENT_PREFIX}BACKENDS__DEFAULT__TARGET=dns:///reservations.example.com:50051

Flags override both. docs/settings.md lists every setting.
"""

_FLAGS: Mapping[str, tuple[str, ...]] = {
    "--listen": ("listen",),
    "--state-dir": ("state_dir",),
    "--target": ("backends", "default", "target"),
    "--client": ("client",),
    "--conflicts": ("conflicts",),
    "--log-format": ("log_format",),
    "--log-level": ("log_level",),
}
"""The flags that set a setting; their help is the setting's own documentation."""

_ERROR_CODES: Mapping[type[ProxyError], int] = {
    SettingsError: BAD_SETTINGS,
    CredentialsError: BAD_CREDENTIALS,
    StateError: BAD_STATE,
    StateInUseError: BAD_STATE,
    ListenError: CANNOT_LISTEN,
}

logger = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; a wrong command line exits with 2."""
    arguments = _parser().parse_args(_with_command(sys.argv[1:] if argv is None else argv))
    try:
        settings = sources.load(arguments.config, os.environ, _flags(arguments))
        logs.configure(settings.log_format, settings.log_level)
        return int(arguments.command(settings, arguments))
    except ProxyError as error:
        print(f"jicofo-reservation-proxy: cannot start\n{_indented(error)}", file=sys.stderr)
        return _ERROR_CODES[type(error)]
    except KeyboardInterrupt:
        return INTERRUPTED


def _with_command(argv: Sequence[str]) -> list[str]:
    """Put `serve` before flags that stand without a command."""
    is_serve = not argv or (
        argv[0].startswith("-") and argv[0] not in {"-h", "--help", "--version"}
    )
    return ["serve", *argv] if is_serve else list(argv)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "jicofo-reservation-proxy",
        description=_DESCRIPTION,
        epilog=f"{_SETTINGS}\n{_EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    settings = _settings_parser()
    for name, command, about, add_arguments in (
        ("serve", _serve, "serve until SIGTERM or Ctrl-C (the default)", None),
        ("check", _check, "validate the settings and credentials, and ask each backend", None),
        ("call", _call, "send one request, as a client would", _add_call_arguments),
        ("ledger", _ledger, "list the conferences in state_dir", _add_ledger_arguments),
    ):
        subparser = commands.add_parser(
            name,
            help=about,
            description=f"{about[0].upper()}{about[1:]}.",
            epilog=f"{_SETTINGS}\n{_EXIT_CODES}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            parents=[settings],
        )
        subparser.set_defaults(command=command)
        if add_arguments:
            add_arguments(subparser)
    return parser


def _settings_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(add_help=False)
    group = parser.add_argument_group("settings")
    group.add_argument("--config", type=Path, metavar="FILE", help="The settings, in TOML.")
    for flag, path in _FLAGS.items():
        model = Backend if path[0] == "backends" else Settings
        documented = {setting.name: setting.metadata["doc"] for setting in fields(model)}
        about = documented[path[-1]].replace("%", "%%")
        group.add_argument(flag, metavar="VALUE", help=about)
    return parser


def _add_call_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("operation", choices=("create", "get", "delete"))
    parser.add_argument("subject", metavar="ROOM|ID", help="The room to create; else an id.")
    parser.add_argument(
        "--as",
        dest="client_name",
        choices=sorted(USER_AGENTS),
        default="prosody",
        help="The client to be. Default: prosody.",
    )
    parser.add_argument("--owner", help="create: the mail_owner. Default: none.")
    parser.add_argument("--start-time", help="create: the start_time. Default: now.")


def _add_ledger_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "state",
        nargs="?",
        choices=[state.value for state in RecordState],
        help="Only these. open: a client has it; ended: its backend is yet to be told; "
        "dead: given up. Default: all.",
    )


def _flags(arguments: argparse.Namespace) -> dict[tuple[str, ...], str]:
    given = vars(arguments)
    return {
        path: given[name]
        for flag, path in _FLAGS.items()
        if given[name := flag.strip("-").replace("-", "_")] is not None
    }


def _indented(error: ProxyError) -> str:
    return "\n".join(f"  {line}" for line in str(error).splitlines())


def _serve(settings: Settings, _arguments: argparse.Namespace) -> int:
    with StopSignals() as signals, Proxy(settings) as proxy:
        server = Server(proxy.flask, settings)
        logger.info("listening on %s, backends: %s", server.url, ", ".join(proxy.targets))
        signals.run(server)
        proxy.close(server.left_seconds)
    logger.info("stopped")
    return OK


def _check(settings: Settings, _arguments: argparse.Namespace) -> int:
    print("settings: ok")
    print(f"state_dir: ok, {_check_state(settings)}")
    with Proxy(settings, keeps_state=False) as proxy:
        if not settings.backends:
            print("backends: none is set; the built-in stub serves, which grants every room")
        probes = [probe(backend) for backend in proxy.backends.values()]
    for found in probes:
        print(f"backends.{found.backend}: {found.verdict}")
    return max(map(_probe_code, probes))


def _check_state(settings: Settings) -> str:
    if settings.state == "memory":
        return "not used"
    try:
        Database(settings.state_dir).close()
    except StateInUseError:
        return f"{settings.state_dir}, in use by a running proxy"
    return str(settings.state_dir)


def _probe_code(found: Probe) -> int:
    if found.fault is None:
        return OK
    return BAD_CREDENTIALS if found.fault is FaultKind.UNAUTHORIZED else BACKEND_FAILED


def _call(settings: Settings, arguments: argparse.Namespace) -> int:
    request = Request(
        arguments.operation,
        arguments.subject,
        arguments.client_name,
        arguments.owner,
        arguments.start_time,
    )
    try:
        response = ask_a_new_proxy(settings, request)
    except StateInUseError:
        print(f"asking the running proxy at {settings.listen}", file=sys.stderr)
        response = ask_the_running_proxy(settings.listen, request)
    print(response.status)
    print(json.dumps(response.fields, indent=2))
    if response.has_failed:
        return BACKEND_FAILED
    return REFUSED if response.is_refused else OK


def _ledger(settings: Settings, arguments: argparse.Namespace) -> int:
    records = [
        record
        for record in ledger.read(settings.state_dir)
        if arguments.state in {None, record.state.value}
    ]
    rows = [("STATE", "ID", "ROOM", "ENDS", "OVER", "REASON"), *map(_row, records)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())
    return OK


def _row(record: Record) -> tuple[str, ...]:
    return (
        record.state.value,
        ids.encode(record.ref),
        clients.one_line(record.room) or "-",
        _time(record.ends_at_ms),
        _time(record.over_at_ms),
        record.reason.value if record.reason else "-",
    )


def _time(epoch_ms: int | None) -> str:
    """Return a time for the table. No calendar here goes beyond the year 9999."""
    try:
        return "-" if epoch_ms is None else clients.format_time(epoch_ms)
    except OverflowError:
        return "after 9999"
