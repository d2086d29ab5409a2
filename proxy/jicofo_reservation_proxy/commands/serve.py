"""`serve`: listen until SIGTERM or Ctrl-C, then shut down gracefully."""

import argparse
import logging
import os

from jicofo_reservation_proxy import __version__
from jicofo_reservation_proxy.admin.server import admin_listener, is_configured
from jicofo_reservation_proxy.app import Proxy
from jicofo_reservation_proxy.http.server import Server, raise_file_limit
from jicofo_reservation_proxy.settings.warnings import warnings_about

from . import exit_codes
from .setting_flags import SETTINGS_HELP, add_setting_flags, load_settings
from .signals import StopSignals

EPILOG = SETTINGS_HELP

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    add_setting_flags(parser)


def run(arguments: argparse.Namespace) -> int:
    """Serve until a signal. Raises `ProxyError` if the proxy cannot start."""
    settings = load_settings(arguments)
    logger.info(
        "jicofo-reservation-proxy %s starts; settings: %s, state: %s, address: %s",
        __version__,
        arguments.config or "no file",
        settings.state_dir if settings.state == "disk" else "in memory",
        settings.listen,
    )
    for warning in warnings_about(settings, os.environ):
        logger.warning("%s", warning)
    raise_file_limit()
    with (
        StopSignals() as signals,
        Proxy(settings) as proxy,
        admin_listener(proxy, is_configured=is_configured(settings)) as admin,
    ):
        listener = Server(
            proxy.flask, settings, proxy.refusals, proxy.fast_path, proxy.listener_tls
        )
        proxy.is_ready = lambda: listener.is_ready
        if admin:
            logger.info("admin listener on %s", admin.url)
        logger.info("listening on %s, backends: %s", listener.url, ", ".join(proxy.targets))
        signals.run(listener)
        proxy.close(listener.left_seconds)
    logger.info("stopped")
    return exit_codes.OK
