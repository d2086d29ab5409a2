"""What keeps the proxy from starting. Nothing here ever reaches a user in a meeting.

ProxyError
  ├── SettingsError       a setting is wrong
  ├── CredentialsError    a certificate, key or token cannot be used
  ├── StateError          the state directory or the ledger in it cannot be used
  │     └── StateInUseError     another proxy has it
  ├── ListenError         the address to listen on cannot be used
  └── UnreachableError    a backend that is to be checked does not answer
"""

from collections.abc import Sequence
from dataclasses import dataclass


class ProxyError(Exception):
    """A reason not to start, told in one or more lines for the operator."""


@dataclass(frozen=True, slots=True)
class SettingFault:
    """One wrong setting: where it stands, and what was wanted and got."""

    key: str
    message: str
    origin: str = ""

    def __str__(self) -> str:
        """Return the line for the operator."""
        return f"{self.key}: {self.message}" + (f" ({self.origin})" if self.origin else "")


class SettingsError(ProxyError):
    """The settings are wrong; `faults` holds every one that was found."""

    def __init__(self, faults: Sequence[SettingFault]) -> None:
        super().__init__("\n".join(str(fault) for fault in faults))
        self.faults = tuple(faults)


class CredentialsError(ProxyError):
    """A credential's file cannot be used; the message names the setting and the file."""


class StateError(ProxyError):
    """The state directory, or the ledger in it, cannot be used."""


class StateInUseError(StateError):
    """Another process uses the state directory."""


class ListenError(ProxyError):
    """The address to listen on is taken or not this machine's."""


class UnreachableError(ProxyError):
    """A backend that is to be checked does not answer."""
