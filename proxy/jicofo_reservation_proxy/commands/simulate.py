"""`simulate`: simulate Jicofo or Prosody as a client of a running proxy."""

import argparse
import re
import secrets
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from jicofo_reservation_proxy.credential_files import first_token
from jicofo_reservation_proxy.errors import CredentialsError
from jicofo_reservation_proxy.settings.addresses import split_listen
from jicofo_reservation_proxy.settings.validation import is_listen, parse_duration
from jicofo_reservation_proxy.simulation.client import Client
from jicofo_reservation_proxy.simulation.jicofo import Jicofo, JicofoHabits
from jicofo_reservation_proxy.simulation.meetings import Meetings, Plan, room_node
from jicofo_reservation_proxy.simulation.output import Output
from jicofo_reservation_proxy.simulation.prosody import Prosody, ProsodyHabits
from jicofo_reservation_proxy.simulation.report import Report
from jicofo_reservation_proxy.simulation.schedule import Schedule
from jicofo_reservation_proxy.simulation.wire import Address

from . import exit_codes
from .progress import Progress

DEFAULT_OWNER = "juliet@example.com"
MAX_OPENINGS = 100_000
"""The maximum number of openings in a run: the report keeps about 4 kB for each opening."""

MAX_REQUESTS = 50
"""The maximum number of simultaneous requests of Prosody: each request has a thread."""

EPILOG = """\
The simulated client behaves as the real client in docs/clients.md: it sends the same bytes, has the
same retries and time-outs, and checks answers in the same way. Jicofo opens and closes one room at
a time; Prosody opens and closes rooms in parallel. Without --name, each run uses new room names.
Ctrl-C closes the open rooms and prints the report. A second Ctrl-C leaves the rooms open and prints
no report.

An example:

  jicofo-reservation-proxy simulate --as prosody --rooms 50 --lifetime 5s
"""

CONNECT_SECONDS = 5.0
PROGRESS_SECONDS = 0.2

LEAST_SECONDS = 0.001
MOST_SECONDS = 7 * 86400.0

_PATH = re.compile(r"(?:/[!-~]*)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Habits:
    """The times of both clients. The defaults are the times of the real clients."""

    jicofo: JicofoHabits = field(default_factory=JicofoHabits)
    prosody: ProsodyHabits = field(default_factory=ProsodyHabits)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "--as",
        dest="client",
        choices=("jicofo", "prosody"),
        required=True,
        help="The client to simulate.",
    )
    parser.add_argument(
        "--listen",
        type=_address,
        default=Address("127.0.0.1", 7777),
        metavar="HOST:PORT",
        help="The address of the proxy, or of any other reservation system. "
        "Default: 127.0.0.1:7777.",
    )
    parser.add_argument(
        "--path",
        type=_path,
        default="",
        help="The path of the base URL. Jicofo removes a slash at the end, Prosody keeps it. "
        "Default: no path.",
    )
    _add_security_arguments(parser)
    _add_room_arguments(parser)
    parser.add_argument(
        "--at-once",
        type=_whole(1, MAX_REQUESTS),
        default=MAX_REQUESTS,
        metavar="N",
        help="prosody: the maximum number of simultaneous requests. Jicofo always sends one "
        f"request at a time. Default: {MAX_REQUESTS}.",
    )
    parser.add_argument(
        "--give-up-after",
        type=_duration,
        default=60.0,
        metavar="DURATION",
        help="jicofo: how long to wait for an answer. After this time, the report says that Jicofo "
        "hangs. The real Jicofo waits for ever. Default: 60s.",
    )
    parser.add_argument(
        "--json",
        type=Path,
        metavar="FILE",
        help="Write the report to FILE as JSON, with every meeting; - prints JSON instead of "
        "the text report.",
    )


def _add_security_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--tls",
        action="store_true",
        help="Connect with TLS, as for a base URL that begins with https://.",
    )
    parser.add_argument(
        "--ca-file",
        type=Path,
        metavar="FILE",
        help="Connect with TLS, and trust only the authorities in FILE (PEM). Default: the "
        "authorities that this machine trusts.",
    )
    parser.add_argument(
        "--token-file",
        type=Path,
        metavar="FILE",
        help="Show the first token in FILE (client_token_file): Jicofo puts it in front of the "
        "path, Prosody sends it as Authorization: Bearer. Default: no token.",
    )


