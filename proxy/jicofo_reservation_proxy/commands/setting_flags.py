"""The command-line flags for settings, for each command that reads settings."""

import argparse
import os
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

from jicofo_reservation_proxy.observability import logs
from jicofo_reservation_proxy.settings import sources
from jicofo_reservation_proxy.settings.schema import Backend, Settings
from jicofo_reservation_proxy.settings.sources import Source

SETTINGS_HELP = f"""\
Settings come from a TOML file (--config or ${sources.CONFIG_VARIABLE}). Environment
variables override the file. The name of a variable is a prefix and the key path in capitals:

  {sources.ENVIRONMENT_PREFIX}LISTEN=127.0.0.1:7777
  {sources.ENVIRONMENT_PREFIX}BACKENDS__DEFAULT__TARGET=dns:///reservations.example.com:50051

Flags override the file and the variables. docs/settings.md lists every setting.
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
"""The key path of each flag's setting. A flag's help is the documentation of its setting."""


def add_setting_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    group = parser.add_argument_group("settings")
    group.add_argument(
        "--config", type=Path, metavar="FILE", help="The TOML file with the settings."
    )
    for flag, path in _FLAGS.items():
        model = Backend if path[0] == "backends" else Settings
        documented = {setting.name: setting.metadata["doc"] for setting in fields(model)}
        about = documented[path[-1]].replace("%", "%%")
        group.add_argument(flag, metavar="VALUE", help=about)


def load_settings(arguments: argparse.Namespace) -> Settings:
    """Return the settings, and configure the log with them. Raises `SettingsError`.

    Afterwards `arguments.config` is as after `settings_source`.
    """
    settings = settings_source(arguments).read().settings
    logs.configure(settings.log_format, settings.log_level)
    return settings


def find_state_dir(arguments: argparse.Namespace) -> Path:
    """Return the state directory, also if other settings are wrong. Raises `SettingsError`.

    A command that asks the running proxy must work while the settings file is broken.
    """
    logs.configure("text", "warning")
    return settings_source(arguments).state_dir()


def settings_source(arguments: argparse.Namespace) -> Source:
    """Return where the settings of a command come from.

    Afterwards `arguments.config` is the path of the file, also if the environment names the file.
    """
    file = sources.settings_file(arguments.config, os.environ)
    arguments.config = file and file.absolute()
    return Source(arguments.config, dict(os.environ), _given(arguments))


def _given(arguments: argparse.Namespace) -> dict[tuple[str, ...], str]:
    given = vars(arguments)
    return {
        path: given[name]
        for flag, path in _FLAGS.items()
        if given[name := flag.strip("-").replace("-", "_")] is not None
    }
