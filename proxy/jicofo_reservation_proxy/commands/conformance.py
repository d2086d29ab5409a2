"""`conformance`: play the conformance cases against a backend, and report the results."""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import MISSING, Field, fields
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, get_args

from jicofo_reservation_proxy.conformance import report
from jicofo_reservation_proxy.conformance.case import Capability, Case, cases
from jicofo_reservation_proxy.conformance.kit import DENIED_ROOM, Kit
from jicofo_reservation_proxy.conformance.known_failures import judged, load
from jicofo_reservation_proxy.conformance.result import Result, Verdict
from jicofo_reservation_proxy.errors import SettingFault, SettingsError
from jicofo_reservation_proxy.http.forms import MAX_JID_PART_BYTES
from jicofo_reservation_proxy.settings.schema import Auth, BackendName, Methods, Tls
from jicofo_reservation_proxy.settings.validation import validate

from . import exit_codes
from .progress import Progress

_NAME = BackendName("target")
_KEY = f"backends.{_NAME}"
_STDOUT = Path("-")
_TABLES: dict[str, type[Any]] = {"tls": Tls, "auth": Auth, "methods": Methods}


EPILOG = """\
The flags for the connection are named after the settings of a backend in docs/settings.md:
--tls-ca-file is the setting `tls.ca_file`. The kit uses these settings as the proxy does.

Each line of the --known-failures file gives a case and the reason why the case fails:

  get-deleted = "deleted conferences stay readable for a day, see ticket 42"

A case that is in the file and fails does not count as a failure. A case that is in the file and
passes counts as a failure.

An example:

  jicofo-reservation-proxy conformance 127.0.0.1:50051 --without denial
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument(
        "target", nargs="?", metavar="TARGET", help="A gRPC target, such as 127.0.0.1:50051."
    )
    choosing = parser.add_argument_group("choosing cases")
    choosing.add_argument(
        "--list", action="store_true", help="List the chosen cases; do not play them."
    )
    choosing.add_argument(
        "--only",
        action="append",
        metavar="CASE",
        help="Choose only the cases with this name; * and ? are wildcards, as in a shell. "
        "Repeatable.",
    )
    choosing.add_argument(
        "--without",
        action="append",
        default=[],
        choices=get_args(Capability),
        help="A capability that the backend does not have; the kit skips the cases that need "
        "it. Repeatable.",
    )
    choosing.add_argument(
        "--denied-room",
        default=DENIED_ROOM,
        metavar="ROOM",
        help="A room that the backend denies to everyone. Default: %(default)s.",
    )
    choosing.add_argument(
        "--known-failures",
        type=Path,
        metavar="FILE",
        help="A TOML file of the cases that are known to fail, each with its reason.",
    )
    output = parser.add_argument_group("output in addition to the table")
    output.add_argument(
        "--junit", type=Path, metavar="FILE", help="Write the results to FILE as JUnit XML."
    )
    output.add_argument(
        "--json",
        type=Path,
        metavar="FILE",
        help="Write the results to FILE as JSON; - prints JSON instead of the table.",
    )
    _add_settings(parser.add_argument_group("connection to the backend"))
    parser.set_defaults(usage_error=parser.error)


def run(arguments: argparse.Namespace) -> int:
    """Play the cases; return the exit code.

    Raises `ProxyError` if no case can be played or the backend stops answering. Raises
    `KeyboardInterrupt` after the report of the cases that were played. A wrong command line exits
    with argparse's code, 2.
    """
    chosen = _chosen(arguments)
    if arguments.list:
        _list(chosen)
        return exit_codes.OK
    if arguments.target is None:
        arguments.usage_error("TARGET: wanted a gRPC target, such as 127.0.0.1:50051, got none")
    _check(arguments)
    reasons = _known_failures(arguments)
    settings = validate({"backends": {_NAME: _tree(arguments)}, "state": "memory"})
    kit = Kit(
        settings.backends[_NAME],
        without=arguments.without,
        denied_room=arguments.denied_room,
        key=_KEY,
    )
    results: list[Result] = []
    try:
        with kit:
            _play(kit, chosen, lambda result: results.append(judged(result, reasons)))
    finally:
        if results:
            _write(arguments, kit, results, has_ended=len(results) == len(chosen))
    has_failed = any(result.verdict is Verdict.FAILED for result in results)
    return exit_codes.NOT_AS_EXPECTED if has_failed else exit_codes.OK


def _play(kit: Kit, chosen: Sequence[Case], note: Callable[[Result], None]) -> None:
    progress = Progress()
    try:
        for number, case in enumerate(chosen, 1):
            progress.show(f"[{number}/{len(chosen)}] {case.name}")
            note(kit.run(case))
    except KeyboardInterrupt:
        progress.clear()
        print(
            "deleting the conferences of this run; press Ctrl-C again to leave them at the backend",
            file=sys.stderr,
        )
        raise
    finally:
        progress.clear()


def _chosen(arguments: argparse.Namespace) -> list[Case]:
    patterns = arguments.only or ["*"]
    for pattern in patterns:
        if not any(fnmatchcase(case.name, pattern) for case in cases()):
            arguments.usage_error(
                f"--only: wanted the name of a case (--list shows them), got {pattern!r}"
            )
    return [case for case in cases() if any(fnmatchcase(case.name, each) for each in patterns)]


def _check(arguments: argparse.Namespace) -> None:
    """Reject arguments that would otherwise cause an error only after the cases were played.

    Also overwrite the output files, so that the report of an earlier run does not stay there.
    """
    try:
        size = len(arguments.denied_room.encode())
    except UnicodeEncodeError:
        size = 0
    if not 1 <= size <= MAX_JID_PART_BYTES:
        arguments.usage_error(
            f"--denied-room: wanted 1 to {MAX_JID_PART_BYTES} bytes of UTF-8, "
            f"got {arguments.denied_room!a}"
        )
    for flag, file in (("--junit", arguments.junit), ("--json", arguments.json)):
        try:
            if file and not (file == _STDOUT and flag == "--json"):
                file.write_bytes(report.junit((), has_ended=False) if flag == "--junit" else b"")
        except OSError as error:
            arguments.usage_error(f"{flag}: wanted a writable file, got {file}: {error.strerror}")


def _known_failures(arguments: argparse.Namespace) -> Mapping[str, str]:
    if arguments.known_failures is None:
        return {}
    return load(arguments.known_failures, {case.name for case in cases()})


def _list(chosen: Sequence[Case]) -> None:
    width = max(len(case.name) for case in chosen)
    for case in chosen:
        print(f"{case.name:{width}}  {case.sentence}")


def _write(
    arguments: argparse.Namespace, kit: Kit, results: Sequence[Result], *, has_ended: bool
) -> None:
    """Print the results, then write the files, so that a full disk does not lose the results."""
    document = report.json_text(arguments.target, results, kit.left, kit.lost)
    if arguments.json == _STDOUT:
        print(document)
    else:
        print("\n".join([report.table(results), *report.leftovers(kit.left, kit.lost)]))
        _write_file("--json", arguments.json, (document + "\n").encode())
    _write_file("--junit", arguments.junit, report.junit(results, has_ended=has_ended))


def _write_file(flag: str, file: Path | None, content: bytes) -> None:
    try:
        if file:
            file.write_bytes(content)
    except OSError as error:
        raise SettingsError(
            [SettingFault(flag, f"cannot be written: {error.strerror}", str(file))]
        ) from None


def _add_settings(group: Any) -> None:  # noqa: ANN401 - argparse's groups have no public type
    group.add_argument("--tls", action="store_true", help="Use TLS. The other TLS flags imply it.")
    for table, model in _TABLES.items():
        for setting in fields(model):
            _add_setting(group, f"--{table}-{setting.name}", setting)
    group.add_argument(
        "--answer-within",
        metavar="VALUE",
        help="The deadline of each call, from 10ms to 15s. Default: 5s.",
    )


def _add_setting(group: Any, flag: str, setting: "Field[Any]") -> None:  # noqa: ANN401
    about = setting.metadata["doc"].replace("%", "%%")
    has_default = setting.default not in {MISSING, None} and isinstance(setting.default, str)
    default = f" Default: {setting.default}." if has_default else ""
    group.add_argument(flag.replace("_", "-"), metavar="VALUE", help=f"{about}{default}")


def _tree(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the backend's settings as a tree, in the form of the settings file."""
    given = {name: value for name, value in vars(arguments).items() if value is not None}
    tree: dict[str, Any] = {"target": arguments.target}
    if arguments.tls:
        tree["tls"] = {}
    with suppress(KeyError):
        tree["answer_within"] = given["answer_within"]
    for table, model in _TABLES.items():
        values = {
            setting.name: given[f"{table}_{setting.name}"]
            for setting in fields(model)
            if f"{table}_{setting.name}" in given
        }
        if values:
            tree[table] = values
    return tree
