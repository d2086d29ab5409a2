"""The command line: `serve`, `check`, `call`, `ledger`, `conformance` and `simulate`."""

import argparse
import importlib
import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

from . import __version__, clients, exits, ids, ledger, logs, sources
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
    UnreachableError,
)
from .model import FaultKind
from .probe import Probe, probe
from .records import Record, RecordState
from .server import Server, StopSignals
from .settings import Backend, Settings

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
    SettingsError: exits.BAD_SETTINGS,
    CredentialsError: exits.BAD_CREDENTIALS,
    StateError: exits.BAD_STATE,
    StateInUseError: exits.BAD_STATE,
    ListenError: exits.CANNOT_LISTEN,
    UnreachableError: exits.BACKEND_FAILED,
}

logger = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; a wrong command line exits with 2."""
    argv = _with_command(sys.argv[1:] if argv is None else argv)
    arguments = _parser(argv[0]).parse_args(argv)
    try:
        return int(arguments.command(arguments))
    except ProxyError as error:
        what = "cannot go on" if isinstance(error, UnreachableError) else "cannot start"
        print(f"jicofo-reservation-proxy: {what}\n{_indented(error)}", file=sys.stderr)
        return _ERROR_CODES[type(error)]
    except KeyboardInterrupt:
        return exits.INTERRUPTED


def _with_command(argv: Sequence[str]) -> list[str]:
    """Put `serve` before flags that stand without a command."""
    is_serve = not argv or (
        argv[0].startswith("-") and argv[0] not in {"-h", "--help", "--version"}
    )
    return ["serve", *argv] if is_serve else list(argv)


def _parser(asked: str) -> argparse.ArgumentParser:
    """Return the parser for this command; of the tools it is the only one that is loaded."""
    parser = argparse.ArgumentParser(
        "jicofo-reservation-proxy",
        description=_DESCRIPTION,
        epilog=f"{_SETTINGS}\n{exits.HELP}",
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
        subparser = _add_command(commands, name, about, _SETTINGS, [settings])
        subparser.set_defaults(command=partial(_with_settings, command))
        if add_arguments:
            add_arguments(subparser)
    for name, about, module in (
        ("conformance", "tell whether a backend keeps the contract", "conformance"),
        ("simulate", "behave as a Jitsi client towards a running proxy", "simulation"),
    ):
        tool = _tool(module) if name == asked else None
        subparser = _add_command(commands, name, about, tool.EPILOG if tool else "", [])
        if tool:
            subparser.set_defaults(command=partial(_interruptible, tool.run))
            tool.add_arguments(subparser)
    return parser


def _interruptible(
    command: Callable[[argparse.Namespace], int], arguments: argparse.Namespace
) -> int:
    """Let SIGTERM end a tool as Ctrl-C does: it cleans up, and tells what it has found."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return command(arguments)
    finally:
        signal.signal(signal.SIGTERM, before)


def _tool(module: str) -> Any:  # noqa: ANN401 - its command module
    """Load a command that `serve` shall not pay for, in memory and at the start."""
    return importlib.import_module(f"{__package__}.{module}.command")


def _add_command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    about: str,
    epilog: str,
    parents: Sequence[argparse.ArgumentParser],
) -> argparse.ArgumentParser:
    return commands.add_parser(
        name,
        help=about,
        description=f"{about[0].upper()}{about[1:]}.",
        epilog=f"{epilog}\n{exits.HELP}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=parents,
    )


def _with_settings(
    command: Callable[[Settings, argparse.Namespace], int], arguments: argparse.Namespace
) -> int:
    settings = sources.load(arguments.config, os.environ, _flags(arguments))
    logs.configure(settings.log_format, settings.log_level)
    return command(settings, arguments)


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
    return exits.OK


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
        return exits.OK
    return exits.BAD_CREDENTIALS if found.fault is FaultKind.UNAUTHORIZED else exits.BACKEND_FAILED


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
        return exits.BACKEND_FAILED
    return exits.REFUSED if response.is_refused else exits.OK


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
    return exits.OK


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
