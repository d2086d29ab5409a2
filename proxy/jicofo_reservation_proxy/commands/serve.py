"""`serve`: listen until SIGTERM or Ctrl-C, then shut down gracefully."""

import argparse
import logging
import os
from collections.abc import Mapping

from jicofo_reservation_proxy import __version__
from jicofo_reservation_proxy.admin.server import admin_listener
from jicofo_reservation_proxy.app import Proxy
from jicofo_reservation_proxy.http.server import Server, raise_file_limit
from jicofo_reservation_proxy.observability import logs
from jicofo_reservation_proxy.settings.warnings import warnings_about

from . import exit_codes
from .setting_flags import SETTINGS_HELP, add_setting_flags, settings_source
from .signals import ServeSignals

EPILOG = SETTINGS_HELP

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    add_setting_flags(parser)


def run(arguments: argparse.Namespace) -> int:
    """Serve until a signal. Raises `ProxyError` if the proxy cannot start."""
    source = settings_source(arguments)
    loaded = source.read()
    settings = loaded.settings
    logs.configure(settings.log_format, settings.log_level)
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
        ServeSignals() as signals,
        Proxy(settings, origins=loaded.origins, source=source) as proxy,
        admin_listener(proxy, is_configured=loaded.origins.names(("admin_listen",))) as admin,
    ):
        signals.reloads(proxy.reloader)
        listener = Server(proxy.flask, settings.listen, proxy.front_door)
        proxy.is_ready = lambda: listener.is_ready
        proxy.count_connections = lambda: len(listener.active_channels)
        if admin:
            logger.info("admin listener on %s", admin.url)
        logger.info("listening on %s, backends: %s", listener.url, _shown(proxy.targets))
        signals.run(listener)
        proxy.close(listener.left_seconds)
    logger.info("stopped")
    return exit_codes.OK


def _shown(targets: Mapping[str, str]) -> str:
    return ", ".join(f"{name} at {target}" for name, target in targets.items())
