"""`check`: check the settings, the credentials, the state directory and the backends."""

import argparse
import math

from jicofo_reservation_proxy.app import Proxy
from jicofo_reservation_proxy.backends.probe import Probe, probe
from jicofo_reservation_proxy.errors import StateInUseError
from jicofo_reservation_proxy.ledger.sqlite_database import Database
from jicofo_reservation_proxy.model import FaultKind
from jicofo_reservation_proxy.settings.addresses import is_xds_target
from jicofo_reservation_proxy.settings.schema import BackendName, Settings
from jicofo_reservation_proxy.settings.validation import format_duration

from . import exit_codes
from .setting_flags import SETTINGS_HELP, add_setting_flags, load_settings

EPILOG = SETTINGS_HELP


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    add_setting_flags(parser)


def run(arguments: argparse.Namespace) -> int:
    """Check everything; return the highest exit code of all backends. Raises `ProxyError`."""
    settings = load_settings(arguments)
    print("settings: ok")
    print(f"respond_within: {_respond_within(settings)}")
    print(f"state_dir: ok, {_check_state(settings)}")
    with Proxy(settings, keeps_state=False) as proxy:
        if not settings.backends:
            print(
                "backends: none is set; the proxy uses the built-in stub, which grants every room"
            )
        probes = [
            probe(name, backend, is_xds=_is_xds(settings, name))
            for name, backend in proxy.backends.items()
        ]
    for found in probes:
        print(f"backends.{found.backend}: {found.verdict}")
    return max(map(_exit_code, probes))


def _is_xds(settings: Settings, name: str) -> bool:
    """Return whether a control plane names the addresses of a backend; not of the built-in stub."""
    found = settings.backends.get(BackendName(name))
    return found is not None and is_xds_target(found.target)


def _respond_within(settings: Settings) -> str:
    """Return the time budget, and the shortest time-out of Prosody that fits (clients.md)."""
    seconds = math.ceil(settings.respond_within.total_seconds()) + 1
    return (
        f"{format_duration(settings.respond_within)}; Prosody's reservations_api_timeout must be "
        f"at least {seconds}"
    )


def _check_state(settings: Settings) -> str:
    if settings.state == "memory":
        return "not used"
    try:
        Database(settings.state_dir).close()
    except StateInUseError:
        return f"{settings.state_dir}, in use by a running proxy"
    return str(settings.state_dir)


def _exit_code(found: Probe) -> int:
    if found.fault is None:
        return exit_codes.OK
    if found.fault is FaultKind.UNAUTHORIZED:
        return exit_codes.BAD_CREDENTIALS
    return exit_codes.BACKEND_FAILED