def _add_room_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--rooms",
        type=_whole(1, MAX_OPENINGS),
        default=10,
        metavar="N",
        help="The number of rooms. Default: 10.",
    )
    parser.add_argument(
        "--times",
        type=_whole(1, MAX_OPENINGS),
        default=1,
        metavar="N",
        help="The number of times to open each room. The client opens a room again as soon as the "
        f"room is closed. --rooms multiplied by --times is at most {MAX_OPENINGS}. Default: 1.",
    )
    parser.add_argument(
        "--lifetime",
        type=_duration,
        default=1.0,
        metavar="DURATION",
        help="How long each room stays open, such as 250ms, 5s or 10m. Default: 1s.",
    )
    parser.add_argument(
        "--name",
        type=_text,
        help="The first part of each room name; a number follows. Default: a new name in each "
        "run, so that two runs never use the same rooms.",
    )
    parser.add_argument("--tenant", type=_text, help="The tenant of the rooms. Default: no tenant.")
    owner = parser.add_mutually_exclusive_group()
    owner.add_argument(
        "--owner",
        type=_text,
        default=DEFAULT_OWNER,
        help=f"The owner of the rooms. Default: {DEFAULT_OWNER}.",
    )
    owner.add_argument(
        "--anonymous",
        action="store_true",
        help="Simulate users who have not signed in: Jicofo sends no owner, Prosody sends a new "
        "guest at each opening.",
    )


def run(arguments: argparse.Namespace, habits: Habits | None = None) -> int:
    """Simulate, report, and return the exit code. A second Ctrl-C raises KeyboardInterrupt.

    Raises an unexpected error of a simulated client after the report.
    """
    if (openings := arguments.rooms * arguments.times) > MAX_OPENINGS:
        return _failed(
            f"--rooms, --times: wanted at most {MAX_OPENINGS} openings in all, "
            f"got {arguments.rooms} x {arguments.times} = {openings}; lower one of them"
        )
    try:
        arguments.listen = replace(arguments.listen, tls=_tls(arguments))
        arguments.token = first_token("--token-file", arguments.token_file)
    except CredentialsError as error:
        return _failed(str(error))
    address: Address = arguments.listen
    if reason := _why_nobody_listens(address):
        return _failed(
            f"listen: wanted a reservation system at {address.authority}, "
            f"got no connection: {reason}; start it, or give another address with --listen",
            exit_codes.CANNOT_LISTEN,
        )
    is_json = str(arguments.json) == "-"
    try:
        output = Output(None if is_json else arguments.json)
    except OSError as error:
        return _failed(f"--json: cannot write: {error}")
    with output:
        report, raised = _simulate(arguments, habits or Habits())
        print(report.json() if is_json else report.text())
        try:
            output.write(report.json)
        except OSError as error:
            return _failed(f"--json: cannot write: {error}")
    if raised is not None:
        raise raised
    return _exit_code(report)


def _exit_code(report: Report) -> int:
    if report.is_interrupted:
        return exit_codes.INTERRUPTED
    return exit_codes.OK if report.is_all_well else exit_codes.NOT_AS_EXPECTED


def _simulate(arguments: argparse.Namespace, habits: Habits) -> tuple[Report, Exception | None]:
    """Return the report, and the first error that a task raised; no task should raise one."""
    plan = _plan(arguments)
    stops = threading.Event()
    began = time.monotonic()
    with _client(arguments, habits, stops) as client:
        schedule = Schedule(min(client.max_requests, len(plan.rooms)))
        meetings = Meetings(plan, client, schedule, stops)
        is_interrupted = _hold(meetings, schedule)
    seconds = time.monotonic() - began
    address = arguments.listen.authority + arguments.path
    report = Report(arguments.client, address, plan, meetings.past, seconds, is_interrupted)
    return report, schedule.error


def _hold(meetings: Meetings, schedule: Schedule) -> bool:
    """Hold all meetings; return whether Ctrl-C or an error ended them early.

    If they ended early, the client has closed the open rooms.
    """
    progress = Progress()
    try:
        meetings.begin()
        schedule.start()
        while not schedule.wait(PROGRESS_SECONDS):
            progress.show(meetings.progress)
            if schedule.error is not None:
                meetings.stop()
    except KeyboardInterrupt:
        meetings.stop()
        progress.show("closing the open rooms; press Ctrl-C again to leave them open")
        _close_all(schedule, progress)
        return True
    finally:
        progress.clear()
    return schedule.error is not None


