"""`check`: check the settings, the credentials, the state directory and the backends.

It prints what is right first, then the warnings, then the faults; each of them says what to do.
"""

import argparse
import errno
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from jicofo_reservation_proxy.app import Proxy
from jicofo_reservation_proxy.backends.probe import Probe, probe
from jicofo_reservation_proxy.errors import (
    CredentialsError,
    SettingsError,
    StateError,
    StateInUseError,
)
from jicofo_reservation_proxy.http.server import why_not_free
from jicofo_reservation_proxy.ledger.sqlite_database import Database
from jicofo_reservation_proxy.model import FaultKind
from jicofo_reservation_proxy.observability import logs
from jicofo_reservation_proxy.settings.addresses import is_xds_target
from jicofo_reservation_proxy.settings.schema import BackendName, Settings
from jicofo_reservation_proxy.settings.sources import Loaded
from jicofo_reservation_proxy.settings.validation import format_duration
from jicofo_reservation_proxy.settings.warnings import warnings_about

from . import exit_codes
from .setting_flags import SETTINGS_HELP, add_setting_flags, settings_source

EPILOG = SETTINGS_HELP

_NEXT_STEPS: Mapping[FaultKind, str] = {
    FaultKind.UNREACHABLE: "start the backend, or correct its target or its tls",
    FaultKind.SLOW: "look why the backend is slow, or raise answer_within",
    FaultKind.UNAUTHORIZED: "correct the credentials in its auth or tls, or allow them at the "
    "backend",
}
_OTHER_STEP = "look into the log of the backend"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the output. `code` is an exit code, and `is_doubtful` makes it a warning."""

    line: str
    code: int = exit_codes.OK
    is_doubtful: bool = False

    @property
    def rank(self) -> int:
        """The order in the output: what is right, warnings, faults."""
        return 2 if self.code else int(self.is_doubtful)

    def __str__(self) -> str:
        """Return the line, which begins with the kind unless everything is right."""
        return ("", "warning: ", "fault: ")[self.rank] + self.line


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    add_setting_flags(parser)


def run(arguments: argparse.Namespace) -> int:
    """Check everything; return the highest exit code of all faults.

    Raises `SettingsError` if the settings are wrong: then nothing else can be checked.
    """
    loaded = settings_source(arguments).read()
    logs.configure(loaded.settings.log_format, loaded.settings.log_level)
    findings = [Finding(f"settings: ok, {arguments.config or 'no file'}"), *_findings(loaded)]
    for found in sorted(findings, key=lambda found: found.rank):
        print(found)
    return max(found.code for found in findings)


def _findings(loaded: Loaded) -> Iterator[Finding]:
    settings = loaded.settings
    is_running, state = _check_state(settings)
    yield _check_listen(settings, is_running=is_running)
    yield Finding(f"respond_within: {_respond_within(settings)}")
    yield state
    if settings.admin_listen:
        is_configured = loaded.origins.names(("admin_listen",))
        yield _check_admin_listen(
            settings.admin_listen, is_running=is_running, is_configured=is_configured
        )
    for warning in warnings_about(settings, os.environ):
        yield Finding(warning, is_doubtful=True)
    try:
        with Proxy(settings, keeps_state=False) as proxy:
            yield from _check_backends(settings, proxy)
    except CredentialsError as error:
        yield Finding(str(error), exit_codes.BAD_CREDENTIALS)
    except SettingsError as error:
        yield Finding(str(error), exit_codes.BAD_SETTINGS)


def _check_state(settings: Settings) -> tuple[bool, Finding]:
    """Return whether a running proxy uses the state directory, and what was found."""
    if settings.state == "memory":
        return False, Finding("state_dir: ok, not used")
    try:
        Database(settings.state_dir).close()
    except StateInUseError:
        return True, Finding(f"state_dir: ok, {settings.state_dir}, in use by a running proxy")
    except StateError as error:
        return False, Finding(str(error), exit_codes.BAD_STATE)
    return False, Finding(f"state_dir: ok, {settings.state_dir}")


def _check_listen(settings: Settings, *, is_running: bool) -> Finding:
    listen = settings.listen
    error = why_not_free(listen)
    is_used = error is not None and error.errno == errno.EADDRINUSE
    if is_used and is_running:
        return Finding(f"listen: ok, {listen}, in use by the running proxy")
    if is_used and settings.state == "memory":
        line = f"listen: a program uses {listen}; nothing tells whether it is this proxy"
        return Finding(f"{line}; if it is not, set listen to another port", is_doubtful=True)
    if is_used:
        return Finding(
            f"listen: another program uses {listen}. If it is this proxy, its state directory is "
            "not the one above: run this command, and call and ledger too, with the settings and "
            "as the user of that proxy. Otherwise stop that program, or set listen to another port",
            exit_codes.CANNOT_LISTEN,
        )
    if error is not None:
        return Finding(
            f"listen: cannot use {listen}: {error.strerror}; set listen to an address of this "
            "machine and to a port that this user may use",
            exit_codes.CANNOT_LISTEN,
        )
    if is_running:
        line = f"listen: nothing listens on {listen}, but a proxy runs with this state directory"
        return Finding(f"{line}; give its address with --listen", is_doubtful=True)
    return Finding(f"listen: ok, {listen} is free")


def _check_admin_listen(listen: str, *, is_running: bool, is_configured: bool) -> Finding:
    error = why_not_free(listen)
    if error is None:
        return Finding(f"admin_listen: ok, {listen} is free")
    is_used = error.errno == errno.EADDRINUSE
    if is_used and is_running:
        return Finding(f"admin_listen: ok, {listen}, in use, probably by the running proxy")
    reason = "another program uses it" if is_used else error.strerror
    line = f"admin_listen: cannot use {listen}: {reason}"
    if is_configured:
        return Finding(f"{line}; set admin_listen to another address", exit_codes.CANNOT_LISTEN)
    line = f"{line}; the proxy would run without the admin listener"
    return Finding(f"{line}; set admin_listen to a free port", is_doubtful=True)


def _respond_within(settings: Settings) -> str:
    """Return the time budget, and the shortest time-out of Prosody that fits (clients.md)."""
    seconds = math.ceil(settings.respond_within.total_seconds()) + 1
    return (
        f"{format_duration(settings.respond_within)}; Prosody's reservations_api_timeout must be "
        f"at least {seconds}"
    )


def _check_backends(settings: Settings, proxy: Proxy) -> Iterator[Finding]:
    if not settings.backends:
        yield Finding(
            "backends: none is set; the proxy uses the built-in stub, which grants every room"
        )
    for name, backend in proxy.backends.items():
        yield _judge(probe(name, backend, is_xds=_is_xds(settings, name)))


def _is_xds(settings: Settings, name: str) -> bool:
    """Return whether a control plane names the addresses of a backend; not of the built-in stub."""
    found = settings.backends.get(BackendName(name))
    return found is not None and is_xds_target(found.target)


def _judge(found: Probe) -> Finding:
    line = f"backends.{found.backend}: {found.verdict}"
    if found.fault is None:
        return Finding(line)
    code = (
        exit_codes.BAD_CREDENTIALS
        if found.fault is FaultKind.UNAUTHORIZED
        else exit_codes.BACKEND_FAILED
    )
    return Finding(f"{line}; {_NEXT_STEPS.get(found.fault, _OTHER_STEP)}", code)