def _close_all(schedule: Schedule, progress: Progress) -> None:
    """Run the remaining tasks after Ctrl-C, which may arrive before all threads have started."""
    try:
        schedule.start()
        # Not one long wait, which a second Ctrl-C just before it would not interrupt.
        while not schedule.wait(PROGRESS_SECONDS):
            pass
    except KeyboardInterrupt:
        progress.clear()
        _failed("interrupted again: the open rooms stay open, and no report is printed")
        raise


@contextmanager
def _client(
    arguments: argparse.Namespace, habits: Habits, stops: threading.Event
) -> Iterator[Client]:
    address = replace(arguments.listen, path=arguments.path)
    if arguments.client == "jicofo":
        give_up = arguments.give_up_after
        if arguments.token:
            address = replace(address, path=f"/{arguments.token}{arguments.path}")
        with Jicofo(address, replace(habits.jicofo, give_up=give_up)) as client:
            yield client
    else:
        headers = {"Authorization": f"Bearer {arguments.token}"} if arguments.token else {}
        yield Prosody(
            address, arguments.at_once, habits=habits.prosody, pause=stops.wait, headers=headers
        )


def _plan(arguments: argparse.Namespace) -> Plan:
    prefix = arguments.name or f"simulated-{secrets.token_hex(3)}"
    is_jicofo = arguments.client == "jicofo"
    return Plan(
        rooms=[
            room_node(f"{prefix}-{number}", arguments.tenant)
            for number in range(1, arguments.rooms + 1)
        ],
        times=arguments.times,
        lifetime_seconds=arguments.lifetime,
        owner=None if arguments.anonymous else arguments.owner,
        has_guests=arguments.anonymous and not is_jicofo,
    )


def _tls(arguments: argparse.Namespace) -> ssl.SSLContext | None:
    """Return the context of the connections. Raises `CredentialsError`."""
    if not arguments.tls and not arguments.ca_file:
        return None
    try:
        return ssl.create_default_context(cafile=arguments.ca_file)
    except OSError as error:
        raise CredentialsError(
            f"--ca-file: wanted PEM certificates, got {arguments.ca_file}: "
            f"{error.strerror or error}"
        ) from error


def _failed(reason: str, code: int = exit_codes.USAGE) -> int:
    """Print the reason on stderr; return the exit code."""
    print(f"jicofo-reservation-proxy: {reason}", file=sys.stderr)
    return code


def _why_nobody_listens(address: Address) -> str:
    """Return why a connection fails, or an empty string if it succeeds."""
    try:
        socket.create_connection((address.host, address.port), CONNECT_SECONDS).close()
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _address(text: str) -> Address:
    """Parse an address by the rules of the setting `listen`."""
    if not is_listen(text):
        raise argparse.ArgumentTypeError(
            f"wanted HOST:PORT, such as 127.0.0.1:7777 or [::1]:7777, got {text!r}"
        )
    return Address(*split_listen(text))


def _text(text: str) -> str:
    if not text or not text.isprintable():
        raise argparse.ArgumentTypeError(f"wanted one or more printable characters, got {text!r}")
    return text


def _path(text: str) -> str:
    if not _PATH.fullmatch(text):
        raise argparse.ArgumentTypeError(f"wanted a path such as / or /reservations, got {text!r}")
    return text


def _duration(text: str) -> float:
    """Parse a duration by the rules of the settings; return seconds."""
    duration = parse_duration(text)
    seconds = duration.total_seconds() if duration else 0.0
    if not LEAST_SECONDS <= seconds <= MOST_SECONDS:
        raise argparse.ArgumentTypeError(
            f"wanted a duration from 1ms to 7d, such as 250ms or 5s, got {text!r}"
        )
    return seconds


def _whole(least: int, most: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if re.fullmatch("[0-9]{1,9}", text) and least <= int(text) <= most:
            return int(text)
        raise argparse.ArgumentTypeError(
            f"wanted a whole number from {least} to {most}, got {text!r}"
        )

    return number
